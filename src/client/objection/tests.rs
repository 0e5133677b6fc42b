//! Refusals of many servers, and the objections found in each.

use super::*;
use serde_json::json;

fn sent() -> Map<String, Value> {
    let fields = json!({"model": "m", "messages": [], "max_tokens": 9, "temperature": 0.7, "top_p": 1.0, "seed": 3,
        "stop": ["\n"], "presence_penalty": 1, "repetition_penalty": 1.05, "top_k": 5});
    fields.as_object().unwrap().clone()
}

/// A refusal as OpenAI writes it, in words only.
fn worded(message: &str) -> String {
    json!({"error": {"message": message}}).to_string()
}

/// Field and new name of each objection.
fn found(body: &str) -> Vec<(String, Option<String>)> {
    let objections = objections(body, &sent()).into_iter();
    objections
        .map(|objection| (objection.field, objection.instead))
        .collect()
}

#[test]
fn fields_are_found_in_the_words_of_many_servers() {
    let openai = |message: &str, param: Value| {
        json!({"error": {"message": message, "param": param, "code": "unsupported_parameter"}}).to_string()
    };
    let said = worded;
    let max = (
        openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            json!("max_tokens"),
        ),
        "max_tokens",
        Some("max_completion_tokens"),
    );
    let cases = [
        max,
        (said("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."), "max_tokens", Some("max_completion_tokens")),
        (openai("Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.", json!("temperature")), "temperature", None),
        (openai("Unsupported parameter: 'stop' is not supported with this model.", Value::Null), "stop", None),
        (said("Unrecognized request argument supplied: seed"), "seed", None),
        (said("property 'seed' is unsupported"), "seed", None),
        (said("Unknown name \"seed\": Cannot find field."), "seed", None),
        (said("Invalid JSON payload received. Unknown name \"topK\": Cannot find field."), "top_k", None),
        (said("json: unknown field \"repetition_penalty\""), "repetition_penalty", None),
        (said("unknown field `seed`, expected one of `model`, `max_tokens`, `temperature`"), "seed", None),
        (said("unknown field `seed`, expected one of `model`, `random_seed`, `temperature`"), "seed", Some("random_seed")),
        (said("Additional properties are not allowed ('top_k' was unexpected)"), "top_k", None),
        (said("Malformed input request: extraneous key [seed] is not permitted, please reformat your input and try again."), "seed", None),
        (said("Input validation error: `temperature` must be strictly positive"), "temperature", None),
        (said("`top_p` must be > 0.0 and < 1.0"), "top_p", None),
        (said("temperature: Extra inputs are not permitted"), "temperature", None),
        (said("`temperature` and `top_p` cannot both be specified for this model."), "top_p", None),
        (said("Argument not supported on this model: stop"), "stop", None),
        (said("got an unexpected keyword argument 'seed'"), "seed", None),
        (said("The parameter repetition_penalty is deprecated, please use repeat_penalty"), "repetition_penalty", Some("repeat_penalty")),
        (said("[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), 'msg': 'Extra inputs are not permitted'}]"), "seed", None),
        (json!({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted", "input": 3}]}).to_string(), "seed", None),
        (json!({"detail": [{"loc": ["body", "temperature"], "msg": "ensure this value is greater than 0"}]}).to_string(), "temperature", None),
        (json!({"object": "error", "message": {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}}).to_string(), "seed", None),
        (json!({"message": "Use max_new_tokens instead of max_tokens."}).to_string(), "max_tokens", Some("max_new_tokens")),
        ("seed is not supported".to_string(), "seed", None),
    ];
    for (body, field, instead) in cases {
        assert_eq!(
            found(&body),
            [(field.to_string(), instead.map(str::to_string))],
            "{body}"
        );
    }
}

#[test]
fn several_fields_at_once() {
    let body = json!({"detail": [
        {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"},
        {"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]});
    let fields: Vec<String> = found(&body.to_string())
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["seed", "top_k"]);
}

#[test]
fn other_refusals_are_about_no_field() {
    for message in [
        "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (1928 in the messages, 3072 in max_tokens).",
        "Your prompt was flagged as violating our usage policy. Please stop.",
        "The server is overloaded",
        "Incorrect API key provided",
        "not this one",
        "prompt too long",
        "The model `m` does not exist",
    ] {
        let fields = found(&json!({"error": {"message": message}}).to_string());
        let of_ours = fields.iter().filter(|(field, _)| field != "model").count();
        assert_eq!(of_ours, 0, "{message}: {fields:?}");
    }
}

#[test]
fn a_value_may_be_all_that_is_wrong() {
    let about_value = |message: &str| objections(message, &sent())[0].is_about_value;
    assert!(about_value("`temperature` must be strictly positive"));
    assert!(!about_value(
        "Only the default (1) value is supported for 'temperature'"
    ));
    assert!(!about_value("Unsupported parameter: 'temperature'"));
}

#[test]
fn known_fields_are_told_from_unknown_ones_by_whole_words() {
    for message in [
        "Unsupported parameters: seed",
        "unsupported options: seed",
        "Not supported parameters: seed",
        "non-supported params: seed",
        "Invalid params, seed: not allowed",
        "Invalid params: seed is not allowed",
        "unknown fields: [\"seed\"]",
        "Request contains disallowed keys: seed",
        "unrecognized arguments: seed",
        "unexpected options seed",
        "Unknown parameter. Valid parameters are: model, top_k. Got: seed",
        "Unknown parameter. Supported fields: model, top_k; unsupported: seed",
        "seed is unknown. Allowed keys: temperature, top_p",
        "expected one of `model`, `top_k` but found unknown field `seed`",
        "found unpermitted parameter: :seed",
        "The following `model_kwargs` are not used by the model: ['seed'] (note: typos will show up in this list)",
        "json: cannot unmarshal number into Go struct field ChatCompletionRequest.seed of type string",
        "Seed is not supported",
        "the model does not support seed",
    ] {
        assert_eq!(found(&worded(message)), [("seed".to_string(), None)], "{message}");
    }
    for message in [
        "Unknown parameter. Valid parameters are: seed, top_p, top_k, temperature",
        "invalid request, supported options include seed and stop",
    ] {
        assert!(found(&worded(message)).is_empty(), "{message}");
    }
}

#[test]
fn fields_are_found_in_plain_words_and_beside_them() {
    let said = worded;
    let requires = "This model requires `max_completion_tokens` and does not accept `max_tokens`";
    let cases = [
        (said(requires), "max_tokens", Some("max_completion_tokens")),
        (json!({"detail": "Please set max_completion_tokens rather than max_tokens"}).to_string(), "max_tokens", Some("max_completion_tokens")),
        (said("Stop sequences are not supported for this model"), "stop", None),
        (said("Penalties are not supported: repetition penalty must be 1"), "repetition_penalty", None),
        (said("This model does not support top-p sampling"), "top_p", None),
        (said("Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length 5 instead."), "stop", None),
        (json!({"statusCode": 400, "error": "Bad Request", "message": "\"seed\" is not allowed"}).to_string(), "seed", None),
        (json!({"title": "One or more validation errors occurred.", "errors": {"seed": ["The field is not supported."]}}).to_string(), "seed", None),
        (json!({"error": "Bad Request", "message": "body must NOT have additional properties", "errors": [{"instancePath": "", "keyword": "additionalProperties", "params": {"additionalProperty": "stop"}}]}).to_string(), "stop", None),
        (json!({"error": {"message": "Provider returned error", "metadata": {"raw": json!({"error": {"message": "Unsupported parameter: 'seed'", "param": "seed"}}).to_string()}}}).to_string(), "seed", None),
        (json!({"error": {"message": "No.", "code": "unsupported_parameter", "param": "seed"}}).to_string(), "seed", None),
        ("<html><h1>400</h1>Unsupported parameter: &#39;stop&#39;</html>".to_string(), "stop", None),
    ];
    for (body, field, instead) in cases {
        assert_eq!(
            found(&body),
            [(field.to_string(), instead.map(str::to_string))],
            "{body}"
        );
    }
    let several = json!({"error": {"message": "Extra inputs are not permitted", "params": ["seed", "stop"]}});
    let fields: Vec<String> = found(&several.to_string())
        .into_iter()
        .map(|(field, _)| field)
        .collect();
    assert_eq!(fields, ["seed", "stop"]);
}

#[test]
fn what_is_not_understood_makes_suspects() {
    let suspected = |body: &str| -> Vec<String> {
        let suspects = suspects(body, &sent()).into_iter();
        suspects.map(|objection| objection.field).collect()
    };
    let said = worded;
    let cases: [(String, &[&str]); 15] = [
        (said("不支持的参数: seed"), &["seed"]),
        (
            said("API 调用参数有误，请检查文档。top_p参数非法，取值范围 (0,1)"),
            &["top_p"],
        ),
        (said("Parameter seed wird nicht unterstützt"), &["seed"]),
        (
            said("le paramètre «stop» est refusé, temperature non"),
            &["stop", "temperature"],
        ),
        (
            said("Bitte ohne temperature, und ohne 'top_k'"),
            &["top_k", "temperature"],
        ),
        (
            json!({"title": "Oh.", "errors": {"$.seed": ["The JSON value is of another kind."]}}).to_string(),
            &["seed"],
        ),
        (
            json!({"message": "Fehler", "info": "seed geht nicht"}).to_string(),
            &["seed"],
        ),
        (said("Please stop."), &["stop"]),
        // Required fields are no suspects. `max_tokens` is one only with another name, or with a
        // number that may be the least.
        (said("max_tokens geht nicht"), &[]),
        (
            said("max_tokens geht nicht, max_completion_tokens geht"),
            &["max_tokens"],
        ),
        (said("max_tokens 不能小于 16"), &["max_tokens"]),
        (said("model, prompt, messages"), &[]),
        // Objections that are understood, and errors about the length, are no suspects.
        (said("Unsupported parameter: seed"), &[]),
        (said("The prompt is too long for seed"), &[]),
        (
            json!({"message": "Fehler", "body": {"seed": 3, "top_p": 1.0, "stop": ["\n"]}}).to_string(),
            &[],
        ),
    ];
    for (body, fields) in cases {
        assert_eq!(suspected(&body), fields, "{body}");
    }
    let least = suspects(&said("max_tokens 不能小于 16"), &sent());
    assert_eq!((least[0].least, least[0].is_about_value), (Some(16), true));
    let renamed = suspects(
        &said("max_tokens geht nicht, max_completion_tokens geht"),
        &sent(),
    );
    assert_eq!(renamed[0].instead.as_deref(), Some("max_completion_tokens"));
}

#[test]
fn a_number_of_tokens_can_be_too_small() {
    let least = |message: &str| objections(&worded(message), &sent())[0].least;
    assert_eq!(least("max_tokens must be at least 16"), Some(16));
    assert_eq!(
        least(
            "Invalid 'max_tokens': integer below minimum value. Expected a value >= 12, but got 9 instead."
        ),
        Some(12)
    );
    assert_eq!(least("max_tokens must be less than or equal to 8"), None);
    assert_eq!(least("Unsupported parameter: 'max_tokens', error 16"), None);
    assert_eq!(least("top_k must be at least 16"), None);
}

#[test]
fn other_statuses_count_where_nothing_else_can_be_meant() {
    for (body, is_of_a_field) in [
        (
            json!({"error": {"code": "unsupported_parameter", "message": "No."}}).to_string(),
            true,
        ),
        (worded("Unsupported parameter: 'seed'"), true),
        (worded("unknown request argument seed"), true),
        (worded("The model `m` does not exist"), false),
        (worded("Unknown request URL: POST /v1/completions"), false),
        (worded("you may not use temperature"), false),
        (String::new(), false),
    ] {
        assert_eq!(super::is_of_a_field(&body), is_of_a_field, "{body}");
    }
    assert!(has_such_a_code(&json!({"error": {"code": 400}}).to_string()));
    assert!(!has_such_a_code(&json!({"error": {"code": 502}}).to_string()));
}
