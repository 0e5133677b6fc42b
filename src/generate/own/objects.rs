//! JSON objects in an answer: whatever is around them, complete or cut off.

use super::item::{Flaw, Item};
use crate::backend::FinishReason;
use serde_json::{Map, Value, json};

/// The fields of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Fields {
    /// Those that it must have, as texts that say something.
    pub required: Vec<String>,
    /// Those that it may have; missing ones are empty texts.
    pub optional: Vec<String>,
}

impl Fields {
    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.required.iter().chain(&self.optional).map(String::as_str)
    }

    /// The JSON Schema of a list of such objects, within an object as OpenAI's strict mode
    /// requires.
    pub fn schema(&self) -> Value {
        let properties: Map<String, Value> = self
            .names()
            .map(|name| (name.to_string(), json!({"type": "string"})))
            .collect();
        let required: Vec<&str> = self.names().collect();
        json!({
            "type": "object",
            "properties": {"items": {"type": "array", "items": {
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            }}},
            "required": ["items"],
            "additionalProperties": false,
        })
    }

    /// The fields of an object; `None` if it lacks one.
    fn of(&self, object: &Map<String, Value>) -> Option<Map<String, Value>> {
        let text = |name: &str| match object.get(name) {
            Some(Value::String(text)) => Some(text.trim().to_string()),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            _ => None,
        };
        let mut fields = Map::new();
        for name in &self.required {
            let text = text(name).filter(|text| !text.is_empty())?;
            fields.insert(name.clone(), text.into());
        }
        for name in &self.optional {
            fields.insert(name.clone(), text(name).unwrap_or_default().into());
        }
        Some(fields)
    }

    /// Adds the objects with these fields within a value.
    fn collect(&self, value: &Value, items: &mut Vec<Item>) {
        match value {
            Value::Object(object) => match self.of(object) {
                Some(fields) => items.push(Item {
                    text: value.to_string(),
                    fields: Ok(fields),
                }),
                None => object.values().for_each(|value| self.collect(value, items)),
            },
            Value::Array(values) => values.iter().for_each(|value| self.collect(value, items)),
            _ => {}
        }
    }
}

/// Reads every object that has the fields. An object without them, and text that is no JSON, is an
/// item with a fault; signs between objects are none.
pub fn read(answer: &str, finish: FinishReason, fields: &Fields) -> Vec<Item> {
    let mut items = Vec::new();
    let mut skipped = String::new();
    let mut rest = answer;
    while let Some(at) = rest.find('{') {
        skipped.push_str(&rest[..at]);
        rest = &rest[at..];
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match stream.next() {
            Some(Ok(value)) => {
                let length = stream.byte_offset();
                let mut found = Vec::new();
                fields.collect(&value, &mut found);
                if found.is_empty() {
                    let wanted: Vec<&str> = fields.required.iter().map(String::as_str).collect();
                    let flaw = Flaw::unparsed(format!("an object without {}", wanted.join(", ")));
                    found.push(Item::flawed(&rest[..length], flaw));
                }
                add_skipped(&mut items, &mut skipped, Flaw::unparsed("no JSON"));
                items.append(&mut found);
                rest = &rest[length..];
            }
            // The list around the objects is broken or cut off: they are looked for within it.
            _ => {
                skipped.push('{');
                rest = &rest[1..];
            }
        }
    }
    skipped.push_str(rest);
    let flaw = match finish {
        FinishReason::Length => Flaw::truncated(),
        FinishReason::Stop => Flaw::unparsed("no JSON"),
    };
    add_text(&mut items, bare(&skipped), flaw);
    items
}

/// Adds text between objects, unless it is the name of the list that they are in: `{"items": [`.
fn add_skipped(items: &mut Vec<Item>, skipped: &mut String, flaw: Flaw) {
    let text = std::mem::take(skipped);
    let text = bare(&text);
    let name = text.trim_matches(|c: char| c.is_whitespace() || "{}[],:\"".contains(c));
    let is_label = text.starts_with('{') && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_label {
        add_text(items, text, flaw);
    }
}

fn add_text(items: &mut Vec<Item>, text: &str, flaw: Flaw) {
    if text.contains(char::is_alphanumeric) {
        items.push(Item::flawed(text, flaw));
    }
}

/// A text without the fences of a code block.
fn bare(text: &str) -> &str {
    text.trim().trim_start_matches("```json").trim_matches('`').trim()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::parse::Fault;

    fn fields() -> Fields {
        Fields {
            required: vec!["q".into(), "a".into()],
            optional: vec!["note".into()],
        }
    }

    fn found(answer: &str, finish: FinishReason) -> Vec<Result<String, Fault>> {
        let items = read(answer, finish, &fields()).into_iter();
        items
            .map(|item| {
                item.fields
                    .map(|fields| Value::Object(fields).to_string())
                    .map_err(|flaw| flaw.fault)
            })
            .collect()
    }

    #[test]
    fn objects_are_found_in_lists_and_alone() {
        let one = Ok(r#"{"q":"x","a":"1","note":""}"#.to_string());
        for answer in [
            r#"{"items": [{"q": "x", "a": 1}]}"#,
            r#"[{"q": " x ", "a": "1"}]"#,
            "```json\n{\"q\": \"x\", \"a\": \"1\"}\n```",
            r#"{"a": "1", "q": "x", "more": {"q": "no"}}"#,
        ] {
            let wanted = std::slice::from_ref(&one);
            assert_eq!(found(answer, FinishReason::Stop), wanted, "{answer}");
        }
        let cut = r#"{"items": [{"q": "x", "a": "1"}, {"q": "y", "a": "#;
        assert_eq!(
            found(cut, FinishReason::Length),
            [one.clone(), Err(Fault::Truncated)]
        );
        assert_eq!(
            found(
                "Sure! {\"q\": \"x\", \"a\": \"1\"} {\"q\": \"\", \"a\": \"2\"}",
                FinishReason::Stop
            ),
            [Err(Fault::Unparsed), one, Err(Fault::Unparsed)]
        );
        assert_eq!(found("no", FinishReason::Stop), [Err(Fault::Unparsed)]);
    }

    #[test]
    fn hostile_answers_cost_little() {
        let started = std::time::Instant::now();
        for answer in [
            "{".repeat(200_000),
            "{\"a\":".repeat(100_000),
            "{\"a\":\"".repeat(20_000),
        ] {
            read(&answer, FinishReason::Stop, &fields());
        }
        assert!(started.elapsed().as_secs() < 60);
    }
}
