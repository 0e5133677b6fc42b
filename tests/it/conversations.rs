//! Conversations: one question and one answer in every form, and conversations that are not tasks.

use serde_json::{Value, json};

use crate::{
    formats::one_seed,
    page::Page,
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

/// A conversation of two turns, and one whose first answer only calls a tool.
fn two_conversations() -> Dir {
    let dir = Dir::new();
    one_seed(&dir);
    let said = |role: &str, text: &str| json!({"role": role, "content": text});
    let call = json!({"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]});
    let rows = [
        json!({"messages": [said("user", "q"), said("assistant", "a"), said("user", "r"), said("assistant", "b")]}),
        json!({"messages": [said("user", "w"), call, said("tool", "12"), said("assistant", "It is 12.")]}),
    ];
    dir.write("rows.jsonl", rows.map(|row| format!("{row}\n")).concat());
    import_file(&dir, "rows.jsonl").success();
    ewe(&dir, &["accept", "--db", "d.db", "2-3"]).success();
    dir
}

#[test]
fn no_message_of_a_conversation_is_emptied() {
    let dir = two_conversations();
    let edit = |task: &str, rest: &[&str]| ewe(&dir, &[&["edit", "--db", "d.db", task], rest].concat());
    let before = dir.sql("select instruction, output, turns from task join instance on task_id = task.id");
    for (task, rest) in [
        ("2", &["--turn", "0="][..]),
        ("2", &["--turn", "1= \u{200b}"]),
        ("2", &["--output", ""]),
        ("2", &["--instruction", " "]),
        ("3", &["--turn", "1="]),
        ("3", &["--instruction", ""]),
    ] {
        let said = edit(task, rest).failure(1).stderr();
        assert!(
            said.contains("has a question and an answer, and one is empty"),
            "{rest:?}: {said}"
        );
    }
    // A turn after an answer that says nothing.
    edit("1", &["--output", ""]).success();
    edit("1", &["--question", "And?", "--answer", "So."]).failure(1);
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    let page = Page::start(&dir, &[]);
    let instance = json!({"ordinal": 0, "turns": [{"place": 1, "content": ""}]});
    let (_, task) = page.get("/api/tasks/2");
    let body = json!({"version": task["version"], "instances": [instance]});
    let (status, error) = page.post("/api/tasks/2/edit", &body);
    assert_eq!(status, 400, "{error}");
    drop(page);
    let after = dir.sql("select instruction, output, turns from task join instance on task_id = task.id");
    assert_eq!(after, before);
    // What a tool says may be empty.
    edit("3", &["--turn", "0="]).success();
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn check_finds_messages_that_say_nothing() {
    let dir = two_conversations();
    dir.sql("update instance set turns = json_set(turns, '$[0].content', '', '$[1].content', ' ') where task_id = 2");
    let said = ewe(&dir, &["check", "--db", "d.db"]).failure(1).stdout();
    assert!(
        said.contains("instance 2: its task was accepted, and a message of its conversation is empty"),
        "{said}"
    );
    assert!(!said.contains("instance 3"), "{said}");
    // Each can be mended by itself.
    for text in ["0=r", "1=b"] {
        ewe(&dir, &["edit", "--db", "d.db", "2", "--turn", text]).success();
    }
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn an_answer_that_only_calls_tools_is_no_empty_output() {
    let dir = two_conversations();
    let export = ["export", "--db", "d.db", "--format", "chat", "--out", "x.jsonl"];
    let said = ewe(&dir, &export).success().stderr();
    assert!(!said.contains("warning"), "{said}");
}
