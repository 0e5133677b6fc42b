//! JSON that is parsed only where it is needed: one object, whose values stay text. The fields of a
//! foreign row that nothing reads are kept exactly as the file has them, to the last digit.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::Deserializer;

/// A JSON value, not parsed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Json<'a>(&'a str);

impl<'a> Json<'a> {
    /// Returns the text as a value, if it is one.
    pub(super) fn of(text: &'a str) -> Option<Json<'a>> {
        let (value, rest) = next_value(text)?;
        rest.trim_ascii().is_empty().then_some(value)
    }

    /// Returns its JSON text.
    pub(super) fn get(self) -> &'a str {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    /// Names its type in messages.
    pub(super) fn kind(self) -> &'static str {
        match self.0.as_bytes().first() {
            Some(b'"') => "a string",
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        }
    }

    /// Returns the string that it is. A number is returned as the file has it: no digit is lost to
    /// arithmetic.
    pub(super) fn text(self) -> Result<String, String> {
        match self.0.as_bytes().first() {
            Some(b'"') => serde_json::from_str(self.0).map_err(|error| {
                let error = error.to_string();
                let what = error.split(" at line ").next().unwrap_or_default();
                format!("cannot be read: {what}")
            }),
            Some(b'-' | b'0'..=b'9') => Ok(self.0.to_owned()),
            _ => Err(format!("is {}, not a string", self.kind())),
        }
    }

    /// Whether it is an array whose first element is a string.
    pub(super) fn is_list_of_texts(self) -> bool {
        let elements = self.0.strip_prefix('[');
        elements.is_some_and(|elements| elements.trim_ascii_start().starts_with('"'))
    }

    /// Returns the elements, if it is an array.
    pub(super) fn elements(self) -> Option<Vec<Json<'a>>> {
        let mut elements = Vec::new();
        within(self.0, *b"[]", |text| {
            let (value, rest) = next_value(text)?;
            elements.push(value);
            Some(rest)
        })?;
        Some(elements)
    }
}

/// Splits the text after the value that it begins with.
fn next_value(text: &str) -> Option<(Json<'_>, &str)> {
    let text = text.trim_ascii_start();
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (value, rest) = text.split_at(values.byte_offset());
    Some((Json(value), rest))
}

/// Reads a list in brackets, separated by commas. `item` parses one element and returns the text
/// after it.
fn within<'a>(
    text: &'a str,
    brackets: [u8; 2],
    mut item: impl FnMut(&'a str) -> Option<&'a str>,
) -> Option<()> {
    let [open, close] = brackets.map(char::from);
    let mut rest = text.trim_ascii_start().strip_prefix(open)?.trim_ascii_start();
    if let Some(end) = rest.strip_prefix(close) {
        return end.trim_ascii().is_empty().then_some(());
    }
    loop {
        rest = item(rest)?.trim_ascii_start();
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return rest.strip_prefix(close)?.trim_ascii().is_empty().then_some(()),
        }
    }
}

/// The fields of an object that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    fields: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Fields<'a> {
    /// Reads the text as an object, if it is one.
    pub(super) fn of(text: &'a str) -> Option<Fields<'a>> {
        let mut fields = Vec::new();
        within(text, *b"{}", |text| {
            let (name, rest) = next_value(text)?;
            let name = match name.get().strip_prefix('"')?.strip_suffix('"')? {
                plain if !plain.contains('\\') => Cow::Borrowed(plain),
                _ => Cow::Owned(name.text().ok()?),
            };
            let (value, rest) = next_value(rest.trim_ascii_start().strip_prefix(':')?)?;
            fields.push((name, value));
            Some(rest)
        })?;
        Some(Fields { fields })
    }

    /// Reads an array of messages that is a row by itself, as the object `{"messages": […]}`.
    pub(super) fn of_conversation(text: &'a str) -> Option<Fields<'a>> {
        let messages = Json::of(text)?;
        Some(Fields {
            fields: vec![(Cow::Borrowed("messages"), messages)],
        })
    }

    /// Returns the names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_ref())
    }

    /// Returns the field name that equals `name`, or else one that equals it apart from case.
    fn spelt(&self, name: &str) -> Option<&Cow<'a, str>> {
        let mut names = self.fields.iter().map(|(field, _)| field);
        let exact = names.clone().find(|field| *field == name);
        exact.or_else(|| names.find(|field| field.eq_ignore_ascii_case(name)))
    }

    /// Returns the value of a field, whose name may differ in case if none is exactly `name`. The
    /// last of several fields with one name counts, as in Python.
    pub(super) fn get(&self, name: &str) -> Option<Json<'a>> {
        let spelt = self.spelt(name)?;
        self.get_exact(spelt)
    }

    /// Returns the value of the field that is exactly `name`.
    pub(super) fn get_exact(&self, name: &str) -> Option<Json<'a>> {
        let (_, value) = self.fields.iter().rev().find(|(field, _)| field == name)?;
        Some(*value)
    }

    /// Whether there is such a field, and it is not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !value.is_null())
    }

    /// Returns the value of a column. `answers.text.0` is a value within another, unless there is a
    /// field of that name.
    pub(super) fn find(&self, name: &str) -> Option<Json<'a>> {
        if let Some(value) = self.get(name) {
            return Some(value);
        }
        let mut path = name.split('.');
        let mut value = self.get(path.next()?)?;
        for step in path {
            value = match value.kind() {
                "an array" => *value.elements()?.get(step.parse::<usize>().ok()?)?,
                _ => Fields::of(value.get())?.get(step)?,
            };
        }
        Some(value)
    }

    /// Removes a field and returns its value.
    pub(super) fn take(&mut self, name: &str) -> Option<Json<'a>> {
        let name = self.spelt(name)?.clone();
        let value = self.get_exact(&name)?;
        self.fields.retain(|(field, _)| *field != name);
        Some(value)
    }

    /// Removes a field that is a string or a number, and returns its text. Errors name the field.
    pub(super) fn text(&mut self, name: &str) -> Result<String, String> {
        match self.take(name) {
            Some(value) => value.text().map_err(|what| format!("`{name}` {what}")),
            None => Err(format!("the field `{name}` is missing")),
        }
    }

    /// Like [`Fields::text`], but null or no field is `None`.
    pub(super) fn text_or_null(&mut self, name: &str) -> Result<Option<String>, String> {
        if self.has(name) {
            return self.text(name).map(Some);
        }
        self.take(name);
        Ok(None)
    }

    /// Returns names and values of the fields that were not taken, as the file has them.
    pub(super) fn remaining(&self) -> &[(Cow<'a, str>, Json<'a>)] {
        &self.fields
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::interchange::extra::Extra;

    #[test]
    fn numbers_are_their_digits_and_the_last_of_several_counts() {
        let mut fields = Fields::of(
            r#" {"a": 1, "n": -123456789012345678901234567890, "a\u0062": 1e400, "a": "x", "z": -0 } "#,
        )
        .unwrap();
        assert_eq!(fields.text("n").unwrap(), "-123456789012345678901234567890");
        assert_eq!(fields.text("ab").unwrap(), "1e400");
        assert_eq!(fields.text("a").unwrap(), "x");
        assert_eq!(fields.text("a"), Err("the field `a` is missing".into()));
        assert_eq!(Extra::rest_of(fields).to_json(), r#"{"z":-0}"#);
        let mut fields = Fields::of(r#"{"a": true, "b": "\ud800", "c": null}"#).unwrap();
        assert_eq!(fields.text("a"), Err("`a` is true or false, not a string".into()));
        assert!(fields.text("b").unwrap_err().starts_with("`b` cannot be read: "));
        assert_eq!(fields.text_or_null("c"), Ok(None));
        assert!(Extra::rest_of(fields).is_empty());
        let mut fields = Fields::of(r#"{"Answer": "A", "answer": "a", "QUESTION": "q"}"#).unwrap();
        assert_eq!(fields.text("answer").unwrap(), "a");
        assert_eq!(fields.text("answer").unwrap(), "A");
        assert_eq!(fields.text("question").unwrap(), "q");
        assert!(Extra::rest_of(fields).is_empty());
    }

    #[test]
    fn deep_values_take_no_stack() {
        let deep = format!(
            "{{\"a\": {}{}, \"b\": 1}}",
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        let mut fields = Fields::of(&deep).unwrap();
        assert_eq!(fields.text("b").unwrap(), "1");
        assert_eq!(fields.take("a").unwrap().get().len(), 2_000_000);
    }

    proptest! {
        /// A text is an object here if and only if serde parses it as one.
        #[test]
        fn objects_are_those_of_serde(
            text in prop_oneof![
                "\\{[\\[\\]{},:\"\\\\ \na1-]{0,12}\\}",
                "\\{\"a\":[0-9.eE+-]{1,6}( ,\"[ab]\" :(null|true|\\[1,\\{\\}\\]|\"\\\\u0041\")){0,3}\\}",
            ]
        ) {
            let wanted = serde_json::from_str::<std::collections::BTreeMap<String, IgnoredAny>>(&text);
            let found = Fields::of(&text);
            prop_assert_eq!(found.is_some(), wanted.is_ok(), "{}", text);
            if let (Some(found), Ok(wanted)) = (found, wanted) {
                let names: std::collections::BTreeSet<_> = found.names().collect();
                prop_assert!(names.into_iter().eq(wanted.keys()));
            }
        }
    }
}
