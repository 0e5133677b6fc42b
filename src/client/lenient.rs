//! JSON as servers write it: with a mark before it, with NaN for what cannot be computed, with halves of a character.

use std::borrow::Cow;

/// The JSON without the mark that some programs put before UTF-8.
pub fn unmarked(json: &[u8]) -> &[u8] {
    let json = json.trim_ascii_start();
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

/// Numbers that JSON has no word for, as the languages write them that servers are written in.
const NO_NUMBERS: [&[u8]; 9] = [
    b"-Infinity",
    b"Infinity",
    b"-NaN",
    b"NaN",
    b"-nan",
    b"nan",
    b"-inf",
    b"inf",
    b"undefined",
];

/// The JSON with what a strict reader refuses put right: numbers that are none become null, halves of surrogate pairs the
/// replacement character, control characters within strings their escapes. All else stays, and what is not JSON then
/// is not made so.
pub fn repaired(json: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let mut at = 0;
    let mut in_string = false;
    while at < json.len() {
        let (length, instead): (usize, Cow<'static, [u8]>) = match json[at] {
            b'"' => {
                in_string = !in_string;
                (1, Cow::Borrowed(b""))
            }
            b'\\' if in_string => escape(&json[at..]),
            byte @ ..0x20 if in_string => (1, format!("\\u{byte:04x}").into_bytes().into()),
            b'-' | b'N' | b'n' | b'I' | b'i' | b'u' if !in_string => match no_number(&json[at..]) {
                Some(length) => (length, Cow::Borrowed(b"null")),
                None => (1, Cow::Borrowed(b"")),
            },
            _ => (1, Cow::Borrowed(b"")),
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

/// The length of the escape that a text begins with, and what to write in its place, if anything.
fn escape(text: &[u8]) -> (usize, Cow<'static, [u8]>) {
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

/// The code unit of an escape `\uXXXX`.
fn unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits
        .iter()
        .all(u8::is_ascii_hexdigit)
        .then(|| u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok())?
}

fn no_number(text: &[u8]) -> Option<usize> {
    let word = NO_NUMBERS.iter().find(|word| text.starts_with(word))?;
    let ends = text
        .get(word.len())
        .is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_');
    ends.then_some(word.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read(text: &str) -> Value {
        serde_json::from_slice(&repaired(unmarked(text.as_bytes()))).unwrap()
    }

    #[test]
    fn what_servers_get_wrong_is_put_right() {
        for (text, wanted) in [
            ("\u{feff}{\"a\": 1}", json!({"a": 1})),
            ("\r\n \u{feff}{\"a\": 1}", json!({"a": 1})),
            (
                "[NaN, -Infinity,Infinity, -nan, inf]",
                json!([null, null, null, null, null]),
            ),
            (
                r#"["NaN", "Infinity", "\"NaN"]"#,
                json!(["NaN", "Infinity", "\"NaN"]),
            ),
            (
                r#"["\ud83d", "\ude00", "\ud83d\ude00", "\ud83dx\ude00"]"#,
                json!(["\u{fffd}", "\u{fffd}", "😀", "\u{fffd}x\u{fffd}"]),
            ),
            (r#"["\\ud83d"]"#, json!(["\\ud83d"])),
            ("[\"a\nb\tc\"]", json!(["a\nb\tc"])),
            (r#"{"\ud83d": null, "n": -1}"#, json!({"\u{fffd}": null, "n": -1})),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_is_right_is_not_copied_and_what_is_cut_stays_cut() {
        for text in [
            r#"{"a": "\u00e9 \ud83d\ude00 \\ \"", "n": null, "i": [1, -2.5e3]}"#,
            "",
            "\"",
            "\"\\",
            "\"\\u",
            "\"\\ud8",
            "\"\\u00",
            "nano",
            "-",
        ] {
            assert!(
                matches!(repaired(text.as_bytes()), Cow::Borrowed(same) if same == text.as_bytes()),
                "{text}"
            );
        }
        assert!(serde_json::from_slice::<Value>(&repaired(b"{\"a\": NaN")).is_err());
    }
}
