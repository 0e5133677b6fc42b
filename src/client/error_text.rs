//! The text of an error. OpenAI documents one form. Frameworks, routers and the programs behind
//! them have their own, often nested, and the outermost says least.

use crate::lenient_json::{repaired, unmarked};
use serde_json::{Map, Value};

/// Names of parts with text, in lower case and without punctuation: general ones first, specific
/// ones last.
const WORDS: [&str; 29] = [
    "title",
    "error",
    "message",
    "msg",
    "errormessage",
    "errormsg",
    "statusmsg",
    "description",
    "errordescription",
    "reason",
    "summary",
    "detail",
    "details",
    "errors",
    "fielderrors",
    "validationerrors",
    "issues",
    "violations",
    "fieldviolations",
    "failures",
    "causes",
    "cause",
    "innererror",
    "baseresp",
    "metadata",
    "raw",
    "exception",
    "fault",
    "faultstring",
];

/// Parts that have, under the name of each field, the text about it.
const BY_FIELD: [&str; 4] = ["errors", "fielderrors", "validationerrors", "violations"];

/// Parts that repeat the request, name things, or say where in a program the error occurred.
const SILENT: [&str; 22] = [
    "input",
    "ctx",
    "request",
    "body",
    "messages",
    "prompt",
    "loc",
    "path",
    "keys",
    "type",
    "code",
    "status",
    "name",
    "object",
    "model",
    "stack",
    "stacktrace",
    "trace",
    "traceback",
    "headers",
    "help",
    "links",
];

/// Texts that say no more than a status.
const GENERAL: [&str; 17] = [
    "bad request",
    "unprocessable entity",
    "unprocessable content",
    "not found",
    "not acceptable",
    "unsupported media type",
    "failed dependency",
    "internal server error",
    "invalid request",
    "invalid argument",
    "invalid input",
    "validation error",
    "validation failed",
    "request validation failed",
    "request failed",
    "an error occurred",
    "client error",
];

/// Parts with the name of the field that the text beside them is about.
const PLACES: [&str; 6] = [
    "field",
    "param",
    "parameter",
    "property",
    "instancepath",
    "pointer",
];

/// Returns the text of an error: its specific texts, else its general ones, else the whole body.
pub fn error_message(body: &str) -> String {
    if body.trim().is_empty() {
        return "an empty body".to_string();
    }
    read(body)
        .and_then(|value| text_of(&value, false))
        .unwrap_or_else(|| body.to_string())
}

/// Reads an error as JSON, if it is JSON.
pub(super) fn read(text: &str) -> Option<Value> {
    serde_json::from_slice(&repaired(unmarked(text.as_bytes()))).ok()
}

/// Reads the JSON object or list in a text: a router may pass on an error as text.
pub(super) fn inside(text: &str) -> Option<Value> {
    let start = text.find(['{', '['])?;
    let end = text.rfind(['}', ']'])?;
    let value = read(text.get(start..=end)?)?;
    (value.is_object() || value.is_array()).then_some(value)
}

/// Returns a name in lower case and without punctuation.
pub(super) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

/// Returns the text of a part. `by_field`: the names in it are those of fields.
fn text_of(error: &Value, by_field: bool) -> Option<String> {
    match error {
        Value::String(words) => {
            let words = words.trim();
            let is_json = words.starts_with(['{', '[']) && words.ends_with(['}', ']']);
            let within = is_json.then(|| inside(words)).flatten();
            within
                .and_then(|value| text_of(&value, by_field))
                .or_else(|| (!words.is_empty()).then(|| words.to_string()))
        }
        Value::Array(errors) => {
            let mut texts: Vec<String> = Vec::new();
            for text in errors.iter().filter_map(|error| text_of(error, by_field)) {
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            (!texts.is_empty()).then(|| texts.join("; "))
        }
        Value::Object(parts) => of_parts(parts, by_field),
        _ => None,
    }
}

/// Returns the text of an object.
fn of_parts(parts: &Map<String, Value>, by_field: bool) -> Option<String> {
    let named: Vec<(String, &String, &Value)> = parts
        .iter()
        .map(|(name, part)| (plain(name), name, part))
        .collect();
    let mut texts = Vec::new();
    for word in WORDS {
        let parts = named.iter().filter(|(plain, ..)| plain == word);
        texts.extend(parts.filter_map(|(.., part)| text_of(part, BY_FIELD.contains(&word))));
    }
    for (plain, name, part) in &named {
        let is_known = WORDS.contains(&plain.as_str()) || SILENT.contains(&plain.as_str());
        texts.extend((!is_known).then(|| about(plain, name, part, by_field)).flatten());
    }
    let words = particular(texts)?;
    Some(match place(&named) {
        Some(place) if !words.contains(&place) => format!("{place}: {words}"),
        _ => words,
    })
}

/// Returns the text of a part with the name of a field, or with any other unknown name.
fn about(plain: &str, name: &str, part: &Value, by_field: bool) -> Option<String> {
    match part {
        // The form of Ajv.
        Value::String(field) if plain == "additionalproperty" => {
            Some(format!("additional property '{field}'"))
        }
        Value::String(_) if !by_field => None,
        Value::Array(errors) if errors.iter().any(|error| !error.is_string()) => text_of(part, by_field),
        Value::String(_) | Value::Array(_) => text_of(part, by_field)
            .filter(|words| words.contains(' '))
            .map(|words| format!("{name}: {words}")),
        _ => text_of(part, by_field),
    }
}

/// Joins the specific texts on one line, each once; if there are none, all texts.
fn particular(mut texts: Vec<String>) -> Option<String> {
    let is_particular = |text: &String| {
        let text = text.trim_end_matches(['.', '!']).to_lowercase();
        text.contains(char::is_whitespace) && !GENERAL.contains(&text.as_str())
    };
    if texts.iter().any(is_particular) {
        texts.retain(is_particular);
    }
    let mut kept: Vec<String> = Vec::new();
    for text in texts {
        if !kept.iter().any(|other| other.contains(&text)) {
            kept.retain(|other| !text.contains(other.as_str()));
            kept.push(text);
        }
    }
    kept.into_iter().reduce(|line, text| {
        let gap = if line.ends_with(['.', ':', '!', '?']) {
            " "
        } else {
            ": "
        };
        line + gap + &text
    })
}

/// Returns the place of the error if a part has it: FastAPI's `["body", "seed"]`, or a name.
fn place(named: &[(String, &String, &Value)]) -> Option<String> {
    let part = |name: &str| {
        let found = named.iter().find(|(plain, ..)| plain == name);
        found.map(|(.., part)| *part)
    };
    if let Some(steps) = part("loc").and_then(Value::as_array) {
        let steps = steps.iter().filter(|step| *step != "body");
        let steps = steps.map(|step| step.as_str().map_or_else(|| step.to_string(), str::to_string));
        let place = steps.collect::<Vec<_>>().join(".");
        return (!place.is_empty()).then_some(place);
    }
    let places = PLACES.iter().filter_map(|name| part(name)?.as_str());
    places
        .map(|place| place.trim_matches(['/', '$', '.']))
        .find(|place| {
            !matches!(*place, "" | "None" | "null" | "body") && !place.contains(char::is_whitespace)
        })
        .map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_s_words_are_found() {
        for (body, wanted) in [
            (r#"{"error":{"message":"bad key"}}"#, "bad key"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (r#"{"error":"no"}"#, "no"),
            (r#"{"code":7}"#, r#"{"code":7}"#),
            ("nope", "nope"),
            ("", "an empty body"),
            (" \r\n", "an empty body"),
            // FastAPI, vLLM.
            (
                r#"{"detail":[{"loc":["body","seed"],"msg":"Extra inputs are not permitted"}]}"#,
                "seed: Extra inputs are not permitted",
            ),
            (
                r#"{"object":"error","message":{"detail":[{"loc":["body","n"],"msg":"bad"}]}}"#,
                "n: bad",
            ),
            // Fastify, NestJS, Joi.
            (
                r#"{"statusCode":400,"error":"Bad Request","message":"the widget is broken"}"#,
                "the widget is broken",
            ),
            (
                r#"{"statusCode":400,"message":["a is wrong","b is wrong","a is wrong"],"error":"Bad Request"}"#,
                "a is wrong; b is wrong",
            ),
            // RFC 9457, ASP.NET, Django.
            (
                r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"the widget is broken","instance":"/v1"}"#,
                "the widget is broken",
            ),
            (
                r#"{"title":"One or more validation errors occurred.","status":400,"errors":{"seed":["The field is unknown."]}}"#,
                "One or more validation errors occurred. seed: The field is unknown.",
            ),
            (r#"{"errors":{"seed":"is not known"}}"#, "seed: is not known"),
            (
                r#"{"errors":{"json":{"seed":["Unknown field."]}}}"#,
                "seed: Unknown field.",
            ),
            (
                r#"{"temperature":["Ensure this is less than 1."]}"#,
                "temperature: Ensure this is less than 1.",
            ),
            // Ajv, Zod.
            (
                r#"{"error":"Bad Request","message":"body must NOT have more","errors":[{"instancePath":"","params":{"additionalProperty":"seed"}}]}"#,
                "body must NOT have more: additional property 'seed'",
            ),
            (
                r#"{"success":false,"error":{"issues":[{"code":"x","keys":["seed"],"message":"Unrecognized key 'seed'"}],"name":"ZodError"}}"#,
                "Unrecognized key 'seed'",
            ),
            // A router that passes on the error of another server.
            (
                r#"{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"{\"error\":{\"message\":\"the widget is broken\"}}","provider_name":"P"}}}"#,
                "Provider returned error: the widget is broken",
            ),
            (
                r#"[{"error":{"code":400,"message":"The request is wrong.","details":[{"fieldViolations":[{"field":"seed","description":"no such thing"}]}]}}]"#,
                "The request is wrong. seed: no such thing",
            ),
            (
                r#"{"base_resp":{"status_code":2013,"status_msg":"the widget is broken"}}"#,
                "the widget is broken",
            ),
            (
                r#"{"error":"invalid_request","error_description":"it is expired"}"#,
                "it is expired",
            ),
            // The repeated request is not part of the text.
            (
                r#"{"message":"it is wrong","request":{"messages":[{"content":"a message"}],"stop":["a b"]}}"#,
                "it is wrong",
            ),
        ] {
            assert_eq!(error_message(body), wanted, "{body}");
        }
    }

    #[test]
    fn hostile_errors_are_told_as_they_are() {
        for body in [
            "[]",
            "{}",
            "null",
            "{\"error\":",
            "[[[[",
            "{\"error\":{\"message\":\"\"}}",
            &"[".repeat(100_000),
        ] {
            assert_eq!(error_message(body), body);
        }
    }
}
