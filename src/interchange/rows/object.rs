//! The text of a row as an object, or what is wrong with it.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::row::Row;
use crate::interchange::{ReadError, bytes::encoding::encoding_hint, conversation, json::Fields};

/// Reads a row of `file` as an object.
pub fn object<'a>(file: &str, row: &'a Row) -> Result<Fields<'a>, ReadError> {
    let fault = |line, column, what: String| ReadError::Row {
        file: file.to_owned(),
        place: row.place.of_inner(line, column),
        what,
        found: None,
    };
    let text = std::str::from_utf8(&row.text).map_err(|error| {
        let valid = &row.text[..error.valid_up_to()];
        let line = valid.iter().filter(|&&byte| byte == b'\n').count() + 1;
        let start = memchr::memrchr(b'\n', valid).map_or(0, |end| end + 1);
        let byte = row.text[valid.len()];
        let hint = encoding_hint(&row.text);
        fault(
            line,
            valid.len() - start + 1,
            format!("not UTF-8: the byte 0x{byte:02x}; {hint}"),
        )
    })?;
    let fields = match text.starts_with('[') && conversation::is_list(&row.text) {
        true => Fields::of_conversation(text),
        false => Fields::of(text),
    };
    fields.ok_or_else(|| {
        // serde has the best message.
        let error = match serde_json::from_str::<BTreeMap<String, IgnoredAny>>(text) {
            Err(error) => error,
            Ok(_) => return fault(1, 1, "not a JSON object".into()),
        };
        let said = error.to_string();
        // The error has the place in the file already; serde's is the one in the row.
        let what = said
            .rsplit_once(" at line ")
            .map_or(said.as_str(), |(what, _)| what);
        let what = match word_at(&row.text, error.line(), error.column()) {
            Some(word) => format!("`{word}` is not JSON; a value that is missing is null"),
            None => format!("not a JSON object: {what}"),
        };
        fault(error.line(), error.column(), what)
    })
}

/// Returns the word at a place of the text, if it is how another language writes null or a number
/// that JSON does not have.
fn word_at(text: &[u8], line: usize, column: usize) -> Option<&'static str> {
    let line = text.split(|&byte| byte == b'\n').nth(line.saturating_sub(1))?;
    let before = &line[..column.min(line.len())];
    // The place may be within the word.
    let start = before
        .iter()
        .rposition(|byte| !byte.is_ascii_alphabetic() && *byte != b'-')
        .map_or(0, |place| place + 1);
    ["NaN", "-Infinity", "Infinity", "None", "undefined"]
        .into_iter()
        .find(|word| line[start..].starts_with(word.as_bytes()))
}
