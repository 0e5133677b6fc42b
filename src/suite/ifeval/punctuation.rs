//! The checker of family `punctuation`.

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};

pub(super) const CHECKERS: &[Checker] = &[Checker {
    id: "punctuation:no_comma",
    arguments: &[],
    make: no_comma,
}];

/// No comma of ASCII.
fn no_comma(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| !text.contains(',')))
}
