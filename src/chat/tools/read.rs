//! From the text of calls, in each way that models write them, to [`Call`]s. What is not written as
//! it should be is no call.

use serde_json::{Map, Value};

use super::call::{ArgumentSchemas, Call};
use super::python;

/// Stand around calls of Hermes.
pub const HERMES: [&str; 2] = ["<tool_call>", "</tool_call>"];

/// Stand around a function in tags, behind whose first one its name follows.
pub const FUNCTION: [&str; 2] = ["<function=", "</function>"];

/// Stand around a list of calls.
pub const LIST: [&str; 2] = ["<|tool_call|>", "<|/tool_call|>"];

/// Begins calls of Mistral.
pub const MISTRAL: &str = "[TOOL_CALLS]";

/// Stand before, between and behind the parts of a call of DeepSeek.
pub const DEEPSEEK_PARTS: [&str; 3] = ["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"];

/// Reads what has no call in it.
pub fn nothing(_: &str, _: &ArgumentSchemas) -> Option<Vec<Call>> {
    Some(Vec::new())
}

/// Reads what stands in `<tool_call>`: an object, a list of objects, or functions in tags.
pub fn tagged(body: &str, schemas: &ArgumentSchemas) -> Option<Vec<Call>> {
    let body = body.trim();
    if body.starts_with(FUNCTION[0]) {
        return functions(body, schemas);
    }
    objects(body)
}

/// Reads a list of calls, with a mark behind it or without.
pub fn list(body: &str, _: &ArgumentSchemas) -> Option<Vec<Call>> {
    let body = body.trim();
    let ends = [LIST[1], HERMES[1]];
    let listed = ends.iter().find_map(|end| body.strip_suffix(end));
    objects(listed.unwrap_or(body))
}

/// Reads a list of objects, or one object.
fn objects(body: &str) -> Option<Vec<Call>> {
    if body.starts_with('[') {
        return Call::all_of(body);
    }
    let value = serde_json::from_str(body.trim()).ok()?;
    Some(vec![Call::of(&value)?])
}

/// Reads `<function=NAME>…</function>`, once or several times.
fn functions(body: &str, schemas: &ArgumentSchemas) -> Option<Vec<Call>> {
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (inside, behind) = rest.strip_prefix(FUNCTION[0])?.split_once(FUNCTION[1])?;
        calls.extend(one_function(inside, schemas)?);
        rest = behind.trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

/// Reads a function without the tags around it: `NAME>` and then `<parameter=NAME>…</parameter>`
/// for each argument, or all arguments as an object.
pub fn one_function(inside: &str, schemas: &ArgumentSchemas) -> Option<Vec<Call>> {
    let (name, body) = inside.split_once('>')?;
    let name = name.trim();
    if body.trim_start().starts_with('{') {
        let arguments: Map<String, Value> = serde_json::from_str(body.trim()).ok()?;
        return Some(vec![Call::new(name, &Value::Object(arguments))?]);
    }
    let properties = schemas.get(name).and_then(|schema| schema.get("properties"));
    let mut arguments = Map::new();
    let mut rest = body.trim_start();
    while !rest.is_empty() {
        let (parameter, behind) = rest.strip_prefix("<parameter=")?.split_once('>')?;
        let (value, behind) = behind.split_once("</parameter>")?;
        // One line break on either side is the template's.
        let value = value.strip_prefix('\n').unwrap_or(value);
        let value = value.strip_suffix('\n').unwrap_or(value);
        let parameter = parameter.trim();
        let schema = properties.and_then(|properties| properties.get(parameter));
        arguments.insert(parameter.to_owned(), typed(value, schema));
        rest = behind.trim_start();
    }
    Some(vec![Call::new(name, &Value::Object(arguments))?])
}

/// Returns a value that is written without its type, as its schema wants it: a text, unless the
/// schema has none and it can be read as something else.
fn typed(text: &str, schema: Option<&Value>) -> Value {
    let plain = || Value::String(text.to_owned());
    let Some(schema) = schema else { return plain() };
    let mut types = Vec::new();
    collect_types(schema, &mut types);
    let is_listed = |value: &Value| {
        let list = schema.get("enum").and_then(Value::as_array);
        list.is_some_and(|list| list.contains(value))
    };
    if is_listed(&plain())
        || (types.contains(&"string")
            && types.iter().all(|kind| ["string", "null"].contains(kind))
            && !is_null(text, &types))
    {
        return plain();
    }
    // Templates of Jinja write Python's words.
    let word = match text.trim() {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        other => other,
    };
    let Ok(value) = serde_json::from_str::<Value>(word) else {
        return plain();
    };
    let kind = match &value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.is_empty() || types.contains(&kind) || (kind == "integer" && types.contains(&"number"));
    match value {
        // Quotes are part of a text here.
        Value::String(_) => plain(),
        value if fits => value,
        _ => plain(),
    }
}

/// Whether a text is Python's or JSON's word for nothing, where there may be nothing.
fn is_null(text: &str, types: &[&str]) -> bool {
    types.contains(&"null") && ["null", "None"].contains(&text.trim())
}

/// Adds the types that a schema names, itself or in its alternatives.
fn collect_types<'a>(schema: &'a Value, types: &mut Vec<&'a str>) {
    match schema.get("type") {
        Some(Value::String(kind)) => types.push(kind),
        Some(Value::Array(kinds)) => types.extend(kinds.iter().filter_map(Value::as_str)),
        _ => {}
    }
    for alternatives in ["anyOf", "oneOf"] {
        let list = schema.get(alternatives).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .for_each(|other| collect_types(other, types));
    }
}

/// Reads what follows [`MISTRAL`]: a list of calls, or names with their arguments.
pub fn mistral(body: &str, _: &ArgumentSchemas) -> Option<Vec<Call>> {
    if let Some(calls) = Call::all_of(body) {
        return Some(calls);
    }
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        rest = rest.strip_prefix(MISTRAL).unwrap_or(rest);
        let name_end = rest.find(['[', '{'])?;
        let (name, behind) = rest.split_at(name_end);
        // An id may stand in between.
        let arguments = &behind[behind.find('{')?..];
        let mut values = serde_json::Deserializer::from_str(arguments).into_iter::<Value>();
        let object = values.next()?.ok()?;
        calls.push(Call::new(name, &object)?);
        rest = arguments[values.byte_offset()..].trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

/// Reads an answer of Llama 3 that is calls: objects, with `;` or nothing between them; or calls as
/// Python writes them, in brackets.
pub fn llama(body: &str) -> Option<Vec<Call>> {
    if body.trim_start().starts_with('[') {
        return python::listed(body);
    }
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        let object = values.next()?.ok()?;
        // Any JSON may be an answer; only what has both is a call.
        object.get("parameters").or_else(|| object.get("arguments"))?;
        calls.push(Call::of(&object)?);
        rest = rest[values.byte_offset()..].trim_start_matches([';', ' ', '\n', '\t', '\r']);
    }
    (!calls.is_empty()).then_some(calls)
}

/// Reads what follows `<|python_tag|>`: as [`llama`], or a call of one of the tools that Llama 3.1
/// knows by itself, such as `brave_search.call(query="…")`.
pub fn python_tagged(body: &str, schemas: &ArgumentSchemas) -> Option<Vec<Call>> {
    llama(body).or_else(|| {
        let mut calls = python::calls(body, schemas)?;
        for call in &mut calls {
            if let Some(name) = call.name.strip_suffix(".call") {
                call.name = name.to_owned();
            }
        }
        Some(calls)
    })
}

/// Reads calls of DeepSeek: a name and its arguments, which V3 and R1 put into a block of code.
pub fn deepseek(body: &str, _: &ArgumentSchemas) -> Option<Vec<Call>> {
    let [begin, between, end] = DEEPSEEK_PARTS;
    let mut calls = Vec::new();
    let mut rest = body.trim();
    while !rest.is_empty() {
        let (inside, behind) = rest.strip_prefix(begin)?.split_once(end)?;
        let (kind, call) = inside.split_once(between)?;
        let (name, arguments) = match call.split_once('\n') {
            Some((name, block)) if kind.trim() == "function" => {
                let block = block.trim().strip_prefix("```json")?.strip_suffix("```")?;
                (name, block)
            }
            _ => (kind, call),
        };
        let arguments: Map<String, Value> = serde_json::from_str(arguments.trim()).ok()?;
        calls.push(Call::new(name, &Value::Object(arguments))?);
        rest = behind.trim_start();
    }
    (!calls.is_empty()).then_some(calls)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_without_types_get_those_of_their_schema() {
        for (text, schema, want) in [
            ("5", json!({ "type": "string" }), json!("5")),
            ("5", json!({ "type": "integer" }), json!(5)),
            ("5", json!({ "type": "number" }), json!(5)),
            ("5.5", json!({ "type": "integer" }), json!("5.5")),
            ("five", json!({ "type": "integer" }), json!("five")),
            ("True", json!({ "type": "boolean" }), json!(true)),
            ("false", json!({ "type": ["boolean", "null"] }), json!(false)),
            ("None", json!({ "type": ["string", "null"] }), json!(null)),
            (
                "null",
                json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }),
                json!(null),
            ),
            ("null", json!({ "type": "string" }), json!("null")),
            (
                "7",
                json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] }),
                json!(7),
            ),
            ("[1, 2]", json!({ "type": "array" }), json!([1, 2])),
            ("{\"a\": 1}", json!({ "$ref": "#/$defs/x" }), json!({ "a": 1 })),
            ("{\"a\": 1}", json!({ "type": "string" }), json!("{\"a\": 1}")),
            ("5", json!({ "enum": ["5", "6"] }), json!("5")),
            ("5", json!({ "enum": [5, 6] }), json!(5)),
            ("\"x\"", json!({}), json!("\"x\"")),
        ] {
            assert_eq!(typed(text, Some(&schema)), want, "{text} {schema}");
        }
        assert_eq!(typed("5", None), json!("5"));
    }
}
