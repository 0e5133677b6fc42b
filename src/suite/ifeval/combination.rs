//! Checkers of family `combination`.

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};
use super::python::strip;

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "combination:two_responses",
        arguments: &[],
        make: two_responses,
    },
    Checker {
        id: "combination:repeat_prompt",
        arguments: &["prompt_to_repeat"],
        make: repeat_prompt,
    },
];

/// Two different responses between `******`. Only the first and the last part may be empty.
fn two_responses(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| {
        let parts: Vec<&str> = text.split("******").map(strip).collect();
        let inner = parts.get(1..parts.len() - 1).unwrap_or_default();
        let mut responses = parts.iter().filter(|part| !part.is_empty());
        let two = (responses.next(), responses.next(), responses.next());
        !inner.contains(&"") && matches!(two, (Some(one), Some(other), None) if one != other)
    }))
}

/// The text begins with the prompt; case does not count.
fn repeat_prompt(arguments: &Arguments<'_>) -> Result<Check, String> {
    let prompt = arguments.text("prompt_to_repeat")?.to_lowercase();
    Ok(check(move |text| strip(text).to_lowercase().starts_with(&prompt)))
}
