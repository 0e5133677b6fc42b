//! Fields that an error points at outside its text: OpenAI's `param`, FastAPI's `loc`, lists of
//! names, errors under the name of a field.

use super::super::error_text::{inside, plain};
use super::super::wire::REQUIRED_FIELDS;
use super::names::{sent_as, split};
use serde_json::{Map, Value};

/// Parts that may repeat the request with all its fields.
const ECHOES: [&str; 7] = [
    "input", "ctx", "request", "received", "prompt", "messages", "headers",
];

/// Last words in the names of parts whose value is the name of a field.
const POINTERS: [&str; 15] = [
    "param",
    "parameter",
    "field",
    "property",
    "key",
    "argument",
    "arg",
    "option",
    "attribute",
    "path",
    "loc",
    "location",
    "pointer",
    "target",
    "member",
];

/// Words in the names of parts that list known fields, not refused ones.
const KNOWN: [&str; 11] = [
    "supported",
    "valid",
    "allowed",
    "accepted",
    "known",
    "permitted",
    "possible",
    "expected",
    "available",
    "enum",
    "choices",
];

/// Words that reverse the meaning of [`KNOWN`].
const NEGATIONS: [&str; 4] = ["not", "un", "non", "in"];

/// Fields whose names are common words. They count only where a part points at a field.
const ONLY_BY_POINTERS: [&str; 4] = ["stop", "model", "prompt", "messages"];

/// Returns the fields that an error points at, in order.
pub fn pointed_at(error: &Value, sent: &Map<String, Value>) -> Vec<String> {
    let mut fields = Vec::new();
    look("", error, sent, &mut fields);
    fields
}

/// Searches a part called `name` and the parts in it.
fn look(name: &str, part: &Value, sent: &Map<String, Value>, fields: &mut Vec<String>) {
    match part {
        Value::Object(parts) => {
            for (name, part) in parts {
                if ECHOES.contains(&plain(name).as_str()) || lists_what_is_known(name) {
                    continue;
                }
                let about = at(name, sent)
                    .filter(|field| !REQUIRED_FIELDS.contains(&field.as_str()))
                    .filter(|field| sent.get(field) != Some(part) && is_told(part));
                add(about, fields);
                look(name, part, sent, fields);
            }
        }
        Value::Array(steps) if matches!(plain(name).as_str(), "loc" | "path") => {
            let mut steps = steps.iter().filter_map(Value::as_str);
            add(steps.find_map(|step| sent_as(step, sent)), fields);
        }
        Value::Array(parts) => parts.iter().for_each(|part| look(name, part, sent, fields)),
        Value::String(text) => match inside(text) {
            Some(within) => look(name, &within, sent, fields),
            None => {
                let is_pointer = |field: &String| points(name) || !ONLY_BY_POINTERS.contains(&field.as_str());
                add(at(text, sent).filter(is_pointer), fields);
            }
        },
        _ => {}
    }
}

fn add(field: Option<String>, fields: &mut Vec<String>) {
    if let Some(field) = field
        && !fields.contains(&field)
    {
        fields.push(field);
    }
}

/// Returns the field in a path such as `body.stop[0]`: the first step that is one.
fn at(place: &str, sent: &Map<String, Value>) -> Option<String> {
    let place = place.replace(" -> ", ".").replace(" > ", ".");
    let place = place.trim();
    if place.contains(char::is_whitespace) {
        return None;
    }
    let steps = place.split(['.', '[', ']', '/', '$', '#', ':', '\'', '"', '`']);
    let mut steps = steps.filter(|step| !step.is_empty());
    steps.find_map(|step| sent_as(step, sent))
}

/// Whether the name of a part says that its value is the name of a field.
fn points(name: &str) -> bool {
    let last = split(name).pop().unwrap_or_default();
    POINTERS.contains(&last.strip_suffix('s').unwrap_or(&last)) || last == "properties"
}

/// Whether a part lists known fields.
fn lists_what_is_known(name: &str) -> bool {
    let words = split(name);
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    has(&KNOWN) && !has(&NEGATIONS)
}

/// Whether a part is text about a field, and not the value that it had.
fn is_told(part: &Value) -> bool {
    match part {
        Value::String(text) => text.chars().any(char::is_alphabetic),
        Value::Array(parts) => parts.iter().any(is_told),
        Value::Object(parts) => parts.values().any(is_told),
        _ => false,
    }
}

/// Whether an error has the code of an unknown or unwanted field, such as `unsupported_parameter`
/// or `extra_forbidden`.
pub fn has_code(error: &Value) -> bool {
    match error {
        Value::Object(parts) => parts.iter().any(|(name, part)| match part {
            Value::String(code) => {
                let is_code = matches!(
                    plain(name).as_str(),
                    "code" | "type" | "error" | "errorcode" | "errortype" | "reason" | "keyword"
                );
                is_code && !code.contains(' ') && is_of_a_field(code)
            }
            _ => !ECHOES.contains(&plain(name).as_str()) && has_code(part),
        }),
        Value::Array(parts) => parts.iter().any(has_code),
        _ => false,
    }
}

/// Whether a code is that of an unknown or unwanted field.
fn is_of_a_field(code: &str) -> bool {
    let words = split(code);
    let begin = |starts: &[&str]| {
        words
            .iter()
            .any(|word| starts.iter().any(|start| word.starts_with(start)))
    };
    begin(&[
        "unsupported",
        "unknown",
        "unrecogni",
        "unexpected",
        "extra",
        "additional",
    ]) && begin(&[
        "param",
        "arg",
        "field",
        "key",
        "propert",
        "option",
        "value",
        "forbidden",
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent() -> Map<String, Value> {
        let fields = json!({"model": "m", "prompt": "p", "max_tokens": 9, "top_p": 1.0, "seed": 3, "stop": ["### End"],
            "response_format": {"type": "json_schema"}});
        fields.as_object().unwrap().clone()
    }

    #[test]
    fn many_forms_point_at_a_field() {
        let cases: [(Value, &[&str]); 17] = [
            (json!({"error": {"param": "seed"}}), &["seed"]),
            (json!({"error": {"param": "stop"}}), &["stop"]),
            (json!({"params": ["seed", "stop"]}), &["seed", "stop"]),
            (
                json!({"unsupported_parameters": ["stop", "top_p"]}),
                &["stop", "top_p"],
            ),
            (
                json!({"detail": [{"loc": ["body", "seed"]}, {"loc": ["body", "seed", 0]}]}),
                &["seed"],
            ),
            (
                json!({"loc": ["body", "response_format", "json_schema", "seed"]}),
                &["response_format"],
            ),
            (json!({"errors": {"seed": ["No."]}}), &["seed"]),
            (json!({"errors": {"$.topP": ["No."]}}), &["top_p"]),
            (json!({"errors": {"stop": {"message": "no"}}}), &["stop"]),
            (
                json!({"errors": [{"params": {"additionalProperty": "stop"}}]}),
                &["stop"],
            ),
            (json!({"errors": [{"instancePath": "/stop/0"}]}), &["stop"]),
            (
                json!({"errors": [{"source": {"pointer": "/data/attributes/seed"}}]}),
                &["seed"],
            ),
            (json!({"issues": [{"keys": ["seed"], "path": []}]}), &["seed"]),
            (json!({"path": "body -> top_p"}), &["top_p"]),
            (json!({"offender": "seed"}), &["seed"]),
            (
                json!({"error": {"metadata": {"raw": "{\"error\":{\"param\":\"seed\"}}"}}}),
                &["seed"],
            ),
            (
                json!({"message": "LLM: BadRequest - {\"error\":{\"param\":\"seed\"}}"}),
                &["seed"],
            ),
        ];
        for (error, fields) in cases {
            assert_eq!(pointed_at(&error, &sent()), fields, "{error}");
        }
    }

    #[test]
    fn other_names_point_at_nothing() {
        for error in [
            json!({"message": "the seed is wrong"}),
            json!({"finish_reason": "stop"}),
            json!({"model": "another", "object": "prompt"}),
            json!({"request": {"seed": "as it was", "param": "seed"}}),
            json!({"body": {"seed": 3, "stop": ["### End"], "top_p": 1.0, "prompt": "seed"}}),
            json!({"allowed": ["seed"], "validParams": ["top_p"], "supported_parameters": ["stop"]}),
            json!({"param": "seeds"}),
            json!({"param": null}),
            json!([]),
        ] {
            assert!(pointed_at(&error, &sent()).is_empty(), "{error}");
        }
    }

    #[test]
    fn codes_of_fields_are_told_from_others() {
        let code = |code: &str| has_code(&json!({"error": {"code": code}}));
        for of_a_field in [
            "unsupported_parameter",
            "unsupported_value",
            "unknown_parameter",
            "UnsupportedParamsError",
            "extra_forbidden",
            "value_error.extra",
            "unrecognized_keys",
            "unexpected-keyword-argument",
        ] {
            assert!(code(of_a_field), "{of_a_field}");
        }
        for other in [
            "invalid_request_error",
            "unknown_url",
            "unknown_model",
            "context_length_exceeded",
            "unsupported parameter seed",
            "",
        ] {
            assert!(!code(other), "{other}");
        }
        assert!(has_code(&json!([{"detail": [{"type": "extra_forbidden"}]}])));
        assert!(!has_code(&json!({"input": {"type": "extra_forbidden"}})));
    }
}
