//! The fields of a JSON object, taken one by one. Errors name the field and quote its value. A
//! field that is left at the end is harmless, or refused by name.

use std::ops::RangeInclusive;

use ewe::text::clean;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::names::{self, UnsupportedParameter};

/// The remaining fields of an object.
pub struct JsonFields {
    left: Map<String, Value>,
    /// The prefix of names in messages: empty, or `messages[3].`.
    place: String,
    /// The names that were taken.
    known: Vec<&'static str>,
}

impl JsonFields {
    /// Reads a body. Fails unless it is UTF-8, JSON, and an object.
    pub fn read(body: &[u8]) -> Result<JsonFields, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(JsonFields::of(fields, "")),
            Ok(other) => Err(ApiError::bad(format!(
                "the body is {}, want a JSON object",
                shown(&other)
            ))),
            Err(error) => Err(ApiError::bad(format!("the body is not JSON: {error}"))),
        }
    }

    /// Takes the fields of an object at `place` in a body.
    pub fn of(fields: Map<String, Value>, place: &str) -> JsonFields {
        JsonFields {
            left: fields,
            place: match place {
                "" => String::new(),
                place => format!("{place}."),
            },
            known: Vec::new(),
        }
    }

    /// Returns a name as messages write it.
    pub fn full(&self, name: &str) -> String {
        format!("{}{name}", self.place)
    }

    /// Takes the value of a field; null counts as absent.
    pub fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        // Moves the last field into the gap: order does not matter.
        self.left.swap_remove(name).filter(|value| !value.is_null())
    }

    /// Takes a field that has several names. Returns its value with the name that was used.
    ///
    /// Fails if two of the names have different values.
    pub fn one_of<T: PartialEq>(
        &mut self,
        names: &[&'static str],
        mut read: impl FnMut(&mut JsonFields, &'static str) -> Result<Option<T>, ApiError>,
    ) -> Result<Option<(&'static str, T)>, ApiError> {
        let mut found: Option<(&'static str, T)> = None;
        for &name in names {
            let Some(value) = read(self, name)? else { continue };
            match &found {
                Some((first, other)) if *other != value => {
                    return Err(ApiError::parameter(
                        &self.full(name),
                        format!(
                            "`{name}` and `{first}` mean the same, and say something else\nhint: leave one away"
                        ),
                    ));
                }
                Some(_) => {}
                None => found = Some((name, value)),
            }
        }
        Ok(found)
    }

    /// Fails by name on fields that were not taken, unless they are in `harmless`, or in
    /// `unsupported` with a neutral value.
    pub fn end(
        self,
        harmless: &[(&'static str, &str)],
        unsupported: &[&[UnsupportedParameter]],
    ) -> Result<(), ApiError> {
        for (name, value) in &self.left {
            if value.is_null() || harmless.iter().any(|(known, _)| known == name) {
                continue;
            }
            let full = self.full(name);
            let mut of_others = unsupported.iter().flat_map(|list| list.iter());
            let Some(field) = of_others.clone().find(|field| field.name == name) else {
                let others = harmless.iter().map(|(known, _)| *known);
                let others = others.chain(of_others.by_ref().map(|field| field.name));
                let near = names::near(name, self.known.iter().copied().chain(others));
                let hint = match near {
                    Some(near) => format!("did you mean `{}`?", self.full(near)),
                    None => "leave it away; docs/serve.md lists what is served".to_string(),
                };
                let message = format!("there is no parameter {}\nhint: {hint}", quoted(&full));
                return Err(ApiError::parameter(&cut(&full), message).coded("unknown_parameter"));
            };
            if !field.is_neutral(value) {
                let mut message = format!("`{full}` is {}, and is not served here", shown(value));
                if !field.instead.is_empty() {
                    message += &format!("\nhint: {}", field.instead);
                }
                return Err(ApiError::parameter(&full, message).coded("unsupported_parameter"));
            }
        }
        Ok(())
    }

    /// Takes a number.
    pub fn number(
        &mut self,
        name: &'static str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_f64().filter(|x| range.contains(x)) {
            Some(x) => Ok(Some(x)),
            None => Err(self.wrong(
                name,
                &value,
                &format!("a number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// Takes a whole number.
    pub fn count(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<usize>, ApiError> {
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
                Err(self.wrong(name, &value, &want))
            }
        }
    }

    /// Takes a whole number of either sign, as its 64 bits.
    pub fn seed(&mut self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        match value.as_u64().or(value.as_i64().map(|x| x as u64)) {
            Some(x) => Ok(Some(x)),
            None => Err(self.wrong(name, &value, "a whole number of 64 bits")),
        }
    }

    /// Takes true or false; none if absent.
    pub fn flag(&mut self, name: &'static str) -> Result<Option<bool>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(self.wrong(name, &other, "true or false")),
        }
    }

    /// Takes a text or a list of texts.
    pub fn texts(&mut self, name: &'static str) -> Result<Vec<String>, ApiError> {
        let value = match self.take(name) {
            None => return Ok(Vec::new()),
            Some(Value::String(text)) => return Ok(vec![text]),
            Some(value) => value,
        };
        let texts = value.as_array().and_then(|texts| {
            let texts = texts.iter().map(|text| text.as_str().map(str::to_string));
            texts.collect::<Option<Vec<String>>>()
        });
        texts.ok_or_else(|| self.wrong(name, &value, "a text or a list of texts"))
    }

    /// Takes an object.
    pub fn object(&mut self, name: &'static str) -> Result<Option<JsonFields>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Object(fields)) => Ok(Some(JsonFields::of(fields, &self.full(name)))),
            Some(other) => Err(self.wrong(name, &other, "an object")),
        }
    }

    /// Returns the error of a field's value.
    pub fn wrong(&self, name: &str, value: &Value, want: &str) -> ApiError {
        wrong(&self.full(name), value, want)
    }
}

/// Returns the error of a value.
pub fn wrong(name: &str, value: &Value, want: &str) -> ApiError {
    ApiError::parameter(name, format!("`{name}` is {}, want {want}", shown(value)))
}

/// Returns a value on one line, cut if it is long.
fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Returns a name from a request in quotes, cut if it is long.
pub fn quoted(name: &str) -> String {
    format!("`{}`", cut(name))
}

/// Returns a name from a request, cut if it is long, with control characters made visible.
pub fn cut(name: &str) -> String {
    const MOST: usize = 80;
    let mut text: String = clean(name).chars().take(MOST).collect();
    if text.len() < name.len() && name.chars().nth(MOST).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::names::NeutralValue;
    use super::*;

    fn fields(body: &str) -> JsonFields {
        JsonFields::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_wrong_is_named_and_quoted() {
        let message = |refusal: ApiError| refusal.message;
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
            JsonFields::read(b"{\"a\": \"\xff\"}")
                .err()
                .unwrap()
                .message
                .contains("not JSON")
        );
        assert!(
            JsonFields::read("[".repeat(10_000).as_bytes())
                .err()
                .unwrap()
                .message
                .contains("recursion")
        );
        assert!(
            JsonFields::read(b"[1]")
                .err()
                .unwrap()
                .message
                .contains("JSON object")
        );
        let long = format!(r#"{{"x": "{}"}}"#, "\u{e9}".repeat(500));
        assert!(message(fields(&long).flag("x").unwrap_err()).len() < 300);
    }

    #[test]
    fn what_is_left_is_harmless_or_refused_by_name() {
        let unsupported = [
            UnsupportedParameter::new("tools", &[NeutralValue::Empty], ""),
            UnsupportedParameter::new("typical_p", &[NeutralValue::Number(1.0)], "`min_p`"),
        ];
        let end = |body: &str| {
            let mut fields = fields(body);
            let _ = fields.number("temperature", 0.0..=2.0);
            fields.end(&[("user", "names the caller")], &[&unsupported])
        };
        for fine in [
            r#"{"user": "x", "tools": []}"#,
            r#"{"typical_p": 1}"#,
            r#"{"nobody": null}"#,
        ] {
            assert_eq!(end(fine), Ok(()), "{fine}");
        }
        for (body, param, code, words) in [
            (
                r#"{"tools": [1]}"#,
                "tools",
                "unsupported_parameter",
                "`tools` is [1], and is not served here",
            ),
            (
                r#"{"typical_p": 0}"#,
                "typical_p",
                "unsupported_parameter",
                "not served here\nhint: `min_p`",
            ),
            (
                r#"{"temprature": 1}"#,
                "temprature",
                "unknown_parameter",
                "hint: did you mean `temperature`?",
            ),
            (
                r#"{"\u001b[2J": 1}"#,
                "\u{241b}[2J",
                "unknown_parameter",
                "`␛[2J`",
            ),
        ] {
            let refusal = end(body).unwrap_err();
            assert_eq!(
                (refusal.param.as_deref(), refusal.code),
                (Some(param), Some(code)),
                "{body}"
            );
            assert!(refusal.message.contains(words), "{}", refusal.message);
        }
        let nested = JsonFields::of(
            serde_json::from_str(r#"{"include_usge": true}"#).unwrap(),
            "stream_options",
        );
        let refusal = nested.end(&[("include_usage", "")], &[]).unwrap_err();
        assert!(
            refusal.message.contains("`stream_options.include_usge`")
                && refusal.message.contains("`stream_options.include_usage`"),
            "{}",
            refusal.message
        );
    }

    #[test]
    fn two_names_of_one_thing_must_agree() {
        let read = |fields: &mut JsonFields, name| fields.count(name, 0..=9);
        let names = ["max_tokens", "n_predict"];
        assert_eq!(
            fields(r#"{"n_predict": 3, "max_tokens": 3}"#).one_of(&names, read),
            Ok(Some(("max_tokens", 3)))
        );
        assert_eq!(fields("{}").one_of(&names, read), Ok(None));
        let refusal = fields(r#"{"n_predict": 3, "max_tokens": 4}"#)
            .one_of(&names, read)
            .unwrap_err();
        assert!(
            refusal.message.starts_with("`n_predict` and `max_tokens`"),
            "{}",
            refusal.message
        );
    }
}
