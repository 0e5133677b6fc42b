//! Imports: nothing is added twice, each is one action, and rows keep file and row number.

use std::time::{Duration, Instant};

use crate::{
    page::Page,
    shell::Dir,
    support::{ewe, filled, json, large_rows, number, spawn},
    waiting::until,
};

/// `count` different rows in Alpaca's format.
fn rows(count: usize) -> String {
    (1..=count)
        .map(|i| {
            serde_json::json!({"instruction": format!("Count the sheep of farm {i}."), "input": format!("Farm {i}"), "output": format!("{i} sheep")})
                .to_string()
                + "\n"
        })
        .collect()
}

fn import(dir: &Dir, file: &str) -> serde_json::Value {
    json(ewe(dir, &["import", "--db", "d.db", file, "--json"]))
}

fn tasks(dir: &Dir) -> i64 {
    number(dir, "select count(*) from task where origin = 'import'")
}

#[test]
fn importing_a_file_twice_adds_nothing() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(341));
    let first = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
        .success()
        .stdout();
    assert!(
        first.contains("341 tasks from `rows.jsonl` (alpaca), pending (action 1; `ewe undo` takes it back)"),
        "{first}"
    );
    let again = ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"])
        .success()
        .stdout();
    assert_eq!(
        again,
        "d.db: 0 tasks from `rows.jsonl` (alpaca)\n341 rows, 341 already here: skipped\n"
    );
    assert_eq!(tasks(&dir), 341);
    assert_eq!(
        number(&dir, "select count(*) from run where command = 'import'"),
        1
    );
    // Another file with the same rows in another order, and one more.
    let mut lines: Vec<String> = rows(342).lines().map(str::to_owned).collect();
    lines.reverse();
    dir.write("other.json", format!("[{}]", lines.join(",\n")));
    let more = import(&dir, "other.json");
    assert_eq!(
        (&more["tasks"], &more["already_here"], &more["rows"]),
        (&1.into(), &341.into(), &342.into())
    );
    assert_eq!(tasks(&dir), 342);
}

/// Exported rows are recognized in every format, from whichever part of the dataset they come.
#[test]
fn exported_rows_are_recognized_in_every_format() {
    let dir = filled();
    dir.write("rows.jsonl", rows(20));
    import(&dir, "rows.jsonl");
    let before = dir.sql("select id, review from task");
    for format in [
        "alpaca",
        "dolly",
        "chat",
        "completion",
        "self-instruct",
        "parquet",
    ] {
        ewe(
            &dir,
            &["export", "--db", "d.db", "--format", format, "--out", "out"],
        )
        .success();
        let again = import(&dir, "out");
        assert_eq!(again["tasks"], 0, "{format}");
        assert_eq!(again["already_here"], again["rows"], "{format}");
        assert!(again["rows"].as_i64().unwrap() > 0, "{format}");
        assert_eq!(dir.sql("select id, review from task"), before, "{format}");
    }
}

#[test]
fn edited_and_rejected_rows_are_recognized() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(6));
    import(&dir, "rows.jsonl");
    let first = number(&dir, "select min(id) from task where origin = 'import'");
    let run = |args: &[&str], id: i64| {
        let id = id.to_string();
        let args: Vec<&str> = args
            .iter()
            .map(|&word| if word == "ID" { id.as_str() } else { word })
            .collect();
        ewe(&dir, &args).success();
    };
    run(&["reject", "--db", "d.db", "ID"], first);
    run(&["accept", "--db", "d.db", "ID"], first + 1);
    run(&["edit", "--db", "d.db", "ID", "--output", "edited"], first + 2);
    run(
        &["edit", "--db", "d.db", "ID", "--instruction", "Another one."],
        first + 3,
    );
    run(&["edit", "--db", "d.db", "ID", "--input", "x"], first + 3);
    dir.sql(&format!(
        "update task set instruction = 'By SQL.' where id = {}",
        first + 4
    ));
    dir.sql(&format!(
        "update instance set output = 'by SQL' where task_id = {}",
        first + 4
    ));
    assert_eq!(import(&dir, "rows.jsonl")["already_here"], 6);
    // Edited rows are recognized by their new text, too.
    ewe(
        &dir,
        &["export", "--db", "d.db", "--format", "chat", "--out", "now"],
    )
    .success();
    assert_eq!(import(&dir, "now")["tasks"], 0);
    // An edited seed is recognized by its old text.
    ewe(&dir, &["edit", "--db", "d.db", "1", "--output", "edited"]).success();
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(
        &dir,
        &["export", "--db", "d.db", "--format", "alpaca", "--out", "before"],
    )
    .success();
    ewe(&dir, &["edit", "--db", "d.db", "1", "--output", "edited"]).success();
    assert_eq!(import(&dir, "before")["tasks"], 0);
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

#[test]
fn a_repeated_row_is_imported_once() {
    let dir = Dir::with_dataset();
    dir.write("twice.jsonl", rows(3).repeat(2));
    let out = ewe(&dir, &["import", "--db", "d.db", "twice.jsonl"])
        .success()
        .stdout();
    assert!(
        out.contains("3 tasks from") && out.contains("6 rows, 3 as an earlier row of the file: skipped"),
        "{out}"
    );
    // The same question with another answer is another example.
    dir.write(
        "other.jsonl",
        "{\"instruction\": \"Count the sheep of farm 1.\", \"input\": \"Farm 1\", \"output\": \"None.\"}\n",
    );
    assert_eq!(import(&dir, "other.jsonl")["tasks"], 1);
    assert_eq!(tasks(&dir), 4);
}

#[test]
fn an_import_is_one_action_to_undo() {
    let dir = Dir::with_dataset();
    // More than one transaction writes.
    dir.write("rows.jsonl", rows(2500));
    import(&dir, "rows.jsonl");
    let log = ewe(&dir, &["log", "--db", "d.db"]).success().stdout();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(
        log.contains("import  2500 tasks, the first is ") && log.contains("rows.jsonl"),
        "{log}"
    );
    let pending = || number(&dir, "select count(*) from dataset where origin = 'import'");
    let out = ewe(&dir, &["undo", "--db", "d.db"]).success().stdout();
    assert!(out.contains("2500 tasks"), "{out}");
    assert_eq!(
        (pending(), number(&dir, "select count(*) from withdrawn")),
        (0, 2500)
    );
    ewe(&dir, &["undo", "--db", "d.db", "--redo"]).success();
    assert_eq!(
        (pending(), number(&dir, "select count(*) from withdrawn")),
        (2500, 0)
    );
    // Decisions made since take precedence.
    let first = number(&dir, "select min(id) from task where origin = 'import'");
    ewe(&dir, &["accept", "--db", "d.db", &first.to_string()]).success();
    let said = ewe(&dir, &["undo", "--db", "d.db", "1"]).failure(1).stderr();
    assert!(
        said.contains(&format!("task {first} was changed since")),
        "{said}"
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(pending(), 0);
    ewe(&dir, &["check", "--db", "d.db"]).success();
    // An import that was undone can be repeated; nothing is there twice.
    dir.write("more.jsonl", rows(2501));
    let back = import(&dir, "more.jsonl");
    assert_eq!(
        (&back["tasks"], &back["brought_back"]),
        (&2501.into(), &2500.into())
    );
    assert_eq!((pending(), tasks(&dir)), (2501, 2501));
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(pending(), 0);
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// Rejected tasks stay rejected, whatever happens to their import.
#[test]
fn a_rejected_row_is_not_imported_again() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(3));
    import(&dir, "rows.jsonl");
    let first = number(&dir, "select min(id) from task where origin = 'import'");
    ewe(
        &dir,
        &["reject", "--db", "d.db", &first.to_string(), "--reason", "no"],
    )
    .success();
    assert_eq!(import(&dir, "rows.jsonl")["already_here"], 3);
    assert_eq!(
        number(&dir, "select count(*) from dataset where origin = 'import'"),
        2
    );
    assert_eq!(number(&dir, "select count(*) from withdrawn"), 0);
}

#[test]
fn imported_tasks_have_file_row_and_neighbors() {
    let dir = Dir::with_dataset();
    dir.write(
        "vet.jsonl",
        "{\"instruction\": \"List the vaccines a puppy needs.\", \"output\": \"Distemper.\"}\n\n\
         {\"instruction\": \"List the vaccines that a kitten needs.\", \"output\": \"Rabies.\"}\n",
    );
    import(&dir, "vet.jsonl");
    let last = number(&dir, "select max(id) from task");
    let shown = ewe(&dir, &["show", "--db", "d.db", &last.to_string()])
        .success()
        .stdout();
    assert!(shown.contains("from `vet.jsonl`, row 2\n"), "{shown}");
    assert!(shown.contains(" · import · vet.jsonl"), "{shown}");
    assert!(shown.contains("nearest by ROUGE-L"), "{shown}");
    let view = json(ewe(&dir, &["show", "--db", "d.db", &last.to_string(), "--json"]));
    assert_eq!(view["source"]["file"], "vet.jsonl");
    assert_eq!(view["source"]["first_row"], 2);
    assert_eq!(view["neighbors"][0]["id"], last - 1);
    let alike = json(ewe(
        &dir,
        &[
            "list", "--db", "d.db", "--sort", "similar", "--limit", "1", "--json",
        ],
    ));
    assert_eq!(alike[0]["id"], last);
    let alike = json(ewe(
        &dir,
        &["list", "--db", "d.db", "--min-similarity", "0.6", "--json"],
    ));
    assert_eq!(alike.as_array().unwrap().len(), 1);
    // Seeds have file and row, too.
    let seed = json(ewe(&dir, &["show", "--db", "d.db", "1", "--json"]));
    assert_eq!(seed["source"]["file"], "seeds/seed_tasks.jsonl");
    assert_eq!(seed["source"]["first_row"], 1);
    // The page shows it, too.
    let page = Page::start(&dir, &[]);
    let (_, trail) = page.get(&format!("/api/tasks/{last}/trail"));
    assert_eq!(trail["source"]["file"], "vet.jsonl");
    assert_eq!(trail["history"][0]["action"], "import");
    assert_eq!(page.get("/api/latest").1["action"]["action"], "import");
    let (_, undone) = page.post("/api/undo", &serde_json::json!({}));
    assert_eq!(undone["change"]["tasks"], 2);
    assert_eq!(
        number(&dir, "select count(*) from dataset where origin = 'import'"),
        0
    );
}

/// Users of the page do not wait for a large import: they write between its transactions. Some of
/// these have as many tasks as they may, the others as many bytes.
#[test]
fn others_can_write_during_a_large_import() {
    const SMALL: usize = 4_500;
    const LARGE: usize = 12;
    const ALL: i64 = (SMALL + LARGE) as i64;
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(SMALL) + &large_rows(LARGE));
    let page = Page::start(&dir, &[]);
    let mut importing = spawn(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]);
    until("an import", || {
        number(&dir, "select count(*) from run where command = 'import'") > 0
    });
    let start = Instant::now();
    let mut edits = 0;
    let mut longest = Duration::ZERO;
    while importing.try_wait().unwrap().is_none() {
        let version = page.get("/api/tasks/1").1["version"].as_i64().unwrap();
        let begin = Instant::now();
        let body = serde_json::json!({ "version": version, "instances": [{"ordinal": 0, "output": format!("edit {edits}")}] });
        let (status, change) = page.post("/api/tasks/1/edit", &body);
        assert!(
            status == 200 && change["change"]["group"].is_number(),
            "{status}: {change}"
        );
        longest = longest.max(begin.elapsed());
        edits += 1;
    }
    let whole = start.elapsed();
    assert!(importing.wait().unwrap().success());
    assert!(edits >= 3, "{edits} edits during the import");
    // Where everything is slow, less than half of the import.
    let most = Duration::from_secs(4).max(whole / 2);
    assert!(longest < most, "an edit waited {longest:?} of {whole:?}");
    assert_eq!(tasks(&dir), ALL);
    assert_eq!(
        number(&dir, "select count(*) from revision where action = 'edit'"),
        edits
    );
    // Revisions are numbered as they are written: some edits came after the first of the import's
    // rows and before the last.
    let within = "select count(*) from revision where action = 'edit'
        and id > (select min(id) from revision where action = 'import')
        and id < (select max(id) from revision where action = 'import')";
    assert!(number(&dir, within) > 0, "no edit came between transactions");
    // The import is one action, although others acted in between.
    let log = json(ewe(
        &dir,
        &["log", "--db", "d.db", "--json", "--limit", "1000000"],
    ));
    let imports: Vec<_> = log
        .as_array()
        .unwrap()
        .iter()
        .filter(|action| action["action"] == "import")
        .collect();
    assert_eq!(imports.len(), 1);
    assert_eq!(imports[0]["tasks"], ALL);
    ewe(&dir, &["undo", "--db", "d.db", &imports[0]["group"].to_string()]).success();
    assert_eq!(
        number(&dir, "select count(*) from dataset where origin = 'import'"),
        0
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// A killed import leaves complete chunks, and the same command imports the rest.
#[test]
fn a_killed_import_is_completed_by_the_same_command() {
    // An import that is over before it is killed is repeated.
    let killed = (0..20).find_map(|_| {
        let dir = Dir::with_dataset();
        dir.write("rows.jsonl", large_rows(16));
        let mut importing = spawn(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]);
        until("an imported row", || tasks(&dir) > 0);
        importing.kill().unwrap();
        importing.wait().unwrap();
        let there = tasks(&dir);
        (there < 16).then_some((dir, there))
    });
    let (dir, there) = killed.expect("an import that was killed before its end");
    let again = import(&dir, "rows.jsonl");
    assert_eq!(again["already_here"], there);
    assert_eq!(tasks(&dir), 16);
    assert_eq!(
        number(
            &dir,
            "select count(distinct instruction) from task where origin = 'import'"
        ),
        16
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from task where origin = 'import' and id not in (select task_id from neighbor)"
        ),
        0
    );
    ewe(&dir, &["check", "--db", "d.db"]).success();
}

/// Two imports of one file at the same time add its rows once.
#[test]
fn two_imports_at_once_add_each_row_once() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows(3000));
    let children: Vec<_> = (0..3)
        .map(|_| spawn(&dir, &["import", "--db", "d.db", "rows.jsonl", "-q"]))
        .collect();
    let mut done = 0;
    for child in children {
        let out = child.wait_with_output().unwrap();
        match out.status.code() {
            Some(0) => done += 1,
            code => {
                assert_eq!(code, Some(1));
                let said = String::from_utf8_lossy(&out.stderr).into_owned();
                assert!(
                    said.contains("another import is at work on `d.db`\nhint: "),
                    "{said}"
                );
            }
        }
    }
    assert!(done >= 1);
    assert_eq!(tasks(&dir), 3000);
}

#[test]
fn an_edit_through_the_api_must_name_the_version() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &[]);
    let body = serde_json::json!({ "instruction": "Overwritten unseen." });
    let (status, answer) = page.post("/api/tasks/1/edit", &body);
    assert_eq!(status, 428, "{answer}");
    assert!(
        answer["error"].as_str().unwrap().contains("`version`"),
        "{answer}"
    );
    assert_eq!(number(&dir, "select count(*) from revision"), 0);
}

#[test]
fn the_log_lists_the_reasons_of_an_action() {
    let dir = Dir::with_dataset();
    dir.write(
        "a.jsonl",
        "{\"instruction\": \"List the vaccines a puppy needs.\", \"output\": \"Distemper.\"}\n",
    );
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"List the vaccines a puppy needs now.\", \"output\": \"Rabies.\"}\n\
        {\"instruction\": \"List the vaccines a puppy needs today.\", \"output\": \"Rabies.\"}\n\
        {\"instruction\": \"Hm.\", \"output\": \"Yes.\"}\n",
    );
    import(&dir, "a.jsonl");
    import(&dir, "rows.jsonl");
    ewe(&dir, &["filter", "--db", "d.db"]).success();
    let log = json(ewe(&dir, &["log", "--db", "d.db", "--json", "--limit", "1"]));
    let note = log[0]["note"].as_str().unwrap();
    assert!(
        note.starts_with("near_duplicate (2), ") && note.ends_with(" (1)"),
        "{note}"
    );
    // One reason for all tasks is shown as given.
    ewe(
        &dir,
        &["reject", "--db", "d.db", "1-3", "--reason", "too easy for us"],
    )
    .success();
    let log = json(ewe(&dir, &["log", "--db", "d.db", "--json", "--limit", "1"]));
    assert_eq!(log[0]["note"], "too easy for us");
}

#[test]
fn check_reports_an_accepted_task_without_an_answer() {
    let dir = Dir::with_dataset();
    ewe(&dir, &["check", "--db", "d.db"]).success();
    ewe(&dir, &["edit", "--db", "d.db", "4", "--output", " "]).success();
    let out = ewe(&dir, &["check", "--db", "d.db"]).failure(1).stdout();
    assert!(
        out.contains("its task was accepted, and its output is empty"),
        "{out}"
    );
    let export = ["export", "--db", "d.db", "--format", "alpaca", "--out", "x.json"];
    let said = ewe(&dir, &export).success().stderr();
    assert!(
        said.contains("warning: 1 example has no output, ") && said.contains("hint: `ewe check`"),
        "{said}"
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["check", "--db", "d.db"]).success();
    let said = ewe(&dir, &export).success().stderr();
    assert!(!said.contains("warning"), "{said}");
}
