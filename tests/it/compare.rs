//! `ewe compare`: two models, a judge that is examined first, and people.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{Json, Router, routing::post};
use serde_json::{Value, json};

use crate::mock::listen;
use crate::page::Page;
use crate::shell::{self, Dir, Ran};
use crate::support::{ewe, number};
use crate::waiting::pause;

/// A model behind an endpoint, which continues a text as a function says.
struct Model {
    url: String,
    /// How often each prompt was answered.
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    latency: Arc<Mutex<Duration>>,
}

impl Model {
    fn start(says: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> Model {
        let asked: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let latency: Arc<Mutex<Duration>> = Arc::default();
        let (counts, wait) = (asked.clone(), latency.clone());
        let handler = move |Json(body): Json<Value>| {
            let (says, counts, wait) = (says.clone(), counts.clone(), wait.clone());
            async move {
                let wait = *wait.lock().unwrap();
                tokio::time::sleep(wait).await;
                let prompt = body["prompt"].as_str().unwrap();
                *counts.lock().unwrap().entry(prompt.to_owned()).or_default() += 1;
                Json(json!({"choices": [{"text": says(prompt), "finish_reason": "stop"}]}))
            }
        };
        let app = Router::new().route("/v1/completions", post(handler));
        let address = listen(async move |listener| axum::serve(listener, app).await.unwrap());
        Model {
            url: format!("http://{address}/v1#m"),
            asked,
            latency,
        }
    }

    fn asked(&self) -> BTreeMap<String, usize> {
        self.asked.lock().unwrap().clone()
    }

    fn requests(&self) -> usize {
        self.asked().values().sum()
    }
}

const ROWS: usize = 20;

fn reference(number: &str) -> String {
    format!("Thing {number} is the one whose number is {number}, as everybody here knows.")
}

/// The number in a question such as "Describe thing 7." or in a text about it.
fn number_in(text: &str) -> &str {
    let from = text.find("thing ").map_or(0, |at| at + "thing ".len());
    let digits = text[from..].find(|c: char| !c.is_ascii_digit());
    &text[from..from + digits.unwrap_or(text.len() - from)]
}

/// Question and answers of the pair that a judge is shown.
fn shown(prompt: &str) -> (&str, &str, &str) {
    let pair = &prompt[prompt.rfind("Instruction:\n> ").unwrap()..];
    let part = |label: &str, end: &str| {
        let from = pair.find(label).unwrap() + label.len();
        let length = pair[from..].find(end).unwrap();
        &pair[from..from + length]
    };
    (
        part("Instruction:\n> ", "\nAnswer A:"),
        part("Answer A:\n> ", "\nAnswer B:"),
        part("Answer B:\n> ", "\nBetter:"),
    )
}

fn is_right(prompt: &str) -> String {
    let (question, first, second) = shown(prompt);
    let wanted = reference(number_in(question));
    match (first == wanted, second == wanted) {
        (true, false) => " A",
        (false, true) => " B",
        _ => " tie",
    }
    .to_owned()
}

fn prefers_longer(prompt: &str) -> String {
    let (_, first, second) = shown(prompt);
    match first.len().cmp(&second.len()) {
        std::cmp::Ordering::Greater => "A",
        std::cmp::Ordering::Less => "B",
        std::cmp::Ordering::Equal => "tie",
    }
    .to_owned()
}

/// A folder with rows, a model that knows nothing, and one that knows seven of ten.
fn models() -> (Dir, Model, Model) {
    let dir = Dir::new();
    let rows: Vec<String> = (0..ROWS)
        .map(|n| {
            let category = if n % 2 == 0 { "even" } else { "odd" };
            json!({"instruction": format!("Describe thing {n}."), "output": reference(&n.to_string()), "category": category})
                .to_string()
        })
        .collect();
    dir.write("rows.jsonl", rows.join("\n"));
    let a = Model::start(|_| " No idea.\n".to_owned());
    let b = Model::start(|prompt| {
        let number = number_in(prompt);
        match number.parse::<usize>().unwrap() % 10 {
            0..7 => reference(number),
            _ => "No idea.".to_owned(),
        }
    });
    (dir, a, b)
}

fn compare(dir: &Dir, a: &Model, b: &Model, more: &[&str]) -> Ran {
    let common = [
        "compare",
        "--a",
        &a.url,
        "--b",
        &b.url,
        "--api",
        "completions",
        "--out",
        "result.json",
    ];
    ewe(dir, &[&common[..], more].concat())
}

fn judged(judge: &Model, dir: &Dir, a: &Model, b: &Model) -> (Value, String) {
    let more = [
        "--judge",
        &judge.url,
        "--data",
        "rows.jsonl",
        "--answers",
        "pairs.jsonl",
    ];
    let said = compare(dir, a, b, &more).success().stdout();
    (result(dir), said)
}

fn result(dir: &Dir) -> Value {
    serde_json::from_str(&dir.read("result.json")).unwrap()
}

#[test]
fn a_judge_that_is_right_names_the_winner() {
    let (dir, a, b) = models();
    let judge = Model::start(is_right);
    let (result, said) = judged(&judge, &dir, &a, &b);
    let figures = ["n", "wins_a", "wins_b", "ties", "errors"].map(|name| result[name].as_u64().unwrap());
    assert_eq!(figures, [20, 0, 14, 6, 0], "{result}");
    assert_eq!(result["win_rate"]["mean"], 0.85);
    assert!(result["win_rate"]["low"].as_f64().unwrap() > 0.7, "{result}");
    assert_eq!(
        (&result["winner"], &result["win_rate_of"]),
        (&json!("b"), &json!("b"))
    );
    let exam = &result["judge"]["exam"];
    assert_eq!(
        (&exam["pairs"], &exam["accuracy"]["mean"]),
        (&json!(60), &json!(1.0))
    );
    assert_eq!(exam["by_kind"]["cut_short"]["pairs"], 20);
    assert_eq!(exam["chose_first"], 0.5);
    assert_eq!(result["judge"]["conduct"]["disagreed"], 0.0);
    assert_eq!(result["by_category"]["even"]["n"], 10);
    assert_eq!(result["people"]["votes"], 0);
    assert_eq!(result["computed_from"]["source"], "rows.jsonl");
    assert!(
        said.contains("b is better\n") && said.contains("b wins 85.0 % ("),
        "{said}"
    );
    // Six pairs of equal answers are ties that nobody was asked about.
    assert_eq!(judge.requests(), 2 * 60 + 2 * 14);
    let pairs: Vec<Value> = dir
        .read("pairs.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(pairs.len(), 20);
    assert_eq!(pairs[0]["answer_a"], "No idea.");
    assert_eq!(
        (&pairs[0]["a_first"], &pairs[0]["b_first"]),
        (&json!("b"), &json!("b"))
    );
    assert_eq!(
        (&pairs[9]["a_first"], &pairs[9]["verdict"]),
        (&json!(null), &json!("tie"))
    );

    // The same command again asks nothing, and finds the same.
    let asked = [&a, &b, &judge].map(Model::requests);
    let (again, _) = judged(&judge, &dir, &a, &b);
    assert_eq!([&a, &b, &judge].map(Model::requests), asked);
    assert_eq!(again["win_rate"], result["win_rate"]);
    assert_eq!(
        again["computed_from"]["comparison_id"],
        result["computed_from"]["comparison_id"]
    );
}

#[test]
fn a_judge_of_lengths_is_found_out() {
    let (dir, a, b) = models();
    let (result, said) = judged(&Model::start(prefers_longer), &dir, &a, &b);
    assert_eq!(result["win_rate"]["mean"], 0.85);
    let controlled = &result["length_controlled"];
    assert!(controlled["mean"].as_f64().unwrap() < 0.75, "{controlled}");
    assert!(
        controlled["length_coefficient"].as_f64().unwrap() > 1.0,
        "{controlled}"
    );
    assert_eq!(controlled["far_from_raw"], true);
    assert!(
        said.contains("note: much of the win rate is due to lengths"),
        "{said}"
    );
}

#[test]
fn a_judge_of_places_cannot_tell() {
    let (dir, a, b) = models();
    let (result, said) = judged(&Model::start(|_| "A".to_owned()), &dir, &a, &b);
    assert_eq!(result["winner"], Value::Null);
    let exam = &result["judge"]["exam"];
    assert_eq!(
        (&exam["accuracy"]["mean"], &exam["chose_first"]),
        (&json!(0.5), &json!(1.0))
    );
    assert_eq!(result["judge"]["conduct"]["disagreed"], 1.0);
    assert_eq!(
        (&result["ties"], &result["win_rate"]["mean"]),
        (&json!(20), &json!(0.5))
    );
    assert!(
        said.contains("no winner is named: this judge cannot tell: 50.0 %"),
        "{said}"
    );
}

#[test]
fn nonsense_is_an_error_and_counted() {
    let (dir, a, b) = models();
    let (result, said) = judged(
        &Model::start(|_| "As a model, I like both".to_owned()),
        &dir,
        &a,
        &b,
    );
    assert_eq!((&result["errors"], &result["ties"]), (&json!(14), &json!(6)));
    assert_eq!(result["winner"], Value::Null);
    assert_eq!(result["judge"]["exam"]["errors"], 120);
    assert_eq!(result["judge"]["problems"][0]["count"], 148);
    assert!(
        said.contains("14 without a verdict") && said.contains("cannot tell"),
        "{said}"
    );
    assert!(
        said.contains("note: 148 replies of the judge could not be used: it is neither A nor B"),
        "{said}"
    );
}

#[test]
fn without_references_a_judge_is_not_believed() {
    let (dir, a, b) = models();
    let rows: Vec<String> = (0..4)
        .map(|n| json!({"instruction": format!("Describe thing {n}."), "input": ""}).to_string())
        .collect();
    dir.write("rows.jsonl", rows.join("\n"));
    let (result, said) = judged(&Model::start(is_right), &dir, &a, &b);
    assert_eq!(
        (&result["wins_b"], &result["judge"]["exam"]),
        (&json!(4), &Value::Null)
    );
    assert_eq!(result["winner"], Value::Null);
    assert!(
        said.contains("no winner is named: the judge was not examined"),
        "{said}"
    );
}

#[test]
fn one_model_twice_no_rows_and_no_place_for_answers_are_refused() {
    let (dir, a, b) = models();
    let said = compare(&dir, &a, &a, &["--no-judge", "--data", "rows.jsonl"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("--a and --b are the same model") && said.contains("hint: "),
        "{said}"
    );
    dir.write("none.jsonl", "");
    let said = compare(&dir, &a, &b, &["--no-judge", "--data", "none.jsonl"])
        .failure(1)
        .stderr();
    assert!(said.contains("none.jsonl: no row to compare models on"), "{said}");
    ewe(&dir, &["init", "--db", "d.db"]).success();
    let said = compare(&dir, &a, &b, &["--no-judge", "--db", "d.db"])
        .failure(1)
        .stderr();
    assert!(
        said.contains("no task is held out\nhint: `ewe split --db d.db --eval 10%`"),
        "{said}"
    );
    for line in [
        &["--no-judge"][..],
        &["--data", "rows.jsonl"],
        &["--no-judge", "--data", "rows.jsonl", "--exam", "5"],
        &["--no-judge", "--judge", "x", "--data", "rows.jsonl"],
        &["--no-judge", "--db", "d.db", "--map", "instruction=a"],
    ] {
        compare(&dir, &a, &b, line).failure(2);
    }
    let line = [
        "compare",
        "--a",
        "",
        "--b",
        "x",
        "--no-judge",
        "--data",
        "rows.jsonl",
        "--out",
        "o",
    ];
    assert!(
        ewe(&dir, &line)
            .failure(2)
            .stderr()
            .contains("want a directory or an address")
    );
}

#[test]
fn held_out_tasks_are_the_prompts_of_a_dataset() {
    let dir = Dir::with_dataset();
    ewe(&dir, &["split", "--db", "d.db", "--eval", "10%"]).success();
    let held_out = number(&dir, "select count(*) from held_out");
    let a = Model::start(|_| "a".to_owned());
    let b = Model::start(|_| "b".to_owned());
    compare(&dir, &a, &b, &["--no-judge", "--db", "d.db"]).success();
    let result = result(&dir);
    assert_eq!(result["n"].as_i64(), Some(held_out));
    assert_eq!(result["computed_from"]["source"], "held-out tasks");
    assert_eq!(
        (&result["judge"], &result["winner"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        number(&dir, "select count(*) from comparison_pair where verdict is null"),
        held_out
    );
    assert_eq!(
        dir.sql("select command, status from run order by id desc limit 1"),
        [["compare", "done"]]
    );
}

#[test]
fn a_killed_comparison_goes_on_and_asks_nothing_twice() {
    let (dir, a, b) = models();
    ewe(&dir, &["init", "--db", "d.db"]).success();
    let judge = Model::start(is_right);
    let all = [&a, &b, &judge];
    for model in all {
        *model.latency.lock().unwrap() = Duration::from_millis(60);
    }
    let line = [
        "compare",
        "--a",
        &a.url,
        "--b",
        &b.url,
        "--judge",
        &judge.url,
        "--api",
        "completions",
        "--concurrency",
        "2",
        "--data",
        "rows.jsonl",
        "--db",
        "d.db",
        "--out",
        "result.json",
    ];
    let mut kills = 0;
    for wait in [500, 900, 1400, 1800] {
        let before = all.map(Model::asked);
        // What is stored, as the endpoint was sent it.
        let stored: Vec<String> = dir
            .sql("select prompt from request")
            .iter()
            .map(|row| {
                let messages: Value = serde_json::from_str(&row[0]).unwrap();
                messages[0]["content"].as_str().unwrap().to_owned()
            })
            .collect();
        let mut child = shell::spawn(&dir, &line);
        pause(Duration::from_millis(wait));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let after = all.map(Model::asked);
        // Both models were asked the same prompts, so only the judge's can be told apart.
        for prompt in stored.iter().filter(|prompt| prompt.ends_with("Better:")) {
            assert_eq!(
                before[2].get(prompt),
                after[2].get(prompt),
                "asked again: {prompt}"
            );
        }
        assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    }
    assert!(kills >= 2, "the run was over before it could be killed");
    assert!(!dir.path("result.json").exists());
    // The models answer what was in flight, and count it.
    pause(Duration::from_millis(600));
    for model in all {
        *model.latency.lock().unwrap() = Duration::ZERO;
    }
    let known = number(&dir, "select count(*) from request") as usize;
    let before: usize = all.iter().map(|model| model.requests()).sum();
    ewe(&dir, &line).success();
    let after: usize = all.iter().map(|model| model.requests()).sum();
    assert_eq!(after - before, 20 + 20 + 120 + 28 - known);
    assert_eq!(result(&dir)["winner"], "b");
    let ended = |status: &str| {
        number(
            &dir,
            &format!("select count(*) from run where command = 'compare' and status = '{status}'"),
        )
    };
    assert_eq!((ended("done"), ended("running"), ended("failed")), (1, 0, 0));
}

#[test]
fn people_vote_without_knowing_and_are_compared_with_the_judge() {
    let (dir, a, b) = models();
    ewe(&dir, &["init", "--db", "d.db"]).success();
    let judge = Model::start(is_right);
    let with = ["--judge", &judge.url, "--data", "rows.jsonl", "--db", "d.db"];
    compare(&dir, &a, &b, &with).success();
    let page = Page::start(&dir, &[]);
    let (_, all) = page.get("/api/compare");
    assert_eq!(all["comparisons"][0]["pairs"], 14, "{all}");
    let id = all["comparisons"][0]["id"].as_i64().unwrap();
    let (_, comparison) = page.get(&format!("/api/compare/{id}"));
    let pairs: Vec<i64> = comparison["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["id"].as_i64().unwrap())
        .collect();
    let mut knowing = 0;
    for (at, pair) in pairs.iter().enumerate() {
        assert_eq!(page.get(&format!("/api/compare/{id}/end")).0, 409, "{at}");
        let (_, seen) = page.get(&format!("/api/pairs/{pair}"));
        assert_eq!(seen, page.get(&format!("/api/pairs/{pair}")).1);
        knowing += usize::from(seen["left"] != "No idea.");
        // Three disagree with the judge: two ties, and one for the model that knows nothing.
        let choice = match (at, seen["left"] == "No idea.") {
            (0 | 1, _) => "tie",
            (2, true) | (3.., false) => "left",
            _ => "right",
        };
        let vote = |choice: &str| page.post(&format!("/api/pairs/{pair}/vote"), &json!({ "choice": choice }));
        // The later vote counts.
        assert_eq!(vote("tie").0, 200);
        assert_eq!(vote(choice).0, 200);
    }
    assert!(
        (2..=12).contains(&knowing),
        "model b is on the left {knowing} times of 14"
    );
    let (status, end) = page.get(&format!("/api/compare/{id}/end"));
    assert_eq!(status, 200);
    assert!(
        end["model_a"]
            .as_str()
            .unwrap()
            .starts_with("m at http://127.0.0.1:"),
        "{end}"
    );
    let mine = ["wins_a", "wins_b", "ties"].map(|name| end["mine"][name].as_i64().unwrap());
    assert_eq!(mine, [1, 11, 2]);
    assert_eq!(end["winner"], "b");
    assert_eq!(number(&dir, "select count(*) from comparison_vote"), 28);

    // The next run of the command counts them.
    compare(&dir, &a, &b, &with).success();
    let people = &result(&dir)["people"];
    assert_eq!(
        (&people["votes"], &people["voters"], &people["wins_b"]),
        (&json!(14), &json!(1), &json!(11))
    );
    assert_eq!(people["kappa"], 0.0, "the judge always said b: {people}");
    assert_eq!(number(&dir, "select count(*) from comparison"), 1);

    for (path, body, status) in [
        (
            format!("/api/pairs/{}/vote", pairs[0]),
            json!({"choice": "a"}),
            422,
        ),
        (
            format!("/api/pairs/{}/vote", pairs[0]),
            json!({"choice": "left", "who": "x"}),
            422,
        ),
        ("/api/pairs/9999/vote".to_owned(), json!({"choice": "left"}), 404),
    ] {
        assert_eq!(page.post(&path, &body).0, status, "{path} {body}");
    }
    for (path, status) in [
        ("/api/pairs/9999", 404),
        ("/api/pairs/x", 400),
        ("/api/compare/9999", 404),
        ("/api/compare/9999/end", 404),
    ] {
        assert_eq!(page.get(path).0, status, "{path}");
    }
}

#[test]
fn the_data_of_comparisons_requires_the_token() {
    let dir = Dir::with_dataset();
    let page = Page::start(&dir, &["--token", "open sesame"]);
    for path in [
        "/api/compare",
        "/api/compare/1",
        "/api/compare/1/end",
        "/api/pairs/1",
    ] {
        assert_eq!(page.get(path).0, 401, "{path}");
    }
    assert_eq!(page.post("/api/pairs/1/vote", &json!({"choice": "left"})).0, 401);
    assert_eq!(page.get("/compare").0, 200);
}
