//! Conversations of several turns: imported, shown, edited, undone and exported, in every format that
//! has them; and what is refused by name.

use serde_json::{Value, json};

use crate::formats::one_seed;
use crate::page::Page;
use crate::shell::Dir;
use crate::support::{ewe, import_file, number};

/// Two turns below a system message, one line as `ewe export` writes it.
const CHAT: &str = concat!(
    r#"{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Name a river."},"#,
    r#"{"role":"assistant","content":"Nile"},{"role":"user","content":"And a lake?","name":"Ann"},"#,
    r#"{"role":"assistant","content":"Como","weight":1.50}],"id":7}"#,
    "\n"
);

/// A call of a tool, what the tool says, and reasoning.
const TOOLS: &str = concat!(
    r#"{"messages":[{"role":"user","content":"Weather in Rome?"},"#,
    r#"{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"w","arguments":"{\"city\": \"Rome\"}"}}]},"#,
    r#"{"role":"tool","content":"{\"t\": 12.0}","tool_call_id":"1"},"#,
    r#"{"role":"assistant","content":"12 degrees.","reasoning_content":"It says so."},"#,
    r#"{"role":"user","content":"Thanks."},{"role":"assistant","content":"Gladly."}]}"#,
    "\n"
);

/// ShareGPT's way, with its way to call a tool.
const SHARE_GPT: &str = concat!(
    r#"{"conversations":[{"from":"human","value":"What is 6 times 7?"},"#,
    r#"{"from":"function_call","value":"{\"name\": \"times\", \"arguments\": {\"a\": 6, \"b\": 7.0}}"},"#,
    r#"{"from":"observation","value":"42"},{"from":"gpt","value":"It is 42."}]}"#,
    "\n"
);

/// Alpaca's way: the row's own question is the last one.
const ALPACA: &str = concat!(
    "[\n    {\n",
    "        \"instruction\": \"Now translate this.\",\n        \"input\": \"guten Tag\",\n        \"output\": \"good day\",\n",
    "        \"history\": [[\"Do you know German?\",\"Yes.\"],[\"Well?\",\"Very.\"]]\n    }\n]\n"
);

fn export(dir: &Dir, format: &str, name: &str) {
    let arguments = [
        "export",
        "--db",
        "d.db",
        "--format",
        format,
        "--where",
        "origin = 'import'",
        "--out",
        name,
    ];
    ewe(dir, &arguments).success();
}

fn exported(dir: &Dir, format: &str, name: &str) -> String {
    export(dir, format, name);
    dir.read(name)
}

#[test]
fn conversations_are_written_as_they_were_read() {
    let dir = Dir::new();
    for (file, text, format, turns) in [
        ("chat.jsonl", CHAT, "chat", 2),
        ("tools.jsonl", TOOLS, "chat", 4),
        ("sharegpt.jsonl", SHARE_GPT, "sharegpt", 2),
        ("alpaca.json", ALPACA, "alpaca", 4),
    ] {
        one_seed(&dir);
        dir.write(file, text);
        import_file(&dir, file).success();
        assert_eq!(
            number(
                &dir,
                "select json_array_length(turns) from instance where turns is not null"
            ),
            turns,
            "{file}"
        );
        let again = if format == "alpaca" {
            "again.json"
        } else {
            "again.jsonl"
        };
        assert_eq!(exported(&dir, format, again), text, "{file}");
        // A second import of the same adds nothing, and nothing is wrong with the dataset.
        import_file(&dir, file).success();
        assert_eq!(number(&dir, "select count(*) from task"), 2, "{file}");
        ewe(&dir, &["check", "--db", "d.db"]).success();
    }
}

/// Through every format and back, a conversation says the same.
#[test]
fn every_format_keeps_the_turns() {
    let dir = Dir::new();
    let view = "select messages from conversation where task_id > 1";
    for text in [CHAT, TOOLS, SHARE_GPT, ALPACA] {
        one_seed(&dir);
        dir.write("rows.jsonl", text);
        import_file(&dir, "rows.jsonl").success();
        let said = dir.sql(view);
        for (format, name) in [
            ("chat", "x.jsonl"),
            ("chat", "x.parquet"),
            ("sharegpt", "x.jsonl"),
            ("sharegpt", "x.parquet"),
            ("alpaca", "x.json"),
            ("alpaca", "x.parquet"),
            ("dolly", "x.jsonl"),
            ("self-instruct", "x.jsonl"),
            ("oasst", "x.jsonl"),
            ("oasst", "x.json"),
            ("parquet", "x.parquet"),
        ] {
            export(&dir, format, name);
            let other = Dir::new();
            one_seed(&other);
            std::fs::copy(dir.path(name), other.path(name)).unwrap();
            import_file(&other, name).success();
            let roles = |rows: &[Vec<String>]| -> Vec<(String, String)> {
                let list: Vec<Value> = serde_json::from_str(&rows[0][0]).unwrap();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let pair = |message: &Value| (text(&message["role"]), text(&message["content"]));
                list.iter().map(pair).collect()
            };
            let mut wanted = roles(&said);
            if format != "sharegpt" && format != "chat" {
                // Formats without tools have the same list of messages beside their own fields.
                assert_eq!(roles(&other.sql(view)), wanted, "{format} {name}: {text}");
                continue;
            }
            let mut got = roles(&other.sql(view));
            for message in got.iter_mut().chain(&mut wanted) {
                if message.0 == "observation" {
                    message.0 = "tool".to_owned();
                }
            }
            assert_eq!(got, wanted, "{format} {name}: {text}");
        }
    }
}

#[test]
fn a_task_of_one_turn_is_a_conversation_too() {
    let dir = Dir::new();
    one_seed(&dir);
    let rows = dir.sql("select messages, length from conversation");
    let messages = r#"[{"role":"user","content":"Say hi."},{"role":"assistant","content":"hi"}]"#;
    assert_eq!(rows, [[messages, "2"]]);
}

#[test]
fn turns_are_shown_found_edited_and_taken_back() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("rows.jsonl", CHAT);
    import_file(&dir, "rows.jsonl").success();
    let show = || ewe(&dir, &["show", "--db", "d.db", "2"]).success().stdout();
    let shown = show();
    for words in ["turn 0 · user", "And a lake?", "turn 1 · assistant", "Como"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let found = ewe(&dir, &["list", "--db", "d.db", "--text", "Como"])
        .success()
        .stdout();
    assert!(found.contains("Name a river."), "{found}");
    ewe(&dir, &["edit", "--db", "d.db", "2", "--turn", "1=Garda"]).success();
    assert!(show().contains("Garda"));
    // The other fields of the message stay as they are.
    let exported_now = exported(&dir, "chat", "x.jsonl");
    assert_eq!(exported_now, CHAT.replace("Como", "Garda"));
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(exported(&dir, "chat", "x.jsonl"), CHAT);
    ewe(&dir, &["undo", "--db", "d.db", "--redo"]).success();
    assert!(show().contains("Garda"));
    let said = ewe(&dir, &["edit", "--db", "d.db", "2", "--turn", "2=x"])
        .failure(1)
        .stderr();
    assert!(said.contains("has no turn 2") && said.contains("hint:"), "{said}");
    // By SQL, too.
    dir.sql("update instance set turns = null where task_id = 2");
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert!(show().contains("Garda"));
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn turns_are_added_removed_and_taken_back() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("rows.jsonl", CHAT);
    import_file(&dir, "rows.jsonl").success();
    let edit = |rest: &[&str]| ewe(&dir, &[&["edit", "--db", "d.db", "2"], rest].concat());
    let spoken = || -> Vec<String> {
        let row: Value = serde_json::from_str(&exported(&dir, "chat", "x.jsonl")).unwrap();
        let messages = row["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["content"].as_str().unwrap().to_owned())
            .collect()
    };
    let before = ["Be brief.", "Name a river.", "Nile", "And a lake?", "Como"];
    edit(&[
        "--question",
        "And a sea?",
        "--answer",
        "Baltic",
        "--question",
        "A hill?",
        "--answer",
        "Etna",
    ])
    .success();
    assert_eq!(
        spoken(),
        [&before[..], &["And a sea?", "Baltic", "A hill?", "Etna"]].concat()
    );
    // Places are those before the edit, and the fields of other messages stay as they are written.
    edit(&[
        "--remove-turn",
        "0",
        "--question",
        "A bay?",
        "--answer",
        "Biscay",
        "--before",
        "2",
    ])
    .success();
    let after = ["A bay?", "Biscay", "And a sea?", "Baltic", "A hill?", "Etna"];
    assert_eq!(spoken(), [&before[..3], &after].concat());
    edit(&["--remove-turn", "0", "--remove-turn", "2", "--remove-turn", "4"]).success();
    assert_eq!(spoken(), before[..3]);
    assert_eq!(
        number(&dir, "select count(*) from instance where turns is not null"),
        0
    );
    for _ in 0..3 {
        ewe(&dir, &["undo", "--db", "d.db"]).success();
    }
    assert_eq!(exported(&dir, "chat", "x.jsonl"), CHAT);
    for (rest, error) in [
        (
            &["--remove-turn", "1"][..],
            "message 1 of task 2 is not a question",
        ),
        (&["--remove-turn", "7"], "has no turn 7"),
        (
            &["--question", "A bay?", "--answer", "x", "--before", "1"],
            "message 1 of task 2 is not a question",
        ),
        (&["--question", "A bay?", "--answer", " \n"], "one is empty"),
    ] {
        let said = edit(rest).failure(1).stderr();
        assert!(said.contains(error), "{said}");
    }
    assert_eq!(exported(&dir, "chat", "x.jsonl"), CHAT);
    // What a call of a tool needs goes with its question.
    dir.write("rows.jsonl", TOOLS);
    import_file(&dir, "rows.jsonl").success();
    let messages = || {
        number(
            &dir,
            "select json_array_length(turns) from instance where task_id = 3",
        )
    };
    assert_eq!(messages(), 4);
    ewe(&dir, &["edit", "--db", "d.db", "3", "--remove-turn", "2"]).success();
    assert_eq!(messages(), 2);
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// OpenAssistant's trees.
#[test]
fn a_tree_is_its_best_conversation_or_all_of_them() {
    let reply = |text: &str, role: &str, rank: u64, replies: Value| json!({"message_id": text, "text": text, "role": role, "rank": rank, "replies": replies});
    let last = |text: &str, rank| reply(text, "assistant", rank, json!([]));
    let tree = json!({"message_tree_id": "t", "tree_state": "ready_for_export", "prompt": {
        "message_id": "q", "text": "Why?", "role": "prompter", "replies": [
            last("Unclear.", 1),
            reply("Because.", "assistant", 0, json!([
                reply("And?", "prompter", 0, json!([last("So.", 0), last("Hm.", 1)]))]))]}});
    let dir = Dir::new();
    for (format, conversations) in [
        (None, vec!["Why?|Because.|And?|So."]),
        (
            Some("oasst-all"),
            vec![
                "Why?|Because.|And?|So.",
                "Why?|Because.|And?|Hm.",
                "Why?|Unclear.",
            ],
        ),
    ] {
        one_seed(&dir);
        dir.write("trees.jsonl", format!("{tree}\n"));
        let mut arguments = vec!["import", "--db", "d.db", "trees.jsonl"];
        arguments.extend(format.iter().flat_map(|format| ["--format", format]));
        ewe(&dir, &arguments).success();
        let rows = dir.sql(
            "select (select group_concat(value ->> 'content', '|') from json_each(messages)) from conversation \
             where task_id > 1 order by instance_id",
        );
        assert_eq!(rows.concat(), conversations, "{format:?}");
        assert_eq!(number(&dir, "select count(*) from task"), 2);
    }
}

#[test]
fn what_is_no_conversation_is_refused_with_its_row() {
    let say = |role: &str, content: &str| json!({"role": role, "content": content});
    let (q, a) = (say("user", "q"), say("assistant", "a"));
    let dir = Dir::new();
    for (messages, what) in [
        (json!([a, q, a]), "it begins with the assistant"),
        (
            json!([q, q, a]),
            "the user speaks in message 1 and again in message 2",
        ),
        (
            json!([q, a, a]),
            "the assistant speaks in message 2 and again in message 3",
        ),
        (
            json!([q, a, say("user", " "), a]),
            "message 3, of `user`, is empty",
        ),
        (
            json!([q, a, q, say("assistant", "")]),
            "message 4, of `assistant`, is empty",
        ),
        (
            json!([q, a, say("system", "s"), q, a]),
            "message 3 is a system message",
        ),
        (json!([q, say("tool", "3"), a]), "message 2 is a tool's"),
        (json!([q, a, q]), "it ends with `user`"),
        (json!([q, a, say("narrator", "x")]), "a message of `narrator`"),
        (json!([]), "without messages"),
    ] {
        one_seed(&dir);
        let good = json!({ "messages": [say("user", "fine"), a] });
        dir.write(
            "rows.jsonl",
            format!("{good}\n{}\n", json!({ "messages": messages })),
        );
        let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
        assert!(
            said.contains(what) && said.contains("rows.jsonl:2:1: "),
            "{what}: {said}"
        );
        ewe(&dir, &["import", "--db", "d.db", "rows.jsonl", "--keep-going"]).success();
        assert_eq!(
            number(&dir, "select count(*) from task where origin = 'import'"),
            1
        );
    }
    for (history, what) in [
        (
            json!([["p"]]),
            "`history[0]` is no list of a question and its answer",
        ),
        (json!([["p", ""]]), "message 2, of `assistant`, is empty"),
    ] {
        one_seed(&dir);
        let row = json!({"instruction": "q", "output": "a", "history": history});
        dir.write("rows.jsonl", format!("{row}\n"));
        let said = import_file(&dir, "rows.jsonl").failure(1).stderr();
        assert!(said.contains(what), "{what}: {said}");
    }
}

#[test]
fn five_hundred_turns_are_kept() {
    let turns: Vec<Value> = (0..500)
        .flat_map(|turn| {
            [
                json!({"role": "user", "content": format!("q{turn}")}),
                json!({"role": "assistant", "content": format!("a{turn}")}),
            ]
        })
        .collect();
    let dir = Dir::new();
    one_seed(&dir);
    let row = format!("{}\n", json!({ "messages": turns }));
    dir.write("rows.jsonl", &row);
    import_file(&dir, "rows.jsonl").success();
    assert_eq!(exported(&dir, "chat", "x.jsonl"), row);
    let many: Vec<Value> = turns.iter().cycle().take(5000).cloned().collect();
    dir.write("many.jsonl", format!("{}\n", json!({ "messages": many })));
    let said = import_file(&dir, "many.jsonl").failure(1).stderr();
    assert!(said.contains("5000 messages: at most 4096"), "{said}");
}

#[test]
fn rules_look_at_every_answer() {
    let row = |last: &str| {
        json!({"messages": [
            {"role": "user", "content": format!("Name a river that begins with {last:?}, please.")},
            {"role": "assistant", "content": "The Nile is one of the longest rivers."},
            {"role": "user", "content": "And one in Europe?"},
            {"role": "assistant", "content": last}]})
    };
    let dir = Dir::new();
    let bad = "I'm sorry, but as an AI language model I cannot help with that.";
    dir.write(
        "rows.jsonl",
        format!("{}\n{}\n", row("The Danube, for example."), row(bad)),
    );
    let out = ewe(
        &dir,
        &[
            "filter",
            "rows.jsonl",
            "--out",
            "kept.jsonl",
            "--verdicts",
            "v.jsonl",
        ],
    )
    .success();
    assert!(out.stdout().contains("1 of 2 rows kept"), "{}", out.stdout());
    assert!(dir.read("v.jsonl").contains("refusal"), "{}", dir.read("v.jsonl"));
    one_seed(&dir);
    import_file(&dir, "rows.jsonl").success();
    ewe(&dir, &["filter", "--db", "d.db"]).success();
    assert_eq!(
        number(&dir, "select count(*) from task where review = 'rejected'"),
        1
    );
}

/// The page edits the messages of a conversation by their places, a session of saves as one action.
#[test]
fn the_page_edits_turns() {
    let dir = Dir::new();
    one_seed(&dir);
    dir.write("rows.jsonl", CHAT);
    import_file(&dir, "rows.jsonl").success();
    let page = Page::start(&dir, &[]);
    let (status, task) = page.get("/api/tasks/2");
    assert_eq!(status, 200);
    let turns: Value = serde_json::from_str(task["instances"][0]["turns"].as_str().unwrap()).unwrap();
    assert_eq!(turns[1]["content"], "Como");
    let edit = |version: &Value, group: &Value, place: i64, content: &str| {
        let turn = json!({"place": place, "content": content});
        let instance = json!({"ordinal": 0, "turns": [turn]});
        let body = json!({"version": version, "group": group, "instances": [instance]});
        page.post("/api/tasks/2/edit", &body)
    };
    let (status, first) = edit(&task["version"], &Value::Null, 1, "Garda");
    assert_eq!(status, 200, "{first}");
    let group = &first["change"]["group"];
    let (status, second) = edit(&first["version"], group, 0, "A lake, then?");
    assert_eq!((status, &second["change"]["group"]), (200, group), "{second}");
    let now = exported(&dir, "chat", "x.jsonl");
    assert_eq!(
        now,
        CHAT.replace("Como", "Garda")
            .replace("And a lake?", "A lake, then?")
    );
    let (status, error) = edit(&second["version"], &Value::Null, 9, "x");
    assert_eq!(status, 404, "{error}");
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(exported(&dir, "chat", "x.jsonl"), CHAT);
    drop(page);
}
