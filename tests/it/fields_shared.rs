//! Fields of one's own where several work on them: processes, machines, the page, the terminal.

use serde_json::{Value, json};

use crate::fields::{checked, field, ids, label, with_fields};
use crate::page::Page;
use crate::review::Screen;
use crate::shell::Dir;
use crate::support::{ewe, json as parsed, number, spawn};

#[test]
fn two_processes_add_the_same_field_once() {
    let dir = Dir::with_dataset();
    let each: Vec<_> = (0..4)
        .map(|_| {
            spawn(
                &dir,
                &["field", "--db", "d.db", "add", "level", "--values", "a,b"],
            )
        })
        .collect();
    let ended: Vec<bool> = each
        .into_iter()
        .map(|child| child.wait_with_output().unwrap().status.success())
        .collect();
    assert_eq!(ended.iter().filter(|success| **success).count(), 1, "{ended:?}");
    assert_eq!(number(&dir, "select count(*) from field"), 1);
}

#[test]
fn merged_datasets_have_the_fields_of_both() {
    let (one, two) = (with_fields(), Dir::with_dataset());
    let out = Dir::new();
    field(&two, &["add", "minutes", "--type", "text"]).success();
    field(
        &two,
        &["add", "difficulty", "--values", "hard,brutal", "--key", "h"],
    )
    .success();
    field(&two, &["add", "removed"]).success();
    field(&two, &["remove", "removed"]).success();
    label(&one, &["1", "difficulty=easy", "topics=a,b"]).success();
    label(&two, &["1", "difficulty=brutal", "minutes=long"]).success();
    label(&two, &["2", "difficulty=hard"]).success();
    two.write(
        "new.jsonl",
        r#"{"instruction": "Only here.", "input": "", "output": "x"}"#,
    );
    ewe(&two, &["import", "--db", "d.db", "new.jsonl"]).success();
    let new = number(&two, "select max(id) from task").to_string();
    label(&two, &[&new, "difficulty=brutal", "minutes=short"]).success();
    let (first, second) = (one.path("d.db"), two.path("d.db"));
    let inputs = [first.to_str().unwrap(), second.to_str().unwrap()];
    ewe(&out, &["merge-db", inputs[0], inputs[1], "--out", "d.db"]).success();
    checked(&out);
    let fields = parsed(field(&out, &["list", "--json"]).success());
    let names: Vec<&str> = fields
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "difficulty",
            "topics",
            "minutes",
            "checked",
            "note",
            "minutes_text"
        ]
    );
    assert_eq!(fields[0]["choices"], json!(["easy", "medium", "hard", "brutal"]));
    let shown = |task: &str| -> Vec<Value> {
        let task = parsed(ewe(&out, &["show", "--db", "d.db", "--json", task]).success());
        task["fields"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["shown"].clone())
            .collect()
    };
    // Of a task that both have, the first one's values stay, and what it has none of comes along.
    assert_eq!(shown("1"), ["easy", "a, b", "", "", "", "long"]);
    assert_eq!(shown("2"), ["hard", "", "", "", "", ""]);
    let last = number(&out, "select max(id) from task").to_string();
    assert_eq!(shown(&last), ["brutal", "", "", "", "", "short"]);
    ewe(&out, &["undo", "--db", "d.db"]).success();
    assert_eq!(shown(&last), ["", "", "", "", "", ""]);
    checked(&out);
}

#[test]
fn the_page_gives_values_and_finds_by_them() {
    let dir = with_fields();
    let page = Page::start(&dir, &[]);
    let (_, task) = page.get("/api/tasks/1");
    assert_eq!(task["fields"][0]["key"], "h");
    let set = |field: &str, value: &str, version: &Value| {
        page.post(
            "/api/tasks/1/label",
            &json!({"field": field, "value": value, "version": version}),
        )
    };
    let (status, said) = set("difficulty", "hard", &task["version"]);
    assert_eq!((status, &said["change"]["tasks"]), (200, &json!(1)), "{said}");
    let version = &said["version"];
    let (status, error) = set("difficulty", "brutal", version);
    assert_eq!(status, 400, "{error}");
    assert_eq!(set("nothing", "x", version).0, 404);
    // Somebody else was faster: what the task is now comes with the answer.
    let (status, said) = set("note", "mine", &task["version"]);
    assert_eq!(status, 409);
    assert_eq!(said["current"]["fields"][0]["shown"], "hard");
    let query = |filter: Value, more: &str| {
        let filter: String = filter
            .to_string()
            .bytes()
            .map(|byte| format!("%{byte:02x}"))
            .collect();
        page.get(&format!("/api/tasks?filter={filter}{more}"))
    };
    let (_, found) = query(json!({"field": "difficulty=hard\nnote="}), "");
    assert_eq!(found["tasks"].as_array().unwrap().len(), 1);
    let (_, sorted) = query(json!({}), "&sort=field.difficulty:desc&limit=1");
    assert_eq!(sorted["tasks"][0]["id"], 1);
    let (status, wrong) = query(json!({"where": "field.difficulty = 'x'"}), "");
    assert_eq!((status, &wrong["field"]), (400, &json!("where")), "{wrong}");
    let (_, counted) = page.get("/api/fields");
    assert_eq!(
        counted["fields"][0]["values"][2],
        json!({"value": "hard", "tasks": 1})
    );
}

#[test]
fn values_are_given_by_keys_in_the_terminal() {
    let dir = with_fields();
    let arguments = ["review", "--db", "d.db", "--review", "accepted"];
    let mut screen = Screen::run(&dir, &arguments, "true", (24, 100));
    screen.shows(&["? shows the keys", "task 1"]);
    screen.press("h");
    screen.shows(&["difficulty (1 easy · 2 medium · 3 hard · 0 none)"]);
    screen.press("3");
    screen.shows(&["task 1: difficulty hard", "difficulty: hard"]);
    screen.press("l");
    screen.shows(&["which field: 1 difficulty · 2 topics · 3 minutes"]);
    screen.press("2");
    screen.shows(&["topics: ▏"]);
    screen.press("math, art\r");
    screen.shows(&["task 1: topics art, math"]);
    screen.press("l");
    screen.press("3");
    screen.press("five\r");
    screen.shows(&["`five` is no value of field `minutes`"]);
    screen.press("u");
    screen.shows(&["difficulty: hard"]);
    screen.press("q");
    assert_eq!(screen.ended(), 0);
    assert_eq!(
        ids(&dir, &["--field", "difficulty=hard", "--field", "topics="]),
        [1]
    );
}
