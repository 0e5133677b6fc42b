//! Rejected candidates: the list of what the rules threw away, and its rescue.

use serde_json::{Value, json};

use crate::{
    page::Page,
    shell::{Dir, Ran, ran},
    support::{command, ewe, filled, json as parsed, number},
};

/// The candidates of [`filled`]: an instance without an output, and a near-duplicate of task 1.
const EMPTY: i64 = 3;
const DUPLICATE: i64 = 7;

fn run(dir: &Dir, command: &str, rest: &[&str]) -> Ran {
    ewe(dir, &[&[command, "--db", "d.db"], rest].concat())
}

fn ids(dir: &Dir, rest: &[&str]) -> Vec<i64> {
    let rows = parsed(run(dir, "candidates", &[rest, &["--json"]].concat()));
    let rows = rows.as_array().unwrap();
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

/// What adds up: candidates by verdict, and the figures of `ewe stats`.
fn counts(dir: &Dir) -> (Vec<Vec<String>>, Value) {
    let verdicts = "select kind, verdict, reason, count(*) from candidate group by 1, 2, 3 order by 1, 2, 3";
    let stats = parsed(run(dir, "stats", &["--json"]));
    let mut candidates = stats["candidates"].clone();
    // What was rescued is counted beside them.
    candidates.as_object_mut().unwrap().remove("rescued");
    (dir.sql(verdicts), candidates)
}

#[test]
fn rejected_candidates_are_listed_with_their_reasons() {
    let dir = filled();
    assert_eq!(ids(&dir, &[]), [DUPLICATE, EMPTY]);
    assert_eq!(ids(&dir, &["--rule", "near_duplicate"]), [DUPLICATE]);
    assert_eq!(ids(&dir, &["--limit", "1"]), [DUPLICATE]);
    assert_eq!(ids(&dir, &["--before", "7"]), [EMPTY]);
    assert_eq!(ids(&dir, &["--text", "PLEASE"]), [DUPLICATE]);
    assert_eq!(ids(&dir, &["--text", "100%"]), [] as [i64; 0]);
    assert_eq!(ids(&dir, &["--run", "2"]), [DUPLICATE, EMPTY]);
    assert_eq!(ids(&dir, &["--rescued"]), [] as [i64; 0]);
    let out = run(&dir, "candidates", &["--limit", "1"]).success();
    assert!(out.stdout().contains("near_duplicate"), "{}", out.stdout());
    assert_eq!(out.stderr(), "1 of 2 rejected candidates; more: --before 7\n");
    let csv = run(&dir, "candidates", &["--csv"]).success().stdout();
    assert!(csv.starts_with("id,run_id,round,request_id,kind,"), "{csv}");
    let shown = run(&dir, "candidates", &["7"]).success().stdout();
    for part in [
        "near_duplicate: The instruction is too similar",
        "Name an animal, please.",
        "0.75",
    ] {
        assert!(shown.contains(part), "{part}\n{shown}");
    }
    let wrong = run(&dir, "candidates", &["--rule", "near_duplicates"]).failure(1);
    assert!(
        wrong.stderr().contains("did you mean `near_duplicate`?"),
        "{}",
        wrong.stderr()
    );
    for id in ["1", "99"] {
        let missing = run(&dir, "candidates", &[id]).failure(1);
        assert_eq!(
            missing.stderr(),
            format!("error: `d.db`: no rejected candidate {id}\nhint: `ewe candidates` lists them\n")
        );
    }
}

#[test]
fn a_rescue_is_a_pending_task_that_can_be_undone() {
    let dir = filled();
    let before = counts(&dir);
    let last = number(&dir, "select max(id) from task");
    let said = run(&dir, "rescue", &["7"]).success();
    assert!(
        said.stdout().starts_with("1 candidate rescued: 1 task pending"),
        "{}",
        said.stdout()
    );
    let id = last + 1;
    assert_eq!(
        dir.sql(&format!(
            "select instruction, origin, review, run_id, request_id, nearest_rouge_l from task where id = {id}"
        )),
        [["Name an animal, please.", "machine", "pending", "2", "1", "0.75"]]
    );
    // Nobody had asked for its output: it is there to be written.
    let instances = format!("select input, output from instance where task_id = {id}");
    assert_eq!(dir.sql(&instances), [["", ""]]);
    run(&dir, "edit", &[&id.to_string(), "--output", "a sheep"]).success();
    assert_eq!(dir.sql(&instances), [["", "a sheep"]]);
    assert_eq!(ids(&dir, &["--rescued"]), [DUPLICATE]);
    let log = parsed(run(&dir, "log", &["--json", "--limit", "2"]));
    assert_eq!(
        (&log[1]["action"], &log[1]["note"], &log[1]["who"]),
        (
            &json!("rescue"),
            &json!("near_duplicate (candidate 7)"),
            &json!("ann")
        )
    );
    assert!(
        run(&dir, "search", &["please"])
            .success()
            .stdout()
            .contains("please")
    );
    // Accepted and rejected, by reason, are still all that were parsed.
    assert_eq!(counts(&dir), before);
    run(&dir, "check", &[]).success();
    let again = run(&dir, "rescue", &["7"]).success().stdout();
    assert_eq!(again, format!("nothing to do: rescued already, as task {id}\n"));

    let undo = |group: &str| run(&dir, "undo", &[group]).success();
    undo(&log[0]["group"].to_string());
    undo(&log[1]["group"].to_string());
    assert_eq!(
        dir.sql(&format!("select review from task where id = {id}")),
        [["rejected"]]
    );
    assert_eq!(
        number(
            &dir,
            &format!("select count(*) from withdrawn where task_id = {id}")
        ),
        1
    );
    assert_eq!(ids(&dir, &["--rescued"]), [] as [i64; 0]);
    run(&dir, "check", &[]).success();
    // The same task comes back.
    let back = parsed(run(&dir, "rescue", &["7", "--json"]));
    assert_eq!(
        (&back["tasks"], &back["change"]["tasks"]),
        (&json!([id]), &json!(1))
    );
    assert_eq!(
        dir.sql(&format!("select review from task where id = {id}")),
        [["pending"]]
    );
    assert_eq!(counts(&dir), before);
    run(&dir, "check", &[]).success();
}

#[test]
fn an_instruction_takes_along_the_instances_that_fell_with_it() {
    let dir = filled();
    for (id, output, reason) in [
        (8, "a cow", "instruction_rejected"),
        (9, "a", "echo"),
        (10, "a dog", "instruction_rejected"),
    ] {
        dir.sql(&format!(
            "insert into candidate (id, run_id, round, request_id, kind, parent_id, instruction, input, output, verdict, reason)
            values ({id}, 2, 0, 1, 'instance', 7, 'Name an animal, please.', 'in', '{output}', 'rejected', '{reason}')"
        ));
    }
    dir.sql("update round set parsed = parsed + 3");
    // Both at once are one action; an instance of the first comes with it.
    let rescued = parsed(run(&dir, "rescue", &["7", "8", "3", "--json"]));
    let tasks: Vec<i64> = rescued["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|id| id.as_i64().unwrap())
        .collect();
    assert_eq!(
        (tasks[0], rescued["change"]["tasks"].as_i64()),
        (tasks[1], Some(2))
    );
    let outputs = |task: i64| {
        dir.sql(&format!(
            "select output from instance where task_id = {task} order by ordinal"
        ))
    };
    assert_eq!(outputs(tasks[0]), [["a cow"], ["a dog"]]);
    assert_eq!(outputs(tasks[2]), [[""]]);
    let instruction = dir.sql(&format!("select instruction from task where id = {}", tasks[2]));
    assert_eq!(instruction, [["Name an animal. <script>alert(1)</script>"]]);
    assert_eq!(ids(&dir, &["--rescued"]), [10, 8, 7, EMPTY]);
    run(&dir, "check", &[]).success();
    // One that was accepted is none, and then nothing happens.
    let history = "select count(*) from revision";
    let revisions = number(&dir, history);
    run(&dir, "rescue", &["9", "1"]).failure(1);
    assert_eq!(number(&dir, history), revisions);
}

#[test]
fn the_page_lists_and_rescues_candidates() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    let (_, list) = page.get("/api/candidates?limit=1");
    assert_eq!(
        (&list["candidates"][0]["id"], &list["whole"]),
        (&json!(DUPLICATE), &json!(false))
    );
    let (_, rest) = page.get(&format!("/api/candidates?before={DUPLICATE}"));
    assert_eq!(
        (&rest["candidates"][0]["id"], &rest["whole"]),
        (&json!(EMPTY), &json!(true))
    );
    let filter = r#"{"reason":"near_duplicate"}"#;
    let (_, counts) = page.get(&format!("/api/candidates/counts?filter={filter}"));
    assert_eq!(counts["passing"], 1);
    let reasons = counts["reasons"].as_array().unwrap();
    assert_eq!(reasons.len(), 2);
    assert!(
        reasons
            .iter()
            .all(|of| of["candidates"] == 1 && of["about"].is_string()),
        "{counts}"
    );
    let (_, one) = page.get(&format!("/api/candidates/{DUPLICATE}"));
    assert_eq!(
        (&one["rouge_l"], &one["nearest_task_id"], &one["rescued_as"]),
        (&json!(0.75), &json!(1), &Value::Null)
    );
    let (status, rescued) = page.post("/api/candidates/rescue", &json!({ "ids": [DUPLICATE] }));
    assert_eq!((status, rescued["tasks"].as_array().unwrap().len()), (200, 1));
    let (_, one) = page.get(&format!("/api/candidates/{DUPLICATE}"));
    assert_eq!(one["rescued_as"], rescued["tasks"][0]);
    let (status, _) = page.post("/api/undo", &json!({ "group": rescued["change"]["group"] }));
    assert_eq!(status, 200);
    let (_, one) = page.get(&format!("/api/candidates/{DUPLICATE}"));
    assert_eq!(one["rescued_as"], Value::Null);
    assert_eq!(page.get("/api/candidates/1").0, 404);
    assert_eq!(page.post("/api/candidates/rescue", &json!({ "ids": [1] })).0, 404);
    assert_eq!(page.get("/api/candidates?filter={%22nonsense%22:1}").0, 400);
}

#[test]
fn the_page_decides_about_selected_tasks_and_says_who_else_is_here() {
    let dir = filled();
    let page = Page::start(&dir, &[]);
    let (status, answer) = page.post(
        "/api/selected",
        &json!({ "ids": [7, 9, 11], "review": "rejected", "note": "dull" }),
    );
    assert_eq!((status, &answer["change"]["tasks"]), (200, &json!(3)));
    assert_eq!(
        dir.sql(
            "select count(*), count(distinct group_id) from revision where note = 'dull' and who = 'ann'"
        ),
        [["3", "1"]]
    );
    assert_eq!(
        page.post(
            "/api/selected",
            &json!({ "ids": [999_999], "review": "rejected" })
        )
        .0,
        404
    );
    let others = || page.get("/api/others").1["others"].clone();
    assert_eq!(others(), json!([]));
    let mut ben = command(&dir, &["accept", "--db", "d.db", "7", "9"]);
    ben.env("EWE_USER", "ben");
    ran(ben).success();
    let here = others();
    assert_eq!(
        (
            &here[0]["who"],
            &here[0]["action"],
            &here[0]["tasks"],
            &here[0]["task"]
        ),
        (&json!("ben"), &json!("accept"), &json!(2), &json!(7))
    );
    assert!(here[0]["seconds"].as_i64().unwrap() < 120, "{here}");
    // Long ago is gone.
    dir.sql("drop trigger revision_is_never_updated");
    dir.sql("update revision set at = '2020-01-01T00:00:00.000Z'");
    assert_eq!(others(), json!([]));
}
