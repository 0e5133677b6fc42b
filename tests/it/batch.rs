//! `ewe generate --batch-file`: requests are written to one file, results are read from others, and
//! no endpoint is contacted.

use crate::mock::{self, Mock};
use crate::shell::{Dir, Ran, ewe};
use crate::support::{export, json, number};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Arguments that generate `target` tasks through `out.jsonl`.
fn arguments<'a>(target: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let through = "generate --db d.db --batch-file out.jsonl --endpoint-model mock --target";
    let mut arguments: Vec<&str> = through.split(' ').collect();
    arguments.push(target);
    arguments.extend(more);
    arguments
}

fn requests(dir: &Dir) -> Vec<Value> {
    let lines = dir.read("out.jsonl");
    assert!(lines.ends_with('\n'));
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The result line that a service writes for a request that the mock answers.
fn result_line(request: &Value) -> String {
    let body = &request["body"];
    let prompt = body["prompt"].as_str().unwrap();
    let (text, finish) = mock::answer_to(body);
    json!({"id": "batch_req_1", "custom_id": request["custom_id"], "error": null, "response": {
        "status_code": 200, "request_id": "q", "body": {
            "choices": [{"index": 0, "text": text, "finish_reason": finish}],
            "usage": {"prompt_tokens": prompt.len() / 4, "completion_tokens": text.len() / 4}}}})
    .to_string()
}

/// Answers all requests of `out.jsonl`, the last one first.
fn answer_all(dir: &Dir, results: &str) {
    let mut lines: Vec<String> = requests(dir).iter().map(result_line).collect();
    lines.reverse();
    dir.write(results, lines.join("\n"));
}

/// Writes requests and answers them until none waits. Returns how many files were written.
fn answer_until_done(dir: &Dir, target: &str, more: &[&str]) -> usize {
    ewe(dir, &arguments(target, more)).success();
    let mut asked = BTreeSet::new();
    let before = number(dir, "select count(*) from request");
    for sent in 1.. {
        for request in requests(dir) {
            let id = request["custom_id"].as_str().unwrap().to_string();
            assert!(
                id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                "{id}"
            );
            assert!(asked.insert(id), "nothing is sent twice");
        }
        answer_all(dir, "in.jsonl");
        let next = arguments(target, &[more, &["--batch-results", "in.jsonl"]].concat());
        let out = ewe(dir, &next).success();
        // Repeating the command changes nothing.
        let (written, exported) = (std::fs::read(dir.path("out.jsonl")).ok(), export(dir));
        ewe(dir, &next).success();
        assert_eq!(std::fs::read(dir.path("out.jsonl")).ok(), written);
        assert_eq!(export(dir), exported);
        if written.is_none() {
            assert_eq!(
                out.stderr()
                    .lines()
                    .find(|line| line.contains("nothing that was asked")),
                None
            );
            assert_eq!(
                number(dir, "select count(*) from request"),
                before + asked.len() as i64
            );
            return sent;
        }
        assert!(out.stdout().contains("have them answered"), "{}", out.stdout());
    }
    unreachable!()
}

#[test]
fn batch_files_give_the_same_export_as_an_endpoint() {
    let alpaca = ["--recipe", "alpaca"];
    let structured = ["--recipe", "alpaca", "--structured"];
    for recipe in [&[][..], &alpaca, &structured] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        let mut direct: Vec<&str> = "generate --db d.db --target 30 --window 8 --endpoint-model mock"
            .split(' ')
            .collect();
        direct.extend(["--endpoint", &mock.url]);
        direct.extend(recipe);
        ewe(&dir, &direct).success();
        let wanted = export(&dir);

        let dir = Dir::with_dataset();
        let sent = answer_until_done(&dir, "30", &[&["--window", "8"], recipe].concat());
        assert_eq!(export(&dir), wanted);
        assert_eq!(
            number(&dir, "select count(*) from task where origin = 'machine'"),
            30
        );
        assert_eq!(
            dir.sql("select distinct model from run where command = 'generate'"),
            [["mock"]]
        );
        assert_eq!(dir.sql("select distinct status from run"), [["done"]]);
        // The three stages of a window of rounds take three files, not one for each candidate.
        let windows = number(&dir, "select max(round) / 8 + 1 from round") as usize;
        assert!(sent <= 3 * windows, "{sent} files, {windows} windows");
    }
}

#[test]
fn a_file_asks_for_what_is_missing_and_says_what_that_costs() {
    let dir = Dir::with_dataset();
    let priced = ["--price-in", "2", "--price-out", "4", "--json"];
    for (target, written) in [("8", 4), ("20", 5), ("400", 100)] {
        let said = json(ewe(&dir, &arguments(target, &priced)));
        assert_eq!(
            (requests(&dir).len(), &said["batch"]["written"]),
            (written, &written.into())
        );
        let number = |name: &str| said["batch"][name].as_f64().unwrap();
        let bytes: usize = requests(&dir)
            .iter()
            .map(|line| line["body"]["prompt"].as_str().unwrap().len())
            .sum();
        assert_eq!(number("about_prompt_tokens"), (bytes / 4) as f64);
        let cost = (2.0 * number("about_prompt_tokens") + 4.0 * number("most_answer_tokens")) / 1e6;
        assert!((number("most_cost") - cost).abs() < 1e-9, "{said}");
    }
    let said = ewe(&dir, &arguments("8", &priced[..4])).success().stdout();
    assert!(
        said.contains("to be paid for: about ") && said.contains(" by --price-in and --price-out"),
        "{said}"
    );
}

#[test]
fn one_file_holds_every_request_that_is_ready() {
    let dir = Dir::with_dataset();
    let out = ewe(&dir, &arguments("5000", &[])).success();
    // Without `--window`, a file covers 512 rounds.
    assert_eq!(requests(&dir).len(), 512);
    assert!(
        out.stdout().contains("512 requests wait in out.jsonl"),
        "{}",
        out.stdout()
    );
    answer_all(&dir, "in.jsonl");
    let results = ["--batch-results", "in.jsonl", "--json"];
    let said = json(ewe(&dir, &arguments("5000", &results)));
    assert_eq!(
        (&said["ending"], &said["accepted"]),
        (&"waiting".into(), &0.into())
    );
    assert_eq!(said["batch"]["results"]["answers"], 512);
    assert_eq!(said["batch"]["written"], requests(&dir).len());
    assert_eq!(said["requests"], requests(&dir).len());
    let text = dir.read("out.jsonl");
    let classified = text.matches("Can the following task be regarded").count();
    assert_eq!(classified, requests(&dir).len(), "all at the second stage");
    assert!(classified > 512, "{classified}");
    assert_eq!(
        number(&dir, "select count(*) from request where stage = 'instructions'"),
        512
    );
}

#[test]
fn max_requests_limits_a_file_to_the_earliest_rounds() {
    let dir = Dir::with_dataset();
    ewe(&dir, &arguments("90", &["--window", "20"])).success();
    let whole = dir.read("out.jsonl");
    assert_eq!(whole.lines().count(), 20);
    let out = ewe(&dir, &arguments("90", &["--window", "20", "--max-requests", "7"])).success();
    let said = "7 requests wait in out.jsonl (13 more are beyond --max-requests)";
    assert!(out.stdout().contains(said), "{}", out.stdout());
    let first: Vec<&str> = whole.lines().take(7).collect();
    assert_eq!(dir.read("out.jsonl").lines().collect::<Vec<_>>(), first);
    // The total cost stays the same.
    answer_until_done(&dir, "15", &["--window", "20", "--max-requests", "7"]);
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        15
    );

    // The tokens of the results count each time the command runs.
    let dir = Dir::with_dataset();
    ewe(&dir, &arguments("50", &["--window", "4"])).success();
    answer_all(&dir, "in.jsonl");
    for _ in 0..2 {
        let poor = [
            "--window",
            "4",
            "--batch-results",
            "in.jsonl",
            "--budget-tokens",
            "1000",
        ];
        let out = ewe(&dir, &arguments("50", &poor)).success();
        assert!(
            out.stdout().contains("the budget of tokens is spent"),
            "{}",
            out.stdout()
        );
        assert!(
            !dir.path("out.jsonl").exists(),
            "nothing is left to be sent by mistake"
        );
    }
    assert_eq!(
        number(&dir, "select count(*) from request"),
        4,
        "what was paid for is kept"
    );
}

/// A dataset, and the 6 requests in its `out.jsonl`.
fn six_requests() -> (Dir, Vec<Value>) {
    let dir = Dir::with_dataset();
    ewe(&dir, &arguments("40", &["--window", "6"])).success();
    let requests = requests(&dir);
    assert_eq!(requests.len(), 6);
    (dir, requests)
}

fn continue_run(dir: &Dir, more: &[&str]) -> Ran {
    ewe(
        dir,
        &arguments(
            "40",
            &[&["--window", "6", "--batch-results", "in.jsonl"], more].concat(),
        ),
    )
}

#[test]
fn transient_errors_are_requested_again_and_refusals_are_not() {
    let (dir, six) = six_requests();
    let failed = |request: &Value, response: Value, error: Value| {
        json!({"custom_id": request["custom_id"], "response": response, "error": error}).to_string()
    };
    let lines = [
        result_line(&six[0]),
        failed(
            &six[1],
            json!({"status_code": 429, "body": {"error": {"message": "slow \u{1b}[2Jdown"}}}),
            Value::Null,
        ),
        failed(
            &six[2],
            Value::Null,
            json!({"code": "batch_expired", "message": "too late"}),
        ),
        failed(
            &six[3],
            json!({"status_code": 400, "body": {"error": {"message": "prompt too long"}}}),
            Value::Null,
        ),
        failed(&six[4], json!({"status_code": 500, "body": null}), json!("oops")),
    ];
    dir.write("in.jsonl", lines.join("\n"));
    let out = continue_run(&dir, &[]).success();
    let stderr = out.stderr();
    assert!(stderr.contains("1 request was refused for good"), "{stderr}");
    assert!(stderr.contains("3 requests failed in passing"), "{stderr}");
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    let asked: Vec<_> = requests(&dir)
        .iter()
        .map(|request| request["custom_id"].clone())
        .collect();
    for (n, request) in six.iter().enumerate() {
        // Request 0 was answered and request 3 refused. The others failed or have no line.
        assert_eq!(asked.contains(&request["custom_id"]), ![0, 3].contains(&n), "{n}");
    }
    // Completes the run. The refused round yields nothing and is over.
    std::fs::rename(dir.path("in.jsonl"), dir.path("refused.jsonl")).unwrap();
    answer_until_done(&dir, "40", &["--window", "6", "--batch-results", "refused.jsonl"]);
    assert_eq!(dir.sql("select parsed from round where round = 3"), [["0"]]);
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        40
    );
}

#[test]
fn a_model_that_refuses_everything_ends_the_run() {
    let dir = Dir::with_dataset();
    ewe(&dir, &arguments("40", &[])).success();
    let lines: Vec<String> = requests(&dir)
        .iter()
        .map(|request| {
            json!({"custom_id": request["custom_id"], "response": {"status_code": 400}, "error": "no such path"}).to_string()
        })
        .collect();
    dir.write("in.jsonl", lines.join("\n"));
    let out = ewe(&dir, &arguments("40", &["--batch-results", "in.jsonl"])).failure(1);
    let said = out.stderr();
    assert!(
        said.contains("rounds in a row could not be asked for") && said.contains("no such path"),
        "{said}"
    );
}

#[test]
fn damaged_results_are_named_and_change_nothing() {
    let (dir, six) = six_requests();
    let before = dir.read("out.jsonl");
    let cut = &result_line(&six[1])[..40];
    dir.write(
        "in.jsonl",
        format!("{}\n{cut}\n\u{1b}[2J{{}}\n", result_line(&six[0])),
    );
    let out = continue_run(&dir, &[]).failure(1);
    let stderr = out.stderr();
    assert!(
        stderr.contains("in.jsonl:2: ") && stderr.contains("in.jsonl:3: ") && stderr.contains("hint:"),
        "{stderr}"
    );
    assert!(!stderr.contains('\u{1b}'), "{stderr}");
    assert_eq!(number(&dir, "select count(*) from request"), 0);
    assert_eq!(dir.read("out.jsonl"), before);

    // A second result for one request, a result for another dataset, and an id that is not a key.
    let other = json!({"custom_id": "f".repeat(64), "body": {"prompt": "Hi", "seed": 1}});
    let odd = json!({"custom_id": "../../etc\u{0}", "body": {"prompt": "Hi", "seed": 1}});
    let mut twice = six[0].clone();
    twice["body"]["seed"] = 12345.into();
    let lines = [
        result_line(&six[0]),
        result_line(&twice),
        result_line(&other),
        result_line(&odd),
        cut.to_string(),
    ];
    dir.write("in.jsonl", lines.join("\n"));
    let out = continue_run(&dir, &["--keep-going", "--json"]).success();
    let stderr = out.stderr();
    for said in [
        "in.jsonl:5: ",
        "1 damaged line: skipped",
        "1 result for a request that had one already",
        "2 answers to nothing",
    ] {
        assert!(stderr.contains(said), "{said}: {stderr}");
    }
    let said: Value = serde_json::from_str(&out.stdout()).unwrap();
    assert_eq!(
        (&said["batch"]["unknown"], &said["batch"]["results"]["damaged"]),
        (&2.into(), &1.into())
    );
    let (text, _) = mock::answer_to(&six[0]["body"]);
    assert_eq!(dir.sql("select response from request"), [[text]]);

    for (name, content) in [
        ("empty.jsonl", &b""[..]),
        ("zeros.jsonl", &[0; 4096]),
        ("deep.jsonl", &[b'['; 200_000]),
    ] {
        dir.write(name, content);
        let ran = ewe(
            &dir,
            &arguments("40", &["--window", "6", "--batch-results", name]),
        );
        match name {
            "empty.jsonl" => ran.success(),
            _ => ran.failure(1),
        };
    }
}

#[test]
fn a_mistyped_path_overwrites_no_other_file() {
    let dir = Dir::with_dataset();
    dir.write("out.jsonl", "{\"instruction\": \"Name a river.\"}\n");
    let out = ewe(&dir, &arguments("5", &[])).failure(1);
    assert!(
        out.stderr()
            .contains("`out.jsonl` exists and is no file of requests\nhint:"),
        "{}",
        out.stderr()
    );
    assert_eq!(dir.read("out.jsonl"), "{\"instruction\": \"Name a river.\"}\n");
    std::fs::remove_file(dir.path("out.jsonl")).unwrap();

    let out = ewe(&dir, &arguments("5", &["--batch-results", "nowhere.jsonl"])).failure(1);
    assert!(out.stderr().contains("nowhere.jsonl"), "{}", out.stderr());
    let away = "generate --db d.db --target 5 --endpoint-model m --batch-file no/where.jsonl";
    let out = ewe(&dir, &away.split(' ').collect::<Vec<_>>()).failure(1);
    assert!(out.stderr().contains("no/where.jsonl"), "{}", out.stderr());
    for wrong in [
        "--target 5 --batch-file out.jsonl",
        "--target 5 --batch-results in.jsonl --endpoint-model m --endpoint http://127.0.0.1:9/v1",
        "--target 5 --batch-file out.jsonl --endpoint-model m --model models/x",
        "--target 5 --batch-file out.jsonl --endpoint-model m --endpoint http://127.0.0.1:9/v1",
        "--target 5 --batch-file out.jsonl --endpoint-model m --max-minutes 3",
    ] {
        let wrong: Vec<&str> = ["generate", "--db", "d.db"]
            .into_iter()
            .chain(wrong.split(' '))
            .collect();
        ewe(&dir, &wrong).failure(2);
    }
    assert_eq!(
        number(&dir, "select count(*) from run where command = 'generate'"),
        0
    );
}

#[test]
fn chat_and_completions_have_different_content_keys() {
    let dir = Dir::with_dataset();
    ewe(&dir, &arguments("5", &["--window", "2"])).success();
    let plain = requests(&dir);
    ewe(&dir, &arguments("5", &["--window", "2", "--api", "chat"])).success();
    let chat = requests(&dir);
    assert_eq!(
        (&plain[0]["url"], &chat[0]["url"]),
        (&"/v1/completions".into(), &"/v1/chat/completions".into())
    );
    assert_eq!(
        chat[0]["body"]["messages"][1]["content"],
        plain[0]["body"]["prompt"]
    );
    assert_ne!(chat[0]["custom_id"], plain[0]["custom_id"]);
}
