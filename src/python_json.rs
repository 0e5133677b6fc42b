//! JSON as Python's `json` reads and writes it, which is how model configs are written: with `NaN`
//! and `Infinity`, which JSON lacks, and with numbers too large for a double, which are infinite.
//!
//! Numbers of `serde_json` are finite. Such a word is kept as a string of its letters: a reader
//! that wants a number rejects it by name, and readers of other fields do not mind.

use std::borrow::Cow;
use std::fmt::Write;

use serde_json::Value;

use crate::lenient_json::{escape, mended, unmarked};

/// Python's words, each before the words it contains.
const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

/// Parses JSON as Python does.
///
/// # Errors
///
/// When Python would not parse it either.
pub fn parse(json: &[u8]) -> serde_json::Result<Value> {
    let json = unmarked(json);
    // Nearly all files are valid JSON, so that errors point at the right place.
    serde_json::from_slice(json).or_else(|error| match strict(json) {
        Cow::Borrowed(_) => Err(error),
        Cow::Owned(strict) => serde_json::from_slice(&strict),
    })
}

/// Writes indented JSON, with Python's words where [`parse`] found them.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    let line = |depth: usize, out: &mut String| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    match value {
        Value::String(word) if WORDS.contains(&word.as_str()) => out.push_str(word),
        Value::Array(values) if !values.is_empty() => {
            out.push('[');
            for (number, value) in values.iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "" });
                line(depth + 1, out);
                write(value, depth + 1, out);
            }
            line(depth, out);
            out.push(']');
        }
        Value::Object(fields) if !fields.is_empty() => {
            out.push('{');
            for (number, (name, value)) in fields.iter().enumerate() {
                out.push_str(if number > 0 { "," } else { "" });
                line(depth + 1, out);
                let _ = write!(out, "{}: ", Value::from(name.as_str()));
                write(value, depth + 1, out);
            }
            line(depth, out);
            out.push('}');
        }
        leaf => {
            let _ = write!(out, "{leaf}");
        }
    }
}

/// Returns the JSON with Python's words in quotes, and with U+FFFD for halves of surrogate pairs.
fn strict(json: &[u8]) -> Cow<'_, [u8]> {
    mended(json, |text, in_string| match text[0] {
        b'\\' if in_string => escape(text),
        b'-' | b'I' | b'N' | b'0'..=b'9' if !in_string => number(text),
        _ => (1, Cow::Borrowed(b"")),
    })
}

/// Returns the length of the number or word at the start of a text, and its replacement, if any.
fn number(text: &[u8]) -> (usize, Cow<'static, [u8]>) {
    let length = text
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
        .count();
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    let word = WORDS.into_iter().find(|word| *word == text);
    // Rust knows more words for infinite numbers than Python.
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    let beyond = text.parse().ok().filter(|n: &f64| digits && n.is_infinite());
    let beyond = beyond.map(|n| if n > 0.0 { "Infinity" } else { "-Infinity" });
    match word.or(beyond) {
        Some(word) => (length, format!("\"{word}\"").into_bytes().into()),
        None => (length.max(1), Cow::Borrowed(b"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_and_numbers_that_python_has_are_read_and_written_again() {
        let text = br#"{"a": NaN, "b": [0.0, Infinity, -Infinity, -1e999, 1e999], "NaN": "say NaN, \"Infinity", "c": -1.5e3}"#;
        let value = parse(text).unwrap();
        assert_eq!(
            value,
            json!({"a": "NaN", "b": [0.0, "Infinity", "-Infinity", "-Infinity", "Infinity"],
                "NaN": "say NaN, \"Infinity", "c": -1500.0})
        );
        let written = pretty(&value);
        assert!(written.contains("\"a\": NaN,\n"), "{written}");
        assert!(written.contains("    -Infinity,\n"), "{written}");
        assert_eq!(parse(written.as_bytes()).unwrap(), value);
    }

    #[test]
    fn json_is_written_as_serde_json_writes_it() {
        let value =
            json!({"a": [], "b": {}, "c": [1, {"d": "é\n\"\u{1}", "e": null}], "f": 1.0, "g": [true]});
        assert_eq!(pretty(&value), serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn what_python_refuses_is_refused() {
        for text in [
            "",
            "{\"a\": nan}",
            "[-NaN]",
            "[infinity]",
            "[NaNs]",
            "[1e]",
            "[NaN",
            "{NaN: 1}x",
            "[\"\n\"]",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(parse(br#"["\ud83d", NaN]"#).unwrap(), json!(["\u{fffd}", "NaN"]));
        assert_eq!(parse(b"\xef\xbb\xbf{}").unwrap(), json!({}));
    }
}
