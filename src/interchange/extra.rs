//! Fields of a row that no task has a place for, kept as the file has them.

use std::collections::HashSet;

use serde::{Serialize, Serializer, ser::Error};

use super::{
    format::LATER,
    json::{Fields, Json},
};
use crate::task::ExportField;

/// How deep JSON may nest in SQLite, counting the object that these fields make up.
pub(super) const DEEPEST: usize = 1000;

/// The fields of a row that its task does not use, in the order of the file.
///
/// Of `{"messages": [{"role": …, "content": …, "name": "Ann"}, …], "id": 7}`, `{"messages":
/// [{"name": "Ann"}, {}], "id": 7}` is left. Values are JSON text and never parsed, so that a
/// number of 30 digits keeps them all. Fields that are null are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// Names, and values as JSON.
    fields: Vec<(String, String)>,
}

impl Extra {
    /// Reads a JSON object, if the text is one. The last of several fields with one name counts, as
    /// in Python.
    pub fn parse(json: &str) -> Option<Extra> {
        Fields::of(json).map(Extra::rest_of)
    }

    /// Keeps the fields of a row that were not taken.
    pub(super) fn rest_of(fields: Fields<'_>) -> Extra {
        let mut extra = Extra::default();
        let mut seen = HashSet::new();
        for (name, value) in fields.remaining().iter().rev() {
            if seen.insert(name.as_ref()) {
                extra.push(name.as_ref(), *value);
            }
        }
        extra.fields.reverse();
        extra
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Returns the names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// Returns names and values, the values as JSON text.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of a field as JSON text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(value)
    }

    /// Returns the elements of a field that is a list of objects, such as the rest of `messages`.
    pub fn list(&self, name: &str) -> Option<Vec<Extra>> {
        let elements = Json::of(self.get(name)?)?.elements()?;
        elements
            .into_iter()
            .map(|element| Extra::parse(element.get()))
            .collect()
    }

    /// Removes such a field and returns its elements.
    pub(super) fn take_list(&mut self, name: &str) -> Option<Vec<Extra>> {
        let list = self.list(name)?;
        self.fields.retain(|(field, _)| field != name);
        Some(list)
    }

    /// Writes the values of fields that people added: in the place of what the imported row says,
    /// or at the end. What nobody changed stays as the row has it, to the last digit.
    pub(super) fn put_fields(&mut self, fields: &[ExportField]) {
        for field in fields {
            let at = |name: &str| self.fields.iter().position(|(other, _)| other == name);
            let place = at(&field.name).or_else(|| at(&field.column));
            match (place, &field.value) {
                (Some(place), _) if !field.is_edited => self.fields[place].0.clone_from(&field.name),
                (Some(place), Some(value)) => self.fields[place] = (field.name.clone(), value.clone()),
                (Some(place), None) => {
                    self.fields.remove(place);
                }
                (None, Some(value)) if field.is_edited => {
                    self.fields.push((field.name.clone(), value.clone()));
                }
                (None, _) => {}
            }
        }
    }

    /// Removes these fields, which have columns of their own.
    pub(super) fn without_fields(&mut self, fields: &[ExportField]) {
        let is_its = |name: &str| {
            fields
                .iter()
                .any(|field| field.name == name || field.column == name)
        };
        self.fields.retain(|(name, _)| !is_its(name));
    }

    /// Keeps the fields for which this holds, by name and value.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.fields.retain(|(name, value)| keep(name, value));
    }

    /// Renames the fields for which `name` returns another name.
    pub(super) fn renamed(mut self, mut name: impl FnMut(&str) -> Option<String>) -> Extra {
        for (field, _) in &mut self.fields {
            if let Some(other) = name(field) {
                *field = other;
            }
        }
        self
    }

    /// Adds a field of a new name, unless it is null.
    pub(super) fn push(&mut self, name: impl Into<String>, value: Json<'_>) {
        if !value.is_null() {
            self.fields.push((name.into(), value.get().to_owned()));
        }
    }

    /// Adds a field that is a string.
    pub(super) fn push_text(&mut self, name: impl Into<String>, text: &str) {
        let text = serde_json::to_string(text).expect("a text is JSON");
        self.fields.push((name.into(), text));
    }

    /// Adds the later messages of a conversation, a JSON list, as a field of their own.
    pub(super) fn push_later(&mut self, turns: Option<&str>) {
        if let Some(turns) = turns.and_then(Json::of) {
            self.push(LATER, turns);
        }
    }

    /// Adds a field that is null.
    pub(super) fn push_null(&mut self, name: impl Into<String>) {
        self.fields.push((name.into(), "null".into()));
    }

    /// Adds a list of objects as one field, unless all of them are empty.
    pub(super) fn push_list(&mut self, name: impl Into<String>, list: &[Extra]) {
        if !list.iter().all(Extra::is_empty) {
            let list: Vec<String> = list.iter().map(Extra::to_json).collect();
            self.fields.push((name.into(), format!("[{}]", list.join(","))));
        }
    }

    /// Adds the calls of tools that ShareGPT has as the text of a message: an object, or a list of
    /// them, each with the name of a function.
    pub(super) fn push_calls(&mut self, role: &str, text: &str) -> Result<(), String> {
        let calls = Json::of(text).map(|json| json.elements().unwrap_or_else(|| vec![json]));
        let is_call = |call: &Json<'_>| Fields::of(call.get()).is_some_and(|call| call.has("name"));
        let Some(calls) = calls.filter(|calls| !calls.is_empty() && calls.iter().all(is_call)) else {
            return Err(format!(
                "a message of `{role}` that is no JSON object with the `name` of a function"
            ));
        };
        let calls = calls
            .iter()
            .map(|call| format!(r#"{{"type":"function","function":{}}}"#, call.get()));
        let calls = calls.collect::<Vec<_>>().join(",");
        self.fields.push(("tool_calls".into(), format!("[{calls}]")));
        Ok(())
    }

    /// Removes a field and returns its JSON text.
    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.fields.iter().position(|(field, _)| field == name)?;
        Some(self.fields.remove(at).1)
    }

    /// Inserts other fields before these.
    pub fn put_before(&mut self, mut first: Extra) {
        if !first.is_empty() {
            first.fields.append(&mut self.fields);
            *self = first;
        }
    }

    /// Returns the fields as one JSON object.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        for (name, value) in &self.fields {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&serde_json::to_string(name).expect("a name is a text"));
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }

    /// Returns the first field that nests too deep for SQLite's JSON functions.
    pub(super) fn too_deep(&self) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (name, _) = fields.find(|(_, value)| depth(value) >= DEEPEST)?;
        Some(name)
    }

    /// Returns the fields as one JSON object for a database column, or `None` if there is no field.
    pub fn to_column(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.to_json())
    }
}

/// Returns how deep arrays and objects nest in a JSON value.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Serializes like any JSON value, so numbers become doubles. [`Extra::to_json`] keeps all digits.
impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value: serde_json::Value = serde_json::from_str(&self.to_json()).map_err(S::Error::custom)?;
        value.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_as_they_are_written() {
        let json = r#"{"n":123456789012345678901234567890,"x":1e400,"z":-0,"s":"\ud800","d":{"a":1,"a":2}}"#;
        assert_eq!(Extra::parse(json).unwrap().to_json(), json);
        assert_eq!(Extra::parse("[1]"), None);
    }

    #[test]
    fn what_nests_too_deep_is_named() {
        let deep = |levels: usize| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            Extra::parse(&format!("{{\"a\":\"[[{{\",\"z\":{open}\"[\"{close}}}")).unwrap()
        };
        assert_eq!(deep(999).too_deep(), None);
        assert_eq!(deep(1000).too_deep(), Some("z"));
    }

    #[test]
    fn the_last_of_several_counts() {
        let extra = Extra::parse(r#"{"a":1,"b":2,"a":3}"#).unwrap();
        assert_eq!(extra.to_json(), r#"{"b":2,"a":3}"#);
        assert_eq!(extra.get("a"), Some("3"));
        assert_eq!(Extra::default().to_column(), None);
    }

    #[test]
    fn lists_of_what_is_left() {
        let mut extra = Extra::default();
        extra.push_list("messages", &[Extra::default(), Extra::default()]);
        assert!(extra.is_empty());
        extra.push_list(
            "messages",
            &[Extra::default(), Extra::parse(r#"{"weight": 0}"#).unwrap()],
        );
        assert_eq!(extra.to_json(), r#"{"messages":[{},{"weight":0}]}"#);
        assert_eq!(extra.list("messages").unwrap()[1].get("weight"), Some("0"));
        assert_eq!(extra.list("none"), None);
    }
}
