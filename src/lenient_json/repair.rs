//! Repairs JSON that a strict parser refuses.

use serde_json::{Number, Value};
use std::borrow::Cow;

/// Repairs JSON up to the end of its first value. Unknown words become null, or the value that they
/// have in Python. Numbers get JSON's form. Names and strings in other quotes, or in none, get
/// double quotes. Halves of surrogate pairs become the replacement character. Control characters in
/// strings are escaped. Trailing commas and comments are removed. Everything else stays, and text
/// that is cut off stays so.
pub fn repaired(json: &[u8]) -> Cow<'_, [u8]> {
    to_the_end(json).0
}

/// Like [`repaired`], and returns the number of bytes after the first value.
pub(super) fn to_the_end(json: &[u8]) -> (Cow<'_, [u8]>, usize) {
    let mut repair = Repair::default();
    let repaired = mended(json, |text, in_string| repair.token(text, in_string));
    (repaired, repair.behind)
}

/// Replaces parts of JSON. `token` gets the rest of the JSON, and whether it begins within a
/// string. It returns the length of the next token, and its replacement, which is empty if the
/// token stays.
pub fn mended(
    json: &[u8],
    mut token: impl FnMut(&[u8], bool) -> (usize, Cow<'static, [u8]>),
) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    let mut in_string = false;
    while at < json.len() {
        let (length, instead) = match json[at] {
            b'"' => {
                in_string = !in_string;
                (1, Cow::Borrowed(&b""[..]))
            }
            _ => token(&json[at..], in_string),
        };
        let end = (at + length).min(json.len());
        match (instead.is_empty(), &mut out) {
            (true, None) => {}
            (true, Some(out)) => out.extend_from_slice(&json[at..end]),
            (false, out) => out
                .get_or_insert_with(|| json[..at].to_vec())
                .extend_from_slice(&instead),
        }
        at = end;
    }
    out.map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The state of a repair.
#[derive(Default)]
struct Repair {
    depth: usize,
    is_done: bool,
    /// Bytes after the first value.
    behind: usize,
}

/// Keeps `length` bytes.
fn kept(length: usize) -> (usize, Cow<'static, [u8]>) {
    (length, Cow::Borrowed(b""))
}

/// Replaces `length` bytes.
fn written(length: usize, instead: impl Into<Vec<u8>>) -> (usize, Cow<'static, [u8]>) {
    (length, Cow::Owned(instead.into()))
}

impl Repair {
    /// Returns the length of the next token, and its replacement.
    fn token(&mut self, text: &[u8], in_string: bool) -> (usize, Cow<'static, [u8]>) {
        if self.is_done {
            return kept(text.len());
        }
        match text[0] {
            b'\\' if in_string => any_escape(text),
            byte @ ..0x20 if in_string => written(1, format!("\\u{byte:04x}")),
            _ if in_string => kept(1),
            b'{' | b'[' => {
                self.depth += 1;
                kept(1)
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_done = self.depth == 0;
                self.behind = text.len() - 1;
                kept(1)
            }
            // Outside of all brackets nothing is repaired.
            _ if self.depth == 0 => kept(1),
            // Tuples of Python.
            b'(' => {
                self.depth += 1;
                written(1, "[")
            }
            b')' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_done = self.depth == 0;
                self.behind = text.len() - 1;
                written(1, "]")
            }
            b',' => match text[1 + blank(&text[1..])..].first() {
                Some(b'}' | b']' | b')' | b',') => written(1, " "),
                _ => kept(1),
            },
            b'\'' => quoted(text),
            b':' => kept(1),
            _ => match blank(text) {
                0 => word(text),
                // Comments and control characters are no white space in JSON.
                length if !text[..length].iter().all(|byte| b" \t\r\n".contains(byte)) => {
                    written(length, " ")
                }
                length => kept(length),
            },
        }
    }
}

/// Returns the length of the white space, control characters and comments that a text begins with.
fn blank(text: &[u8]) -> usize {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let end =
            |mark: &[u8]| memchr::memmem::find(rest, mark).map_or(rest.len(), |found| found + mark.len());
        at += match rest {
            [0..=b' ', ..] => 1,
            [b'/', b'*', ..] => end(b"*/"),
            [b'/', b'/', ..] => end(b"\n"),
            _ => break,
        };
    }
    at
}

/// Repairs a string in single quotes, as Python writes it.
fn quoted(text: &[u8]) -> (usize, Cow<'static, [u8]>) {
    let mut out = vec![b'"'];
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        let (length, instead) = match byte {
            b'\'' => {
                out.push(b'"');
                return written(at + 1, out);
            }
            b'"' => written(1, "\\\""),
            b'\\' => any_escape(&text[at..]),
            ..0x20 => written(1, format!("\\u{byte:04x}")),
            _ => kept(1),
        };
        let end = (at + length).min(text.len());
        match instead.is_empty() {
            true => out.extend_from_slice(&text[at..end]),
            false => out.extend_from_slice(&instead),
        }
        at = end;
    }
    kept(text.len())
}

/// Repairs a word without quotes: a name, or a value of another language.
fn word(text: &[u8]) -> (usize, Cow<'static, [u8]>) {
    let mut parentheses = 0usize;
    let length = text.iter().position(|byte| {
        match byte {
            b'(' => parentheses += 1,
            b')' if parentheses == 0 => return true,
            b')' => parentheses -= 1,
            _ => {}
        }
        parentheses == 0
            && matches!(
                byte,
                0..=b' ' | b',' | b':' | b'[' | b']' | b'{' | b'}' | b'"' | b'\''
            )
    });
    // The text is cut off within the word.
    let Some(length) = length else {
        return kept(text.len());
    };
    let word = String::from_utf8_lossy(&text[..length]);
    if text.get(length + blank(&text[length..])) == Some(&b':') {
        return written(length, Value::from(&*word).to_string());
    }
    if serde_json::from_str::<Value>(&word).is_ok() {
        return kept(length);
    }
    match word.to_lowercase().as_str() {
        "true" => written(length, "true"),
        "false" => written(length, "false"),
        word => written(
            length,
            number(word).map_or("null".to_string(), |number| number.to_string()),
        ),
    }
}

/// Reads a number as other languages write it.
fn number(word: &str) -> Option<Number> {
    if let Some(digits) = word.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok().map(Number::from);
    }
    let is_number = word.bytes().any(|byte| byte.is_ascii_digit());
    let whole = word.parse::<i64>().ok().map(Number::from);
    whole.or_else(|| Number::from_f64(word.parse().ok().filter(|_| is_number)?))
}

/// Like [`escape`], and repairs escapes that JSON does not have.
fn any_escape(text: &[u8]) -> (usize, Cow<'static, [u8]>) {
    match text.get(1) {
        None | Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => kept(2),
        Some(b'u') if text.len() < 6 || unit(text).is_some() => escape(text),
        Some(b'\'') => written(2, "'"),
        Some(b'x') if text.len() >= 4 && text[2..4].iter().all(u8::is_ascii_hexdigit) => {
            written(4, [b"\\u00", &text[2..4]].concat())
        }
        // A backslash that should have been escaped.
        Some(_) => written(1, "\\\\"),
    }
}

/// Returns the length of the escape that a text begins with, and its replacement, which is empty if
/// the escape stays.
pub fn escape(text: &[u8]) -> (usize, Cow<'static, [u8]>) {
    match unit(text) {
        Some(0xd800..=0xdbff) => match text.get(6..).and_then(unit) {
            Some(0xdc00..=0xdfff) => (12, Cow::Borrowed(b"")),
            _ => (6, Cow::Borrowed(b"\\ufffd")),
        },
        Some(0xdc00..=0xdfff) => (6, Cow::Borrowed(b"\\ufffd")),
        Some(_) => (6, Cow::Borrowed(b"")),
        None => (2, Cow::Borrowed(b"")),
    }
}

/// Returns the code unit of an escape `\uXXXX`.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits
        .iter()
        .all(u8::is_ascii_hexdigit)
        .then(|| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}
