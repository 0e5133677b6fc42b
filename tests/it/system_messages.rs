//! System messages in files and datasets. `system_messages_model.rs` covers what models do with
//! them.

use serde_json::{Value, json};

use crate::shell::{Dir, ewe};

/// Replaces the dataset with an empty one.
fn begin(dir: &Dir) {
    for name in ["d.db", "d.db-wal", "d.db-shm"] {
        let _ = std::fs::remove_file(dir.path(name));
    }
    dir.write(
        "one.jsonl",
        r#"{"instruction": "Say hi.", "instances": [{"input": "", "output": "hi"}]}"#,
    );
    ewe(dir, &["init", "--db", "d.db", "--seeds", "one.jsonl"]).success();
    ewe(dir, &["reject", "--db", "d.db", "1"]).success();
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// Imports a file into an empty dataset; returns its rows.
fn imported(dir: &Dir, file: &str) -> Vec<Vec<String>> {
    begin(dir);
    ewe(dir, &["import", "--db", "d.db", file]).success();
    dir.sql(
        "select task.system, dataset.instruction, dataset.input, dataset.output from dataset \
         join task on task.id = dataset.task_id order by task.id",
    )
}

#[test]
fn system_messages_round_trip_in_every_format_that_has_them() {
    let dir = Dir::new();
    let wanted = [["be it", "q", "", "a"], ["", "r", "", "b"]];
    for (name, rows) in [
        (
            "messages",
            [
                json!({"messages": [{"role": "system", "content": "be it"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
                json!({"messages": [{"role": "user", "content": "r"}, {"role": "assistant", "content": "b"}]}),
            ],
        ),
        (
            "messages of prompt and completion",
            [
                json!({"prompt": [{"role": "developer", "content": "be it"}, {"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}),
                json!({"prompt": [{"role": "user", "content": "r"}], "completion": [{"role": "assistant", "content": "b"}]}),
            ],
        ),
        (
            "sharegpt",
            [
                json!({"conversations": [{"from": "system", "value": "be it"}, {"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
                json!({"conversations": [{"from": "human", "value": "r"}, {"from": "gpt", "value": "b"}]}),
            ],
        ),
        (
            "sharegpt with a column",
            [
                json!({"system": "be it", "conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
                json!({"system": "", "conversations": [{"from": "human", "value": "r"}, {"from": "gpt", "value": "b"}]}),
            ],
        ),
        (
            "alpaca",
            [
                json!({"system": "be it", "instruction": "q", "output": "a"}),
                json!({"system": null, "instruction": "r", "output": "b"}),
            ],
        ),
        (
            "qa",
            [
                json!({"system_prompt": "be it", "question": "q", "response": "a"}),
                json!({"system_prompt": " ", "question": "r", "response": "b"}),
            ],
        ),
    ] {
        dir.write("rows", lines(&rows));
        assert_eq!(imported(&dir, "rows"), wanted, "{name}");
    }
    let formats = ["chat", "alpaca", "dolly", "self-instruct", "parquet"];
    for format in formats {
        ewe(
            &dir,
            &["export", "--db", "d.db", "--format", format, "--out", format],
        )
        .success();
    }
    let chat: Value = serde_json::from_str(dir.read("chat").lines().next().unwrap()).unwrap();
    assert_eq!(chat["messages"][0], json!({"role": "system", "content": "be it"}));
    let alpaca: Value = serde_json::from_str(&dir.read("alpaca")).unwrap();
    assert_eq!(
        (&alpaca[0]["system"], &alpaca[1]["system"]),
        (&json!("be it"), &json!(""))
    );
    for format in formats {
        assert_eq!(imported(&dir, format), wanted, "{format}");
    }
    // A format of two texts has no field for it, and loses none of its words.
    let out = ewe(
        &dir,
        &["export", "--db", "d.db", "--format", "completion", "--out", "-"],
    )
    .success();
    let first: Value = serde_json::from_str(out.stdout().lines().next().unwrap()).unwrap();
    assert_eq!(first, json!({"prompt": "be it\n\nq", "completion": "a"}));
}

/// A system message that all rows share does not make them near-duplicates.
#[test]
fn the_filter_does_not_compare_system_messages() {
    let dir = Dir::new();
    let system = "You are a careful assistant who answers in the words of the question and never at length.";
    let words = ["rain", "iron", "music", "bread", "glass"];
    let rows = words.map(|word| {
        json!({"messages": [{"role": "system", "content": system}, {"role": "user", "content": format!("Explain {word}")}, {"role": "assistant", "content": "It is."}]})
    });
    dir.write("rows.jsonl", lines(&rows));
    let out = ewe(
        &dir,
        &["filter", "rows.jsonl", "--rules", "none", "--out", "kept.jsonl"],
    )
    .success();
    assert!(out.stdout().contains("5 of 5 rows kept"), "{}", out.stdout());
    assert_eq!(dir.read("kept.jsonl"), dir.read("rows.jsonl"));
}

#[test]
fn errors_about_conversations_name_the_supported_form() {
    let dir = Dir::new();
    begin(&dir);
    let say = |role: &str| json!({"role": role, "content": "x"});
    for (roles, number) in [
        (&["user", "assistant", "system", "user", "assistant"][..], 3),
        (&["system", "system", "user", "assistant"], 2),
        (&["user", "system", "assistant"], 2),
    ] {
        let messages: Vec<Value> = roles.iter().map(|role| say(role)).collect();
        dir.write("rows.jsonl", lines(&[json!({ "messages": messages })]));
        let said = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
            .failure(1)
            .stderr();
        let wanted = format!(
            "error: rows.jsonl:1:1: a conversation of {}: message {number} is a system message, and only the first may be one\nhint: \
             --keep-going",
            roles.join(", ")
        );
        assert!(said.starts_with(&wanted), "{said}");
    }
}
