use super::*;

fn of(json: &str) -> Result<Exchange, String> {
    exchange(&Json::of(json).unwrap().elements().unwrap())
}

#[test]
fn roles_of_every_dialect() {
    for (json, system) in [
        (
            r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]"#,
            None,
        ),
        (
            r#"[{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]"#,
            None,
        ),
        (
            r#"[{"from": "system", "value": "s"}, {"from": "Human", "value": "q"}, {"from": "gpt", "value": "a"}]"#,
            Some("s"),
        ),
        (
            r#"[{"role": "developer", "content": "s"}, {"role": "user", "content": "q"}, {"role": "model", "content": "a"}]"#,
            Some("s"),
        ),
        (
            r#"[{"role": "system", "content": " "}, {"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "assistant", "content": ["a"]}]"#,
            None,
        ),
    ] {
        let exchange = of(json).unwrap();
        assert_eq!(exchange.system.as_deref(), system, "{json}");
        assert_eq!(
            (exchange.user.as_str(), exchange.assistant.as_deref()),
            ("q", Some("a")),
            "{json}"
        );
        assert!(exchange.rest.iter().all(Extra::is_empty), "{json}");
    }
}

#[test]
fn what_else_a_message_says_is_kept() {
    let exchange = of(
        r#"[{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b", "cache_control": {}}], "name": "Ann"},
           {"role": "assistant", "content": "c", "tool_calls": [{"id": 1}], "weight": 0, "refusal": null}]"#,
    )
    .unwrap();
    assert_eq!(exchange.user, "ab");
    assert_eq!(
        exchange.rest[0].to_json(),
        r#"{"content":[{"type": "text", "text": "a"}, {"text": "b", "cache_control": {}}],"name":"Ann"}"#
    );
    assert_eq!(
        exchange.rest[1].to_json(),
        r#"{"tool_calls":[{"id": 1}],"weight":0}"#
    );
}

#[test]
fn reasoning_is_kept_apart_from_the_answer() {
    for parts in [
        r#"{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}"#,
        r#"{"type": "reasoning", "text": "hm"}, "a""#,
        r#"{"reasoningContent": {"reasoningText": {"text": "hm"}}}, {"text": "a"}"#,
    ] {
        let exchange = of(&format!(
            r#"[{{"role": "user", "content": "q"}}, {{"role": "assistant", "content": [{parts}]}}]"#
        ))
        .unwrap();
        assert_eq!(exchange.assistant.as_deref(), Some("a"), "{parts}");
        assert_eq!(
            exchange.rest[1].to_json(),
            r#"{"reasoning_content":"hm"}"#,
            "{parts}"
        );
    }
    // A part with other fields is kept whole.
    let exchange = of(
        r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": "x"}, "a"]}]"#,
    )
    .unwrap();
    assert_eq!(
        exchange.rest[1].to_json(),
        r#"{"content":[{"type": "thinking", "thinking": "hm", "signature": "x"}, "a"],"reasoning_content":"hm"}"#
    );
}

#[test]
fn texts_are_conversations() {
    let exchange = of(r#"["q", "a"]"#).unwrap();
    assert_eq!(
        (exchange.user.as_str(), exchange.assistant.as_deref()),
        ("q", Some("a"))
    );
    let exchange = exchange_in_text("\n\nHuman: q\n\nq\n\nAssistant: a\n")
        .unwrap()
        .unwrap();
    assert_eq!(
        (exchange.user.as_str(), exchange.assistant.as_deref()),
        ("q\n\nq", Some("a"))
    );
    let turns = "Human: q\n\nAssistant: a\n\nHuman: r\n\nAssistant: b";
    let exchange = exchange_in_text(turns).unwrap().unwrap();
    assert_eq!(
        exchange.turns,
        [Turn::new("user", "r"), Turn::new("assistant", "b")]
    );
    let turns = "Human: q\n\nAssistant: a\n\nHuman: r\n\nHuman: s";
    let error = exchange_in_text(turns).unwrap().unwrap_err();
    assert!(error.contains("Human, Assistant, Human, Human"), "{error}");
    assert!(exchange_in_text("Human: q").is_none());
}

#[test]
fn what_is_no_exchange_is_named() {
    for (json, what) in [
        ("[]", "without messages"),
        (
            r#"[{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{}]}]"#,
            "calls tools",
        ),
        (
            r#"[{"role": "user", "content": "q"}, {"role": "assistant", "tool_calls": [{}]}]"#,
            "calls tools",
        ),
        (
            r#"[{"role": "user", "content": "q"}, {"role": "assistant"}]"#,
            "`content` is missing",
        ),
        (
            r#"[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]"#,
            "part of type `image_url`",
        ),
        (r#"[{"role": "critic", "content": "q"}]"#, "a message of `critic`"),
        (
            r#"["q", {"role": "user", "content": "q"}]"#,
            "a message is a string",
        ),
        (
            r#"["q", "a", "r", "b", ""]"#,
            "a conversation of user, assistant, user, assistant, user: message 5, of `user`, is empty",
        ),
        (
            r#"[{"from": "human", "value": "q"}, {"from": "function_call", "value": "f(1)"}]"#,
            "a message of `function_call` that is no JSON object",
        ),
        (r#"[{"from": "gpt", "value": "a"}]"#, "a conversation of gpt"),
    ] {
        let error = of(json).unwrap_err();
        assert!(error.contains(what), "{json}: {error}");
    }
}
