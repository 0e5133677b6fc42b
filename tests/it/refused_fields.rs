//! Fields that a server refuses are learned from its error, or by trying where the error is not
//! understood.

use crate::faulty_endpoint::{Asked, Reply, Server, refusal};
use crate::shell::Dir;
use crate::support::{export, generate, undisturbed};
use serde_json::{Value, json};
use std::sync::OnceLock;

/// Whether a request has this field.
pub fn has(asked: &Asked, field: &str) -> bool {
    asked.body.get(field).is_some()
}

/// An error as OpenAI writes it.
fn unsupported(message: &str, param: Value) -> Reply {
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": param}});
    Reply::Status(400, String::new(), body.to_string().into_bytes())
}

/// An error as FastAPI writes it.
pub fn unprocessable(field: &str, message: &str) -> Reply {
    let body =
        json!({"detail": [{"type": "value_error", "loc": ["body", field], "msg": message, "input": 0}]});
    Reply::Status(422, String::new(), body.to_string().into_bytes())
}

/// Name, server, the line that ewe prints, and whether a later request is right.
type Case = (
    &'static str,
    fn(&Asked) -> Option<Reply>,
    &'static str,
    fn(&Asked) -> bool,
);

#[test]
fn a_field_refused_by_name_is_learned_once() {
    let cases: [Case; 9] = [
        (
            "renamed",
            |asked| {
                has(asked, "max_tokens").then(|| unsupported("Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", json!("max_tokens")))
            },
            "`max_tokens` is sent as `max_completion_tokens` from now on",
            |asked| asked.body["max_completion_tokens"].is_u64(),
        ),
        (
            "renamed, in words only",
            |asked| {
                has(asked, "max_tokens")
                    .then(|| refusal(400, "max_tokens is deprecated, please use max_new_tokens"))
            },
            "`max_tokens` is sent as `max_new_tokens` from now on",
            |asked| asked.body["max_new_tokens"].is_u64(),
        ),
        (
            "renamed, and nobody says to what",
            |asked| {
                has(asked, "max_tokens")
                    .then(|| refusal(400, "Unrecognized request argument supplied: max_tokens"))
            },
            "`max_tokens` is sent as `max_completion_tokens` from now on",
            |asked| asked.body["max_completion_tokens"].is_u64(),
        ),
        (
            "greedy is not taken",
            |asked| {
                (asked.body["temperature"] == 0.0)
                    .then(|| unprocessable("temperature", "ensure this value is greater than 0"))
            },
            "a `temperature` of 0 is sent as 0.01 from now on",
            |asked| asked.body["temperature"] != 0.0,
        ),
        (
            "no temperature",
            |asked| {
                (has(asked, "temperature") && asked.body["temperature"] != 1.0).then(|| unsupported("Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) value is supported.", json!("temperature")))
            },
            "`temperature` is left out from now on",
            |asked| !has(asked, "temperature"),
        ),
        (
            "nucleus is open",
            |asked| {
                has(asked, "top_p")
                    .then(|| refusal(422, "Input validation error: `top_p` must be > 0.0 and < 0.5"))
            },
            "`top_p` is left out from now on",
            |asked| !has(asked, "top_p"),
        ),
        (
            "an unknown penalty",
            |asked| {
                has(asked, "repetition_penalty").then(|| refusal(400, "unknown field `repetition_penalty`, expected one of `model`, `prompt`, `max_tokens`, `stop`"))
            },
            "`repetition_penalty` is left out from now on",
            |asked| !has(asked, "repetition_penalty"),
        ),
        (
            "a penalty by another name",
            |asked| {
                has(asked, "repetition_penalty").then(|| {
                    refusal(
                        400,
                        "Unknown parameter repetition_penalty. Did you mean 'repeat_penalty'?",
                    )
                })
            },
            "`repetition_penalty` is sent as `repeat_penalty` from now on",
            |asked| !has(asked, "repetition_penalty"),
        ),
        (
            "a program's error",
            |asked| {
                has(asked, "top_p")
                    .then(|| refusal(500, "generate() got an unexpected keyword argument 'top_p'"))
            },
            "`top_p` is left out from now on",
            |asked| !has(asked, "top_p"),
        ),
    ];
    let wanted = undisturbed("20");
    for (name, refuses, line, is_right) in cases {
        let server = Server::start(move |asked| refuses(asked).unwrap_or(Reply::Answer));
        let dir = Dir::with_dataset();
        // Interrupted and continued: the change is learned again, and no request is repeated.
        let said = generate(&dir, "20", &server.url, &["--max-requests", "30"])
            .success()
            .stderr();
        generate(&dir, "20", &server.url, &[]).success();
        let said_lines = said.lines().filter(|said| said.contains("refuses `")).count();
        let lines = if name == "nucleus is open" { 2 } else { 1 };
        assert!(said_lines <= lines && said.contains(line), "{name}: {said}");
        let asked = server.asked();
        let refused = asked.iter().filter(|asked| refuses(asked).is_some()).count();
        // Requests in flight when the first was refused count, too.
        assert!(refused <= 40, "{name}: {refused} were refused");
        assert!(
            is_right(asked.last().unwrap()),
            "{name}: {}",
            asked.last().unwrap().body
        );
        let answered = server.answered();
        assert!(answered.values().all(|times| *times == 1), "{name}");
        assert_eq!(export(&dir), wanted, "{name}");
    }
}

/// A server that accepts required fields only.
#[test]
fn several_refused_fields_are_all_learned() {
    let refused = [
        "seed",
        "top_p",
        "stop",
        "repetition_penalty",
        "temperature",
        "max_tokens",
    ];
    let server = Server::start(move |asked| {
        let field = refused.iter().find(|field| has(asked, field));
        field.map_or(Reply::Answer, |field| {
            refusal(400, &format!("Extra inputs are not permitted: '{field}'"))
        })
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "10", &server.url, &[]).success().stderr();
    assert_eq!(
        said.lines().filter(|line| line.contains("refuses `")).count(),
        refused.len(),
        "{said}"
    );
    let vain = server
        .asked()
        .iter()
        .filter(|asked| refused.iter().any(|field| has(asked, field)))
        .count();
    assert!(vain <= refused.len() + 2, "{vain}");
}

#[test]
fn without_stop_ewe_cuts_at_the_stop_strings() {
    let server = Server::start(|asked| {
        if has(asked, "stop") {
            return unsupported(
                "Unsupported parameter: 'stop' is not supported with this model.",
                json!("stop"),
            );
        }
        let (text, finish) = asked.written();
        let text = if finish == "stop" {
            format!("{text}\n\n\nTask: x\n\n")
        } else {
            text
        };
        Reply::Says(json!({"choices": [{"text": text, "finish_reason": finish}]}))
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "20", &server.url, &[]).success().stderr();
    assert!(said.contains("answers are cut where it says so"), "{said}");
    assert_eq!(export(&dir), undisturbed("20"));
}

/// Fields that would change the question are never dropped.
#[test]
fn fields_that_change_the_question_are_never_dropped() {
    let server = Server::start(|_| refusal(400, "'response_format' is not supported by this model"));
    let dir = Dir::with_dataset();
    let said = generate(&dir, "5", &server.url, &["--recipe", "alpaca", "--structured"])
        .failure(1)
        .stderr();
    assert!(said.contains("'response_format' is not supported"), "{said}");
    assert!(server.asked().iter().all(|asked| has(asked, "response_format")));
    let server = Server::start(|_| refusal(400, "max_tokens must be less than or equal to 8"));
    let said = generate(&dir, "5", &server.url, &[]).failure(1).stderr();
    assert!(said.contains("less than or equal to 8"), "{said}");
    assert!(server.asked().iter().all(|asked| has(asked, "max_tokens")));
    assert!(server.asked().len() <= 50);
}

/// An error with this body.
fn refused(status: u16, body: &Value) -> Reply {
    Reply::Status(status, String::new(), body.to_string().into_bytes())
}

/// The lines that say what was learned.
fn learned(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("refuses `")).collect()
}

/// Runs against a server that refuses a field with this error until it is dropped. Asserts that the
/// dataset stays the same, few requests were refused, and ewe says so once.
fn assert_dropped(field: &'static str, status: u16, body: Value) {
    static WANTED: OnceLock<String> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| undisturbed("10"));
    let shown = body.to_string();
    let server = Server::start(move |asked| match has(asked, field) {
        true => refused(status, &body),
        false => Reply::Answer,
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "10", &server.url, &[]).success().stderr();
    let lines = learned(&said);
    let line = format!("refuses `{field}`: ");
    assert!(lines.len() == 1 && lines[0].contains(&line), "{shown}: {said}");
    let vain = server.asked().iter().filter(|asked| has(asked, field)).count();
    assert!(vain <= 9, "{shown}: {vain}");
    assert_eq!(export(&dir), *wanted, "{shown}");
}

fn error_message(message: &str) -> Value {
    json!({"error": {"message": message}})
}

#[test]
fn errors_of_many_frameworks_are_understood() {
    for body in [
        error_message("Unsupported parameters: top_p"),
        error_message("Invalid params, top_p: not allowed"),
        json!({"error": "unknown fields: [\"top_p\"]"}),
        error_message("Unknown parameter. Valid parameters are: model. Got: top_p"),
        error_message("This model does not support top-p sampling"),
        error_message("found unpermitted parameter: :top_p"),
        json!({"statusCode": 400, "error": "Bad Request", "message": "\"top_p\" is not allowed"}),
        json!({"title": "One or more validation errors occurred.", "errors": {"$.top_p": ["It could not be converted."]}}),
        json!({"message": "body must NOT have additional properties", "errors": [{"params": {"additionalProperty": "top_p"}}]}),
        json!({"error": {"message": "Provider returned error",
            "metadata": {"raw": "{\"error\":{\"message\":\"Unsupported parameter: 'top_p'\"}}"}}}),
    ] {
        assert_dropped("top_p", 400, body);
    }
    // ewe cuts the responses itself.
    assert_dropped(
        "stop",
        422,
        error_message("Stop sequences are not supported for this model"),
    );
    assert_dropped(
        "repetition_penalty",
        400,
        error_message("Unsupported: repetition penalty"),
    );
}

#[test]
fn a_field_named_in_an_unknown_language_is_tried_without() {
    for message in [
        "不支持的参数: top_p",
        "top_p参数非法，取值范围 (0,1)",
        "Parameter top_p wird nicht unterstützt",
        "le paramètre «top_p» est refusé, pas temperature",
        "temperature ja, top_p nein",
    ] {
        assert_dropped("top_p", 400, error_message(message));
    }
    // Two fields, refused one after the other.
    let server = Server::start(|asked| {
        let wrong = ["top_p", "repetition_penalty"]
            .into_iter()
            .find(|field| has(asked, field));
        wrong.map_or(Reply::Answer, |field| {
            refused(422, &error_message(&format!("Das Feld {field} geht nicht")))
        })
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "10", &server.url, &[]).success().stderr();
    assert_eq!(learned(&said).len(), 2, "{said}");
    assert_eq!(export(&dir), undisturbed("10"));
    // Two fields refused together, in an error that does not say which.
    let server = Server::start(
        |asked| match has(asked, "top_p") || has(asked, "repetition_penalty") {
            true => refused(
                422,
                &error_message("Felder wie top_p und repetition_penalty gehen nicht"),
            ),
            false => Reply::Answer,
        },
    );
    let dir = Dir::with_dataset();
    let said = generate(&dir, "10", &server.url, &[]).success().stderr();
    assert_eq!(learned(&said).len(), 2, "{said}");
}

#[test]
fn a_field_not_at_fault_is_restored_and_not_tried_again() {
    let is_unlucky =
        |asked: &Asked| asked.prompt().starts_with("Can the following") && asked.seed().is_multiple_of(7);
    let server = Server::start(move |asked| match is_unlucky(asked) {
        true => refusal(400, "temperature und seed sind eigen"),
        false => Reply::Answer,
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "30", &server.url, &["--concurrency", "1"])
        .success()
        .stderr();
    assert!(learned(&said).is_empty(), "{said}");
    let asked = server.asked();
    assert!(asked.iter().filter(|asked| is_unlucky(asked)).count() > 4);
    let without = |field: &str| asked.iter().filter(|asked| !has(asked, field)).count();
    // Each alone, and both together.
    assert_eq!((without("temperature"), without("seed")), (2, 2));
}

#[test]
fn a_field_error_is_recognized_whatever_its_status() {
    for status in [403, 404, 406, 415, 424] {
        let said = json!({"error": {"message": "Unsupported parameter: 'top_p'", "param": "top_p"}});
        assert_dropped("top_p", status, said);
        let by_code = json!({"error": {"message": "Nein: top_p", "code": "unsupported_parameter"}});
        assert_dropped("top_p", status, by_code);
    }
    // Any other error with these statuses ends the run at once.
    for (status, hint) in [(403, "no key was sent"), (404, "is the address right")] {
        let server = Server::start(move |_| refusal(status, "top_p geht nicht"));
        let said = generate(&Dir::with_dataset(), "5", &server.url, &["--api", "completions"])
            .failure(1)
            .stderr();
        assert!(said.contains(hint), "{said}");
        assert!(server.asked().iter().all(|asked| has(asked, "top_p")));
    }
}

#[test]
fn several_fields_in_one_error_are_learned_at_once() {
    const WRONG: [&str; 2] = ["top_p", "repetition_penalty"];
    let server = Server::start(|asked| {
        let wrong: Vec<&str> = WRONG.into_iter().filter(|field| has(asked, field)).collect();
        match wrong.is_empty() {
            true => Reply::Answer,
            false => refused(
                400,
                &json!({"error": {"message": "Extra inputs are not permitted", "params": wrong}}),
            ),
        }
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "10", &server.url, &[]).success().stderr();
    assert_eq!(learned(&said).len(), 2, "{said}");
    let asked = server.asked();
    assert!(has(&asked[0], WRONG[0]) && WRONG.iter().all(|field| !has(&asked[1], field)));
    assert_eq!(export(&dir), undisturbed("10"));
}

#[test]
fn where_max_tokens_is_raised_ewe_cuts_the_answer() {
    let is_classification = |asked: &Asked| asked.prompt().starts_with("Can the following");
    let server = Server::start(move |asked| match asked.body["max_tokens"].as_u64() {
        Some(..16) => refusal(400, "max_tokens must be at least 16"),
        Some(16) if is_classification(asked) => {
            let (text, finish) = asked.written();
            let text = format!("{text}. It says so and goes on.");
            Reply::Says(json!({"choices": [{"text": text, "finish_reason": finish}]}))
        }
        _ => Reply::Answer,
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "10", &server.url, &[]).success().stderr();
    assert!(
        said.contains("`max_tokens` is sent as 16 at least from now on"),
        "{said}"
    );
    let vain = server
        .asked()
        .iter()
        .filter(|asked| asked.body["max_tokens"].as_u64() < Some(16))
        .count();
    assert!(vain <= 16, "{vain}");
    assert_eq!(export(&dir), undisturbed("10"));
    // 4 tokens were wanted, which are at most 4 words.
    for row in dir.sql("select response from request where stage = 'classification'") {
        assert!(row[0].split_whitespace().count() <= 4, "{row:?}");
    }
}

#[test]
fn the_innermost_error_message_is_printed() {
    for (body, words) in [
        (
            r#"{"statusCode":400,"error":"Bad Request","message":"the widget is broken"}"#,
            "400 Bad Request: the widget is broken",
        ),
        (
            r#"{"title":"Bad Request","errors":{"widget":["It is broken."]}}"#,
            "400 Bad Request: widget: It is broken.",
        ),
        (
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"error\":\"the widget is broken\"}"}}}"#,
            "Provider returned error: the widget is broken",
        ),
        ("", "400 Bad Request: an empty body"),
    ] {
        let server = Server::start(move |_| Reply::Status(400, String::new(), body.into()));
        let said = generate(&Dir::with_dataset(), "5", &server.url, &[])
            .failure(1)
            .stderr();
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn the_log_has_no_color_without_a_terminal() {
    let server = Server::start(|asked| match has(asked, "top_p") {
        true => refusal(400, "Unsupported parameter: 'top_p'"),
        false => Reply::Answer,
    });
    let said = generate(&Dir::with_dataset(), "5", &server.url, &["-vv"])
        .success()
        .stderr();
    assert!(said.contains("WARN endpoint 'http"), "{said}");
    assert!(!said.contains('\u{1b}') && !said.contains("ewe::"), "{said}");
}
