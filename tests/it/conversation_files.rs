//! Conversations in files: near-duplicates by their first turn and as a whole, trees of OpenAssistant
//! and back, and reasoning that is kept or left out.

use serde_json::{Value, json};

use crate::formats::one_seed;
use crate::mock::Mock;
use crate::recipes::arguments;
use crate::shell::{Dir, ewe};
use crate::support::{import_file, json as as_json, number};

/// A row of messages in turn, as `ewe export` writes it.
fn chat(messages: &[&str]) -> String {
    let roles = ["user", "assistant"].into_iter().cycle();
    let messages: Vec<String> = roles
        .zip(messages)
        .map(|(role, text)| format!(r#"{{"role":"{role}","content":{}}}"#, json!(text)))
        .collect();
    format!("{{\"messages\":[{}]}}\n", messages.join(","))
}

const GREETING: &str = "Hello there, how are you doing today?";

/// Two that begin alike, and one that differs from the second in its greeting only.
fn alike() -> String {
    let taxes = "I have to file my taxes as a freelancer in Portugal. Which forms do I need, and by when?";
    let forms =
        "You need the Modelo 3 with Annex B. It is due between the first of April and the thirtieth of June.";
    [
        chat(&[
            GREETING,
            "Fine!",
            "Write a limerick about a heron.",
            "A heron who stood in the rain saw a fish and went after it in vain.",
        ]),
        chat(&[GREETING, "Very well.", taxes, forms]),
        chat(&["Good morning to you!", "Good morning.", taxes, forms]),
    ]
    .concat()
}

#[test]
fn conversations_are_compared_whole_or_by_their_first_turn() {
    let dir = Dir::new();
    dir.write("rows.jsonl", alike());
    let kept = |more: &[&str]| -> Vec<usize> {
        let arguments = [
            &["filter", "rows.jsonl", "--rules", "none", "--out", "kept.jsonl"][..],
            more,
        ]
        .concat();
        ewe(&dir, &arguments).success();
        let kept = dir.read("kept.jsonl");
        let all = alike();
        let rows = all.lines().enumerate();
        rows.filter(|(_, row)| kept.contains(row))
            .map(|(at, _)| at)
            .collect()
    };
    // By default both that begin alike stay, and the one with another greeting is the same again.
    assert_eq!(kept(&[]), [0, 1]);
    assert_eq!(kept(&["--compare", "whole"]), [0, 1]);
    assert_eq!(kept(&["--compare", "first"]), [0, 2]);
    // The same with parts on disk.
    assert_eq!(kept(&["--memory", "0.1MB"]), [0, 1]);
    assert_eq!(kept(&["--memory", "0.1MB", "--compare", "first"]), [0, 2]);
    let out = ewe(&dir, &["filter", "rows.jsonl", "--compare", "all"]).failure(2);
    assert!(out.stderr().contains("first, whole"), "{}", out.stderr());

    // A dataset likewise, whose tasks stay in the file.
    one_seed(&dir);
    import_file(&dir, "rows.jsonl").success();
    let rejected = |more: &[&str]| {
        let arguments = [
            &["filter", "--db", "d.db", "--rules", "none", "--dry-run", "--json"][..],
            more,
        ]
        .concat();
        as_json(ewe(&dir, &arguments))["rejected_ids"].clone()
    };
    assert_eq!(rejected(&[]), json!([4]));
    assert_eq!(rejected(&["--compare", "first"]), json!([3]));
}

#[test]
fn conversations_that_were_made_stay_beside_their_parents() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "30", &["--turns", "2-3"])).success();
    let machine = |said: &Value| {
        let ids = said["rejected_ids"].as_array().unwrap().clone();
        let first = number(&dir, "select min(id) from task where origin = 'machine'");
        ids.into_iter().filter(|id| id.as_i64() >= Some(first)).count()
    };
    let filter = ["filter", "--db", "d.db", "--rules", "none", "--dry-run", "--json"];
    assert_eq!(machine(&as_json(ewe(&dir, &filter))), 0);
    let first = [&filter[..], &["--compare", "first"]].concat();
    assert_eq!(machine(&as_json(ewe(&dir, &first))), 30);
    // Their parents are found by a condition, and so is their length.
    let chosen = |condition: &str| {
        let list = [
            "list", "--db", "d.db", "--where", condition, "--limit", "1000", "--json",
        ];
        as_json(ewe(&dir, &list)).as_array().unwrap().len()
    };
    assert_eq!((chosen("continued = yes"), chosen("turns > 1")), (30, 30));
    assert_eq!(chosen("turns = 1 and continued = no and origin = 'machine'"), 0);
    // Two machines that continue the same seeds: what one of them has, the other may have as well.
    let (other, mock) = (Dir::with_dataset(), Mock::start());
    ewe(
        &other,
        &arguments(&mock, "30", &["--turns", "2-3", "--seed", "5"]),
    )
    .success();
    std::fs::copy(other.path("d.db"), dir.path("other.db")).unwrap();
    ewe(&dir, &["merge-db", "d.db", "other.db", "--out", "both.db"]).success();
    std::fs::rename(dir.path("both.db"), dir.path("d.db")).unwrap();
    assert!(chosen("turns > 1 and review <> 'rejected'") > 30);
}

#[test]
fn trees_are_read_back_as_the_same_rows() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write(
        "rows.jsonl",
        [
            chat(&["Name a river.", "Nile", "And a lake?", "Como"]),
            // The same question in a task of its own, which is the beginning of the one before.
            chat(&["Name a river.", "Nile"]),
            concat!(
                r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Weather?","name":"Ann"},"#,
                r#"{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"w","arguments":"{}"}}]},"#,
                r#"{"role":"tool","content":"12","tool_call_id":"1"},"#,
                r#"{"role":"assistant","content":"12 degrees.","reasoning_content":"It says so."}],"id":7}"#,
                "\n"
            )
            .to_owned(),
            chat(&["m"; 120]),
        ]
        .concat(),
    );
    import_file(&dir, "rows.jsonl").success();
    let texts =
        "select instruction, system, input, output, turns from task join instance on task_id = task.id
        where origin = 'import' order by instance.id";
    let export = |name: &str| {
        let arguments = [
            "export", "--db", "d.db", "--format", "oasst", "--origin", "import", "--out", name,
        ];
        ewe(&dir, &arguments).success();
        dir.read(name)
    };
    let trees = export("trees.jsonl");
    let first: Value = serde_json::from_str(trees.lines().next().unwrap()).unwrap();
    assert_eq!(first["prompt"]["role"], "prompter");
    assert_eq!(
        first["prompt"]["replies"][0]["replies"][0]["replies"][0]["text"],
        "Como"
    );
    assert_eq!(first["message_tree_id"], first["prompt"]["message_id"]);
    // Importing them into the same dataset adds nothing.
    import_file(&dir, "trees.jsonl").success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        4
    );
    for file in ["trees.jsonl", "trees.json", "trees.jsonl.gz"] {
        export_any(&dir, file);
        let other = Dir::new();
        one_seed(&other);
        std::fs::copy(dir.path(file), other.path(file)).unwrap();
        let said = as_json(ewe(&other, &["import", "--db", "d.db", file, "--json"]));
        assert_eq!(said["format"], "oasst");
        assert_eq!(other.sql(texts), dir.sql(texts), "{file}");
    }
    let out = ewe(
        &dir,
        &[
            "export",
            "--db",
            "d.db",
            "--format",
            "oasst",
            "--out",
            "x.parquet",
        ],
    )
    .failure(1);
    assert!(
        out.stderr().contains("trees are written as JSON"),
        "{}",
        out.stderr()
    );
}

fn export_any(dir: &Dir, name: &str) {
    let arguments = [
        "export", "--db", "d.db", "--format", "oasst", "--origin", "import", "--out", name,
    ];
    ewe(dir, &arguments).success();
}

/// A tree of OpenAssistant with all its conversations: instances of one task, one tree again.
#[test]
fn a_tree_of_several_conversations_stays_one() {
    const TREE: &str = concat!(
        r#"{"message_tree_id":"t","tree_state":"ready_for_export","prompt":{"message_id":"1","text":"q","role":"prompter","lang":"en","replies":["#,
        r#"{"message_id":"2","parent_id":"1","text":"best","role":"assistant","rank":0,"replies":["#,
        r#"{"message_id":"4","parent_id":"2","text":"and","role":"prompter","replies":["#,
        r#"{"message_id":"5","parent_id":"4","text":"more","role":"assistant","replies":[]}]}]},"#,
        r#"{"message_id":"3","parent_id":"1","text":"worse","role":"assistant","rank":1,"replies":[]}]}}"#,
        "\n"
    );
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("in.jsonl", TREE);
    ewe(
        &dir,
        &["import", "--db", "d.db", "in.jsonl", "--format", "oasst-all"],
    )
    .success();
    export_any(&dir, "out.jsonl");
    let said: Value = serde_json::from_str(&dir.read("out.jsonl")).unwrap();
    let wanted: Value = serde_json::from_str(TREE).unwrap();
    assert_eq!(said["prompt"], wanted["prompt"]);
    assert_eq!(
        (&said["message_tree_id"], &said["tree_state"]),
        (&json!("t"), &json!("ready_for_export"))
    );
    assert_eq!(said["ewe_rows"], 2);
    // Read without an option, it is both conversations again, and written once more it is the same.
    let other = Dir::new();
    one_seed(&other);
    other.write("in.jsonl", dir.read("out.jsonl"));
    import_file(&other, "in.jsonl").success();
    assert_eq!(
        number(&other, "select count(*) from instance where task_id > 1"),
        2
    );
    export_any(&other, "again.jsonl");
    assert_eq!(other.read("again.jsonl"), dir.read("out.jsonl"));
    // Without ewe's own field, readers take the best one.
    let plain = [
        "export",
        "--db",
        "d.db",
        "--format",
        "oasst",
        "--origin",
        "import",
        "--plain",
        "--out",
        "plain.jsonl",
    ];
    ewe(&dir, &plain).success();
    assert!(!dir.read("plain.jsonl").contains("ewe_rows"));
}

#[test]
fn reasoning_is_written_or_left_out_and_shown_apart() {
    let dir = Dir::new();
    one_seed(&dir);
    let line = concat!(
        r#"{"messages":[{"role":"user","content":"Add 2 and 2."},{"role":"assistant","content":"4","reasoning_content":"Two and two."},"#,
        r#"{"role":"user","content":"And 1?"},{"role":"assistant","content":"<think>Four and one.</think>\n\n5"}]}"#,
        "\n"
    );
    dir.write("rows.jsonl", line);
    import_file(&dir, "rows.jsonl").success();
    let export = |more: &[&str]| {
        let arguments = [
            &[
                "export", "--db", "d.db", "--format", "chat", "--origin", "import", "--out", "-",
            ][..],
            more,
        ]
        .concat();
        ewe(&dir, &arguments).success().stdout()
    };
    assert_eq!(export(&[]), line);
    assert_eq!(export(&["--reasoning", "keep"]), line);
    assert_eq!(
        export(&["--reasoning", "drop"]),
        chat(&["Add 2 and 2.", "4", "And 1?", "5"])
    );
    for format in ["alpaca", "sharegpt", "oasst", "self-instruct", "parquet"] {
        let name = format!("x.{}", if format == "parquet" { "parquet" } else { "jsonl" });
        let arguments = [
            "export",
            "--db",
            "d.db",
            "--format",
            format,
            "--reasoning",
            "drop",
            "--out",
            &name,
        ];
        ewe(&dir, &arguments).success();
        if format != "parquet" {
            let text = dir.read(&name);
            assert!(
                !text.contains("Two and two") && !text.contains("think"),
                "{format}: {text}"
            );
        }
    }
    let shown = ewe(&dir, &["show", "--db", "d.db", "2"]).success().stdout();
    assert!(
        shown.contains("  output\n    (reasoning)\n      Two and two.\n    (answer)\n    4\n")
            && shown.contains("    (reasoning)\n      Four and one.\n    (answer)\n    5\n"),
        "{shown}"
    );
}

/// Exports what was imported to `name`, and imports it into a dataset of one seed.
fn exported_and_read(dir: &Dir, format: &str, name: &str) -> Dir {
    let arguments = [
        "export", "--db", "d.db", "--format", format, "--origin", "import", "--out", name,
    ];
    ewe(dir, &arguments).success();
    let other = Dir::new();
    one_seed(&other);
    std::fs::copy(dir.path(name), other.path(name)).unwrap();
    import_file(&other, name).success();
    other
}

/// A field of a row that has the name of the input, or of a system message, in another format.
#[test]
fn other_fields_do_not_become_parts_of_the_task() {
    let dir = Dir::new();
    one_seed(&dir);
    let question = json!({"role": "user", "content": "What is a ewe called?"});
    let answer = json!({"role": "assistant", "content": "A sheep."});
    let row = json!({"messages": [question, answer], "input": "stray", "history": [["p", "b"]]});
    dir.write("rows.jsonl", format!("{row}\n"));
    import_file(&dir, "rows.jsonl").success();
    let texts =
        "select instruction, system, input, output, turns from task join instance on task_id = task.id
        where origin = 'import' order by instance.id";
    let said = dir.sql(texts);
    for format in [
        "dolly",
        "alpaca",
        "completion",
        "chat",
        "sharegpt",
        "self-instruct",
        "oasst",
    ] {
        let other = exported_and_read(&dir, format, "x.jsonl");
        assert_eq!(other.sql(texts), said, "{format}: {}", dir.read("x.jsonl"));
    }
    exported_and_read(&dir, "dolly", "x.jsonl");
    let dolly: Value = serde_json::from_str(&dir.read("x.jsonl")).unwrap();
    assert_eq!(
        (&dolly["context"], &dolly["ewe_input"]),
        (&json!(""), &json!("stray"))
    );
}

#[test]
fn trees_that_nobody_answers_are_not_read() {
    const PROMPT: &str = r#"{"prompt":{"text":"Anybody?","role":"prompter","replies":[]}}"#;
    let dir = Dir::new();
    one_seed(&dir);
    let answered = PROMPT.replace("[]", r#"[{"text":"Yes.","role":"assistant","replies":[]}]"#);
    dir.write("trees.jsonl", format!("{PROMPT}\n{answered}\n"));
    let said = import_file(&dir, "trees.jsonl").success().stderr();
    assert!(said.contains("not read: 1 tree that nobody answers"), "{said}");
    assert_eq!(
        dir.sql("select output, source_row from instance where task_id > 1"),
        [["Yes.", "2"]]
    );
    dir.write("none.jsonl", format!("{PROMPT}\n{PROMPT}\n"));
    let said = import_file(&dir, "none.jsonl").failure(1).stderr();
    assert!(said.contains("nobody answers the prompt of 2 trees"), "{said}");
    // Where a question is enough, it is one.
    let filter = ["filter", "none.jsonl", "--rules", "none", "--json"];
    let counts = as_json(ewe(&dir, &filter));
    assert_eq!(counts["rows"], 2, "{counts}");
}

/// Messages with names of their own, and without those of the messages before them.
#[test]
fn names_of_messages_are_written_where_rows_have_them() {
    let dir = Dir::new();
    one_seed(&dir);
    let message = |role: &str, text: &str, name: Option<&str>| match name {
        Some(name) => json!({"role": role, "content": text, "message_id": name}),
        None => json!({"role": role, "content": text}),
    };
    let rows = [
        json!({"messages": [message("user", "q", Some("m1")), message("assistant", "a", Some("m2"))]}),
        json!({"messages": [message("user", "r", Some("m3")), message("assistant", "b", None)]}),
        json!({"messages": [message("user", "s", None), message("assistant", "c", Some("m4"))]}),
    ];
    dir.write("rows.jsonl", rows.map(|row| format!("{row}\n")).concat());
    import_file(&dir, "rows.jsonl").success();
    let other = exported_and_read(&dir, "oasst", "trees.jsonl");
    exported_and_read(&other, "oasst", "again.jsonl");
    assert_eq!(other.read("again.jsonl"), dir.read("trees.jsonl"));
    exported_and_read(&other, "chat", "chat.jsonl");
    exported_and_read(&dir, "chat", "chat.jsonl");
    assert_eq!(other.read("chat.jsonl"), dir.read("chat.jsonl"));
}

/// In Alpaca's `history`, the first question of a conversation has no input of its own.
#[test]
fn a_conversation_stays_in_its_task() {
    let dir = Dir::new();
    one_seed(&dir);
    let later = json!([{"role": "user", "content": "u"}, {"role": "assistant", "content": "v"}]);
    let instances = json!([{"input": "a", "output": "b", "ewe_turns": later}, {"input": "c", "output": "d"}]);
    let row = json!({"instruction": "Several.", "instances": instances, "is_classification": false});
    dir.write("rows.jsonl", format!("{row}\n"));
    import_file(&dir, "rows.jsonl").success();
    let texts =
        "select task_id, instruction, input, output, turns from task join instance on task_id = task.id
        where origin = 'import' order by instance.id";
    for name in ["x.jsonl", "x.parquet"] {
        let other = exported_and_read(&dir, "alpaca", name);
        assert_eq!(other.sql(texts), dir.sql(texts), "{name}");
    }
}
