//! Tools of `ewe serve`: how they reach the template, how calls are forced and read, and how their
//! results come back.

use serde_json::{Value, json};

use crate::golden::Changed;
use crate::server::Server;

/// A template in the style of Qwen, short enough for the tests.
const TEMPLATE: &str = "{{ bos_token }}{% if tools %}{% for tool in tools %}t{{ tool.function.name }}{% endfor %}{% endif %}\
    {% for m in messages %}{{ m.role[0] }}{{ m.content }}{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }}\
    {{ call.function.arguments.a }}</tool_call>{% endfor %}\n{% endfor %}{% if add_generation_prompt %}a{% endif %}";

fn served() -> (Changed, Server) {
    let model = Changed::writing_json(4096);
    std::fs::write(model.path().join("chat_template.jinja"), TEMPLATE).unwrap();
    let server = Server::with(model.path(), &[]);
    (model, server)
}

fn tools() -> Value {
    let tool = |name: &str, parameters: Value| json!({ "type": "function", "function": { "name": name, "parameters": parameters } });
    let one = json!({ "type": "object", "properties": { "a": { "type": "integer", "minimum": 0, "maximum": 99 } },
        "required": ["a"], "additionalProperties": false });
    json!([
        tool("add", one),
        tool(
            "now",
            json!({ "type": "object", "properties": {}, "additionalProperties": false })
        )
    ])
}

fn chat(change: &Value) -> Value {
    let said = json!([{ "role": "user", "content": "the" }]);
    let mut body = json!({ "messages": said, "max_tokens": 900, "tools": tools(), "seed": 3 });
    body.as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    body
}

#[test]
fn a_call_that_is_required_is_made() {
    let (_model, server) = served();
    let validator = jsonschema::validator_for(&tools()[0]["function"]["parameters"]).unwrap();
    let named = json!({ "type": "function", "function": { "name": "add" } });
    for seed in 0..4 {
        let (status, answer) = server.chat(chat(&json!({ "tool_choice": named, "seed": seed })));
        let choice = &answer["choices"][0];
        assert_eq!(
            (status, &choice["finish_reason"]),
            (200, &json!("tool_calls")),
            "{answer}"
        );
        assert_eq!(choice["message"]["content"], Value::Null);
        let call = &choice["message"]["tool_calls"][0];
        assert_eq!(
            (&call["type"], &call["function"]["name"]),
            (&json!("function"), &json!("add"))
        );
        assert_eq!(call["id"].as_str().unwrap().len(), 9);
        let arguments: Value = serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
        assert!(validator.is_valid(&arguments), "{arguments}");
    }
    let required = json!({ "tool_choice": "required", "parallel_tool_calls": false, "temperature": 0 });
    let (status, answer) = server.chat(chat(&required));
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    assert_eq!((status, calls.len()), (200, 1), "{answer}");
    let name = calls[0]["function"]["name"].as_str().unwrap();
    assert!(["add", "now"].contains(&name), "{answer}");
    // Streamed, the parts join to the same.
    let events = server.stream("/v1/chat/completions", chat(&required));
    let deltas = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array());
    let (mut streamed, mut arguments) = (String::new(), String::new());
    for call in deltas.flatten() {
        assert_eq!(call["index"], 0);
        streamed += call["function"]["name"].as_str().unwrap_or_default();
        arguments += call["function"]["arguments"].as_str().unwrap();
    }
    assert_eq!(
        (streamed.as_str(), &json!(arguments)),
        (name, &calls[0]["function"]["arguments"])
    );
    let last = &events.last().unwrap()["choices"][0];
    assert_eq!(last["finish_reason"], "tool_calls");
    // The arguments of a named tool come as they are generated.
    let events = server.stream("/v1/chat/completions", chat(&json!({ "tool_choice": named })));
    let parts = events
        .iter()
        .filter(|event| event["choices"][0]["delta"].get("tool_calls").is_some());
    assert!(parts.count() > 1);
}

#[test]
fn a_model_may_call_or_answer() {
    let (_model, server) = served();
    let plain = server
        .chat(chat(&json!({ "temperature": 0, "max_tokens": 20 })))
        .1;
    let message = &plain["choices"][0]["message"];
    assert!(
        message["content"].is_string() && message.get("tool_calls").is_none(),
        "{plain}"
    );
    // The template has the tools, unless none may be called.
    let tokens = |change: Value| {
        server.chat(chat(&change)).1["usage"]["prompt_tokens"]
            .as_u64()
            .unwrap()
    };
    let none = tokens(json!({ "tool_choice": "none", "max_tokens": 1 }));
    assert_eq!(none, tokens(json!({ "tools": [], "max_tokens": 1 })));
    assert!(tokens(json!({ "max_tokens": 1 })) > none);
    // A text with such a mark may be written here, as nothing but text.
    let written = "<tool_call>{\"name\": \"add\", \"arguments\": {\"a\": 5}}</tool_call>";
    let text = server.complete(json!({ "prompt": "the", "guided_choice": [written], "max_tokens": 200 }));
    assert_eq!(text.1["choices"][0]["text"], written);
}

#[test]
fn results_come_back() {
    let (_model, server) = served();
    let said = json!([
        { "role": "user", "content": "the" },
        { "role": "assistant", "content": null, "tool_calls":
            [{ "id": "abcdefghi", "type": "function", "function": { "name": "add", "arguments": "{\"a\": 57}" } }] },
        { "role": "tool", "tool_call_id": "abcdefghi", "content": "75" },
    ]);
    let body = |messages: &Value| json!({ "messages": messages, "max_tokens": 1, "tools": tools() });
    let (status, answer) = server.chat(body(&said));
    assert_eq!(status, 200, "{answer}");
    // The template reads arguments as an object.
    let mut other = said.clone();
    other[1]["tool_calls"][0]["function"]["arguments"] = json!("{\"a\": 5}");
    let tokens = |answer: &Value| answer["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(tokens(&answer), tokens(&server.chat(body(&other)).1) + 1);
    for (change, param) in [
        (
            json!({ "role": "tool", "content": "x" }),
            "messages[0].tool_call_id",
        ),
        (
            json!({ "role": "assistant", "content": null, "tool_calls": [{ "function": {} }] }),
            "messages[0].tool_calls[0]",
        ),
        (
            json!({ "role": "user", "content": "x", "tool_call_id": "y" }),
            "messages[0].tool_call_id",
        ),
    ] {
        let (status, answer) = server.chat(json!({ "messages": [change] }));
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!(param)),
            "{answer}"
        );
    }
}

#[test]
fn tools_that_would_be_lost_are_refused() {
    let model = Changed::writing_json(4096);
    let plain = "{% for m in messages %}{{ m.content }}{% endfor %}";
    std::fs::write(model.path().join("chat_template.jinja"), plain).unwrap();
    let server = Server::with(model.path(), &[]);
    let (status, answer) = server.chat(chat(&json!({})));
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("tools")),
        "{answer}"
    );
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.contains("hint: "), "{message}");
    let result = json!([{ "role": "tool", "tool_call_id": "x", "content": "y" }]);
    let (status, answer) = server.chat(json!({ "messages": result }));
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!("messages[0].role")),
        "{answer}"
    );
    let (_model, server) = served();
    let bad = json!([{ "type": "function", "function": { "name": "x",
        "parameters": { "type": "object", "properties": { "a": { "type": "strin" } } } } }]);
    let (status, answer) = server.chat(chat(&json!({ "tools": bad })));
    let param = "tools[0].function.parameters.properties.a.type";
    assert_eq!(
        (status, &answer["error"]["param"]),
        (400, &json!(param)),
        "{answer}"
    );
}

/// A format and tools: the answer has the format or is a call, as the model decides.
#[test]
fn a_model_may_call_or_answer_in_a_format() {
    let (model, server) = served();
    let vocab: Value =
        serde_json::from_str(&std::fs::read_to_string(model.path().join("tokenizer.json")).unwrap()).unwrap();
    let bias = |letter: &str| json!({ vocab["model"]["vocab"][letter].to_string(): 100 });
    let schema = json!({ "type": "object", "properties": { "sum": { "type": "integer", "minimum": 0, "maximum": 9 } },
        "required": ["sum"], "additionalProperties": false });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "sum", "schema": schema } });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let choice = |change: Value| {
        let (status, answer) = server.chat(chat(&change));
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0].clone()
    };
    for seed in 0..3 {
        let ask = json!({ "response_format": format, "logit_bias": bias("{"), "seed": seed });
        let answer = choice(ask);
        let text = answer["message"]["content"].as_str().unwrap();
        assert!(
            validator.is_valid(&serde_json::from_str(text).unwrap()),
            "{answer}"
        );
        assert_eq!(
            (
                answer["finish_reason"].as_str(),
                answer["message"].get("tool_calls")
            ),
            (Some("stop"), None)
        );
    }
    // Nothing but the mark of a call may begin with this letter.
    let ask =
        json!({ "response_format": format, "logit_bias": bias("<"), "max_tokens": 11, "temperature": 0 });
    let begun = choice(ask);
    let text = begun["message"]["content"].as_str().unwrap();
    assert!(
        "<tool_call>".starts_with(text.trim()) || text.trim().starts_with("<tool_call>"),
        "{begun}"
    );
    // Where a tool must be called, it is, whatever the format.
    let named = json!({ "type": "function", "function": { "name": "add" } });
    let called = choice(json!({ "response_format": format, "tool_choice": named }));
    assert_eq!(called["finish_reason"], "tool_calls", "{called}");
    let none = choice(json!({ "response_format": format, "tool_choice": "none" }));
    let text = none["message"]["content"].as_str().unwrap();
    assert!(validator.is_valid(&serde_json::from_str(text).unwrap()), "{none}");
    let bad = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": { "not": {} } } });
    let (status, answer) = server.chat(chat(&json!({ "response_format": bad })));
    let param = answer["error"]["param"].as_str().unwrap();
    assert!(status == 400 && param.starts_with("response_format"), "{answer}");
}
