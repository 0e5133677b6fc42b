//! `ewe filter` over files.

use crate::shell::{Dir, ewe};
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
fn first_come_first_kept_with_a_verdict_for_each_row() {
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
fn without_rules_only_near_duplicates_go() {
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
fn other_files_count_too_and_the_threshold_is_exact() {
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
    // "Explain how rain forms" and "Explain how the rain forms": F1 is 8/9 exactly, which 0.888888888 is below.
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
fn bad_input_is_named_and_nothing_is_written() {
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
