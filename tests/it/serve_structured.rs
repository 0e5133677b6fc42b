//! Answers of `ewe serve` that are held to a format. The model is tiny and knows nothing of JSON, so
//! without the masks no answer could be what it has to be.

use std::process::Command;

use serde_json::{Value, json};

use crate::golden::{Changed, golden};
use crate::server::Server;
use crate::shell::Dir;

/// A schema in which everything is bounded, with nesting, an enum, numbers and strings.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "kind": { "enum": ["a", "b\"c", 5, null] },
            "size": { "type": "integer", "minimum": -20, "maximum": 300 },
            "inner": {
                "type": "array", "minItems": 1, "maxItems": 2,
                "items": { "$ref": "#/$defs/leaf" },
            },
        },
        "required": ["kind", "size", "inner"],
        "additionalProperties": false,
        "$defs": { "leaf": {
            "type": "object",
            "properties": { "t": { "type": "string", "maxLength": 3 } },
            "required": ["t"],
            "additionalProperties": false,
        } },
    })
}

fn format(schema: Value) -> Value {
    json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema } })
}

fn completion(change: &Value) -> Value {
    let mut body = json!({ "prompt": "the", "max_tokens": 900 });
    body.as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    body
}

/// The text of the only choice, which must have ended by itself.
#[track_caller]
fn text(answer: &(u16, Value)) -> String {
    let choice = &answer.1["choices"][0];
    assert_eq!(
        (answer.0, &choice["finish_reason"]),
        (200, &json!("stop")),
        "{}",
        answer.1
    );
    let text = choice["text"].as_str().or(choice["message"]["content"].as_str());
    text.unwrap().to_owned()
}

#[test]
fn answers_satisfy_their_schema_greedy_or_drawn_whole_or_streamed() {
    let model = Changed::writing_json(2048);
    let server = Server::with(model.path(), &[]);
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let valid = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert!(validator.is_valid(&value), "{text}");
    };
    let greedy = completion(&json!({ "temperature": 0, "response_format": format(schema()) }));
    let whole = text(&server.complete(greedy.clone()));
    valid(&whole);
    let events = server.stream("/v1/completions", greedy);
    let streamed: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["text"].as_str())
        .collect();
    assert_eq!(streamed, whole);
    let mut texts = Vec::new();
    for (index, sampling) in [
        json!({ "temperature": 1.5 }),
        json!({ "temperature": 1, "top_k": 5, "top_p": 0.9 }),
        json!({ "temperature": 1, "presence_penalty": 2, "frequency_penalty": 1 }),
        json!({ "temperature": 0.8, "min_p": 0.3, "repetition_penalty": 1.4 }),
    ]
    .iter()
    .enumerate()
    {
        let mut body = completion(sampling);
        body["seed"] = json!(index);
        body["response_format"] = format(schema());
        let answer = text(&server.complete(body));
        valid(&answer);
        texts.push(answer);
    }
    texts.dedup();
    assert_eq!(texts.len(), 4);
    // As vLLM and llama.cpp call it.
    for named in [
        json!({ "guided_json": schema() }),
        json!({ "guided_json": schema().to_string() }),
        json!({ "json_schema": schema() }),
        json!({ "structured_outputs": { "json": schema() } }),
        json!({ "response_format": { "type": "json_object", "schema": schema() } }),
    ] {
        let mut body = completion(&named);
        body["temperature"] = json!(0);
        assert_eq!(text(&server.complete(body)), whole, "{named}");
    }
}

#[test]
fn a_constrained_answer_leaves_the_others_in_the_batch_alone() {
    let model = Changed::writing_json(2048);
    let server = Server::with(model.path(), &[]);
    let plain = json!({ "prompt": "in the", "max_tokens": 120, "temperature": 0 });
    let alone = server.complete(plain.clone()).1["choices"][0]["text"].take();
    let held = completion(&json!({ "temperature": 0, "response_format": format(schema()) }));
    let held_alone = text(&server.complete(held.clone()));
    let (beside, held_beside) = std::thread::scope(|scope| {
        let held = scope.spawn(|| text(&server.complete(held.clone())));
        let beside = scope.spawn(|| server.complete(plain.clone()).1["choices"][0]["text"].take());
        (beside.join().unwrap(), held.join().unwrap())
    });
    assert_eq!((beside, held_beside), (alone, held_alone));
}

#[test]
fn chats_regular_expressions_and_choices_hold_too() {
    let model = Changed::writing_json(4096);
    let server = Server::with(model.path(), &[]);
    let chat = json!({ "messages": [{ "role": "user", "content": "b" }], "temperature": 0, "max_tokens": 900,
        "response_format": format(schema()) });
    let answer = text(&server.chat(chat));
    assert!(serde_json::from_str::<Value>(&answer).is_ok(), "{answer}");
    let of = |change: Value| text(&server.complete(completion(&change)));
    let number = of(json!({ "guided_regex": "[0-9]{3}-[a-c]", "seed": 1 }));
    let pattern = regex::Regex::new("^[0-9]{3}-[a-c]$").unwrap();
    assert!(pattern.is_match(&number), "{number}");
    let chosen = of(json!({ "guided_choice": ["yes", "no"], "seed": 1 }));
    assert!(["yes", "no"].contains(&chosen.as_str()), "{chosen}");
    let lark = of(json!({ "guided_grammar": "start: \"a\" \"b\"~2", "seed": 1 }));
    assert_eq!(lark, "abb");
    // Each choice of a request is held to it; the limit may still cut one.
    let body = completion(&json!({ "guided_regex": "[a-d]{4}", "n": 3, "max_tokens": 2, "seed": 1 }));
    let (_, answer) = server.complete(body);
    for choice in answer["choices"].as_array().unwrap() {
        let text = choice["text"].as_str().unwrap();
        assert!(text.chars().all(|c| ('a'..='d').contains(&c)), "{answer}");
        assert_eq!(choice["finish_reason"], "length");
    }
}

#[test]
fn schemas_that_cannot_be_held_are_refused_by_path() {
    let model = Changed::writing_json(2048);
    let server = Server::with(model.path(), &[]);
    let schema = "response_format.json_schema.schema";
    let inner = |value: Value| format(json!({ "type": "object", "properties": { "a": value } }));
    for (change, param) in [
        (
            json!({ "response_format": inner(json!({ "type": "strin" })) }),
            format!("{schema}.properties.a.type"),
        ),
        (
            json!({ "response_format": inner(json!({ "not": {} })) }),
            format!("{schema}.properties.a.not"),
        ),
        (
            json!({ "response_format": { "type": "xml" } }),
            "response_format.type".to_owned(),
        ),
        (
            json!({ "response_format": { "type": "json_object", "rainbow": 1 } }),
            "response_format.rainbow".to_owned(),
        ),
        (json!({ "guided_regex": "(" }), "guided_regex".to_owned()),
        (json!({ "guided_json": "{" }), "guided_json".to_owned()),
        (
            json!({ "guided_json": {}, "guided_regex": "a" }),
            "guided_regex".to_owned(),
        ),
        (json!({ "grammar": "root ::= \"a\"" }), "grammar".to_owned()),
    ] {
        let (status, answer) = server.complete(completion(&change));
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{answer}"
        );
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("`{param}`")), "{message}");
    }
    // A vocabulary without the letters of JSON.
    let server = Server::with(&golden("gemma3"), &[]);
    let (status, answer) = server.complete(completion(
        &json!({ "guided_json_object": true, "max_tokens": 9 }),
    ));
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(status == 400 && message.contains("vocabulary"), "{answer}");
}

#[test]
fn single_tokens_are_favored_ruled_out_and_stop() {
    let model = Changed::writing_json(2048);
    let server = Server::with(model.path(), &[]);
    let ask = |change: Value| {
        let mut body = completion(&json!({ "max_tokens": 12, "temperature": 0, "logprobs": 0 }));
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let (status, answer) = server.complete(body);
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0].clone()
    };
    let (_, ids) = server.ask("POST", "/tokenize", json!({ "content": "b" }));
    let b = ids["tokens"][0].as_i64().unwrap();
    let plain = ask(json!({}));
    let favored = ask(json!({ "logit_bias": { b.to_string(): 100 } }));
    assert_eq!(favored["text"], "b".repeat(12));
    let first = plain["logprobs"]["tokens"][0].as_str().unwrap();
    let (_, ids) = server.ask("POST", "/tokenize", json!({ "content": first }));
    let id = ids["tokens"][0].as_i64().unwrap();
    let without = ask(json!({ "logit_bias": { id.to_string(): -100 } }));
    let tokens: Vec<&str> = without["logprobs"]["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(!tokens.contains(&first), "{tokens:?}");
    // It ends the answer, of which it is no part, even where end tokens are ignored.
    for ignored in [false, true] {
        let stopped = ask(json!({ "stop_token_ids": [id], "ignore_eos": ignored }));
        assert_eq!(
            (&stopped["text"], &stopped["finish_reason"]),
            (&json!(""), &json!("stop"))
        );
    }
    let (_, back) = server.ask("POST", "/detokenize", json!({ "tokens": [b, b] }));
    assert_eq!(back["prompt"], "bb");
    let (status, refused) = server.ask("POST", "/v1/embeddings", json!({ "input": "x" }));
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(status == 501 && message.contains("not offered"), "{refused}");
}

#[test]
fn the_likeliest_of_several_answers_are_sent() {
    let server = Server::start("gemma3");
    let ask = |change: Value| {
        let mut body = json!({ "prompt": ["the", "in"], "max_tokens": 8, "seed": 7, "temperature": 2, "logprobs": 0,
            "ignore_eos": true });
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        server.complete(body)
    };
    let (_, all) = ask(json!({ "n": 5 }));
    let (status, best) = ask(json!({ "n": 2, "best_of": 5 }));
    assert_eq!(status, 200, "{best}");
    let mean = |choice: &Value| {
        let logprobs = choice["logprobs"]["token_logprobs"].as_array().unwrap();
        logprobs
            .iter()
            .map(|logprob| logprob.as_f64().unwrap())
            .sum::<f64>()
            / logprobs.len() as f64
    };
    let (all, best) = (
        all["choices"].as_array().unwrap(),
        best["choices"].as_array().unwrap(),
    );
    assert_eq!(best.len(), 4);
    for (candidates, best) in all.chunks(5).zip(best.chunks(2)) {
        let mut candidates: Vec<&Value> = candidates.iter().collect();
        candidates.sort_by(|a, b| mean(b).total_cmp(&mean(a)));
        for (want, got) in candidates.iter().zip(best) {
            assert_eq!(want["text"], got["text"]);
        }
    }
    let (_, hidden) = ask(json!({ "best_of": 3, "logprobs": null }));
    assert_eq!(hidden["choices"][0]["logprobs"], Value::Null);
    let (status, refused) = ask(json!({ "best_of": 3, "stream": true }));
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("best_of")));
}

/// The tiny model knows no words, but whatever it writes is a list of tasks.
#[test]
fn generate_gets_lists_of_tasks_from_a_served_model() {
    let model = Changed::writing_json(100_000);
    let server = Server::with(model.path(), &[]);
    let dir = Dir::with_dataset();
    dir.write("r.toml", "[alpaca]\ntokens = 700\n");
    let url = format!("http://{}/v1", server.address);
    let options = "generate --db d.db --target 1000 --recipe alpaca --recipe-file r.toml --structured --rules none --seed 1 \
        --max-requests 4 --json --endpoint";
    let ran = Command::new(env!("CARGO_BIN_EXE_ewe"))
        .args(options.split_whitespace())
        .arg(&url)
        .env("OPENAI_API_KEY", "open sesame")
        .current_dir(dir.path("."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let rows = dir.sql("select response, finish_reason from request");
    assert_eq!(rows.len(), 4, "{said}");
    for row in rows {
        let (text, reason) = (&row[0], &row[1]);
        let plain: String = text.split_whitespace().collect();
        let begun = "{\"tasks\":[";
        assert!(
            plain.starts_with(begun) || begun.starts_with(plain.as_str()),
            "{text}"
        );
        if reason == "stop" {
            let list: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
            for task in list["tasks"].as_array().unwrap() {
                let has = |name| task[name].is_string();
                assert!(has("instruction") && has("input") && has("output"), "{task}");
            }
        }
    }
}

#[test]
fn hostile_formats_are_refused_and_the_server_keeps_serving() {
    let model = Changed::writing_json(2048);
    let server = Server::with(model.path(), &[]);
    let chain: serde_json::Map<String, Value> = (0..5000)
        .map(|index| {
            let next = json!({ "$ref": format!("#/$defs/d{}", index + 1) });
            (
                format!("d{index}"),
                json!({ "type": "object", "properties": { "a": next } }),
            )
        })
        .collect();
    let rules: String = (0..5000)
        .map(|index| format!("r{index}: \"a\" r{}\n", index + 1))
        .collect();
    let mut deep = json!({ "type": "integer" });
    for _ in 0..50 {
        deep = json!({ "type": "object", "properties": { "a": deep } });
    }
    assert_eq!(
        server
            .complete(completion(&json!({ "guided_json": deep, "max_tokens": 2 })))
            .0,
        200
    );
    for format in [
        json!({ "guided_json": { "$ref": "#/$defs/d0", "$defs": chain } }),
        json!({ "guided_json": { "$ref": "#" } }),
        json!({ "guided_json": { "$ref": "https://example.com/schema.json" } }),
        json!({ "guided_json": { "$schema": "https://example.com/schema.json", "$ref": "file:///etc/passwd" } }),
        json!({ "guided_json": { "type": "integer", "multipleOf": 99_999_989 } }),
        json!({ "guided_json": { "const": "x".repeat(1 << 20) } }),
        json!({ "guided_regex": "(((a{100}){100}){100}){100}" }),
        json!({ "guided_grammar": format!("start: r0\n{rules}r5000: \"z\"\n") }),
        json!({ "guided_choice": ["x".repeat(1 << 20)] }),
    ] {
        let name = format.as_object().unwrap().keys().next().unwrap().clone();
        let (status, answer) = server.complete(completion(&format));
        assert_eq!(status, 400, "{answer}");
        let param = answer["error"]["param"].as_str().unwrap();
        assert!(param.starts_with(&name), "{answer}");
    }
    assert!(server.resident() < 1500, "{} MB", server.resident());
    let chosen = server.complete(completion(&json!({ "guided_choice": ["yes", "no"] })));
    assert!(["yes", "no"].contains(&text(&chosen).as_str()));
}
