//! `ewe eval --batch-file`: questions and grades by files of requests and results.

use serde_json::{Value, json};

use crate::eval::{close, eval, number_in, result};
use crate::mock::Mock;
use crate::shell::{Dir, Ran};
use crate::support::{ewe, number};

const SUITE: &str = concat!(
    "--suite instructions=",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/fixtures/suites/user_oriented.jsonl"
);

/// What the model and the judge say to questions that contain a text. The first that fits counts:
/// a grade is asked for below the question.
const ANSWERS: [(&str, &str); 6] = [
    ("Answer:\n> Tuesday\nGrade:", "A"),
    ("Answer:\n> late\nGrade:", "C"),
    ("Answer:\n> baa\nGrade:", "I like it"),
    ("Sunday", "late"),
    ("Monday", "Tuesday"),
    ("wool", "baa"),
];

/// Evaluates through `out.jsonl`.
fn by_files(dir: &Dir, more: &str) -> Ran {
    let line = format!("eval --batch-file out.jsonl --endpoint-model m {SUITE} --out r.json {more}");
    ewe(dir, &line.split_whitespace().collect::<Vec<_>>())
}

fn requests(dir: &Dir) -> Vec<Value> {
    let lines = dir.read("out.jsonl");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The result of a request by [`ANSWERS`], as a line.
fn answered(request: &Value) -> String {
    let body = &request["body"];
    let chat = body["messages"].as_array().and_then(|all| all.last());
    let asked = chat.map_or(&body["prompt"], |message| &message["content"]);
    let asked = asked.as_str().unwrap();
    let (_, text) = ANSWERS.iter().find(|(part, _)| asked.contains(part)).unwrap();
    let choice = match chat {
        Some(_) => json!({"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}),
        None => json!({"text": text, "finish_reason": "stop"}),
    };
    json!({"custom_id": request["custom_id"], "error": null,
        "response": {"status_code": 200, "body": {"choices": [choice]}}})
    .to_string()
        + "\n"
}

#[test]
fn files_give_the_figures_of_an_endpoint_and_go_on_where_they_were() {
    let (dir, mock) = (Dir::new(), Mock::start());
    for (part, text) in ANSWERS {
        mock.say(part, text, "stop");
    }
    eval(
        &dir,
        &mock,
        &format!("{SUITE} --out r.json --judge {}#j", mock.url),
    )
    .success();
    let wanted = result(&dir)["suites"]["instructions"].clone();

    let dir = Dir::new();
    let more = "--batch-judge j --api completions";
    let ran = by_files(&dir, more).success();
    let said = "3 requests wait in out.jsonl; have them answered";
    assert!(ran.stdout().contains(said), "{}", ran.stdout());
    assert!(!dir.path("r.json").exists());
    let first = requests(&dir);
    assert_eq!(
        (&first[0]["url"], &first[0]["body"]["model"]),
        (&json!("/v1/completions"), &json!("m"))
    );
    // A service that answered one: what is left is written again, and kept is kept.
    dir.write("in.jsonl", answered(&first[1]));
    by_files(&dir, &format!("{more} --batch-results in.jsonl")).success();
    let left: Vec<Value> = requests(&dir);
    assert_eq!(left, [first[0].clone(), first[2].clone()]);
    assert_eq!(number_in(&dir, "r.answers.db", "select count(*) from request"), 1);
    dir.write("more.jsonl", left.iter().map(answered).collect::<String>());
    // Then the judge is asked, by the same files.
    let results = "--batch-results in.jsonl --batch-results more.jsonl";
    let ran = by_files(&dir, &format!("{more} {results}")).success();
    assert!(ran.stdout().contains("3 requests wait"), "{}", ran.stdout());
    let grades = requests(&dir);
    assert!(
        grades.iter().all(|request| request["body"]["model"] == "j"),
        "{grades:?}"
    );
    dir.write("grades.jsonl", grades.iter().map(answered).collect::<String>());
    let results = format!("{more} {results} --batch-results grades.jsonl");
    let ran = by_files(&dir, &results).success();
    assert!(
        !ran.stderr().contains("nothing that was asked"),
        "{}",
        ran.stderr()
    );
    assert!(!dir.path("out.jsonl").exists(), "nothing waits");
    let mut got = result(&dir)["suites"]["instructions"].clone();
    got["source"] = wanted["source"].clone();
    assert_eq!(got, wanted);
    assert_eq!(result(&dir)["judge"], "j");
    // Once more, without the results: they are kept.
    let before = dir.read("r.json");
    by_files(&dir, more).success();
    assert_eq!(dir.read("r.json"), before);
}

#[test]
fn refused_questions_fail_and_damaged_lines_stop_the_command() {
    let dir = Dir::new();
    by_files(&dir, "").success();
    let first = requests(&dir);
    assert_eq!(
        first[0]["url"], "/v1/chat/completions",
        "questions are asked as chat"
    );
    assert!(
        first[0]["body"]["messages"].as_array().unwrap().len() == 1,
        "{}",
        first[0]
    );
    let refused = json!({"custom_id": first[0]["custom_id"], "response": {"status_code": 400,
        "body": {"error": {"message": "too long"}}}});
    let lines = format!("{refused}\n{}{}", answered(&first[1]), answered(&first[2]));
    dir.write("in.jsonl", format!("{lines}{{\"custom_id\"\n"));
    let ran = by_files(&dir, "--batch-results in.jsonl").failure(1);
    assert!(ran.stderr().contains("in.jsonl:4: "), "{}", ran.stderr());
    assert_eq!(number_in(&dir, "r.answers.db", "select count(*) from request"), 0);
    let ran = by_files(&dir, "--batch-results in.jsonl --keep-going").success();
    assert!(
        ran.stderr().contains("1 request was refused for good"),
        "{}",
        ran.stderr()
    );
    let all = &result(&dir)["suites"]["instructions"];
    assert_eq!((&all["n"], &all["failed"]), (&json!(2), &json!(1)));
    close(&all["stop_rate"], 100.0);
}

#[test]
fn held_out_tasks_are_asked_by_files_into_the_dataset() {
    let dir = Dir::with_dataset();
    ewe(&dir, &["split", "--db", "d.db", "--eval", "3"]).success();
    let line = "eval --batch-file out.jsonl --endpoint-model m --db d.db --suite held-out --max-requests 2";
    let line: Vec<&str> = line.split(' ').collect();
    let ran = ewe(&dir, &line).success();
    assert!(ran.stdout().contains("beyond --max-requests"), "{}", ran.stdout());
    let mut results = Vec::new();
    for round in 0.. {
        assert!(round < 20, "it does not end");
        if !dir.path("out.jsonl").exists() {
            break;
        }
        let wait = requests(&dir);
        assert!(wait.len() <= 2, "{wait:?}");
        let answer = |request: &Value| {
            let body = json!({"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]});
            json!({"custom_id": request["custom_id"], "response": {"status_code": 200, "body": body}})
                .to_string()
        };
        let name = format!("in{round}.jsonl");
        dir.write(&name, wait.iter().map(answer).collect::<Vec<_>>().join("\n"));
        results.push(format!("--batch-results={name}"));
        let line: Vec<&str> = line
            .iter()
            .copied()
            .chain(results.iter().map(String::as_str))
            .collect();
        ewe(&dir, &line).success();
    }
    let held_out = number(
        &dir,
        "select count(*) from held_out join instance using (task_id)",
    );
    assert!(held_out >= 3 && results.len() >= 2, "{held_out}, {results:?}");
    assert_eq!(number(&dir, "select count(*) from evaluation_answer"), held_out);
}

#[test]
fn options_of_other_models_are_refused_beside_files() {
    let dir = Dir::new();
    for (more, code) in [
        ("--template alpaca", 2),
        ("--as-text", 2),
        ("--concurrency 3", 2),
        ("--max-minutes 3", 2),
        ("--batch-judge j --judge http://127.0.0.1:9/v1", 2),
    ] {
        by_files(&dir, more).failure(code);
    }
    let line = format!(
        "eval --endpoint http://127.0.0.1:9/v1 --endpoint-model m {SUITE} --out r.json --batch-judge j"
    );
    ewe(&dir, &line.split_whitespace().collect::<Vec<_>>()).failure(2);
}
