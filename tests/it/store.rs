//! The dataset file: creating and opening it, other files, a full disk, the schema tour.

use ewe::{
    store::{Error, NewTask, RunStatus, Store},
    task::{Instance, Origin, Review, Task},
};

use crate::{
    shell::{Dir, ewe_limited},
    support::{block_on, ewe, filled, json, number, sql_error},
};

fn task(instruction: &str, instances: &[(&str, &str)]) -> Task {
    let instances = instances.iter().map(|&(input, output)| Instance {
        input: input.into(),
        output: output.into(),
    });
    Task {
        instruction: instruction.into(),
        instances: instances.collect(),
        ..Task::default()
    }
}

#[tokio::test]
async fn tasks_are_read_back_in_order() {
    let dir = Dir::new();
    let store = Store::create(&dir.path("a.db")).await.unwrap();
    let run = store
        .begin_run("init", &serde_json::json!({"seeds": "x"}), Some(7), None)
        .await
        .unwrap();
    let first = NewTask::new(task("Add.", &[("1 2", "3"), ("2 2", "4")]), Origin::Seed);
    let second = NewTask {
        run_id: Some(run),
        ..NewTask::new(task("Say hi.", &[("", "hi")]), Origin::Machine)
    };
    assert_eq!(store.add_tasks(&[first, second]).await.unwrap(), [1, 2]);
    store.finish_run(run, RunStatus::Done).await.unwrap();
    let rows = store.dataset(None).await.unwrap();
    let texts: Vec<_> = rows
        .iter()
        .map(|row| (row.task_id, row.input.as_str(), row.output.as_str()))
        .collect();
    assert_eq!(texts, [(1, "1 2", "3"), (1, "2 2", "4"), (2, "", "hi")]);
    assert_eq!(store.dataset(Some(Review::Accepted)).await.unwrap().len(), 2);
    store.close().await;
    let again = Store::open(&dir.path("a.db")).await.unwrap();
    assert_eq!(again.dataset(None).await.unwrap(), rows);
}

#[tokio::test]
async fn create_never_replaces_a_file() {
    let dir = Dir::new();
    dir.write("a.db", "mine");
    assert!(matches!(
        Store::create(&dir.path("a.db")).await,
        Err(Error::Exists { .. })
    ));
    assert_eq!(dir.read("a.db"), "mine");
}

#[test]
fn init_makes_a_complete_file_or_none() {
    let dir = Dir::new();
    dir.write("bad.jsonl", concat!(
        r#"{"id": "a", "name": "a", "instruction": "Say a.", "instances": [{"input": "", "output": "a"}], "is_classification": false}"#,
        "\n\n",
        r#"{"id": "b", "instruction": "Say b.", "instances": [{"input": "", "output": "b"}], }"#,
        "\n",
    ));
    let out = ewe(&dir, &["init", "--db", "d.db", "--seeds", "bad.jsonl"]).failure(1);
    assert!(
        out.stderr()
            .contains("bad.jsonl:3:83: not a JSON object: trailing comma"),
        "{}",
        out.stderr()
    );
    for (row, what) in [
        (
            r#"{"instruction": "x", "instances": []}"#,
            "1:1: `instances` is empty",
        ),
        (
            r#"{"instruction": "x", "instances": [{"output": [3]}]}"#,
            "1:1: `instances[0]`: `output` is an array, not a string",
        ),
        (
            r#"{"instruction": " ", "instances": [{"output": "x"}]}"#,
            "1:1: the instruction is empty",
        ),
        (
            r#"{"instruction": "x", "instances": [{"output": " "}]}"#,
            "1:1: the output is empty",
        ),
        (
            r#"{"instruction": "x", "instances": [{"output": "y"}, {"output": ""}]}"#,
            "1:1: `instances[1]`: the output is empty",
        ),
        ("", "`bad.jsonl` has no tasks in it"),
    ] {
        dir.write("bad.jsonl", row);
        let out = ewe(&dir, &["init", "--db", "d.db", "--seeds", "bad.jsonl"]).failure(1);
        assert!(out.stderr().contains(what), "{}", out.stderr());
    }
    let out = ewe(&dir, &["init", "--db", "d.db", "--seeds", "none.jsonl"]).failure(1);
    assert!(
        out.stderr().contains("cannot read `none.jsonl`: No such file"),
        "{}",
        out.stderr()
    );
    let out = ewe(&dir, &["init", "--db", "nowhere/d.db"]).failure(1);
    assert!(
        out.stderr().contains("cannot create `nowhere/d.db`"),
        "{}",
        out.stderr()
    );
    ewe_limited(&dir, 200, &["init", "--db", "d.db"]).failure(1);
    assert!(!dir.path("d.db").exists());
    let left: Vec<_> = std::fs::read_dir(dir.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["bad.jsonl"]);

    ewe(&dir, &["init", "--db", "d.db"]).success();
    assert!(
        number(
            &dir,
            "select count(*) from task where origin = 'seed' and review = 'accepted'"
        ) >= 175
    );
    let out = ewe(&dir, &["init", "--db", "d.db"]).failure(1);
    assert!(
        out.stderr().contains("`d.db` exists already\nhint: "),
        "{}",
        out.stderr()
    );
}

#[test]
fn other_files_are_refused_and_left_unchanged() {
    let dir = Dir::new();
    let list = |db: &str| ewe(&dir, &["list", "--db", db]).failure(1).stderr();
    assert!(list("d.db").contains("no dataset at `d.db`\nhint: make one with `ewe init --db d.db`"));
    assert!(!dir.path("d.db").exists());
    dir.write(
        "text.db",
        "this is not a database, and long enough to have a header that could be one's",
    );
    assert!(list("text.db").contains("`text.db` is not a database"));
    assert!(list(".").contains("`.` is not a database"));
    dir.write("empty.db", "");
    assert!(list("empty.db").contains("`empty.db` is not a database: it is empty"));
    assert_eq!(dir.read("empty.db"), "");
    // A database of another program: nothing in it may change, not even the journal mode.
    dir.write("d.db", "");
    dir.sql("create table mine (x)");
    let before = std::fs::read(dir.path("d.db")).unwrap();
    assert!(list("d.db").contains("`d.db` is an SQLite database, but not one of ewe's"));
    assert_eq!(std::fs::read(dir.path("d.db")).unwrap(), before);
}

#[test]
fn a_dataset_of_a_newer_schema_is_refused_and_left_unchanged() {
    let dir = Dir::with_dataset();
    let known = number(&dir, "pragma user_version");
    dir.sql("pragma user_version = 99");
    let out = ewe(&dir, &["reject", "--db", "d.db", "1"]).failure(1);
    let what = format!("`d.db` was made by a newer ewe: schema 99, this one knows {known}\nhint: update ewe");
    assert!(out.stderr().contains(&what), "{}", out.stderr());
}

#[test]
fn unusual_file_names_work() {
    let dir = Dir::new();
    for name in [":memory:", "file:x.db", "a?mode=memory", "50% of #1.db", "ö x.db"] {
        ewe(&dir, &["init", "--db", name]).success();
        assert!(dir.path(name).is_file(), "{name}");
        ewe(&dir, &["list", "--db", name, "--limit", "1"]).success();
    }
}

#[test]
fn a_full_disk_loses_nothing() {
    let dir = Dir::with_dataset();
    let rows = |words| {
        let output = "word ".repeat(words);
        let row = |i| format!("{{\"instruction\": \"Say it {i} times.\", \"output\": \"{output}\"}}\n");
        (0..2000).map(row).collect::<String>()
    };
    let blocks = std::fs::metadata(dir.path("d.db")).unwrap().len() / 512 + 40;
    // Rows are buffered in a temporary file, which may be the one without room.
    dir.write("long.jsonl", rows(200));
    let out = ewe_limited(&dir, blocks, &["import", "--db", "d.db", "long.jsonl"]).failure(1);
    assert!(
        out.stderr()
            .contains("cannot write a temporary file: File too large")
            && out.stderr().contains("nothing was imported\nhint: make room"),
        "{}",
        out.stderr()
    );
    dir.write("many.jsonl", rows(20));
    let out = ewe_limited(&dir, blocks, &["import", "--db", "d.db", "many.jsonl"]).failure(1);
    assert!(
        out.stderr().contains("`d.db`: disk full") && out.stderr().contains("nothing was lost"),
        "{}",
        out.stderr()
    );
    assert!(out.stderr().contains("hint: "));
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        0
    );
    assert_eq!(
        number(&dir, "select count(*) from run where command = 'import'"),
        0
    );
    let out = ewe_limited(
        &dir,
        100,
        &[
            "export", "--db", "d.db", "--format", "alpaca", "--out", "out.json",
        ],
    )
    .failure(1);
    assert!(
        out.stderr().contains("cannot write `out.json`"),
        "{}",
        out.stderr()
    );
    assert!(!dir.path("out.json").exists());
    ewe(&dir, &["import", "--db", "d.db", "many.jsonl"]).success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'import'"),
        2000
    );
}

#[test]
fn the_search_index_follows_changes_by_sql() {
    let dir = filled();
    let found = |word: &str| {
        dir.sql(&format!(
            "select rowid from task_fts where task_fts match '{word}'"
        ))
        .len()
    };
    assert_eq!(found("zebra"), 0);
    dir.sql("update instance set output = 'zebra' where task_id = 2 and ordinal = 0");
    dir.sql("update task set instruction = 'Draw a zebra.' where id = 4");
    assert_eq!(found("zebra"), 2);
    dir.sql("update instance set output = 'horse' where task_id = 2");
    assert_eq!(found("zebra"), 1);
    // FTS5 compares the index with the texts that it keeps; both follow the tables.
    dir.sql("insert into task_fts (task_fts) values ('integrity-check')");
    let differ = "select count(*) from task join task_fts on task_fts.rowid = task.id
        where task_fts.instruction <> task.instruction
            or task_fts.output <> (select group_concat(output, char(10)) from instance where task_id = task.id)";
    assert_eq!(number(&dir, differ), 0);
}

#[test]
fn history_cannot_be_rewritten() {
    let dir = filled();
    for change in ["update revision set who = 'bob'", "delete from revision"] {
        let error = sql_error(&dir, change);
        assert!(error.contains("revision is append-only"), "{error}");
    }
}

#[test]
fn every_query_of_the_schema_tour_runs() {
    let dir = filled();
    dir.sql("update task set review = 'pending' where id = 2");
    for line in [
        "field add difficulty --values easy,hard",
        "label 1 difficulty=easy",
        "assign 2 --to anna,ben --each 2",
        "accept 2 --as anna",
        "unsure 2 --as ben",
    ] {
        let (command, rest) = line.split_once(' ').unwrap();
        let mut arguments = vec![command, "--db", "d.db"];
        arguments.extend(rest.split(' '));
        ewe(&dir, &arguments).success();
    }
    dir.sql(
        "insert into evaluation (run_id, suite, source, model, result)
        select max(id), 'held-out', '', 'm', '{\"n\": 3, \"nll\": 2.5, \"rougeL\": 10.25}' from run",
    );
    let tour = include_str!("../../db/README.md");
    let queries: Vec<_> = tour
        .split("```sql\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(queries.len(), 19);
    for query in queries {
        assert!(!dir.sql(query).is_empty(), "no rows:\n{query}");
    }
}

#[test]
fn stats_and_report_equal_counts_by_sql() {
    let dir = filled();
    let stats = json(ewe(&dir, &["stats", "--db", "d.db", "--json"]));
    for (pointer, query) in [
        ("/dataset/tasks", "select count(distinct task_id) from dataset"),
        ("/dataset/examples", "select count(*) from dataset"),
        ("/candidates/parsed", "select sum(parsed) from round"),
        ("/candidates/rejected", "select count(*) from rejection"),
        (
            "/requests/prompt_tokens",
            "select sum(prompt_tokens) from request",
        ),
        (
            "/balance/classification",
            "select count(distinct task_id) from dataset where is_classification",
        ),
        (
            "/balance/without_input",
            "select count(*) from dataset where input = ''",
        ),
        ("/runs/1/tasks", "select count(*) from task where run_id = 2"),
    ] {
        assert_eq!(stats.pointer(pointer).unwrap(), number(&dir, query), "{pointer}");
    }
    let human = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    assert!(human.contains("7 parsed = 5 accepted + 2 rejected"), "{human}");
    // The report has the same figures, and no model output is markup.
    ewe(&dir, &["report", "--db", "d.db", "--out", "r.html"]).success();
    let report = dir.read("r.html");
    let examples = number(&dir, "select count(*) from dataset");
    assert!(
        report.contains(&format!("<b>{examples}</b> examples")),
        "{report}"
    );
    assert!(report.contains("model &lt;b&gt;x&lt;/b&gt;") && !report.contains("<b>x</b>"));
    // It loads nothing from elsewhere.
    for link in ["src=", "href=", "url(", "@import"] {
        assert!(!report.contains(link), "{link}");
    }
}

#[test]
fn a_locked_dataset_is_waited_for_and_then_reported() {
    let dir = Dir::with_dataset();
    block_on(async {
        let store = Store::open(&dir.path("d.db")).await.unwrap();
        let held = store.begin_batch("import", &serde_json::json!({})).await.unwrap();
        let start = std::time::Instant::now();
        let out = ewe(&dir, &["reject", "--db", "d.db", "1"]).failure(1);
        assert!(
            out.stderr().contains("`d.db`: the dataset is locked"),
            "{}",
            out.stderr()
        );
        assert!(start.elapsed() >= std::time::Duration::from_secs(4));
        // Reading works meanwhile.
        ewe(&dir, &["list", "--db", "d.db"]).success();
        drop(held);
    });
}
