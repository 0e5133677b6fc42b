//! The parameters of `ewe serve`: each is implemented, harmless, or refused by name.

use serde_json::{Value, json};

use crate::golden::Changed;
use crate::server::Server;

/// The body of a short completion, changed.
fn completion(change: &Value) -> Value {
    with(
        json!({ "prompt": "the", "max_tokens": 3, "temperature": 0 }),
        change,
    )
}

/// The body of a short chat, changed.
fn chat(change: &Value) -> Value {
    let said = json!([{ "role": "user", "content": "the" }]);
    with(
        json!({ "messages": said, "max_tokens": 3, "temperature": 0 }),
        change,
    )
}

fn with(mut body: Value, change: &Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    body
}

/// A model with a chat template that reads `enable_thinking`, `name` and `reasoning_content`.
const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}{{ m.role[0] }}{{ m.name or '' }} {{ m.reasoning_content or '' }}{{ m.content }}\n{% endfor %}\
    {% if add_generation_prompt %}a {% if enable_thinking is defined and not enable_thinking %}so {% endif %}{% endif %}";

fn templated() -> Changed {
    let model = Changed::long(4096);
    std::fs::write(model.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    model
}

#[track_caller]
fn refused(answer: &(u16, Value), param: &str, code: &str) {
    let (status, body) = answer;
    let error = &body["error"];
    assert_eq!(
        (*status, &error["param"], &error["code"]),
        (400, &json!(param), &json!(code)),
        "{body}"
    );
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(&format!("`{param}`")), "{message}");
}

#[test]
fn unknown_parameters_are_refused_by_name() {
    let model = templated();
    let server = Server::with(model.path(), &[]);
    let unknown = "unknown_parameter";
    for (name, near) in [
        ("temprature", Some("`temperature`")),
        ("maxTokens", Some("`max_tokens`")),
        ("max-tokens", Some("`max_tokens`")),
        ("stop_sequence", Some("`stop_sequences`")),
        ("frequency_penality", Some("`frequency_penalty`")),
        ("repetition_penalties", Some("`repetition_penalty`")),
        ("rainbow", None),
        ("", None),
    ] {
        for answer in [
            server.complete(completion(&json!({ name: 1 }))),
            server.chat(chat(&json!({ name: 1 }))),
        ] {
            refused(&answer, name, unknown);
            let message = answer.1["error"]["message"].as_str().unwrap();
            assert_eq!(
                near.is_some(),
                message.contains("did you mean"),
                "{name}: {message}"
            );
            assert!(near.is_none_or(|near| message.contains(near)), "{message}");
        }
    }
    // Parameters of vLLM, llama.cpp and others.
    for (name, value) in [
        ("grammar", json!("root ::= \"a\"")),
        ("ebnf", json!("root ::= \"a\"")),
        ("bad_words", json!(["a"])),
        ("allowed_token_ids", json!([5])),
        ("include_stop_str_in_output", json!(true)),
        ("skip_special_tokens", json!(false)),
        ("truncate_prompt_tokens", json!(5)),
        ("prompt_logprobs", json!(0)),
        ("use_beam_search", json!(true)),
        ("length_penalty", json!(2)),
        ("return_token_ids", json!(true)),
        ("typical_p", json!(0)),
        ("typical_p", json!(0.5)),
        ("mirostat", json!(2)),
        ("dry_multiplier", json!(0.8)),
        ("xtc_probability", json!(0.5)),
        ("top_n_sigma", json!(1)),
        ("n_probs", json!(3)),
        ("samplers", json!(["top_k"])),
        ("t_max_predict_ms", json!(100)),
        ("do_sample", json!(false)),
        ("no_repeat_ngram_size", json!(3)),
        ("cache_salt", json!("x")),
        ("functions", json!([{}])),
        ("chat_template", json!("{{ messages }}")),
    ] {
        let change = json!({ name: value });
        refused(
            &server.complete(completion(&change)),
            name,
            "unsupported_parameter",
        );
        refused(&server.chat(chat(&change)), name, "unsupported_parameter");
    }
    for (name, value) in [("tools", json!([{}])), ("tool_choice", json!("required"))] {
        let answer = server.complete(completion(&json!({ name: value })));
        refused(&answer, name, "unsupported_parameter");
    }
    for name in [
        "chat_template_kwargs",
        "enable_thinking",
        "continue_final_message",
    ] {
        let value = if name == "chat_template_kwargs" {
            json!({ "a": 1 })
        } else {
            json!(true)
        };
        let answer = server.complete(completion(&json!({ name: value })));
        refused(&answer, name, "unsupported_parameter");
    }
    // Refused requests have not been started.
    assert_eq!(server.figure("ewe_prompt_tokens_total"), 0.0);
}

#[test]
fn unknown_nested_fields_are_refused_by_path() {
    let model = templated();
    let server = Server::with(model.path(), &[]);
    let say = |message: Value| json!({ "messages": [message], "max_tokens": 2 });
    for (body, param) in [
        (
            chat(&json!({ "stream_options": { "include_usge": true } })),
            "stream_options.include_usge",
        ),
        (
            chat(&json!({ "stream_options": { "continuous_usage_stats": true } })),
            "stream_options.continuous_usage_stats",
        ),
        (
            say(json!({ "role": "user", "content": "t", "rainbow": 1 })),
            "messages[0].rainbow",
        ),
        (
            say(json!({ "role": "user", "content": "t", "tool_call_id": "x" })),
            "messages[0].tool_call_id",
        ),
        (
            say(json!({ "role": "assistant", "content": "t", "prefix": true })),
            "messages[0].prefix",
        ),
        (
            say(json!({ "role": "user", "content": [{ "type": "text", "text": "t", "rainbow": 1 }] })),
            "messages[0].content[0].rainbow",
        ),
        (
            say(
                json!({ "role": "user", "content": [{ "type": "text", "text": "t" }, { "type": "image_url", "image_url": {} }] }),
            ),
            "messages[0].content[1]",
        ),
        (
            chat(&json!({ "chat_template_kwargs": { "enable_thinkin": true } })),
            "chat_template_kwargs.enable_thinkin",
        ),
        (
            say(json!({ "role": "assistant", "content": null, "tool_calls": [{}] })),
            "messages[0].tool_calls[0]",
        ),
        (
            say(json!({ "role": "assistant", "content": null, "function_call": {} })),
            "messages[0].function_call",
        ),
        (
            say(json!({ "role": "assistant", "content": null })),
            "messages[0].content",
        ),
    ] {
        let (status, answer) = server.chat(body);
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{answer}"
        );
    }
    let (_, answer) = server.chat(chat(
        &json!({ "chat_template_kwargs": { "enable_thinkin": true } }),
    ));
    assert_eq!(answer["error"]["code"], "unsupported_parameter");
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("`enable_thinkin`") && message.contains("enable_thinking"),
        "{message}"
    );
}

#[test]
fn parameters_without_effect_are_accepted() {
    let model = templated();
    let server = Server::with(model.path(), &[]);
    let plain = server.complete(completion(&json!({}))).1["choices"].take();
    let plain_chat = server.chat(chat(&json!({}))).1["choices"].take();
    for change in [
        json!({ "user": "x", "metadata": { "a": "b" }, "store": true, "service_tier": "auto", "model": "" }),
        json!({ "safety_identifier": "x", "prompt_cache_key": "y", "parallel_tool_calls": false, "priority": 3 }),
        json!({ "cache_prompt": true, "id_slot": 3, "n_keep": -1, "keep_alive": "5m" }),
        json!({ "tools": [], "tool_choice": "none", "response_format": { "type": "text" }, "logit_bias": {} }),
        json!({ "typical_p": 1.0, "mirostat": 0, "mirostat_tau": 5.0, "dry_multiplier": 0.0, "dry_base": 1.75,
            "xtc_probability": 0, "xtc_threshold": 0.1, "tfs_z": 1, "top_n_sigma": -1 }),
        json!({ "use_beam_search": false, "length_penalty": 1.0, "skip_special_tokens": true, "detokenize": true,
            "spaces_between_special_tokens": false, "best_of": 1, "stop_token_ids": [], "min_tokens": 0 }),
        json!({ "suffix": null, "regex": null, "rainbow": null, "stream_options": null }),
        json!({ "top_k": -1, "top_p": 1, "seed": -1, "repeat_penalty": 1.0, "repeat_last_n": 64 }),
    ] {
        let (status, answer) = server.complete(completion(&change));
        assert_eq!((status, &answer["choices"]), (200, &plain), "{change} {answer}");
        let (status, answer) = server.chat(chat(&change));
        assert_eq!(
            (status, &answer["choices"]),
            (200, &plain_chat),
            "{change} {answer}"
        );
    }
    // Fields of ewe's own responses may return in the next request.
    let said = json!([{ "role": "user", "content": "t" },
        { "role": "assistant", "content": "h", "refusal": null, "annotations": [], "audio": null, "function_call": null, "tool_calls": null },
        { "role": "user", "content": [{ "type": "text", "text": "e", "cache_control": { "type": "ephemeral" } }] }]);
    assert_eq!(server.chat(json!({ "messages": said, "max_tokens": 2 })).0, 200);
}

#[test]
fn aliases_of_parameters_work() {
    let model = Changed::long(4096);
    let server = Server::with(model.path(), &[]);
    let text = |change: Value| {
        let body = json!({ "prompt": "the", "max_tokens": 40, "temperature": 0 });
        let (status, answer) = server.complete(with(body, &change));
        assert_eq!(status, 200, "{change} {answer}");
        answer["choices"][0]["text"].as_str().unwrap().to_string()
    };
    let plain = text(json!({}));
    for limit in ["n_predict", "max_new_tokens", "max_completion_tokens"] {
        let body = json!({ "prompt": "the", "temperature": 0, limit: 7 });
        let (_, answer) = server.complete(body);
        assert_eq!(answer["usage"]["completion_tokens"], 7, "{limit} {answer}");
        // Two different limits are refused.
        let both = json!({ "prompt": "the", "max_tokens": 3, limit: 7 });
        assert_eq!(server.complete(both).0, 400, "{limit}");
    }
    let stop: String = plain.chars().skip(3).take(2).collect();
    assert_eq!(
        text(json!({ "stop_sequences": [stop] })),
        text(json!({ "stop": stop }))
    );
    assert!(text(json!({ "stop_sequences": [stop] })).len() < plain.len());
    // vLLM's penalty covers all tokens, llama.cpp's the last 64 or `repeat_last_n`.
    let all = text(json!({ "repetition_penalty": 1.7 }));
    assert_ne!(all, plain);
    assert_eq!(text(json!({ "repeat_penalty": 1.7, "repeat_last_n": -1 })), all);
    assert_eq!(text(json!({ "repeat_penalty": 1.7 })), all);
    assert_eq!(text(json!({ "repeat_penalty": 1.7, "repeat_last_n": 0 })), plain);
    let few = text(json!({ "repeat_penalty": 1.7, "repeat_last_n": 3 }));
    assert!(few != all && few != plain, "{few}");
    let both = json!({ "prompt": "the", "repeat_penalty": 1.7, "repetition_penalty": 1.1 });
    assert_eq!(server.complete(both).0, 400);
    // The begin-of-text token is the prompt's first, unless it is not wanted.
    let tokens = |special: Value| {
        let (_, answer) = server.complete(completion(&json!({ "add_special_tokens": special })));
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert_eq!(tokens(json!(true)), tokens(json!(null)));
    assert_eq!(tokens(json!(true)), tokens(json!(false)) + 1);
}

#[test]
fn min_tokens_is_honored() {
    let server = Server::start("gemma3");
    let ask = |change: Value| {
        let body = json!({ "prompt": "the", "max_tokens": 30, "temperature": 0 });
        server.complete(with(body, &change))
    };
    let (_, plain) = ask(json!({}));
    let text = plain["choices"][0]["text"].as_str().unwrap();
    // A stop string is matched only after the minimum number of tokens.
    let stop: String = text.chars().take(1).collect();
    let (_, stopped) = ask(json!({ "stop": stop }));
    assert_eq!(stopped["choices"][0]["text"], "");
    let (_, later) = ask(json!({ "stop": stop, "min_tokens": 5 }));
    let later_text = later["choices"][0]["text"].as_str().unwrap();
    assert!(
        text.starts_with(later_text) && later_text.chars().count() >= 4,
        "{later}"
    );
    // Where the model would end the text, another token is drawn.
    for seed in 0..40 {
        let body =
            json!({ "prompt": "the", "max_tokens": 12, "min_tokens": 12, "temperature": 3, "seed": seed });
        let (status, answer) = server.complete(body);
        assert_eq!(
            (status, &answer["usage"]["completion_tokens"]),
            (200, &json!(12)),
            "{answer}"
        );
    }
    let (status, refused) = ask(json!({ "min_tokens": 31 }));
    assert_eq!(
        (status, &refused["error"]["param"]),
        (400, &json!("min_tokens")),
        "{refused}"
    );
}

/// Asserts that a chat answers as a completion of `text` does, the text that its template must have
/// rendered.
#[track_caller]
fn answers_as(server: &Server, change: Value, messages: &Value, text: &str) {
    let chat = json!({ "messages": messages, "max_tokens": 8, "temperature": 0 });
    let (status, answer) = server.chat(with(chat, &change));
    assert_eq!(status, 200, "{change} {answer}");
    let (_, plain) = server
        .complete(json!({ "prompt": text, "add_special_tokens": false, "max_tokens": 8, "temperature": 0 }));
    assert_eq!(
        answer["usage"]["prompt_tokens"], plain["usage"]["prompt_tokens"],
        "{change} {text:?}"
    );
    assert_eq!(
        answer["choices"][0]["message"]["content"],
        plain["choices"][0]["text"]
    );
}

#[test]
fn template_variables_reach_the_chat_template() {
    let model = templated();
    let server = Server::with(model.path(), &[]);
    let user = json!([{ "role": "user", "content": "the" }]);
    answers_as(&server, json!({}), &user, "<bos>u the\na ");
    let off = json!({ "chat_template_kwargs": { "enable_thinking": false } });
    answers_as(&server, off, &user, "<bos>u the\na so ");
    answers_as(
        &server,
        json!({ "enable_thinking": false }),
        &user,
        "<bos>u the\na so ",
    );
    answers_as(
        &server,
        json!({ "add_generation_prompt": false }),
        &user,
        "<bos>u the\n",
    );
    let begun = json!([{ "role": "user", "content": "the" }, { "role": "assistant", "content": "in t" }]);
    let goes_on = json!({ "continue_final_message": true, "add_generation_prompt": false });
    answers_as(&server, goes_on, &begun, "<bos>u the\na in t");
    answers_as(
        &server,
        json!({ "continue_final_message": true }),
        &begun,
        "<bos>u the\na in t",
    );
    answers_as(&server, json!({}), &begun, "<bos>u the\na in t\na ");
    let named = json!([{ "role": "user", "name": "t", "content": "the" },
        { "role": "assistant", "reasoning_content": "he", "content": "in" }, { "role": "user", "content": "at" }]);
    answers_as(&server, json!({}), &named, "<bos>ut the\na hein\nu at\na ");

    for (change, messages, param) in [
        (
            json!({ "continue_final_message": true }),
            &user,
            "continue_final_message",
        ),
        (
            json!({ "continue_final_message": true, "add_generation_prompt": true }),
            &begun,
            "continue_final_message",
        ),
        (
            json!({ "chat_template_kwargs": { "messages": [] } }),
            &user,
            "chat_template_kwargs.messages",
        ),
        (
            json!({ "chat_template_kwargs": 5 }),
            &user,
            "chat_template_kwargs",
        ),
        (json!({ "reasoning_effort": "high" }), &user, "reasoning_effort"),
        (
            json!({ "enable_thinking": true, "chat_template_kwargs": { "enable_thinking": false } }),
            &user,
            "enable_thinking",
        ),
    ] {
        let (status, answer) = server.chat(with(json!({ "messages": messages }), &change));
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{change} {answer}"
        );
    }
}

#[test]
fn template_variables_without_a_template_are_refused() {
    let long = Changed::long(4096);
    let server = Server::with(long.path(), &[]);
    for (change, param) in [
        (
            json!({ "chat_template_kwargs": { "enable_thinking": false } }),
            "chat_template_kwargs.enable_thinking",
        ),
        (json!({ "enable_thinking": false }), "enable_thinking"),
        (
            json!({ "messages": [{ "role": "user", "content": "t", "name": "x" }] }),
            "messages[0].name",
        ),
    ] {
        let answer = server.chat(chat(&change));
        refused(&answer, param, "unsupported_parameter");
        let message = answer.1["error"]["message"].as_str().unwrap();
        assert!(message.contains("no chat template"), "{change} {message}");
    }
    let tokens = |change: Value| {
        let (status, answer) = server.chat(chat(&change));
        assert_eq!(status, 200, "{answer}");
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    assert!(tokens(json!({})) > tokens(json!({ "add_generation_prompt": false })));
}

#[test]
fn meaningless_values_are_refused() {
    let server = Server::start("gemma3");
    for (change, param) in [
        (
            json!({ "stream_options": { "include_usage": true } }),
            "stream_options",
        ),
        (json!({ "stream_options": {}, "stream": false }), "stream_options"),
        (json!({ "stop": "" }), "stop"),
        (json!({ "stop": ["x", ""] }), "stop"),
        (json!({ "stop_sequences": [""] }), "stop_sequences"),
    ] {
        for (status, answer) in [server.complete(completion(&change)), server.chat(chat(&change))] {
            let error = &answer["error"];
            assert_eq!(
                (status, &error["param"]),
                (400, &json!(param)),
                "{change} {answer}"
            );
        }
    }
}
