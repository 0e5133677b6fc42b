//! What programs of others send to `ewe serve`, field by field: Open WebUI's requests, and those of
//! client libraries.

use serde_json::{Value, json};

use crate::golden::Changed;
use crate::server::{Server, answer};

/// A template in the style of Qwen, short enough for the tests.
const TEMPLATE: &str = "{{ bos_token }}{% if tools %}{% for tool in tools %}t{{ tool.function.name }}{% endfor %}{% endif %}\
    {% for m in messages %}{{ m.role[0] }}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }}\
    </tool_call>{% endfor %}\n{% endfor %}{% if add_generation_prompt %}a{% endif %}";

fn served(options: &[&str]) -> (Changed, Server) {
    let model = Changed::writing_json(4096);
    std::fs::write(model.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    let server = Server::with(model.path(), options);
    (model, server)
}

/// A function as Pydantic's schemas describe it: with definitions that its fields refer to.
fn herd() -> Value {
    json!({ "type": "function", "function": { "name": "herd", "description": "A herd.", "strict": true, "parameters": {
        "$defs": { "Animal": { "title": "Animal", "description": "An animal.", "type": "object", "additionalProperties": false,
            "properties": { "kind": { "enum": ["a", "b"], "title": "Kind", "type": "string" },
                "age": { "maximum": 99, "minimum": 0, "title": "Age", "type": "integer" } }, "required": ["kind", "age"] } },
        "title": "Herd", "type": "object", "additionalProperties": false, "required": ["animals"],
        "properties": { "animals": { "items": { "$ref": "#/$defs/Animal" }, "maxItems": 2, "minItems": 1, "title": "Animals",
            "type": "array" } },
    } } })
}

fn with(mut body: Value, change: Value) -> Value {
    let Value::Object(change) = change else {
        panic!("no object: {change}")
    };
    body.as_object_mut().unwrap().extend(change);
    body
}

#[test]
fn open_webui_is_answered() {
    let site = "http://localhost:3000";
    let (_model, server) = served(&["--allow-origin", site]);
    let ask = |method: &str, path: &str, head: &str, body: &str| {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer open sesame\r\n{head}\
             content-length: {}\r\n\r\n{body}",
            server.address,
            body.len()
        );
        answer(server.raw(request.as_bytes()))
    };
    let user = "x-openwebui-user-name: Ada%20L\r\nx-openwebui-user-id: 1\r\nx-openwebui-user-email: a@b.c\r\n\
        x-openwebui-user-role: admin\r\nx-openwebui-chat-id: 2\r\ncontent-type: application/json\r\n";
    // Its backend lists the models, once for the connection and once for each chat.
    let (status, _, list) = ask("GET", "/v1/models", user, "");
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(status, 200);
    let model = list["data"][0]["id"].as_str().unwrap();
    // Its page does so itself for direct connections, after asking whether it may.
    let asks = format!(
        "origin: {site}\r\naccess-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n"
    );
    let (status, head, _) = ask("OPTIONS", "/v1/chat/completions", &asks, "");
    assert!(
        status == 204 && head.contains("access-control-allow-headers: authorization,content-type"),
        "{head}"
    );
    let said = json!([{ "role": "system", "content": "b" }, { "role": "user", "content": "the" }]);
    let chat = json!({ "model": model, "messages": said, "stream": true, "stream_options": { "include_usage": true } });
    let settings = json!({ "temperature": 0.8, "top_p": 0.9, "min_p": 0.1, "max_tokens": 4, "frequency_penalty": 0.1,
        "presence_penalty": 0.1, "seed": 1, "stop": ["zz"], "logit_bias": { "5": 1 }, "reasoning_effort": "medium",
        "top_k": 5, "repeat_penalty": 1.1, "response_format": { "type": "text" } });
    let events = server.stream("/v1/chat/completions", with(chat.clone(), settings));
    assert_eq!(events.last().unwrap()["usage"]["completion_tokens"], 4);
    let (status, head, body) = ask(
        "POST",
        "/v1/chat/completions",
        &format!("origin: {site}\r\n{user}"),
        &with(chat.clone(), json!({ "max_tokens": 2 })).to_string(),
    );
    assert!(
        status == 200 && head.contains(&format!("access-control-allow-origin: {site}")),
        "{status} {head} {body}"
    );
    // Titles, tags, follow-ups, queries and completions of what is being typed.
    for more in [
        json!({ "max_completion_tokens": 3 }),
        json!({ "max_tokens": 3, "temperature": 0.1 }),
    ] {
        let task = json!({ "model": model, "messages": [{ "role": "user", "content": "### Task:\nthe" }], "stream": false });
        let (status, answer) = server.chat(with(task, more));
        assert!(
            status == 200 && answer["choices"][0]["message"]["content"].is_string(),
            "{answer}"
        );
    }
    // Native calls of tools, whose results go back in the next request.
    let tools = json!({ "tools": [herd()], "max_tokens": 4 });
    server.stream("/v1/chat/completions", with(chat.clone(), tools.clone()));
    let called = json!([{ "role": "user", "content": "the" },
        { "role": "assistant", "content": "", "tool_calls": [{ "index": 0, "id": "abc", "type": "function",
            "function": { "name": "herd", "arguments": "{\"animals\": []}" } }] },
        { "role": "tool", "tool_call_id": "abc", "content": "75" }]);
    let body = with(with(chat, tools), json!({ "messages": called }));
    assert!(!server.stream("/v1/chat/completions", body).is_empty());
}

#[test]
fn client_libraries_are_answered() {
    let (_model, server) = served(&[]);
    let said = json!([{ "role": "user", "content": "the" }]);
    let chat = |change: Value| {
        let (status, answer) =
            server.chat(with(json!({ "messages": said, "max_tokens": 3 }), change.clone()));
        assert_eq!(status, 200, "{change} {answer}");
        answer
    };
    // Everything that the `openai` client has parameters for, at its defaults.
    chat(json!({ "messages": [
            { "role": "developer", "content": [{ "type": "text", "text": "b" }] },
            { "role": "user", "name": "ada", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] },
            { "role": "assistant", "content": null, "refusal": "no", "annotations": [], "audio": null, "tool_calls": null },
            { "role": "assistant", "content": [{ "type": "refusal", "refusal": "no" }], "provider_specific_fields": { "a": 1 } },
            { "role": "user", "content": "the" },
        ], "store": false, "metadata": { "a": "b" }, "user": "x", "service_tier": "auto", "safety_identifier": "y",
        "prompt_cache_key": "z", "modalities": ["text"], "verbosity": "medium", "reasoning_effort": "none", "logprobs": true,
        "top_logprobs": 2, "n": 1, "stop": null, "logit_bias": {}, "seed": 1, "response_format": { "type": "text" } }));
    let obfuscated = json!({ "messages": said, "max_tokens": 2,
        "stream_options": { "include_usage": true, "include_obfuscation": true } });
    server.stream("/v1/chat/completions", obfuscated);
    for effort in ["low", "high", "rainbow"] {
        let body = json!({ "messages": said, "max_tokens": 2, "reasoning_effort": effort });
        assert_eq!(server.chat(body).0, 400, "{effort}");
    }
}

#[test]
fn tools_with_definitions_are_called_and_only_those_that_are_allowed() {
    let (_model, server) = served(&[]);
    let validator = jsonschema::validator_for(&herd()["function"]["parameters"]).unwrap();
    let other = json!({ "type": "function", "function": { "name": "add", "parameters": { "type": "object", "properties": {} } } });
    let named = json!({ "type": "function", "function": { "name": "herd" } });
    for choice in [
        json!("required"),
        named.clone(),
        json!({ "type": "allowed_tools", "allowed_tools": { "mode": "required", "tools": [named] } }),
    ] {
        let is_free = choice == "required";
        let tools = if is_free {
            json!([herd()])
        } else {
            json!([other, herd()])
        };
        let (status, answer) = server.chat(
            json!({ "messages": [{ "role": "user", "content": "the" }], "max_tokens": 2500, "seed": 5,
            "tools": tools, "tool_choice": choice, "parallel_tool_calls": false }),
        );
        assert_eq!(status, 200, "{answer}");
        let function = &answer["choices"][0]["message"]["tool_calls"][0]["function"];
        assert_eq!(function["name"], "herd", "{answer}");
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        assert!(validator.is_valid(&arguments), "{arguments}");
    }
}

#[test]
fn other_endpoints_say_what_is_there_instead() {
    let server = Server::start("gemma3");
    for (path, code, words) in [
        (
            "/v1/responses",
            json!("unsupported_endpoint"),
            "/v1/chat/completions",
        ),
        (
            "/v1/messages",
            json!("unsupported_endpoint"),
            "/v1/chat/completions",
        ),
        ("/chat/completions", Value::Null, "ends in /v1"),
        ("/models", Value::Null, "ends in /v1"),
        ("/api/chat", Value::Null, "POST /v1/completions"),
    ] {
        let (status, answer) = server.ask("POST", path, json!({}));
        assert_eq!(
            (status, &answer["error"]["code"]),
            (404, &code),
            "{path}: {answer}"
        );
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(words) && message.contains(path), "{message}");
    }
}
