//! Time as `strftime_now` writes it.

use chrono::{NaiveDateTime, Timelike};
use std::fmt::Write;

use super::error::{Error, Result};

/// Formats a time by `strftime` in the C locale. Unknown directives are copied.
pub fn strftime(now: NaiveDateTime, format: &str) -> Result<String> {
    let mut out = String::new();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let flag = chars.next_if(|c| "-_0^#".contains(*c));
        let Some(letter) = chars.next() else {
            out.push('%');
            out.extend(flag);
            break;
        };
        let directive: String = match letter {
            'f' => {
                let _ = write!(out, "{:06}", now.nanosecond() / 1000);
                continue;
            }
            // The time has no zone.
            'z' | 'Z' => continue,
            '%' => {
                out.push('%');
                continue;
            }
            'a' | 'A' | 'w' | 'd' | 'b' | 'B' | 'm' | 'y' | 'Y' | 'H' | 'I' | 'p' | 'M' | 'S' | 'j' | 'U'
            | 'W' | 'c' | 'x' | 'X' | 'G' | 'u' | 'V' | 'g' | 'C' | 'D' | 'e' | 'F' | 'h' | 'k' | 'l'
            | 'n' | 'P' | 'r' | 'R' | 't' | 'T' => match flag {
                Some(flag @ ('-' | '_' | '0')) => format!("%{flag}{letter}"),
                _ => format!("%{letter}"),
            },
            _ => {
                out.push('%');
                out.extend(flag);
                out.push(letter);
                continue;
            }
        };
        let mut text = String::new();
        write!(text, "{}", now.format(&directive))
            .map_err(|_| Error::fault(format!("strftime_now cannot write {format:?}")))?;
        match flag {
            Some('^') => out.push_str(&text.to_uppercase()),
            Some('#') if letter == 'p' => out.push_str(&text.to_lowercase()),
            Some('#') => out.push_str(&text.to_uppercase()),
            _ => out.push_str(&text),
        }
    }
    Ok(out)
}
