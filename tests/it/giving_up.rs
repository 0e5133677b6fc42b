//! Runs whose requests are useless, and runs that have ended: they end, say why, and stay ended.

use crate::faulty_endpoint::{Asked, Reply, Server, refusal};
use crate::mock::Mock;
use crate::shell::{Dir, ewe, signal, spawn};
use crate::support::{generate, generation, json, judging, number};
use crate::waiting::{pause, until};
use serde_json::{Value, json};
use std::process::Child;
use std::time::{Duration, Instant};

fn responds(text: Value, finish: &str) -> Reply {
    Reply::Says(
        json!({"choices": [{"text": text, "finish_reason": finish}], "usage": {"completion_tokens": 4096}}),
    )
}

#[test]
fn unusable_responses_end_the_run() {
    type Case = (&'static str, fn(&Asked) -> Reply, &'static str);
    let cases: [Case; 9] = [
        (
            "refused",
            |_| refusal(400, "the model is asleep"),
            "the model is asleep",
        ),
        (
            "thoughts",
            |_| responds(json!("<think>What could they want"), "stop"),
            "there is reasoning, and no answer",
        ),
        (
            "cut thoughts",
            |_| responds(json!("<think>What could they want"), "length"),
            "reasoning used up the token limit",
        ),
        (
            "nothing",
            |_| responds(Value::Null, "stop"),
            "the answer is empty",
        ),
        ("empty", |_| responds(json!(""), "stop"), "the answer is empty"),
        (
            "cut",
            |_| responds(json!("Name a"), "length"),
            "cut off by its token limit",
        ),
        (
            "an unknown end",
            |_| responds(json!("Name a"), "whatever"),
            "cut off by its token limit",
        ),
        (
            "another form",
            |_| responds(json!("Dear all,\nhere you are.\nBye"), "stop"),
            "not the form that was asked for",
        ),
        (
            "filtered",
            |_| responds(json!("Name a river"), "SAFETY"),
            "content filter held the answer back",
        ),
    ];
    for (name, reply, words) in cases {
        for (recipe, window) in [("self-instruct", "8"), ("alpaca", "8"), ("self-instruct", "64")] {
            if (name, recipe) == ("another form", "alpaca") {
                continue;
            }
            let server = Server::start(reply);
            let dir = Dir::with_dataset();
            let said = generate(&dir, "20", &server.url, &["--recipe", recipe, "--window", window])
                .failure(1)
                .stderr();
            assert!(said.contains(words), "{name} {recipe}: {said}");
            assert!(!said.contains("repeats what is there"), "{said}");
            let asked = server.asked().len();
            assert!(asked <= 50, "{name} {recipe} {window}: {asked}");
        }
    }
}

#[test]
fn responses_that_the_rules_reject_end_the_run() {
    type Written = fn(usize) -> String;
    let cases: [(Written, &str, &str); 3] = [
        (
            |n| format!(" **Name the river of number {n}**\n10. **Rank the towns of number {n}**\n"),
            "leading_punctuation",
            "'**Name the river of number ",
        ),
        (
            |n| format!(" Okay, the user wants more tasks so let me think about it first {n}"),
            "reasoning",
            "'Okay, the user wants more tasks",
        ),
        (|_| " Hi\n10. Yo\n".to_string(), "too_short", "'Hi'"),
    ];
    for (write, rule, example) in cases {
        for window in ["8", "64"] {
            let server = Server::start(move |asked| {
                match asked.prompt().starts_with("Come up with a series of tasks") {
                    true => responds(json!(write(asked.number)), "stop"),
                    false => Reply::Answer,
                }
            });
            let said = generate(&Dir::with_dataset(), "20", &server.url, &["--window", window])
                .failure(1)
                .stderr();
            let told = format!("most often for {rule}: {example}");
            assert!(said.contains(&told) && said.contains("from rejection"), "{said}");
            let asked = server.asked().len();
            assert!(asked <= 50, "{rule} {window}: {asked}");
        }
    }
}

#[test]
fn rejected_responses_end_the_run_with_every_recipe() {
    // Complete tasks, and rewritten tasks.
    let complete = Server::start(|asked| {
        let n = asked.number;
        responds(
            json!(format!(
                " **Name the longest river of number {n}**\n4. Input: <noinput>\n4. Output: Loire\n###\n"
            )),
            "stop",
        )
    });
    let rewritten = Server::start(|asked| {
        responds(
            json!(format!(" **Name the longest river of number {}**", asked.number)),
            "stop",
        )
    });
    let cases: [(&Server, &[&str], &str, &str); 2] = [
        (
            &complete,
            &["--recipe", "alpaca"],
            "stage tasks",
            "leading_punctuation",
        ),
        (
            &rewritten,
            &["--evolve", "1"],
            "stage evolution",
            "leading_punctuation",
        ),
    ];
    for (server, more, stage, rule) in cases {
        let said = generate(&Dir::with_dataset(), "20", &server.url, more)
            .failure(1)
            .stderr();
        let told = format!("most often for {rule}: '");
        assert!(said.contains(&told) && said.contains(stage), "{said}");
        let of_stage = |asked: &&Asked| {
            let others = ["Come up with a series", "Can the following"];
            !others.iter().any(|prompt| asked.prompt().starts_with(prompt))
        };
        let asked = server.asked();
        assert!(asked.iter().filter(of_stage).count() <= 50, "{stage}");
    }
}

/// A server that refuses classification requests.
fn unwilling_to_classify() -> Server {
    Server::start(|asked| match asked.prompt().starts_with("Can the following") {
        true => refusal(422, "this prompt is not to my taste"),
        false => Reply::Answer,
    })
}

#[test]
fn unusable_responses_are_counted_by_stage() {
    let server = unwilling_to_classify();
    let dir = Dir::with_dataset();
    let said = generate(&dir, "20", &server.url, &[]).failure(1).stderr();
    let in_vain = |asked: &[Asked]| {
        asked
            .iter()
            .filter(|asked| asked.prompt().starts_with("Can the"))
            .count()
    };
    assert!(in_vain(&server.asked()) <= 50);
    for words in [
        "50 requests in a row",
        "stage classification",
        "50 × the server answered 422",
        "not to my taste",
        "hint:",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // `--give-up-after` sets the limit.
    for (limit, least, most) in [("7", 1, 7), ("0", 90, 100_000)] {
        let server = unwilling_to_classify();
        let dir = Dir::with_dataset();
        let more = ["--give-up-after", limit, "--max-requests", "150"];
        ewe(&dir, &generation("20", &server.url, &more));
        let asked = in_vain(&server.asked());
        assert!(least <= asked && asked <= most, "{limit}: {asked}");
    }
}

#[test]
fn the_most_frequent_reason_comes_first() {
    let server = Server::start(|asked| match asked.number % 4 {
        0 => refusal(400, "a rare word"),
        _ => refusal(400, &format!("request {} is a frequent one", asked.number)),
    });
    let dir = Dir::with_dataset();
    let said = generate(&dir, "20", &server.url, &[]).failure(1).stderr();
    let (frequent, rare) = (said.find("is a frequent one"), said.find("a rare word"));
    assert!(frequent.is_some() && frequent < rare, "{said}");
    assert_eq!(said.matches("is a frequent one").count(), 1, "{said}");

    // A run that ends because its budget is spent reports the reasons, too.
    let more = ["--max-requests", "2"];
    let out = generate(&Dir::with_dataset(), "20", &server.url, &more).success();
    assert!(
        out.stderr().contains("nothing new came of 2 requests: "),
        "{}",
        out.stderr()
    );
    let said = json(generate(
        &Dir::with_dataset(),
        "20",
        &server.url,
        &["--max-requests", "2", "--json"],
    ));
    let counts = said["complaints"].as_array().unwrap().iter();
    let counts = counts.map(|complaint| complaint["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 2, "{said}");
}

#[test]
fn an_unreadable_judge_ends_the_run_with_its_message() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    generate(&dir, "80", &mock.url, &[]).success();
    let judge = |server: &Server, more: &[&str]| ewe(&dir, &judging(&server.url, "mock", more));
    let server = Server::start(|_| responds(json!("It depends."), "stop"));
    let said = judge(&server, &[]).failure(1).stderr();
    assert!(
        said.contains("stage judge") && said.contains("not the form that was asked for"),
        "{said}"
    );
    assert!(server.asked().len() <= 50);
    let server = Server::start(|_| refusal(400, "I judge nobody"));
    let said = judge(&server, &["--origin", "seed"]).failure(1).stderr();
    assert!(
        said.contains("10 requests in a row") && said.contains("I judge nobody"),
        "{said}"
    );
}

/// Counts of rounds, requests, candidates and tasks: all that a run adds except its own row.
fn state(dir: &Dir) -> Vec<Vec<String>> {
    dir.sql("select (select count(*) from round), (select count(*) from request), (select count(*) from candidate), (select count(*) from task)")
}

#[test]
fn a_saturated_run_stays_ended() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let saturated = ["--min-novelty", "0.9", "--threshold", "0.3"];
    let out = generate(&dir, "5000", &mock.url, &saturated).success();
    assert!(
        out.stdout().contains("less than --min-novelty"),
        "{}",
        out.stdout()
    );
    let (before, asked) = (state(&dir), mock.requests());
    for _ in 0..3 {
        let again = generate(&dir, "5000", &mock.url, &saturated).success();
        assert!(
            again.stdout().contains("less than --min-novelty"),
            "{}",
            again.stdout()
        );
    }
    let said = json(generate(
        &dir,
        "6000",
        &mock.url,
        &[&saturated[..], &["--json"]].concat(),
    ));
    assert_eq!(
        (&said["ending"], &said["requests"]),
        (&"saturated".into(), &0.into())
    );
    assert!(said["novelty"].as_f64().unwrap() < 0.9);
    assert_eq!((state(&dir), mock.requests()), (before.clone(), asked));
    // With a lower `--min-novelty` it continues; with other settings it starts fresh.
    generate(
        &dir,
        "5000",
        &mock.url,
        &[
            "--min-novelty",
            "0.01",
            "--threshold",
            "0.3",
            "--max-requests",
            "40",
        ],
    )
    .success();
    assert_ne!(state(&dir), before);
    let before = state(&dir);
    generate(
        &dir,
        "5000",
        &mock.url,
        &[
            "--min-novelty",
            "0.9",
            "--threshold",
            "0.3",
            "--seed",
            "2",
            "--max-requests",
            "40",
        ],
    )
    .success();
    assert_ne!(state(&dir), before);
}

/// A server that always gives the same instruction.
fn parrot() -> Server {
    Server::start(|asked| {
        let text = if asked.prompt().starts_with("Come up with a series of tasks") {
            " Name three rivers that run through the old harbour town"
        } else {
            return Reply::Answer;
        };
        Reply::Says(json!({"choices": [{"text": text, "finish_reason": "stop"}]}))
    })
}

#[test]
fn a_run_that_brings_nothing_new_says_why_and_stays_ended() {
    let (dir, server) = (Dir::with_dataset(), parrot());
    let never = ["--min-novelty", "0"];
    let said = generate(&dir, "50", &server.url, &never).failure(1).stderr();
    for words in [
        "200 rounds in a row brought no new task: near_duplicate ",
        "repeats what is there",
        "hint:",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let (before, asked) = (state(&dir), server.asked().len());
    let again = generate(&dir, "50", &server.url, &never).failure(1).stderr();
    assert!(
        again.contains("200 rounds in a row brought no new task: near_duplicate "),
        "{again}"
    );
    assert_eq!((state(&dir), server.asked().len()), (before, asked));
    // Another seed starts fresh.
    generate(
        &dir,
        "50",
        &server.url,
        &["--min-novelty", "0", "--seed", "1", "--max-requests", "5"],
    )
    .success();
    assert!(server.asked().len() > asked);
}

#[test]
fn finished_generation_and_judging_send_no_request() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    generate(&dir, "12", &mock.url, &["--judge"]).success();
    let (before, asked) = (state(&dir), mock.requests());
    for _ in 0..2 {
        generate(&dir, "12", &mock.url, &["--judge"]).success();
        generate(&dir, "10", &mock.url, &[]).success();
    }
    assert_eq!((state(&dir), mock.requests()), (before, asked));
}

/// What the server asks for, in seconds.
const LATER: u64 = 90;
/// What takes less than this did not wait for it, however busy the machine.
const AT_ONCE: Duration = Duration::from_secs(LATER / 2);

/// Sends SIGINT and waits. Returns the time to exit and the exit code.
fn interrupted(mut child: Child) -> (Duration, Option<i32>) {
    let start = Instant::now();
    signal(child.id(), "INT");
    let code = child.wait().unwrap().code();
    (start.elapsed(), code)
}

#[test]
fn no_ending_waits_for_retry_after() {
    let later = |from: usize| {
        Server::start(move |asked| match asked.number {
            number if number >= from => {
                Reply::Status(429, format!("retry-after: {LATER}\r\n"), b"later".to_vec())
            }
            _ => Reply::Answer,
        })
    };
    let wait_for = |server: &Server, count: usize| {
        until("the refused request", || server.asked().len() >= count);
        // Time to read the refusal and begin to wait.
        pause(Duration::from_millis(300));
    };
    for from in [0, 25] {
        let (server, dir) = (later(from), Dir::with_dataset());
        let child = spawn(&dir, &generation("50", &server.url, &[]));
        wait_for(&server, from + 1);
        let (time, code) = interrupted(child);
        assert!(time < AT_ONCE, "{time:?}");
        assert_eq!(code, Some(130));
        assert_eq!(
            dir.sql("select status from run order by id desc limit 1"),
            [["interrupted"]]
        );
        // Responses are kept and not requested again.
        let stored = number(&dir, "select count(*) from request");
        assert!(stored as usize <= from);

        let (server, dir) = (later(from), Dir::with_dataset());
        let start = Instant::now();
        let out = ewe(&dir, &generation("50", &server.url, &["--max-minutes", "0.05"])).success();
        assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
        assert!(
            out.stdout().contains("the budget of time is spent"),
            "{}",
            out.stdout()
        );
    }
    // The same holds for `ewe judge`.
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    generate(&dir, "12", &mock.url, &[]).success();
    let server = later(3);
    let child = spawn(&dir, &judging(&server.url, "mock", &[]));
    wait_for(&server, 4);
    let (time, code) = interrupted(child);
    assert!(time < AT_ONCE, "{time:?}");
    assert_eq!(code, Some(130));
}
