//! Rejects personal data and secrets. No named set has these rules, since whether an address may be
//! in a dataset depends on whose it is.

use super::text::pattern;
use super::{Check, EWE, Rule, Settings};
use crate::task::{Instance, Reason};
use crate::text::counted;
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "pii_email",
        reason: Reason::PiiEmail,
        about: "an e-mail address outside the domains reserved for examples (RFC 2606)",
        source: EWE,
        check: Check::Instance(|task, instance, _: &Settings| any(task, instance, email)),
    },
    Rule {
        name: "pii_phone",
        reason: Reason::PiiPhone,
        about: "a telephone number: with a country code, brackets, or the groups of a national number",
        source: EWE,
        check: Check::Instance(|task, instance, _: &Settings| any(task, instance, phone)),
    },
    Rule {
        name: "pii_card",
        reason: Reason::PiiCard,
        about: "13 to 19 digits whose last one checks (Luhn, ISO/IEC 7812-1)",
        source: EWE,
        check: Check::Instance(|task, instance, _: &Settings| any(task, instance, card)),
    },
    Rule {
        name: "pii_key",
        reason: Reason::PiiKey,
        about: "a secret: AWS and GitHub keys, `sk-…`, private keys in PEM, JSON web tokens",
        source: EWE,
        check: Check::Instance(|task, instance, _: &Settings| any(task, instance, key)),
    },
];

/// Whether a rule is one of [`RULES`].
pub(super) fn is_pii(rule: &Rule) -> bool {
    RULES.iter().any(|ours| ours.name == rule.name)
}

fn any(instruction: &str, instance: &Instance, look: fn(&str) -> Option<String>) -> Option<String> {
    [instruction, &instance.input, &instance.output]
        .into_iter()
        .find_map(look)
}

/// Masks what was found: the verdict must not store what the dataset may not.
fn masked(found: &str) -> String {
    let start: String = found.chars().take(3).collect();
    format!("'{start}…', {}", counted(found.chars().count(), "character"))
}

pattern!(
    EMAIL,
    r"(?i)\b[a-z0-9][a-z0-9._%+-]{0,63}@(?P<domain>(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24})\b"
);

fn email(text: &str) -> Option<String> {
    EMAIL
        .captures_iter(text)
        .find(|found| {
            let domain = found["domain"].to_lowercase();
            let reserved = ["example.com", "example.org", "example.net"]
                .iter()
                .any(|name| domain == *name || domain.ends_with(&format!(".{name}")));
            let top = domain.rsplit('.').next();
            !reserved && !matches!(top, Some("example" | "test" | "invalid" | "localhost"))
        })
        .map(|found| masked(&found[0]))
}

pattern!(
    PHONE,
    r"(?x)(?:^|[^\w.+-])(?P<number>
        (?:\+|00)\d{1,3}(?:[\s./-]?\(?\d{1,5}\)?){2,6}
      | (?:\d{1,3}[\s.-])?\(\d{2,5}\)\s?\d{2,4}(?:[\s.-]?\d{2,5}){1,3}
      | (?:1[\s.-])?[2-9]\d{2}[\s.-]\d{3}[\s.-]\d{4}
      | 0\d{1,4}[\s/-]\d{2,4}(?:[\s-]?\d{2,5}){1,3}
    )(?:$|[^\w-])"
);

fn phone(text: &str) -> Option<String> {
    PHONE
        .captures_iter(text)
        .map(|found| found.name("number").expect("the group takes part").as_str())
        .find(|number| {
            let digits = number.chars().filter(char::is_ascii_digit).count();
            (9..=15).contains(&digits)
        })
        .map(masked)
}

pattern!(
    CARD,
    r"(?:^|[^\d.,-])(?P<number>[2-6]\d{3}[ -]?(?:\d[ -]?){7,13}\d\d)(?:$|[^\d-])"
);

fn card(text: &str) -> Option<String> {
    CARD.captures_iter(text)
        .map(|found| found.name("number").expect("the group takes part").as_str())
        .find(|number| {
            let digits: Vec<u32> = number.chars().filter_map(|c| c.to_digit(10)).collect();
            let sum: u32 = digits
                .iter()
                .rev()
                .enumerate()
                .map(|(i, &digit)| match i % 2 {
                    0 => digit,
                    _ => digit * 2 - if digit > 4 { 9 } else { 0 },
                })
                .sum();
            (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
        })
        .map(masked)
}

pattern!(
    KEY,
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bsk-(?:[A-Za-z]{2,10}-)*[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}|-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
);

fn key(text: &str) -> Option<String> {
    KEY.find(text).map(|found| masked(found.as_str()))
}
