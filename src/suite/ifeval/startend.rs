//! Checkers of family `startend`.

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};
use super::python::strip;

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "startend:end_checker",
        arguments: &["end_phrase"],
        make: end_checker,
    },
    Checker {
        id: "startend:quotation",
        arguments: &[],
        make: quotation,
    },
];

/// The text ends with the phrase; case and quotes after it do not count.
fn end_checker(arguments: &Arguments<'_>) -> Result<Check, String> {
    let phrase = strip(&arguments.text("end_phrase")?.to_lowercase()).to_string();
    Ok(check(move |text| {
        let text = strip(text).trim_matches('"').to_lowercase();
        text.ends_with(&phrase)
    }))
}

/// The text is between double quotes.
fn quotation(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| {
        let text = strip(text);
        text.len() > 1 && text.starts_with('"') && text.ends_with('"')
    }))
}
