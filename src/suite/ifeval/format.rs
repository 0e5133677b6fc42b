//! Checkers of family `detectable_format`.

use std::sync::LazyLock;

use regex::Regex;

use super::arguments::Arguments;
use super::checker::{Check, Checker, check};
use super::json_text::is_json;
use super::python::{pattern, space, strip};

pub(super) const CHECKERS: &[Checker] = &[
    Checker {
        id: "detectable_format:number_bullet_lists",
        arguments: &["num_bullets"],
        make: number_bullet_lists,
    },
    Checker {
        id: "detectable_format:constrained_response",
        arguments: &[],
        make: constrained_response,
    },
    Checker {
        id: "detectable_format:number_highlighted_sections",
        arguments: &["num_highlights"],
        make: number_highlighted_sections,
    },
    Checker {
        id: "detectable_format:multiple_sections",
        arguments: &["section_spliter", "num_sections"],
        make: multiple_sections,
    },
    Checker {
        id: "detectable_format:json_format",
        arguments: &[],
        make: json_format,
    },
    Checker {
        id: "detectable_format:title",
        arguments: &[],
        make: title,
    },
];

/// Exactly so many lines that begin with `*` or `-`.
fn number_bullet_lists(arguments: &Arguments<'_>) -> Result<Check, String> {
    static STARS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(concat!(r"(?m)^", space!(), r"*\*[^*].*$")).expect("a pattern"));
    static DASHES: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(concat!(r"(?m)^", space!(), r"*-.*$")).expect("a pattern"));
    let wanted = arguments.number("num_bullets")?;
    Ok(check(move |text| {
        let count = STARS.find_iter(text).count() + DASHES.find_iter(text).count();
        count as u64 == wanted
    }))
}

/// One of the three sentences is somewhere in the text.
fn constrained_response(_: &Arguments<'_>) -> Result<Check, String> {
    const OPTIONS: [&str; 3] = ["My answer is yes.", "My answer is no.", "My answer is maybe."];
    Ok(check(|text| OPTIONS.iter().any(|option| text.contains(option))))
}

/// At least so many texts between `*` or between `**`. A text between `**` may count twice, as
/// published.
fn number_highlighted_sections(arguments: &Arguments<'_>) -> Result<Check, String> {
    static SINGLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\*[^\n*]*\*").expect("a pattern"));
    static DOUBLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\*\*[^\n*]*\*\*").expect("a pattern"));
    let least = arguments.number("num_highlights")?;
    Ok(check(move |text| {
        // There is no other star within a match.
        let says_something = |found: &regex::Match<'_>| !strip(found.as_str().trim_matches('*')).is_empty();
        let count = |pattern: &Regex| pattern.find_iter(text).filter(says_something).count();
        (count(&SINGLE) + count(&DOUBLE)) as u64 >= least
    }))
}

/// At least so many sections that begin with the word and a number, such as `Section 1`.
fn multiple_sections(arguments: &Arguments<'_>) -> Result<Check, String> {
    let word = arguments.text("section_spliter")?;
    let least = arguments.number("num_sections")?;
    let source = format!("{0}?{word}{0}?\\d+{0}?", space!());
    let section = pattern(&source)
        .map_err(|error| format!("has the section word `{word}`, which is no pattern: {error}"))?;
    Ok(check(move |text| section.find_iter(text).count() as u64 >= least))
}

/// The text is JSON, with or without a code fence.
fn json_format(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| {
        let mut text = strip(text);
        for fence in ["```json", "```Json", "```JSON", "```"] {
            text = text.strip_prefix(fence).unwrap_or(text);
        }
        is_json(strip(text.strip_suffix("```").unwrap_or(text)))
    }))
}

/// A title between `<<` and `>>` on one line.
fn title(_: &Arguments<'_>) -> Result<Check, String> {
    Ok(check(|text| text.split('\n').any(has_title)))
}

/// Whether there is something between the first `<<` and the last `>>` of a line.
fn has_title(line: &str) -> bool {
    let (Some(start), Some(end)) = (line.find("<<"), line.rfind(">>")) else {
        return false;
    };
    // At least one character is between them.
    start + 2 < end && {
        let title = line[start..end + 2].trim_start_matches('<').trim_end_matches('>');
        !strip(title).is_empty()
    }
}
