//! Checkers of family `detectable_content`.

use regex::Regex;

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};
use super::python::{pattern, space};

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "detectable_content:number_placeholders",
        arguments: &["num_placeholders"],
        make: number_placeholders,
    },
    Checker {
        id: "detectable_content:postscript",
        arguments: &["postscript_marker"],
        make: postscript,
    },
];

/// At least so many placeholders such as `[address]`.
fn number_placeholders(arguments: &Arguments<'_>) -> Result<Check, String> {
    let least = arguments.number("num_placeholders")?;
    Ok(check(move |text| {
        text.split('\n').map(placeholders).sum::<usize>() as u64 >= least
    }))
}

/// Counts the brackets of one line: from an opening one to the next closing one.
fn placeholders(line: &str) -> usize {
    let mut count = 0;
    let mut rest = line;
    while let Some((_, inner)) = rest.split_once('[') {
        let Some((_, after)) = inner.split_once(']') else {
            break;
        };
        count += 1;
        rest = after;
    }
    count
}

/// A postscript, somewhere. The two markers of the published rows may have spaces in them; another
/// is a pattern.
fn postscript(arguments: &Arguments<'_>) -> Result<Check, String> {
    let marker = arguments.text("postscript_marker")?;
    let found: Regex = match marker {
        "P.P.S" => pattern(concat!(r"p\.", space!(), r"?p\.", space!(), "?s")),
        "P.S." => pattern(concat!(r"p\.", space!(), r"?s\.")),
        other => pattern(&other.to_lowercase()),
    }
    .map_err(|error| format!("has the marker `{marker}`, which is no pattern: {error}"))?;
    Ok(check(move |text| found.is_match(&text.to_lowercase())))
}
