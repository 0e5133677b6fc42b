//! JSON as servers write it: with byte order marks, NaN, halves of surrogate pairs, syntax of other
//! languages, and text after it.

mod repair;

pub use repair::{escape, mended, repaired};

use serde::Deserializer;
use serde::de::{Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How deep values may nest. Deeper values become null: nothing reads them, and they must not use
/// up the stack.
const DEEPEST: usize = 100;

/// Strips the byte order marks that some programs put before UTF-8.
pub fn unmarked(json: &[u8]) -> &[u8] {
    let mut json = json.trim_ascii_start();
    while let Some(rest) = json.strip_prefix(b"\xef\xbb\xbf") {
        json = rest.trim_ascii_start();
    }
    json
}

/// Reads the value that a text begins with. Returns the value and its length in bytes. If an object
/// has a name twice, the last value that is not empty counts.
///
/// # Errors
///
/// If the text is not JSON, even with the syntax of other languages, or ends within the value.
pub fn first(json: &[u8]) -> serde_json::Result<(Value, usize)> {
    strict(json).or_else(|error| {
        let (repaired, behind) = repair::to_the_end(json);
        let (value, _) = strict(&repaired).map_err(|_| error)?;
        Ok((value, json.len() - behind))
    })
}

fn strict(json: &[u8]) -> serde_json::Result<(Value, usize)> {
    let mut values = serde_json::Deserializer::from_slice(json).into_iter::<ShallowValue>();
    match values.next() {
        Some(value) => value.map(|ShallowValue(value)| (value, values.byte_offset())),
        // No value: for the message of `serde_json`.
        None => serde_json::from_slice::<Value>(json).map(|value| (value, json.len())),
    }
}

/// A value without those nested too deep in it.
struct ShallowValue(Value);

impl<'de> Deserialize<'de> for ShallowValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Nested(0).deserialize(deserializer).map(ShallowValue)
    }
}

/// Deserializes a value at this depth.
struct Nested(usize);

impl<'de> DeserializeSeed<'de> for Nested {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        if self.0 > DEEPEST {
            return IgnoredAny::deserialize(deserializer).map(|_| Value::Null);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(value) = values.next_element_seed(Nested(self.0 + 1))? {
            kept.push(value);
        }
        Ok(kept.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            let value = fields.next_value_seed(Nested(self.0 + 1))?;
            match kept.get_mut(&name) {
                Some(_) if is_empty(&value) => {}
                Some(earlier) => *earlier = value,
                None => drop(kept.insert(name, value)),
            }
        }
        Ok(kept.into())
    }
}

/// Whether a value is null or empty.
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::borrow::Cow;

    fn read(text: &str) -> Value {
        let text = unmarked(text.as_bytes());
        let (value, length) = first(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(length, text.len(), "{text:?}");
        assert_eq!(serde_json::from_slice::<Value>(&repaired(text)).unwrap(), value);
        value
    }

    #[test]
    fn what_servers_get_wrong_is_put_right() {
        for (text, wanted) in [
            ("\u{feff}{\"a\": 1}", json!({"a": 1})),
            ("\r\n \u{feff}\u{feff} {\"a\": 1}", json!({"a": 1})),
            (
                r#"["NaN", "Infinity", "\"NaN", "[1,]", "// no comment"]"#,
                json!(["NaN", "Infinity", "\"NaN", "[1,]", "// no comment"]),
            ),
            (
                r#"["\ud83d", "\ude00", "\ud83d\ude00", "\ud83dx\ude00"]"#,
                json!(["\u{fffd}", "\u{fffd}", "😀", "\u{fffd}x\u{fffd}"]),
            ),
            (r#"["\\ud83d"]"#, json!(["\\ud83d"])),
            ("[\"a\nb\tc\"]", json!(["a\nb\tc"])),
            (r#"{"\ud83d": null, "n": -1}"#, json!({"\u{fffd}": null, "n": -1})),
            ("[True, FALSE, None, NULL]", json!([true, false, null, null])),
            (
                "[.5, 1., -.5, 01, +1, 0x1F, 1e999]",
                json!([0.5, 1.0, -0.5, 1, 1, 31, null]),
            ),
            ("[1,]", json!([1])),
            ("{\"a\": [1, 2 , ], }", json!({"a": [1, 2]})),
            ("{a: 1, 'b': 'it\\'s \"x\"'}", json!({"a": 1, "b": "it's \"x\""})),
            ("[/* one */ 1, // two\n 2]", json!([1, 2])),
            (r#"["\x41\'\d+"]"#, json!(["A'\\d+"])),
            ("[1,\u{0}2]", json!([1, 2])),
        ] {
            assert_eq!(read(text), wanted, "{text}");
        }
    }

    #[test]
    fn words_for_what_is_no_number_are_nothing() {
        for word in [
            "NaN",
            "nan",
            "NAN",
            "-NaN",
            "nan(ind)",
            "-nan(ind)",
            "1.#INF",
            "1.#QNAN",
            "inf",
            "Inf",
            "INF",
            "-INF",
            "Infinity",
            "+Infinity",
            "-Infinity",
            "undefined",
            "nil",
            "N/A",
            "Decimal('1, 2')",
            "--",
        ] {
            assert_eq!(
                read(&format!("{{\"a\": [{word}, {word}], \"b\": {word}}}")),
                json!({"a": [null, null], "b": null})
            );
        }
    }

    #[test]
    fn of_a_name_that_is_there_twice_what_says_something_counts() {
        for (text, wanted) in [
            (r#"{"a": [], "a": [1]}"#, json!({"a": [1]})),
            (r#"{"a": [1], "a": []}"#, json!({"a": [1]})),
            (r#"{"a": 1, "b": 2, "a": null}"#, json!({"a": 1, "b": 2})),
            (r#"{"a": 1, "a": 2}"#, json!({"a": 2})),
            (r#"{"a": NaN, "a": {}}"#, json!({"a": null})),
        ] {
            assert_eq!(first(text.as_bytes()).unwrap().0, wanted, "{text}");
        }
    }

    #[test]
    fn what_stands_behind_is_left_there() {
        for (text, behind) in [
            ("{\"a\": 1}\u{0}", "\u{0}"),
            ("[1]}", "}"),
            ("[NaN]\n\ndata: [DONE]", "\n\ndata: [DONE]"),
            ("['a'] \"", " \""),
            ("{\"a\": 1,}{\"a\": 2,}", "{\"a\": 2,}"),
        ] {
            let (_, length) = first(text.as_bytes()).unwrap();
            assert_eq!(&text[length..], behind, "{text}");
        }
    }

    #[test]
    fn no_depth_uses_up_the_stack() {
        let deep = format!(
            "{{\"a\": {}{}, \"b\": NaN}}",
            "[".repeat(200_000),
            "]".repeat(200_000)
        );
        let (value, length) = first(deep.as_bytes()).unwrap();
        assert_eq!((&value["b"], length), (&Value::Null, deep.len()));
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
            "<html>, 'x'",
        ] {
            assert!(
                matches!(repaired(text.as_bytes()), Cow::Borrowed(same) if same == text.as_bytes()),
                "{text}"
            );
        }
        for text in [
            "{\"a\": NaN",
            "{\"a\": NaN,",
            "{a",
            "{\"a\": 'b",
            "[1, /* c",
            "['",
            "[Na",
            "nano",
            "<html>",
        ] {
            assert!(first(text.as_bytes()).is_err(), "{text}");
        }
    }
}
