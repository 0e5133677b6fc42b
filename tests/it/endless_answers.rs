//! Answers of ten megabytes, models that never stop, and judges that go on, in `ewe compare`.

use serde_json::{Value, json};

use crate::mock::Mock;
use crate::shell::{Dir, Ran};
use crate::support::{ewe, number};

const ROWS: usize = 6;

/// A folder with rows whose references are all different.
fn rows() -> Dir {
    let dir = Dir::new();
    let row = |n: usize| {
        let (question, answer) = (
            format!("Count flock {n}."),
            format!("Flock {n} has {n} old ewes and a ram."),
        );
        json!({"instruction": question, "output": answer}).to_string()
    };
    dir.write("rows.jsonl", (0..ROWS).map(row).collect::<Vec<_>>().join("\n"));
    dir
}

fn compare(dir: &Dir, [a, b, judge]: [&Mock; 3]) -> (Value, Ran) {
    let [a, b, judge] = [a, b, judge].map(|model| format!("{}#m", model.url));
    let line = [
        "compare",
        "--a",
        &a,
        "--b",
        &b,
        "--judge",
        &judge,
        "--api",
        "completions",
        "--data",
        "rows.jsonl",
        "--out",
        "r.json",
        "--answers",
        "pairs.jsonl",
    ];
    let ran = ewe(dir, &line).success();
    (serde_json::from_str(&dir.read("r.json")).unwrap(), ran)
}

#[test]
fn answers_of_ten_megabytes_are_compared_and_those_that_were_cut_are_counted() {
    let (dir, models) = (rows(), [(); 3].map(|()| Mock::start()));
    let [a, b, judge] = &models;
    let endless = "ewe and ram ".repeat(880_000);
    a.say("flock", "A few.", "stop");
    b.say("flock 0.", &endless, "length");
    b.say("flock", "A few more.", "length");
    // Of no reference, so that it fails its exam; what it is shown is short.
    judge.say("Better:", " B", "stop");
    let (result, ran) = compare(&dir, [a, b, judge]);
    assert_eq!((&result["n"], &result["errors"]), (&json!(ROWS), &json!(0)));
    assert_eq!(result["winner"], Value::Null);
    let said = ran.stdout();
    assert!(
        said.contains("cut off at --max-tokens before they ended: 0 answers of a, 6 answers of b"),
        "{said}"
    );
    let length = |column: &str| {
        number_beside(
            &dir,
            &format!("select max(length({column})) from comparison_pair"),
        )
    };
    assert_eq!(
        (length("answer_a"), length("answer_b")),
        (6, endless.trim().len() as i64)
    );
    let longest = "select max(length(prompt)) from request where stage = 'compare_judge'";
    assert!(number_beside(&dir, longest) < 40_000);
}

#[test]
fn a_judge_that_is_cut_off_has_no_verdict() {
    let (dir, models) = (rows(), [(); 3].map(|()| Mock::start()));
    let [a, b, judge] = &models;
    a.say("flock", "A few.", "stop");
    b.say("flock", "Many.", "stop");
    judge.say("Better:", &"A".repeat(1 << 20), "length");
    let (result, ran) = compare(&dir, [a, b, judge]);
    assert_eq!(
        (&result["errors"], &result["winner"]),
        (&json!(ROWS), &Value::Null)
    );
    let said = ran.stdout();
    assert!(
        said.contains("replies of the judge could not be used: it is neither A nor B nor tie: 'AAA"),
        "{said}"
    );
    // What it said is kept whole; the message is not.
    assert!(said.len() < 4000, "{}", said.len());
}

/// A number of the answers that are kept beside the result.
fn number_beside(dir: &Dir, query: &str) -> i64 {
    std::fs::copy(dir.path("r.answers.db"), dir.path("d.db")).unwrap();
    number(dir, query)
}
