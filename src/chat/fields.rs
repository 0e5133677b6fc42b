//! The fields of a JSON object, taken one by one. What is wrong with one names it and quotes its value.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::refusal::Refusal;

/// What is left of an object.
pub struct Fields(Map<String, Value>);

impl Fields {
    /// Of a body. Fails on what is not UTF-8, not JSON, or no object.
    pub fn read(body: &[u8]) -> Result<Fields, Refusal> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(other) => Err(Refusal::bad(format!(
                "the body is {}, want a JSON object",
                shown(&other)
            ))),
            Err(error) => Err(Refusal::bad(format!("the body is not JSON: {error}"))),
        }
    }

    /// Of an object.
    pub fn of(fields: Map<String, Value>) -> Fields {
        Fields(fields)
    }

    /// The value of a field; null counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    /// A number.
    pub fn number(&mut self, name: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Refusal> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|x| range.contains(x)) {
            Some(x) => Ok(Some(x)),
            None => Err(wrong(
                name,
                &value,
                &format!("a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// A whole number.
    pub fn count(&mut self, name: &str, range: RangeInclusive<u64>) -> Result<Option<usize>, Refusal> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_u64().filter(|x| range.contains(x)) {
            Some(x) => Ok(Some(x as usize)),
            None => {
                let want = match *range.end() {
                    u64::MAX => format!("a whole number of at least {}", range.start()),
                    end => format!("a whole number from {} to {end}", range.start()),
                };
                Err(wrong(name, &value, &want))
            }
        }
    }

    /// A whole number of either sign, as the 64 bits of it.
    pub fn seed(&mut self, name: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_u64().or(value.as_i64().map(|x| x as u64)) {
            Some(x) => Ok(Some(x)),
            None => Err(wrong(name, &value, "a whole number of 64 bits")),
        }
    }

    /// True or false; false where it is absent.
    pub fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong(name, &other, "true or false")),
        }
    }

    /// A text or a list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let value = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => return Ok(vec![text]),
            Some(value) => value,
        };
        let texts = value.as_array().and_then(|texts| {
            let texts = texts.iter().map(|text| text.as_str().map(str::to_string));
            texts.collect::<Option<Vec<String>>>()
        });
        texts.ok_or_else(|| wrong(name, &value, "a text or a list of texts"))
    }

    /// Fails by name if one of `names` is there and says something: not null, false, empty, or `none`, `text`, 0.
    pub fn refuse(&mut self, names: &[&str]) -> Result<(), Refusal> {
        for name in names {
            let Some(value) = self.take(name) else { continue };
            let says_nothing = match &value {
                Value::Bool(flag) => !flag,
                Value::Array(values) => values.is_empty(),
                Value::Object(fields) => {
                    fields.is_empty() || fields.get("type").is_some_and(|kind| kind == "text")
                }
                Value::String(text) => matches!(text.as_str(), "" | "none" | "auto"),
                Value::Number(number) => number.as_f64() == Some(0.0),
                Value::Null => true,
            };
            if !says_nothing {
                return Err(Refusal::parameter(
                    name,
                    format!("`{name}` is {}, and is not served here", shown(&value)),
                )
                .coded("unsupported_parameter"));
            }
        }
        Ok(())
    }
}

/// The refusal of a value.
pub fn wrong(name: &str, value: &Value, want: &str) -> Refusal {
    Refusal::parameter(name, format!("`{name}` is {}, want {want}", shown(value)))
}

/// A value on one line, the beginning of it where it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Fields {
        Fields::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_wrong_is_named_and_quoted() {
        let message = |refusal: Refusal| refusal.message;
        let mut it = fields(
            r#"{"a": "hot", "b": -1, "c": 1.5, "d": 9, "e": [1], "f": "x", "h": 18446744073709551616}"#,
        );
        for (got, want) in [
            (
                it.number("a", 0.0..=2.0).unwrap_err(),
                r#"`a` is "hot", want a number from 0 to 2"#,
            ),
            (
                it.count("b", 0..=u64::MAX).unwrap_err(),
                "`b` is -1, want a whole number of at least 0",
            ),
            (
                it.count("c", 0..=5).unwrap_err(),
                "`c` is 1.5, want a whole number from 0 to 5",
            ),
            (
                it.count("d", 0..=5).unwrap_err(),
                "`d` is 9, want a whole number from 0 to 5",
            ),
            (
                it.texts("e").unwrap_err(),
                "`e` is [1], want a text or a list of texts",
            ),
            (it.flag("f").unwrap_err(), r#"`f` is "x", want true or false"#),
            (
                it.seed("h").unwrap_err(),
                "`h` is 1.8446744073709552e+19, want a whole number of 64 bits",
            ),
        ] {
            assert_eq!(message(got), want);
        }
        assert!(
            Fields::read(b"{\"a\": \"\xff\"}")
                .err()
                .unwrap()
                .message
                .contains("not JSON")
        );
        assert!(
            Fields::read("[".repeat(10_000).as_bytes())
                .err()
                .unwrap()
                .message
                .contains("recursion")
        );
        assert!(
            Fields::read(b"[1]")
                .err()
                .unwrap()
                .message
                .contains("JSON object")
        );
        let long = format!(r#"{{"x": "{}"}}"#, "\u{e9}".repeat(500));
        assert!(message(fields(&long).flag("x").unwrap_err()).len() < 300);
    }

    #[test]
    fn what_says_nothing_is_not_refused() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let body = r#"{"a": null, "b": false, "c": [], "d": {"type": "text"}, "e": "none", "f": 0}"#;
        assert!(fields(body).refuse(&names).is_ok());
        let refusal = fields(r#"{"c": [1]}"#).refuse(&names).unwrap_err();
        assert_eq!(
            (refusal.param.as_deref(), refusal.code),
            (Some("c"), Some("unsupported_parameter"))
        );
        assert_eq!(refusal.message, "`c` is [1], and is not served here");
    }
}
