//! The responses of `ewe serve`, over a real socket.

use serde_json::{Value, json};

use crate::golden::{Changed, golden};
use crate::server::{Server, answer};

/// A prompt of a tiny model with the greedy text of `transformers`, from its expected.json.
fn case(model: &str, index: usize) -> Value {
    let text = std::fs::read_to_string(golden(model).join("expected.json")).unwrap();
    let mut expected: Value = serde_json::from_str(&text).unwrap();
    expected["greedy"][index].take()
}

/// The text of a stream's events, joined by choice.
fn joined(events: &[Value], choices: usize) -> Vec<String> {
    let mut texts = vec![String::new(); choices];
    for choice in events
        .iter()
        .flat_map(|event| event["choices"].as_array().unwrap())
    {
        let text = choice["text"].as_str().or(choice["delta"]["content"].as_str());
        texts[choice["index"].as_u64().unwrap() as usize] += text.unwrap_or_default();
    }
    texts
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap().iter();
    choices
        .map(|choice| choice["text"].as_str().unwrap().to_string())
        .collect()
}

#[test]
fn completions_have_openai_s_format() {
    let server = Server::start("gemma3");
    let (status, health) = server.ask("GET", "/health", Value::Null);
    assert_eq!((status, health), (200, json!({ "status": "ok" })));
    let (status, models) = server.ask("GET", "/v1/models", Value::Null);
    let id = models["data"][0]["id"].as_str().unwrap();
    assert!(status == 200 && id == "gemma3", "{models}");
    assert_eq!(
        server.ask("GET", &format!("/v1/models/{id}"), Value::Null).1["id"],
        id
    );
    let (status, unknown) = server.ask("GET", "/v1/models/gpt-9", Value::Null);
    assert_eq!(
        (status, &unknown["error"]["code"]),
        (404, &json!("model_not_found"))
    );

    let case = case("gemma3", 1);
    let ask = json!({ "model": id, "prompt": case["prompt"], "max_tokens": 32, "temperature": 0 });
    let (status, whole) = server.complete(ask.clone());
    assert_eq!((status, &whole["choices"][0]["text"]), (200, &case["text"]));
    let prompt_tokens = case["ids"].as_array().unwrap().len();
    assert_eq!(whole["usage"]["prompt_tokens"], json!(prompt_tokens));
    // The same prompt as token ids.
    let ids = json!({ "prompt": case["ids"], "max_tokens": 32, "temperature": 0 });
    assert_eq!(texts(&server.complete(ids).1), texts(&whole));

    let mut counted = ask.clone();
    counted["stream_options"] = json!({ "include_usage": true });
    let mut events = server.stream("/v1/completions", counted);
    let usage = events.pop().unwrap();
    assert_eq!(
        (&usage["choices"], &usage["usage"]),
        (&json!([]), &whole["usage"])
    );
    assert_eq!(joined(&events, 1), texts(&whole));
    let last = &events.last().unwrap()["choices"][0]["finish_reason"];
    assert_eq!(last, &whole["choices"][0]["finish_reason"]);
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
}

#[test]
fn several_prompts_and_choices_equal_single_requests() {
    let server = Server::start("gemma3");
    let ask = |prompt: Value, n: u64, seed: u64| json!({ "prompt": prompt, "n": n, "seed": seed, "max_tokens": 12 });
    let one = |prompt: &str, seed: u64| texts(&server.complete(ask(json!(prompt), 1, seed)).1).remove(0);
    let (status, several) = server.complete(ask(json!(["the", "in the"]), 2, 7));
    assert_eq!(status, 200, "{several}");
    let want = [one("the", 7), one("the", 8), one("in the", 7), one("in the", 8)];
    assert_eq!(texts(&several), want);
    assert!(want[0] != want[1], "{want:?}");
    let indices: Vec<&Value> = several["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["index"])
        .collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    let events = server.stream("/v1/completions", ask(json!(["the", "in the"]), 2, 7));
    assert_eq!(joined(&events, 4), want);
    // Without a seed, sampling is random. Answers that end at once could be the same by chance.
    let free = json!({ "prompt": "the", "max_tokens": 30, "ignore_eos": true, "n": 2, "temperature": 2 });
    let (a, b) = (
        texts(&server.complete(free.clone()).1),
        texts(&server.complete(free).1),
    );
    assert!(a != b && a[0] != a[1], "{a:?} {b:?}");

    let echo = json!({ "prompt": ["the", "in the"], "echo": true, "seed": 7, "max_tokens": 12 });
    let want = [
        format!("the{}", one("the", 7)),
        format!("in the{}", one("in the", 7)),
    ];
    assert_eq!(texts(&server.complete(echo.clone()).1), want);
    assert_eq!(joined(&server.stream("/v1/completions", echo), 2), want);
}

#[test]
fn a_chat_is_answered() {
    let server = Server::start("gptj");
    let said = json!([{ "role": "system", "content": "a" }, { "role": "user", "content": [{ "type": "text", "text": "b" }] }]);
    // Without a chat template, Alpaca's is used, which is longer than the tiny models' context.
    let (status, refused) = server.chat(json!({ "messages": said }));
    assert_eq!(
        (status, &refused["error"]["code"], &refused["error"]["param"]),
        (400, &json!("context_length_exceeded"), &json!("messages"))
    );
    let long = Changed::long(4096);
    let server = Server::with(long.path(), &[]);
    let ask = json!({ "messages": said, "max_completion_tokens": 9, "n": 2, "seed": 3, "logprobs": true, "top_logprobs": 2 });
    let (status, whole) = server.chat(ask.clone());
    assert_eq!(
        (status, &whole["object"]),
        (200, &json!("chat.completion")),
        "{whole}"
    );
    let events = server.stream("/v1/chat/completions", ask);
    for index in 0..2 {
        let choice = &whole["choices"][index];
        assert_eq!(choice["message"]["role"], "assistant");
        assert_eq!(choice["message"]["content"], json!(joined(&events, 2)[index]));
        let content = choice["logprobs"]["content"].as_array().unwrap();
        assert_eq!(content.len(), 9);
        let bytes = content
            .iter()
            .flat_map(|token| token["bytes"].as_array().unwrap());
        let bytes: Vec<u8> = bytes.map(|byte| byte.as_u64().unwrap() as u8).collect();
        assert_eq!(
            json!(String::from_utf8_lossy(&bytes)),
            choice["message"]["content"]
        );
        assert!(
            content
                .iter()
                .all(|token| token["top_logprobs"].as_array().unwrap().len() == 2)
        );
        let of_choice = |event: &&Value| event["choices"][0]["index"] == json!(index);
        let mine: Vec<&Value> = events.iter().filter(of_choice).collect();
        assert_eq!(mine[0]["choices"][0]["delta"]["role"], "assistant");
        assert!(
            mine[1..]
                .iter()
                .all(|event| event["choices"][0]["delta"].get("role").is_none())
        );
        let streamed = mine
            .iter()
            .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array());
        let streamed: Vec<Value> = streamed.flatten().cloned().collect();
        near(&json!(streamed), &json!(content));
    }
}

/// Asserts equality up to the last digits of numbers: other requests in a batch may change
/// rounding.
#[track_caller]
fn near(a: &Value, b: &Value) {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            assert!((x - y).abs() < 1e-4, "{x} {y}");
        }
        (Value::Array(xs), Value::Array(ys)) => {
            assert_eq!(xs.len(), ys.len());
            xs.iter().zip(ys).for_each(|(x, y)| near(x, y));
        }
        (Value::Object(xs), Value::Object(ys)) => {
            let names = |map: &serde_json::Map<String, Value>| {
                let mut names: Vec<String> = map.keys().cloned().collect();
                names.sort();
                names
            };
            assert_eq!(names(xs), names(ys));
            xs.iter().for_each(|(name, x)| near(x, &ys[name]));
        }
        _ => assert_eq!(a, b),
    }
}

#[test]
fn logprobs_come_from_the_model_and_not_from_the_sampler() {
    let server = Server::start("gemma3");
    let case = case("gemma3", 2);
    let ask = |more: Value| {
        let mut ask = json!({ "prompt": case["prompt"], "max_tokens": 10, "logprobs": 4, "seed": 1 });
        ask.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let (status, answer) = server.complete(ask.clone());
        assert_eq!(status, 200, "{answer}");
        (ask, answer["choices"][0].clone())
    };
    let (_, greedy) = ask(json!({ "temperature": 0 }));
    let told = &greedy["logprobs"];
    let tokens = told["tokens"].as_array().unwrap();
    let text = greedy["text"].as_str().unwrap();
    assert!(tokens.len() >= 5);
    for (i, token) in tokens.iter().enumerate() {
        let token = token.as_str().unwrap();
        let offset = told["text_offset"][i].as_u64().unwrap() as usize;
        assert!(text[offset..].starts_with(token), "{offset} {token:?} {text:?}");
        let top = told["top_logprobs"][i].as_object().unwrap();
        assert_eq!(top.len(), 4);
        // The greedy token is the likeliest.
        let best = top.values().map(|x| x.as_f64().unwrap()).fold(f64::MIN, f64::max);
        assert_eq!(told["token_logprobs"][i].as_f64().unwrap(), best);
        assert_eq!(top[token].as_f64().unwrap(), best);
        assert!(top.values().map(|x| x.as_f64().unwrap().exp()).sum::<f64>() <= 1.0);
    }
    // Penalties and temperature change which token is drawn, not its logprob. In fp32 the sampler
    // works in place.
    let changed = json!({ "temperature": 1.7, "repetition_penalty": 3.0, "presence_penalty": 5, "frequency_penalty": 2, "top_k": 40 });
    let (sampled_ask, sampled) = ask(changed);
    let of_first = |choice: &Value| {
        let mut top = choice["logprobs"]["top_logprobs"][0].as_object().unwrap().clone();
        let chosen = choice["logprobs"]["tokens"][0].as_str().unwrap().to_string();
        let mut values: Vec<f64> = top.values().map(|x| x.as_f64().unwrap()).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values.truncate(4);
        (top.remove(&chosen), values)
    };
    let ((_, a), (chosen, b)) = (of_first(&greedy), of_first(&sampled));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{a:?} {b:?}");
    // The drawn token is reported even if four others are likelier.
    assert!(chosen.is_some());
    assert_ne!(sampled["text"], greedy["text"]);

    let pieces = server.stream("/v1/completions", sampled_ask);
    let all = |name: &str| {
        let lists = pieces
            .iter()
            .filter_map(|p| p["choices"][0]["logprobs"][name].as_array());
        json!(lists.flatten().collect::<Vec<&Value>>())
    };
    for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        near(&all(name), &sampled["logprobs"][name]);
    }
    let (_, none) = ask(json!({ "logprobs": 0 }));
    assert!(none["logprobs"]["top_logprobs"].is_null() && none["logprobs"]["tokens"].is_array());
    let (_, without) = ask(json!({ "logprobs": null }));
    assert!(without["logprobs"].is_null());
}

#[test]
fn a_stream_ends_before_a_stop_string_that_spans_tokens() {
    let server = Server::start("gemma3");
    let case = case("gemma3", 2);
    let text = case["text"].as_str().unwrap();
    assert!(text.is_ascii() && text.len() >= 12, "{text:?}");
    for from in 2..8 {
        for length in [1, 2, 4] {
            let stop = &text[from..from + length];
            let before = &text[..text.find(stop).unwrap()];
            let ask = json!({ "prompt": case["prompt"], "max_tokens": 32, "temperature": 0, "stop": ["\u{0}", stop], "logprobs": 0 });
            let events = server.stream("/v1/completions", ask);
            assert_eq!(joined(&events, 1), [before], "{stop:?}");
            let last = &events.last().unwrap()["choices"][0];
            assert_eq!(last["finish_reason"], "stop");
            // Tokens that are not shown are not reported.
            let offsets = events
                .iter()
                .filter_map(|event| event["choices"][0]["logprobs"]["text_offset"].as_array())
                .flatten();
            assert!(
                offsets
                    .into_iter()
                    .all(|offset| offset.as_u64().unwrap() < before.len() as u64),
                "{stop:?}"
            );
        }
    }
}

#[test]
fn characters_of_several_tokens_are_streamed_whole() {
    // The bytes of a character of three tokens come in turn: each costs more the more often it
    // occurred.
    let model = Changed::of("gptj");
    model.overwrite("lm_head.bias", 69, &[900.0, 897.0, 894.0]);
    model.overwrite("lm_head.weight", 69 * 32, &[0.0; 3 * 32]);
    let server = Server::with(model.path(), &[]);
    let ask =
        json!({ "prompt": "the", "max_tokens": 12, "temperature": 0, "frequency_penalty": 9, "logprobs": 1 });
    let events = server.stream("/v1/completions", ask.clone());
    let pieces: Vec<&str> = events
        .iter()
        .map(|e| e["choices"][0]["text"].as_str().unwrap())
        .collect();
    assert_eq!(pieces, ["\u{7f8a}", "\u{7f8a}", "\u{7f8a}", "\u{7f8a}", ""]);
    let (_, whole) = server.complete(ask.clone());
    let told = &whole["choices"][0]["logprobs"];
    assert_eq!(
        told["tokens"].as_array().unwrap()[..3],
        ["bytes:\\xe7", "bytes:\\xbe", "bytes:\\x8a"]
    );
    assert_eq!(told["text_offset"], json!([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]));
    // If the answer ends within a character, the rest becomes a replacement character.
    let mut cut = ask.clone();
    cut["max_tokens"] = json!(5);
    assert_eq!(
        joined(&server.stream("/v1/completions", cut), 1),
        ["\u{7f8a}\u{fffd}"]
    );
    let mut stopped = ask;
    stopped["stop"] = json!("\u{7f8a}\u{7f8a}\u{7f8a}");
    assert_eq!(joined(&server.stream("/v1/completions", stopped), 1), [""]);
}

#[test]
fn metrics_count_requests_and_tokens() {
    let server = Server::with(&golden("gemma3"), &["--kv-memory", "1MB"]);
    assert!(
        server
            .line
            .contains("1.0 MB for keys and values hold 1302 tokens, 20 requests"),
        "{}",
        server.line
    );
    let prompt: Vec<i64> = (0..40).map(|i| 3 + i % 60).collect();
    for last in [5, 6, 7] {
        let mut prompt = prompt.clone();
        prompt.push(last);
        let (status, _) =
            server.complete(json!({ "prompt": prompt, "max_tokens": 3, "temperature": 0, "stop": "\u{0}" }));
        assert_eq!(status, 200);
    }
    let two = json!({ "prompt": "t", "max_tokens": 2, "ignore_eos": true });
    server.stream("/v1/completions", two);
    assert_eq!(server.complete(json!({ "prompt": 7 })).0, 400);
    let (status, _, _) = answer(
        server.raw(
            format!(
                "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
                server.address
            )
            .as_bytes(),
        ),
    );
    assert_eq!(status, 401);
    server.wait_for("ewe_running", 0.0);
    // A request is counted after its answer.
    let all = r#"ewe_request_duration_seconds_count{endpoint="/v1/completions"}"#;
    server.wait_for(all, 5.0);
    let of = |status: u16| {
        server.figure(&format!(
            r#"ewe_requests_total{{endpoint="/v1/completions",status="{status}"}}"#
        ))
    };
    assert_eq!((of(200), of(400)), (4.0, 1.0));
    assert_eq!(
        server.figure(r#"ewe_requests_total{endpoint="/metrics",status="401"}"#),
        1.0
    );
    assert_eq!(server.figure("ewe_prompt_tokens_total"), 3.0 * 41.0 + 2.0);
    assert_eq!(server.figure("ewe_prompt_tokens_saved_total"), 2.0 * 40.0);
    let generated = server.figure("ewe_generated_tokens_total");
    assert!((4.0..=11.0).contains(&generated), "{generated}");
    assert!(server.figure("ewe_steps_total") >= 4.0);
    assert_eq!(server.figure("ewe_waiting"), 0.0);
    assert_eq!(server.figure("ewe_kv_budget_bytes"), 1e6);
    assert!((1.0..=1e6).contains(&server.figure("ewe_kv_bytes")));
    for histogram in ["time_to_first_token", "request_duration"] {
        let want = if histogram == "request_duration" { 5.0 } else { 4.0 };
        assert_eq!(
            server.figure(&format!(
                r#"ewe_{histogram}_seconds_count{{endpoint="/v1/completions"}}"#
            )),
            want
        );
    }
}

#[test]
fn an_n_predict_of_minus_one_fills_the_context() {
    let server = Server::start("gemma3");
    let (_, models) = server.ask("GET", "/v1/models", Value::Null);
    let room = &models["data"][0]["max_model_len"];
    let (status, answer) =
        server.complete(json!({ "prompt": "the", "n_predict": -1, "ignore_eos": true, "temperature": 0 }));
    assert_eq!(
        (status, &answer["usage"]["total_tokens"]),
        (200, room),
        "{answer}"
    );
    let both = json!({ "prompt": "the", "n_predict": -1, "max_tokens": 5 });
    assert_eq!(server.complete(both).0, 400);
}

/// A system message changes the question, so it is rendered or refused.
#[test]
fn a_system_message_is_rendered_or_refused() {
    const LOOP: &str =
        "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}";
    let say = |roles: &[&str]| {
        let said: Vec<Value> = (0..)
            .zip(roles)
            .map(|(n, role)| json!({ "role": role, "content": format!("the {n}") }))
            .collect();
        json!({ "messages": said, "max_tokens": 2 })
    };
    let refuses = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system here') }}{% endif %}\
        {{ m.content }}{% endfor %}";
    let first =
        format!("{{% if messages[0].role == 'system' %}}{{{{ messages[0].content }}}}{{% endif %}}{LOOP}");
    for (template, roles, words) in [
        (LOOP, &["system", "user"][..], "passes over system messages"),
        (refuses, &["system", "user"], "refuses a system message"),
        (
            &first,
            &["user", "assistant", "system", "user"],
            "passes over system messages",
        ),
        (
            &first,
            &["system", "system", "user"],
            "passes over system messages",
        ),
        (&first, &["system", "user"], ""),
    ] {
        let model = Changed::long(4096);
        std::fs::write(model.path().join("chat_template.jinja"), template).unwrap();
        let server = Server::with(model.path(), &[]);
        assert_eq!(server.chat(say(&["user"])).0, 200);
        let (status, answer) = server.chat(say(roles));
        let error = &answer["error"];
        if words.is_empty() {
            assert_eq!(status, 200, "{answer}");
            continue;
        }
        assert_eq!(
            (status, &error["param"]),
            (400, &json!("messages")),
            "{roles:?} {answer}"
        );
        assert!(error["message"].as_str().unwrap().contains(words), "{answer}");
    }
}
