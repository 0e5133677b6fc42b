//! The JSON values of a body: mostly one, sometimes with other lines around it, or a stream of
//! events that was not asked for.

use crate::lenient_json;
use serde_json::Value;
use std::borrow::Cow;

/// The values of a body, in order.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub values: Vec<Value>,
    /// Whether they are events of a stream.
    pub is_stream: bool,
    /// Whether the stream ended with `[DONE]`.
    pub is_over: bool,
    /// Whether bytes were replaced that are not UTF-8.
    pub is_damaged: bool,
}

/// Whether a character is skipped between values: white space, control characters, byte order
/// marks.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control() || c == '\u{feff}'
}

fn begins_a_value(text: &str) -> bool {
    text.starts_with(['{', '['])
}

impl Document {
    /// Reads the first value and those after it. Text after it that is not JSON is ignored.
    ///
    /// # Errors
    ///
    /// If there is no whole value.
    pub fn of(body: &[u8]) -> Result<Document, String> {
        let text = String::from_utf8_lossy(body);
        let is_damaged = matches!(text, Cow::Owned(_));
        let text = text.trim_start_matches(is_blank);
        if text.is_empty() {
            return Err("it is empty".to_string());
        }
        let events = (!begins_a_value(text)).then(|| data(text)).flatten();
        let mut document = Document {
            is_stream: events.is_some(),
            is_damaged,
            ..Document::default()
        };
        let whole = events.as_deref().unwrap_or(text);
        document.read(whole)?;
        match document.values.is_empty() {
            false => Ok(document),
            // For the message of the JSON parser.
            true => match lenient_json::first(text.as_bytes()) {
                Err(error) => Err(error.to_string()),
                Ok(_) => Err("it is no object".to_string()),
            },
        }
    }

    /// Reads all values of the text.
    fn read(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        loop {
            rest = rest.trim_start_matches(is_blank);
            if rest.is_empty() {
                return Ok(());
            }
            if let Some(behind) = rest.strip_prefix("[DONE]") {
                (self.is_over, rest) = (true, behind);
            } else if let Some(behind) = rest.strip_prefix("data:") {
                rest = behind;
            } else if !begins_a_value(rest) {
                rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
            } else {
                match lenient_json::first(rest.as_bytes()) {
                    Ok((value, length)) => {
                        self.take(value);
                        rest = rest.get(length..).unwrap_or_default();
                    }
                    Err(error) if self.values.is_empty() => return Err(error.to_string()),
                    // The rest of a stream that was cut off, or anything else.
                    Err(_) => return Ok(()),
                }
            }
        }
    }

    /// Adds a value, or the values of a list.
    fn take(&mut self, value: Value) {
        match value {
            Value::Array(values) => values.into_iter().for_each(|value| self.take(value)),
            value => self.values.push(value),
        }
    }
}

/// Returns the data of a stream of events: the text after `data:` in each line. `None` if there is
/// no such line.
fn data(text: &str) -> Option<String> {
    let lines = text
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("data:"));
    let lines: Vec<&str> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_found_with_anything_around_it() {
        let answer = r#"{"a": [1]}"#;
        for text in [
            answer.to_string(),
            format!("\u{feff}\u{feff}\r\n{answer}"),
            format!("{answer}\0\0"),
            format!("{answer}}}"),
            format!("{answer}\n\ndata: [DONE]\n\n"),
            format!(": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n{answer}"),
            format!("\n   \n{answer}\n<!-- 12 ms -->"),
            format!("data: {answer}\n\ndata: [DONE]\n\n"),
            format!("event: message\nid: 7\ndata: data: {answer}\n"),
            "data: {\ndata:   \"a\":\ndata:   [1]\ndata: }\n\n".to_string(),
            format!("[{answer}]"),
            format!("{answer}\n{{\"cut"),
        ] {
            let document = Document::of(text.as_bytes()).unwrap();
            assert_eq!(document.values, [json!({"a": [1]})], "{text}");
            assert_eq!(
                document.is_stream,
                text.contains("data: {") && !text.starts_with('{'),
                "{text}"
            );
            assert_eq!(document.is_over, text.contains("[DONE]"), "{text}");
        }
    }

    #[test]
    fn a_stream_has_several() {
        let wanted = [json!({"a": 1}), json!({"a": 2})];
        for text in [
            "data: {\"a\": 1}\n\ndata: {\"a\": 2}\n\ndata: [DONE]\n\n",
            "data:{\"a\": 1}\r\n\r\n: ping\r\n\r\ndata:{\"a\": 2}\r\n",
            "data: {\"a\": 1}\ndata: {\"a\": 2}\n",
            "{\"a\": 1}\n{\"a\": 2}\n",
            "{\"a\": 1,}{\"a\": 2,}",
            "[{\"a\": 1},\n{\"a\": 2}]",
        ] {
            assert_eq!(Document::of(text.as_bytes()).unwrap().values, wanted, "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_said() {
        for (text, wanted) in [
            ("", "empty"),
            (" \0\n", "empty"),
            ("<html></html>", "expected value"),
            ("{\"a\": \"b", "EOF"),
            ("data: {\"a\": \"b", "EOF"),
            ("\"ok\"", "no object"),
            ("data: [DONE]", "expected value"),
        ] {
            let error = Document::of(text.as_bytes()).unwrap_err();
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
