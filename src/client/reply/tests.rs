//! Responses in many forms.

use super::*;
use serde_json::json;

/// The sampling of a request for this many tokens.
fn sampling(max_tokens: usize) -> Sampling {
    Sampling {
        max_tokens,
        ..Sampling::default()
    }
}

/// Reads a response. Returns text and finish reason, or the kind of failure and its message.
pub(super) fn told(body: Value) -> (String, String) {
    match read(body.to_string().as_bytes()).map(|reply| reply.completion(&sampling(100))) {
        Ok(Completion {
            refusal: Some(words), ..
        }) => ("refused".to_string(), words),
        Ok(completion) => (completion.text, completion.finish_reason.as_str().to_string()),
        Err(RequestFailure::Transient(passing)) => (format!("{:?}", passing.kind), passing.error),
        Err(RequestFailure::Permanent(other)) => ("final".to_string(), other.to_string()),
    }
}

#[test]
fn answers_are_read() {
    let body = br#"{"choices":[{"text":" Rome","finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}"#;
    let rome = read(body).unwrap();
    assert_eq!(
        (rome.text.as_str(), &rome.end, rome.prompt_tokens),
        (" Rome", &End::Length, 3)
    );
    let chat = json!({"choices": [{"message": {"role": "assistant", "content": "Rome"}}]});
    assert_eq!(told(chat), ("Rome".into(), "stop".into()));
    // Duplicates, in any order: the first with index 0.
    let several =
        json!({"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}, {"index": 0, "text": "c"}]});
    assert_eq!(told(several).0, "a");
}

#[test]
fn a_choice_is_found_wherever_it_is() {
    let answer = json!({"choices": [{"index": 0, "text": "Rome"}]});
    for body in [
        json!({"choices": [{"index": 1, "text": "Rome"}]}),
        json!({"choices": [{"index": "0", "text": "Rome"}]}),
        json!({"choices": {"index": 0, "text": "Rome"}}),
        json!({"choices": [null, {"text": "Rome"}]}),
        json!({"choices": ["Rome"]}),
        json!({"data": answer}),
        json!({"result": answer, "success": true, "errors": []}),
        json!({"code": 0, "error": {}, "data": {"response": answer}}),
        json!({"payload": answer, "error": false}),
        json!([answer]),
        json!({"message": {"role": "assistant", "content": "Rome"}, "done": true}),
        json!({"response": "Rome", "done": true, "done_reason": "stop"}),
        json!({"candidates": [{"content": {"parts": [{"text": "Rome"}], "role": "model"}, "finishReason": "STOP"}]}),
        json!([{"generated_text": "Rome"}]),
    ] {
        assert_eq!(told(body.clone()), ("Rome".into(), "stop".into()), "{body}");
    }
}

#[test]
fn the_first_text_that_says_something_counts() {
    let full = json!({"role": "assistant", "content": "Rome"});
    for choice in [
        json!({"message": full, "delta": {"content": ""}}),
        json!({"message": full, "delta": null}),
        json!({"message": null, "delta": full}),
        json!({"message": {"content": ""}, "delta": full}),
        json!({"text": "", "message": full}),
        json!({"text": null, "message": full}),
        json!({"text": false, "message": full}),
        json!({"message": {"content": null, "text": "Rome"}}),
        json!({"message": {"parts": [{"text": "Ro"}, {"text": "me"}]}}),
        json!({"messages": [full]}),
        json!({"content": "Rome"}),
        json!({"message": "Rome"}),
    ] {
        assert_eq!(told(json!({"choices": [choice]})).0, "Rome", "{choice}");
    }
    for (end, wanted) in [
        (r#""finish_reason": "length", "finishReason": null"#, "length"),
        (r#""finish_reason": null, "finishReason": "MAX_TOKENS""#, "length"),
        (r#""finish_reason": "length", "finish_reason": null"#, "length"),
        (
            r#""index": 0, "index": 0, "finish_reason": "stop", "finishReason": "STOP""#,
            "stop",
        ),
    ] {
        let body = format!(
            r#"{{"usage": null, "choices": [], "choices": [{{"text": "t", {end}}}], "usage": {{"prompt_tokens": 3}}}}"#
        );
        let reply = read(body.as_bytes()).unwrap();
        assert_eq!(reply.prompt_tokens, 3);
        assert_eq!(
            reply.completion(&sampling(100)).finish_reason.as_str(),
            wanted,
            "{end}"
        );
    }
}

#[test]
fn a_stream_is_one_answer_if_it_is_whole() {
    let delta = |text: &str, end: Value| {
        json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": end}]}).to_string()
    };
    let events = |deltas: &[String]| {
        deltas
            .iter()
            .map(|delta| format!("data: {delta}\n\n"))
            .collect::<String>()
    };
    let (ro, me) = (delta("Ro", Value::Null), delta("me", Value::Null));
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}).to_string();
    let end = |word: &str| delta("", word.into());
    let whole = json!({"choices": [{"index": 0, "message": {"content": "Rome"}, "finish_reason": "stop"}]})
        .to_string();
    for stream in [
        events(&[ro.clone(), me.clone(), end("stop"), usage.clone()]) + "data: [DONE]\n\n",
        events(&[ro.clone(), me.clone(), end("stop")]),
        events(&[ro.clone(), me.clone()]) + "data: [DONE]",
        events(&[delta("Ro", "null".into()), delta("me", "stop".into())]),
        events(&[ro.clone(), me.clone(), whole.clone()]),
        events(std::slice::from_ref(&whole)),
        format!("{ro}\n{me}\n{}\n", end("stop")),
        format!("[{ro},{me},{}]", end("stop")),
        format!("{whole}{whole}"),
        "{\"message\":{\"content\":\"Ro\"},\"done\":false}\n{\"message\":{\"content\":\"me\"},\"done\":true}\n".to_string(),
    ] {
        let reply = read(stream.as_bytes()).unwrap();
        assert_eq!((reply.text.as_str(), reply.prompt_tokens), ("Rome", 3 * usize::from(stream.contains("usage"))), "{stream}");
    }
    let cut = events(&[ro.clone(), me.clone(), end("length")]);
    assert_eq!(read(cut.as_bytes()).unwrap().end, End::Length);
    for half in [
        events(&[ro.clone(), me.clone()]),
        events(std::slice::from_ref(&ro)) + "data: {\"choices\": [{\"del",
        events(&[
            ro.clone(),
            json!({"error": {"message": "upstream is gone"}}).to_string(),
        ]) + "data: [DONE]",
    ] {
        assert!(read(half.as_bytes()).is_err(), "{half}");
    }
}

#[test]
fn what_was_asked_for_as_json_comes_in_many_shapes() {
    let held = Sampling {
        schema: Some(json!({})),
        ..sampling(100)
    };
    let tasks = json!([{"instruction": "Name it.", "input": "", "output": "Rome"}]);
    let list = json!({"tasks": tasks});
    for (message, wanted) in [
        (json!({"content": list}), &list),
        (json!({"content": tasks}), &tasks),
        (json!({"content": [list]}), &json!([list])),
        (
            json!({"content": null, "tool_calls": [{"function": {"name": "answer", "arguments": list.to_string()}}]}),
            &list,
        ),
        (
            json!({"content": "", "tool_calls": [{"function": {"name": "answer", "arguments": list}}]}),
            &list,
        ),
        (
            json!({"function_call": {"name": "answer", "arguments": list.to_string()}}),
            &list,
        ),
    ] {
        let body = json!({"choices": [{"message": message, "finish_reason": "tool_calls"}]}).to_string();
        let reply = read(body.as_bytes()).unwrap();
        let completion = reply.clone().completion(&held);
        assert_eq!(
            (completion.text, completion.refusal),
            (wanted.to_string(), None),
            "{body}"
        );
        // Without a schema, a tool call is no answer.
        let called = reply.arguments.is_empty();
        assert_eq!(
            reply.completion(&sampling(100)).refusal.is_none(),
            called,
            "{body}"
        );
    }
}

#[test]
fn content_comes_in_many_shapes() {
    for content in [
        json!("Rome"),
        json!([{"type": "text", "text": "Ro"}, {"type": "text", "text": "me"}]),
        json!([{"type": "output_text", "text": "Rome", "annotations": []}]),
        json!([{"type": "text", "text": {"value": "Rome", "annotations": []}}]),
        json!(["Ro", "me"]),
        json!({"text": "Rome"}),
        json!({"parts": [{"text": "Rome"}], "role": "model"}),
        json!([{"thought": true, "text": "hm"}, {"text": "Rome"}]),
        json!([{"type": "text", "text": ""}, {"type": "reference", "reference_ids": [1]}, {"text": "Rome"}]),
        json!([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "Rome"}]),
        json!([{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "Rome"}]),
    ] {
        for body in [
            json!({"choices": [{"message": {"content": content}}]}),
            json!({"choices": [{"text": content}]}),
            json!({"choices": [{"delta": {"content": content}}]}),
        ] {
            assert_eq!(told(body.clone()).0, "Rome", "{body}");
        }
    }
}

#[test]
fn reasoning_is_apart_from_the_text() {
    for message in [
        json!({"content": "Rome", "reasoning_content": "hm"}),
        json!({"content": "Rome", "reasoning": "hm"}),
        json!({"content": "Rome", "reasoning": "hm", "reasoning_content": "hm"}),
        json!({"content": "Rome", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        json!({"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Rome"}]}),
        json!({"content": [{"thought": true, "text": "hm"}, {"text": "Rome"}]}),
        json!({"content": "Rome", "reasoning_content": null, "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}),
        json!({"content": "Rome", "reasoning_content": "", "reasoning": {"effort": "low", "content": "hm"}}),
    ] {
        let reply = read(
            json!({"choices": [{ "message": message }]})
                .to_string()
                .as_bytes(),
        )
        .unwrap();
        assert_eq!((reply.text.as_str(), reply.reasoning.as_str()), ("Rome", "hm"));
    }
    let nothing =
        json!({"choices": [{"message": {"content": null, "reasoning": "hm"}, "finish_reason": "length"}]});
    let reply = read(nothing.to_string().as_bytes()).unwrap();
    assert!(!reply.has_text);
    let empty = reply.completion(&sampling(100)).emptiness().unwrap();
    assert!(empty.contains("reasoning used up"), "{empty}");
}

#[test]
fn what_is_no_answer_to_be_read_is_said() {
    for message in [
        json!({"content": null, "refusal": "I will not."}),
        json!({"content": [{"type": "refusal", "refusal": "I will not."}]}),
    ] {
        let refusal = json!({"choices": [{ "message": message }]});
        assert_eq!(
            told(refusal),
            ("refused".into(), "the model refused: 'I will not.'".into())
        );
    }
    let call =
        json!({"choices": [{"message": {"content": null, "tool_calls": []}, "finish_reason": "tool_calls"}]});
    assert!(told(call).1.contains("called a tool"));
}

#[test]
fn odd_counts_are_no_counts() {
    for usage in [
        json!(null),
        json!([]),
        json!({}),
        json!({"prompt_tokens": null}),
        json!({"prompt_tokens": -1}),
        json!({"prompt_tokens": 1e99}),
        json!({"prompt_tokens": u64::MAX}),
        json!({"prompt_tokens": 1.5}),
        json!({"prompt_tokens": "many"}),
    ] {
        let body = json!({"choices": [{"text": "t"}], "usage": usage}).to_string();
        assert_eq!(read(body.as_bytes()).unwrap().prompt_tokens, 0, "{body}");
    }
}

#[test]
fn parts_that_nobody_reads_may_be_anything() {
    let body = |part: &str| format!("{{\"choices\":[{{\"text\":\"t\",\"logprobs\":{part}}}]}}").into_bytes();
    for part in [
        "NaN",
        "[-Infinity]",
        "[1,]",
        "{\"a\": None, 'b': .5}",
        "-nan(ind)",
        "\"\\x41\"",
        "{\"token\":\"\\ud83d\"}",
        "{\"\\ud83d\":1}",
        "\"a\nb\"",
    ] {
        assert_eq!(read(&body(part)).unwrap().text, "t", "{part}");
    }
    let mut raw = body("\"#\"");
    let at = raw.iter().position(|byte| *byte == b'#').unwrap();
    raw[at] = 0xff;
    assert_eq!(read(&raw).unwrap().text, "t");
    let marked = [b"\xef\xbb\xbf".to_vec(), body("1")].concat();
    assert_eq!(read(&marked).unwrap().text, "t");
}

#[test]
fn what_cannot_be_read_is_said() {
    for (body, wanted) in [
        (json!({"choices": []}), "no choices"),
        (json!({"choices": [null]}), "no choices"),
        (
            json!({"choices": null, "error": {"message": "upstream is gone"}}),
            "upstream is gone",
        ),
        (
            json!({"error": {"message": "upstream is gone"}}),
            "upstream is gone",
        ),
        (json!("<html>"), "cannot be read"),
        (json!({"choices": [{"text": true}]}), "cannot be read"),
    ] {
        let (kind, error) = told(body);
        assert!(kind == "Unreadable" && error.contains(wanted), "{kind}: {error}");
    }
    assert!(read(br#"{"choices":[{"text":"Ro"#).is_err());
    assert!(read(b"{\"choices\":[{\"text\":\"\xc3\"}]}").is_err());
    assert_eq!(told(json!({"choices": [{"text": 5}]})).0, "5");
    assert_eq!(
        told(json!({"choices": [{"message": {"content": [{"text": "1"}, {"text": 5}]}}]})).0,
        "15"
    );
    // Nothing is an empty answer.
    assert_eq!(told(json!({"choices": [{"finish_reason": "stop"}]})).0, "");
}
