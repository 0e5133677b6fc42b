//! JSON on standard output, which may be a terminal: what that would obey is escaped, which programs read as the same text.

use std::fmt::Write;

use serde::Serialize;

/// On one line.
///
/// # Errors
///
/// As `serde_json` does.
pub fn line(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string(value).map(escaped)
}

/// The same of what is JSON already.
pub fn value(value: &serde_json::Value) -> String {
    escaped(value.to_string())
}

/// On several lines, for people.
///
/// # Errors
///
/// As `serde_json` does.
pub fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(escaped)
}

/// JSON with the characters escaped that `serde_json` leaves as they are: control characters beyond ASCII's, and those that turn the
/// direction of text or end a line. Outside of texts JSON has none of them.
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
