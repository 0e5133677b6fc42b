//! Conversations: one question and one answer in every form, and conversations that are not tasks.

use serde_json::{Value, json};

use crate::{
    formats::one_seed,
    shell::Dir,
    support::{ewe, import_file},
};

#[test]
fn conversations_that_are_not_tasks_are_errors() {
    let dir = Dir::new();
    one_seed(&dir);
    for (row, what) in [
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}]}),
            "calls tools",
        ),
        (
            json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]}),
            "a conversation of user, assistant, user: it ends with `user`",
        ),
        (
            json!({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}),
            "a conversation of gpt, human: it begins with the assistant",
        ),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, {"role": "assistant", "content": "a"}]}),
            "part of type `image_url`",
        ),
        (
            json!({"conversations": ["q", "a", "r"]}),
            "a conversation of user, assistant, user: it ends with",
        ),
        (
            json!({"data": ["q", "a", "", "b"]}),
            "message 3, of `user`, is empty",
        ),
        (
            json!({"instruction": "q", "output": "a", "history": [["p", 1, "b"]]}),
            "`history[0]` is no list",
        ),
    ] {
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
        assert!(
            said.contains(what) && said.contains("rows.jsonl:1:1: "),
            "{row}: {said}"
        );
        assert!(said.contains("hint: --keep-going"), "{row}: {said}");
    }
}

#[test]
fn an_answer_without_text_is_reported_as_empty() {
    let dir = Dir::new();
    one_seed(&dir);
    for content in [json!(" "), json!([{"type": "thinking", "thinking": "hm"}])] {
        let row = json!({"messages": [{"role": "user", "content": content.to_string()}, {"role": "assistant", "content": content}]});
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = import_file(&dir, "rows.jsonl").success().stderr();
        assert!(said.contains("empty"), "{content}: {said}");
    }
}

#[test]
fn a_system_message_may_be_a_list_of_parts() {
    let dir = Dir::new();
    one_seed(&dir);
    let messages = json!([{"role": "user", "content": [{"text": "q"}]}, {"role": "assistant", "content": [{"text": "a"}]}]);
    dir.write(
        "rows.jsonl",
        format!(
            "{}\n{}\n",
            json!({"schemaVersion": "bedrock-conversation-2024", "system": [{"text": "Be kind."}, {"text": "Be brief."}], "messages": messages}),
            json!({"system": ["Be bold."], "instruction": "q", "output": "a", "messages": messages}),
        ),
    );
    import_file(&dir, "rows.jsonl").success();
    let rows = dir
        .sql("select system, instruction, output from dataset where origin = 'import' order by instance_id");
    assert_eq!(rows, [["Be kind.\nBe brief.", "q", "a"], ["Be bold.", "q", "a"]]);
}

#[test]
fn reasoning_is_kept_beside_the_answer() {
    let dir = Dir::new();
    for part in [
        json!({"type": "thinking", "thinking": "hm"}),
        json!({"type": "reasoning", "text": "hm"}),
        json!({"reasoningContent": {"reasoningText": {"text": "hm"}}}),
    ] {
        one_seed(&dir);
        let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": [part, {"text": "a"}]}]);
        dir.write("rows.jsonl", format!("{}\n", json!({"messages": messages})));
        let said = import_file(&dir, "rows.jsonl").success().stderr();
        assert!(
            said.contains("1 row has reasoning apart from the answer"),
            "{part}: {said}"
        );
        let rows = dir.sql("select instruction, output from dataset where origin = 'import'");
        assert_eq!(rows, [["q", "a"]], "{part}");
        ewe(
            &dir,
            &[
                "export", "--db", "d.db", "--format", "chat", "--review", "any", "--out", "x.jsonl",
            ],
        )
        .success();
        let x = dir.read("x.jsonl");
        let last: Value = serde_json::from_str(x.lines().last().unwrap()).unwrap();
        assert_eq!(last["messages"][1]["reasoning_content"], "hm", "{part}: {last}");
    }
}

#[test]
fn empty_answers_are_counted() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"A\", \"output\": \"\"}\n{\"instruction\": \"B\", \"output\": \"x\"}\n",
    );
    let said = import_file(&dir, "rows.jsonl").success().stderr();
    assert!(said.contains("1 row has an empty answer"), "{said}");
}

#[test]
fn filtered_conversations_are_written_unchanged() {
    let dir = Dir::new();
    one_seed(&dir);
    let row = |question: &str| json!([{"role": "user", "content": question}, {"role": "assistant", "content": "a"}]);
    dir.write(
        "rows.json",
        format!("[{},{}]", row("Name a river."), row("Why is the sky blue?")),
    );
    ewe(
        &dir,
        &["filter", "rows.json", "--rules", "none", "--out", "kept.jsonl"],
    )
    .success();
    assert_eq!(
        dir.read("kept.jsonl"),
        format!("{}\n{}\n", row("Name a river."), row("Why is the sky blue?"))
    );
    ewe(
        &dir,
        &["filter", "rows.json", "--rules", "none", "--out", "kept.parquet"],
    )
    .success();
    for name in ["kept.jsonl", "kept.parquet"] {
        one_seed(&dir);
        import_file(&dir, name).success();
        let rows = dir.sql("select instruction from task where origin = 'import' order by id");
        assert_eq!(rows, [["Name a river."], ["Why is the sky blue?"]], "{name}");
    }
}
