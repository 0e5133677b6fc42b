//! JSON for standard output, which may be a terminal: control characters that a terminal would obey
//! are escaped. Programs read the same text.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;

/// Returns a value as JSON on one line.
///
/// # Errors
///
/// If `serde_json` fails.
pub fn line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// Returns a JSON value on one line.
pub fn value(value: &serde_json::Value) -> String {
    escaped(value.to_string())
}

/// Returns a value as JSON on several lines, for people.
///
/// # Errors
///
/// If `serde_json` fails.
pub fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escaped)
}

/// Writes a JSON array with one element per line, for `jq` and `head` alike.
///
/// # Errors
///
/// If `serde_json` or `out` fails.
pub fn write_array<T: Serialize>(out: &mut impl io::Write, rows: &[T]) -> anyhow::Result<()> {
    out.write_all(b"[")?;
    for (index, row) in rows.iter().enumerate() {
        out.write_all(if index == 0 { b"\n" } else { b",\n" })?;
        out.write_all(line(row)?.as_bytes())?;
    }
    out.write_all(b"\n]\n")?;
    Ok(())
}

/// Escapes the characters that `serde_json` leaves alone: control characters beyond ASCII, and
/// those that change the direction of text or end a line. JSON has none of them outside strings.
fn escaped(json: String) -> String {
    let is_obeyed = |character: char| matches!(character, '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !json.contains(is_obeyed) {
        return json;
    }
    let mut text = String::with_capacity(json.len() + 64);
    for character in json.chars() {
        if is_obeyed(character) {
            write!(text, "\\u{:04x}", character as u32).expect("a String takes everything");
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped_and_read_back() {
        let text = "\x1b[2J\x7f\u{9b}31m\u{202e}\u{2066}\u{2028}\u{e4}羊";
        for json in [line(&text).unwrap(), pretty(&[text]).unwrap()] {
            assert!(!json.contains(|c: char| c.is_control() && c != '\n') && !json.contains('\u{202e}'));
            assert!(json.contains("\\u009b31m") && json.contains("\u{e4}羊"), "{json}");
        }
        assert_eq!(
            serde_json::from_str::<String>(&line(&text).unwrap()).unwrap(),
            text
        );
    }
}
