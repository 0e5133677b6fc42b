//! Personal data and keys.

use super::{Chance, anywhere, insert};
use crate::rules::Row;

pub fn email(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let (length, other) = (2 + chance.below(9), 3 + chance.below(8));
    let user = chance.text("abcdefghijklm", length) + chance.pick(&["", ".b", "_9", "+x", "7"]);
    let host = chance.text("nopqrstuvw", other);
    let top = chance.pick(&["com", "org", "co.uk", "de", "io", "net", "edu"]);
    let address = chance.cased(&format!("{user}@{host}.{top}"));
    let (open, close) = [("", ""), ("<", ">"), ("(", ")"), ("", ",")][chance.below(4)];
    let address = format!("{open}{address}{close}");
    anywhere(chance, row, |chance, text| insert(chance, text, &address))
}

pub fn phone(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let mut digits = |n: usize| chance.text("23456789", n);
    let (a, b, c, d) = (digits(3), digits(3), digits(4), digits(2));
    let number = match chance.below(6) {
        0 => format!("({a}) {b}-{c}"),
        1 => format!("{a}-{b}-{c}"),
        2 => format!("+1 {a} {b} {c}"),
        3 => format!("+{d} {a} {c}{d}"),
        4 => format!("+{d}-{a}-{b}-{c}"),
        _ => format!("0{d} {c} {c}"),
    };
    anywhere(chance, row, |chance, text| insert(chance, text, &number))
}

pub fn card(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    let mut digits: Vec<u32> = vec![4 + chance.below(2) as u32];
    digits.extend((0..14).map(|_| chance.below(10) as u32));
    // The last digit makes the sum of ISO/IEC 7812 a multiple of ten.
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(i, d)| {
            if i % 2 == 0 {
                (2 * d) / 10 + (2 * d) % 10
            } else {
                *d
            }
        })
        .sum();
    digits.push((10 - sum % 10) % 10);
    let glue = chance.pick(&["", " ", "-"]);
    let groups: Vec<String> = digits
        .chunks(4)
        .map(|group| group.iter().map(u32::to_string).collect())
        .collect();
    let number = groups.join(glue);
    anywhere(chance, row, |chance, text| insert(chance, text, &number))
}

pub fn key(chance: &mut Chance, row: &Row, _: &[Row]) -> Option<Row> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let key = match chance.below(5) {
        0 => format!("AKIA{}", chance.text(&LETTERS[..26], 16)),
        1 => {
            let length = 24 + chance.below(24);
            format!("sk-{}", chance.text(LETTERS, length))
        }
        2 => format!("ghp_{}", chance.text(LETTERS, 36)),
        3 => format!(
            "-----BEGIN {}PRIVATE KEY-----\n{}",
            chance.pick(&["", "RSA ", "EC ", "OPENSSH "]),
            chance.text(LETTERS, 60)
        ),
        _ => format!(
            "eyJ{}.eyJ{}.{}",
            chance.text(LETTERS, 20),
            chance.text(LETTERS, 30),
            chance.text(LETTERS, 40)
        ),
    };
    anywhere(chance, row, |chance, text| insert(chance, text, &key))
}
