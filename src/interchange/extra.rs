//! What a row says beyond its task: fields that no part of ewe reads, kept as they stand in the file.

use serde::{Serialize, Serializer, ser::Error};

use super::fields::{Fields, Json};

/// How deep JSON may nest in SQLite, the object that the fields make included.
pub(super) const DEEPEST: usize = 1000;

/// The fields of a row that were not used to make its task, in the order of the file.
///
/// It is the row less what was read of it: of `{"messages": [{"role": …, "content": …, "name": "Ann"}, …], "id": 7}` there
/// remains `{"messages": [{"name": "Ann"}, {}], "id": 7}`. Values are JSON text, never parsed, so that a number of 30 digits
/// keeps them all. A field that is null says nothing and is not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    /// Names, and values as JSON.
    fields: Vec<(String, String)>,
}

impl Extra {
    /// The fields of a JSON object, if the text is one; the last of several with one name counts, as in Python.
    pub fn parse(json: &str) -> Option<Extra> {
        Fields::of(json).map(Fields::rest)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The names of the fields.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// The fields, their values as JSON text.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value of a field, as JSON text.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.fields.iter().find(|(field, _)| field == name)?;
        Some(value)
    }

    /// The elements of a field that is a list of objects, such as what is left of `messages`.
    pub fn list(&self, name: &str) -> Option<Vec<Extra>> {
        let elements = Json::of(self.get(name)?)?.elements()?;
        elements
            .into_iter()
            .map(|element| Extra::parse(element.get()))
            .collect()
    }

    /// Takes such a field out.
    pub(super) fn take_list(&mut self, name: &str) -> Option<Vec<Extra>> {
        let list = self.list(name)?;
        self.fields.retain(|(field, _)| field != name);
        Some(list)
    }

    /// The same under other names, where `name` gives one.
    pub(super) fn renamed(mut self, name: impl Fn(&str) -> Option<String>) -> Extra {
        for (field, _) in &mut self.fields {
            if let Some(other) = name(field) {
                *field = other;
            }
        }
        self
    }

    /// Adds a field that is not among them yet. Null is not added.
    pub(super) fn push(&mut self, name: impl Into<String>, value: Json<'_>) {
        if !value.is_null() {
            self.fields.push((name.into(), value.get().to_owned()));
        }
    }

    /// Adds a field that is a text.
    pub(super) fn push_text(&mut self, name: impl Into<String>, text: &str) {
        let text = serde_json::to_string(text).expect("a text is JSON");
        self.fields.push((name.into(), text));
    }

    /// Adds what is left of a list of objects, unless nothing is.
    pub(super) fn push_list(&mut self, name: impl Into<String>, list: &[Extra]) {
        if !list.iter().all(Extra::is_empty) {
            let list: Vec<String> = list.iter().map(Extra::to_json).collect();
            self.fields.push((name.into(), format!("[{}]", list.join(","))));
        }
    }

    /// Puts the fields of another row before these.
    pub(super) fn put_before(&mut self, mut first: Extra) {
        if !first.is_empty() {
            first.fields.append(&mut self.fields);
            *self = first;
        }
    }

    /// The other way round.
    pub(super) fn reverse(&mut self) {
        self.fields.reverse();
    }

    /// As one JSON object.
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

    /// The first field that SQLite would not take as JSON, since it nests too deep.
    pub(super) fn too_deep(&self) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (name, _) = fields.find(|(_, value)| depth(value) >= DEEPEST)?;
        Some(name)
    }

    /// As one JSON object, or none where there is no field.
    pub fn to_column(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.to_json())
    }
}

/// How many arrays and objects a value of JSON has one within the other.
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

/// As any JSON value is, and so with the digits of a double only; [`Extra::to_json`] keeps them all.
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
