//! `ewe filter` over files.

use crate::shell::{self, Dir, command, ewe};
use crate::support;
use serde_json::{Value, json};

const ROWS: &str = r#"{"instruction":"Name the capital of France","input":"","output":"Paris"}
{"instruction":"Name the big capital of France","input":"","output":"Paris"}
{"instruction":"Draw a picture of a small cat","input":"","output":"Meow"}
{"instruction":"Explain how rain forms","input":"","output":"Vapour cools"}
{"instruction":"Tell me why the sky is blue","input":"","output":""}
"#;

fn verdicts(dir: &Dir) -> Vec<Value> {
    dir.read("v.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_first_of_two_near_duplicates_is_kept_and_each_row_has_a_verdict() {
    let dir = Dir::new();
    dir.write("rows.jsonl", ROWS);
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
    assert!(out.stdout().contains("2 of 5 rows kept"), "{}", out.stdout());
    let lines: Vec<&str> = ROWS.lines().collect();
    assert_eq!(dir.read("kept.jsonl"), format!("{}\n{}\n", lines[0], lines[3]));
    let verdicts = verdicts(&dir);
    let reasons: Vec<_> = verdicts.iter().map(|v| v["reason"].as_str()).collect();
    assert_eq!(
        reasons,
        [
            None,
            Some("near_duplicate"),
            Some("unsuitable_medium"),
            None,
            Some("empty_output")
        ]
    );
    assert_eq!(verdicts[1]["nearest"], json!({"source": "rows.jsonl", "row": 0}));
    assert!((verdicts[1]["rouge_l"].as_f64().unwrap() - 10.0 / 11.0).abs() < 1e-12);
    assert_eq!(verdicts[0]["nearest"], Value::Null);
}

#[test]
fn without_rules_only_near_duplicates_are_rejected() {
    let dir = Dir::new();
    dir.write("rows.jsonl", ROWS);
    ewe(
        &dir,
        &["filter", "rows.jsonl", "--rules", "none", "--verdicts", "v.jsonl"],
    )
    .success();
    let kept: Vec<_> = verdicts(&dir)
        .iter()
        .map(|v| v["verdict"] == "accepted")
        .collect();
    assert_eq!(kept, [true, false, true, true, true]);
}

#[test]
fn against_adds_files_and_the_threshold_is_exact() {
    let dir = Dir::new();
    dir.write("rows.jsonl", ROWS);
    dir.write(
        "eval.json",
        r#"[{"instruction": "Explain how the rain forms", "input": "", "output": "x"}]"#,
    );
    ewe(
        &dir,
        &[
            "filter",
            "rows.jsonl",
            "--against",
            "eval.json",
            "--rules",
            "none",
            "--verdicts",
            "v.jsonl",
        ],
    )
    .success();
    assert_eq!(
        verdicts(&dir)[3]["nearest"],
        json!({"source": "eval.json", "row": 0})
    );
    assert_eq!(verdicts(&dir)[3]["verdict"], "rejected");
    // "Explain how rain forms" and "Explain how the rain forms": F1 is exactly 8/9, above
    // 0.888888888.
    let run = |threshold: &str| {
        let arguments = [
            "filter",
            "rows.jsonl",
            "--against",
            "eval.json",
            "--rules",
            "none",
            "--threshold",
            threshold,
            "--verdicts",
            "v.jsonl",
        ];
        ewe(&dir, &arguments).success();
        verdicts(&dir)[3]["verdict"] == "accepted"
    };
    assert!(!run("0.888888888") && run("0.888888889"));
}

#[test]
fn bad_input_is_an_error_and_nothing_is_written() {
    let dir = Dir::new();
    dir.write("rows.jsonl", format!("{ROWS}{{\"instruction\": \"half a\n"));
    let out = ewe(&dir, &["filter", "rows.jsonl", "--out", "kept.jsonl"]).failure(1);
    assert!(out.stderr().contains("rows.jsonl:6"), "{}", out.stderr());
    assert!(!dir.path("kept.jsonl").exists());
    let out = ewe(&dir, &["filter", "nothing.jsonl"]).failure(1);
    assert!(out.stderr().contains("nothing.jsonl"), "{}", out.stderr());
    let out = ewe(&dir, &["filter", "rows.jsonl", "--threshold", "1.5"]).failure(2);
    assert!(out.stderr().contains("1.5"), "{}", out.stderr());
}

/// `count` rows of a small vocabulary, many of them similar.
pub fn many_rows(count: usize) -> String {
    let mut state = 7u64;
    let mut draw = |below: u64| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) % below
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for _ in 0..count {
        let row = match (rows.len() as u64, draw(3)) {
            (made, 0) if made > 0 => {
                let mut row = rows[draw(made) as usize].clone();
                for _ in 0..draw(4) {
                    let place = draw(row.len() as u64) as usize;
                    row[place] = format!("w{}", draw(300));
                }
                row
            }
            _ => (0..4 + draw(20)).map(|_| format!("w{}", draw(300))).collect(),
        };
        rows.push(row);
    }
    let line = |row: Vec<String>| {
        json!({"instruction": row.join(" "), "input": "", "output": "x"}).to_string() + "\n"
    };
    rows.into_iter().map(line).collect()
}

#[test]
fn verdicts_do_not_depend_on_the_number_of_threads() {
    let dir = Dir::new();
    // More than one batch of rows.
    dir.write("rows.jsonl", many_rows(20_000));
    let with = |threads: &str, verdicts: &str| {
        let mut command = command(
            &dir,
            &["filter", "rows.jsonl", "--rules", "none", "--verdicts", verdicts],
        );
        command.env("RAYON_NUM_THREADS", threads);
        let out = shell::ran(command).success();
        (out.stdout(), dir.read(verdicts))
    };
    let (said, one) = with("1", "one.jsonl");
    assert_eq!((said, one.clone()), with("3", "three.jsonl"));
    let rejected = one.lines().filter(|line| line.contains("near_duplicate")).count();
    assert!((2_000..18_000).contains(&rejected), "{rejected}");
}

#[test]
fn nearest_names_the_nearest_of_every_row() {
    let dir = Dir::new();
    dir.write("rows.jsonl", ROWS);
    ewe(
        &dir,
        &["filter", "rows.jsonl", "--nearest", "--verdicts", "v.jsonl"],
    )
    .success();
    let verdicts = verdicts(&dir);
    // "Explain how rain forms" shares no word with the rows kept before it. The last row is
    // rejected by a rule, and is not most similar to "Explain how rain forms": "Tell me why the sky
    // is blue" shares "the" with row 0.
    assert_eq!(
        (&verdicts[3]["nearest"], &verdicts[3]["rouge_l"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(verdicts[4]["reason"], "empty_output");
    assert_eq!(verdicts[4]["nearest"], json!({"source": "rows.jsonl", "row": 0}));
    assert!((verdicts[4]["rouge_l"].as_f64().unwrap() - 2.0 / 12.0).abs() < 1e-12);
}

#[test]
fn contamination_is_found_by_text_and_by_thirteen_words() {
    let passage =
        "the ewe stood by the gate all night and when the shepherd came she had two lambs under the hedge";
    let row = |instruction: &str, input: &str| {
        json!({"instruction": instruction, "input": input, "output": "Two."}).to_string() + "\n"
    };
    let dir = Dir::new();
    dir.write("eval.jsonl", row("How many lambs did the ewe have?", passage));
    let told =
        "as the old people of the valley tell it to this day when evenings are long and the fire is low";
    let long = format!("Once upon a time, {told}, {passage}, and nobody knew why.");
    let rows = [
        row("How many lambs did the ewe have?", ""),
        row("Say in one word how many animals there are.", passage),
        row("Continue the story with a second paragraph.", &long),
        row("Name the largest desert of the world.", ""),
    ];
    dir.write("rows.jsonl", rows.concat());
    let arguments = [
        "filter",
        "rows.jsonl",
        "--against",
        "eval.jsonl",
        "--verdicts",
        "v.jsonl",
    ];
    ewe(&dir, &arguments).success();
    let found = verdicts(&dir);
    let reasons: Vec<_> = found.iter().map(|v| v["reason"].as_str()).collect();
    let contaminated = Some("contaminated");
    assert_eq!(reasons, [contaminated, contaminated, contaminated, None]);
    for verdict in &found[..3] {
        assert_eq!(verdict["nearest"], json!({"source": "eval.jsonl", "row": 0}));
    }
    assert_eq!(found[0]["rouge_l"], 1.0);
    assert!(
        found[2]["detail"]
            .as_str()
            .unwrap()
            .contains("13 words ('the ewe stood"),
        "{}",
        found[2]
    );
    // Without rules, an evaluation file is one more file of tasks.
    ewe(&dir, &[&arguments[..], &["--rules", "none"]].concat()).success();
    let reasons: Vec<_> = verdicts(&dir).iter().map(|v| v["reason"].clone()).collect();
    assert_eq!(
        reasons,
        [json!("near_duplicate"), Value::Null, Value::Null, Value::Null]
    );
}

#[test]
fn unreadable_rows_end_the_command_or_are_left_out() {
    let good = r#"{"instruction":"Name the capital of Peru","input":"","output":"Lima"}"#;
    let other = r#"{"instruction":"Explain how rain forms","input":"","output":"Vapour cools"}"#;
    let huge = format!(
        r#"{{"instruction":"{}","input":"","output":"x"}}"#,
        "a".repeat(10_000_000)
    );
    let bad: [(&str, &[u8], &str); 6] = [
        ("truncated JSON", br#"{"instruction":"Name the capi"#, "EOF"),
        (
            "no instruction",
            br#"{"input":"","output":"x"}"#,
            "`instruction` is missing",
        ),
        ("one word", huge.as_bytes(), "10000000 bytes"),
        (
            "invalid UTF-8",
            b"{\"instruction\":\"caf\xe9 au lait\",\"output\":\"x\"}",
            "not UTF-8: the byte 0xe9",
        ),
        (
            "no text",
            br#"{"instruction":[5],"input":"","output":"x"}"#,
            "is an array, not a string",
        ),
        ("no object", b"17", "not a JSON object"),
    ];
    for (name, row, said) in bad {
        let dir = Dir::new();
        let rows = [good.as_bytes(), b"\n", row, b"\n", other.as_bytes(), b"\n"].concat();
        dir.write("rows.jsonl", rows);
        let arguments = [
            "filter",
            "rows.jsonl",
            "--out",
            "kept.jsonl",
            "--verdicts",
            "v.jsonl",
        ];
        let stderr = ewe(&dir, &arguments).failure(1).stderr();
        assert!(
            stderr.contains("rows.jsonl:2:") && stderr.contains(said),
            "{name}: {stderr}"
        );
        assert!(stderr.contains("hint: --keep-going"), "{name}: {stderr}");
        assert!(
            !dir.path("kept.jsonl").exists() && !dir.path("v.jsonl").exists(),
            "{name}"
        );
        let out = ewe(&dir, &[&arguments[..], &["--keep-going"]].concat()).success();
        assert!(
            out.stderr().contains("left out: rows.jsonl:2:"),
            "{name}: {}",
            out.stderr()
        );
        assert!(
            out.stdout().contains("2 of 3 rows kept"),
            "{name}: {}",
            out.stdout()
        );
        assert_eq!(dir.read("kept.jsonl"), format!("{good}\n{other}\n"), "{name}");
        let verdict = &verdicts(&dir)[1];
        assert_eq!(
            (&verdict["row"], &verdict["reason"]),
            (&json!(1), &json!("malformed")),
            "{name}"
        );
    }
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let dir = Dir::new();
    dir.write("rows.jsonl", many_rows(20_000));
    dir.write("v.jsonl", "what was there before");
    let arguments = [
        "filter",
        "rows.jsonl",
        "--rules",
        "none",
        "--out",
        "kept.jsonl",
        "--verdicts",
        "v.jsonl",
    ];
    let out = shell::ewe_limited(&dir, 600, &arguments).failure(1);
    assert!(out.stderr().contains("File too large"), "{}", out.stderr());
    assert!(!dir.path("kept.jsonl").exists());
    assert_eq!(dir.read("v.jsonl"), "what was there before");
}

/// A dataset with these rows, imported without any check.
fn dataset_of(rows: &str) -> Dir {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", rows);
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    dir
}

#[test]
fn refiltering_a_dataset_is_recorded_and_can_be_undone() {
    let dir = dataset_of(ROWS);
    let before = dir.sql("select id, review, instruction from task order by id");
    let first: i64 = before[before.len() - 5][0].parse().unwrap();
    let dry = support::ewe(
        &dir,
        &[
            "filter",
            "--db",
            "d.db",
            "--dry-run",
            "--json",
            "--verdicts",
            "v.jsonl",
        ],
    );
    let dry = support::json(dry);
    assert_eq!(dry["rejected_ids"], json!([first + 1, first + 2, first + 4]));
    assert_eq!(dry["change"], Value::Null);
    assert_eq!(
        dir.sql("select id, review, instruction from task order by id"),
        before
    );
    let verdict = verdicts(&dir)
        .into_iter()
        .find(|v| v["row"] == first + 1)
        .unwrap();
    assert_eq!(verdict["nearest"], json!({"source": "d.db", "row": first}));

    let out = support::ewe(&dir, &["filter", "--db", "d.db"]).success().stdout();
    assert!(
        out.contains("3 tasks rejected") && out.contains("takes it back"),
        "{out}"
    );
    assert_eq!(
        dir.sql("select count(*) from task where review = 'rejected'"),
        [["3"]]
    );
    let note = format!("near_duplicate of task {first} (ROUGE-L 0.909 above 0.7)");
    let query = format!(
        "select who, action, note from revision where task_id = {} order by id",
        first + 1
    );
    let history = dir.sql(&query);
    assert_eq!(history.len(), 2);
    assert_eq!(history[0][1..], ["import", "rows.jsonl"]);
    assert_eq!(history[1], ["ewe filter", "reject", note.as_str()]);
    // A second run has nothing to do, and one undo reverts the first.
    let again = support::ewe(&dir, &["filter", "--db", "d.db"]).success().stdout();
    assert!(again.contains("0 tasks rejected"), "{again}");
    support::ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(
        dir.sql("select id, review, instruction from task order by id"),
        before
    );
}

#[test]
fn refiltering_keeps_tasks_that_a_person_accepted() {
    let dir = dataset_of(ROWS);
    let last: i64 = dir.sql("select max(id) from task")[0][0].parse().unwrap();
    let (original, copy) = (last - 4, last - 3);
    support::ewe(&dir, &["accept", "--db", "d.db", &copy.to_string()]).success();
    let run = |more: &[&str]| {
        let arguments = ["filter", "--db", "d.db", "--rules", "none", "--dry-run", "--json"];
        support::json(support::ewe(&dir, &[&arguments[..], more].concat()))
    };
    let strict = run(&["--threshold", "0.9"]);
    assert_eq!(
        (&strict["rejected_ids"], &strict["kept_by_people"]),
        (&json!([]), &json!(1))
    );
    // F1 of the two is 10/11: at 0.91 they are two tasks.
    assert_eq!(run(&["--threshold", "0.91"])["kept_by_people"], 0);
    // The accepted copy counts when later tasks are screened; rejected tasks do not.
    dir.write(
        "more.jsonl",
        r#"{"instruction":"Name the very big capital of France","input":"","output":"Paris"}"#,
    );
    ewe(&dir, &["import", "--db", "d.db", "more.jsonl"]).success();
    assert_eq!(run(&[])["rejected_ids"], json!([last + 1]));
    for id in [original, copy] {
        support::ewe(&dir, &["reject", "--db", "d.db", &id.to_string()]).success();
    }
    assert_eq!(run(&[])["rejected_ids"], json!([]));
}

#[test]
fn filter_options_that_conflict_are_refused() {
    let dir = Dir::with_dataset();
    dir.write("rows.jsonl", ROWS);
    for arguments in [
        &["filter"][..],
        &["filter", "rows.jsonl", "--db", "d.db"],
        &["filter", "rows.jsonl", "--dry-run"],
        &["filter", "--db", "d.db", "--out", "kept.jsonl"],
        &["filter", "rows.jsonl", "--nearest"],
    ] {
        ewe(&dir, arguments).failure(2);
    }
    let out = ewe(&dir, &["filter", "rows.jsonl", "--rules", "strict"]).failure(1);
    assert!(
        out.stderr().contains("strict") && out.stderr().contains("hint:"),
        "{}",
        out.stderr()
    );
}
