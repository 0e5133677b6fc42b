//! `ewe generate` against an endpoint: what is accepted, what a crash loses, what a bad server does.

use crate::mock::Mock;
use crate::shell::{self, Dir, ewe};
use crate::support::{self, number};
use std::time::Duration;

/// Arguments that generate `target` tasks from the mock.
fn arguments<'a>(db: &'a str, mock: &'a Mock, target: &'a str) -> Vec<&'a str> {
    vec![
        "generate",
        "--db",
        db,
        "--target",
        target,
        "--endpoint",
        &mock.url,
        "--endpoint-model",
        "mock",
        "--retries",
        "2",
    ]
}

#[test]
fn exactly_the_target_and_every_candidate_accounted_for() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let out = ewe(&dir, &arguments("d.db", &mock, "30")).success();
    assert!(
        out.stdout().contains("30 machine-made tasks, 30 of them new"),
        "{}",
        out.stdout()
    );

    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        30
    );
    // Invariant 2: every parsed candidate has a verdict, and they add up.
    assert_eq!(
        number(&dir, "select sum(parsed) from round"),
        number(&dir, "select count(*) from candidate")
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from candidate where verdict = 'accepted' and kind = 'instruction'"
        ),
        30
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from candidate where verdict = 'rejected' and reason is null"
        ),
        0
    );
    // The mock's faults are all found.
    for reason in [
        "unsuitable_medium",
        "too_short",
        "unclear_label",
        "truncated",
        "unparsed",
        "no_valid_instance",
    ] {
        let query = format!("select count(*) from candidate where reason = '{reason}'");
        assert!(number(&dir, &query) > 0, "{reason}");
    }
    // Accepted tasks have instances, neighbours in order, and none is a near-duplicate.
    assert_eq!(
        number(
            &dir,
            "select count(*) from task where id not in (select task_id from instance)"
        ),
        0
    );
    assert_eq!(
        number(
            &dir,
            "select count(distinct task_id) from neighbor join task on task.id = task_id where origin = 'machine'"
        ),
        30,
        "each accepted task has neighbours among the seeds"
    );
    assert_eq!(
        dir.sql("select id from task where id not in (select task_id from neighbor)"),
        dir.sql("select min(id) from task"),
        "the seeds have theirs, too, but for the first"
    );
    assert_eq!(
        number(
            &dir,
            "select count(*) from neighbor where rank = 1 and rouge_l > 0.7"
        ),
        0
    );
    assert_eq!(
        number(&dir, "select count(*) from request"),
        mock.requests() as i64
    );
    // What is said about the run is what is in the file.
    let said = format!(
        "{} requests, {} tokens",
        mock.requests(),
        number(&dir, "select sum(prompt_tokens + completion_tokens) from request")
    );
    assert!(out.stdout().contains(&said), "{said}: {}", out.stdout());
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
}

/// ROUGE-L F1 by the textbook's table.
fn rouge_l(a: &str, b: &str) -> f64 {
    let (a, b) = (ewe::filter::words::words(a), ewe::filter::words::words(b));
    let mut table = vec![vec![0u32; b.len() + 1]; a.len() + 1];
    for (i, word) in a.iter().enumerate() {
        for (j, other) in b.iter().enumerate() {
            table[i + 1][j + 1] = match word == other {
                true => table[i][j] + 1,
                false => table[i][j + 1].max(table[i + 1][j]),
            };
        }
    }
    2.0 * f64::from(table[a.len()][b.len()]) / (a.len() + b.len()) as f64
}

#[test]
fn the_ten_nearest_of_each_accepted_task_are_exact() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments("d.db", &mock, "30")).success();
    let tasks = dir.sql("select id, origin, instruction from task order by id");
    for (n, task) in tasks.iter().enumerate().filter(|(_, task)| task[1] == "machine") {
        let mut near: Vec<(f64, usize)> = (0..n)
            .map(|other| (rouge_l(&task[2], &tasks[other][2]), other))
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let expected: Vec<Vec<String>> = near
            .iter()
            .take(10)
            .filter(|(score, _)| *score > 0.0)
            .map(|(score, other)| vec![tasks[*other][0].clone(), score.to_string()])
            .collect();
        let query = format!(
            "select neighbor_id, rouge_l from neighbor where task_id = {} order by rank",
            task[0]
        );
        assert_eq!(dir.sql(&query), expected, "{}", task[2]);
    }
}

#[test]
fn another_set_of_rules_and_what_never_fired() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let arguments = [arguments("d.db", &mock, "20"), vec!["--rules", "self-instruct"]].concat();
    ewe(&dir, &arguments).success();
    assert_eq!(
        dir.sql("select json_extract(config, '$.rules.name') from run where command = 'generate'"),
        [["self-instruct"]]
    );
    let said = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    let silent = said
        .lines()
        .find_map(|line| line.strip_prefix("  never fired: "))
        .expect("a line of silent rules");
    let fired = dir.sql("select distinct reason from candidate where reason is not null");
    assert!(silent.split(", ").count() > 1, "{silent}");
    for reason in silent.split(", ") {
        assert!(!fired.contains(&vec![reason.to_string()]), "{reason}");
    }
    // Long instructions are rare; the mock writes none.
    assert!(silent.split(", ").any(|reason| reason == "too_long"), "{silent}");
}

#[test]
fn the_same_command_again_asks_nothing() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments("d.db", &mock, "12")).success();
    let asked = mock.requests();
    let out = ewe(&dir, &arguments("d.db", &mock, "12")).success();
    assert!(
        out.stdout().contains("12 machine-made tasks, 0 of them new"),
        "{}",
        out.stdout()
    );
    assert_eq!(mock.requests(), asked);
}

#[test]
fn a_killed_run_goes_on_as_if_nothing_had_happened() {
    let (whole, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&whole, &arguments("d.db", &mock, "60")).success();
    let export = [
        "export",
        "--db",
        "d.db",
        "--format",
        "self-instruct",
        "--review",
        "any",
        "--out",
        "-",
    ];
    let wanted = ewe(&whole, &export).success().stdout();

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(5));
    // Invariant 1.
    support::kill_again_and_again(
        &dir,
        &mock,
        &arguments("d.db", &mock, "60"),
        &[90, 140, 60, 200, 110, 170, 250, 80],
    );
    ewe(&dir, &arguments("d.db", &mock, "60")).success();
    assert_eq!(ewe(&dir, &export).success().stdout(), wanted);
}

/// The long form, at random moments: `make soak`. `EWE_SOAK_SEED` repeats one.
#[test]
#[ignore = "takes minutes; run by `make soak`"]
fn soak() {
    const KILLS: usize = 100;
    let seed = match std::env::var("EWE_SOAK_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => std::time::UNIX_EPOCH.elapsed().unwrap().as_secs(),
    };
    println!("EWE_SOAK_SEED={seed}");
    const TARGET: i64 = 3000;
    let target = TARGET.to_string();
    // The mock knows few words: only what is all but the same is to count as a duplicate.
    let target = [&target, "--threshold", "0.95"];
    let format = [
        "export", "--db", "d.db", "--format", "alpaca", "--review", "any", "--out", "-",
    ];
    let (whole, mock) = (Dir::with_dataset(), Mock::start());
    ewe(
        &whole,
        &[&arguments("d.db", &mock, target[0]), &target[1..]].concat(),
    )
    .success();
    let wanted = ewe(&whole, &format).success().stdout();

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(40));
    // Knuth's multiplier; the upper bits are random enough for moments.
    let mut state = seed;
    let waits: Vec<u64> = (0..KILLS)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            10 + (state >> 33) % 290
        })
        .collect();
    let kills = support::kill_again_and_again(
        &dir,
        &mock,
        &[&arguments("d.db", &mock, target[0]), &target[1..]].concat(),
        &waits,
    );
    assert_eq!(
        kills, KILLS,
        "the run was over too early: a higher target is wanted"
    );
    ewe(
        &dir,
        &[&arguments("d.db", &mock, target[0]), &target[1..]].concat(),
    )
    .success();
    assert!(ewe(&dir, &format).success().stdout() == wanted, "another export");
    let made = number(&dir, "select count(*) from task where origin = 'machine'");
    assert_eq!(made, TARGET);
    let asked = number(&dir, "select count(*) from request");
    println!(
        "{kills} kills; {asked} answers in the dataset, {} given by the mock",
        mock.requests()
    );
}

#[test]
fn interrupt_stops_cleanly() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(40));
    let child = shell::spawn(&dir, &arguments("d.db", &mock, "500"));
    std::thread::sleep(Duration::from_millis(700));
    std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&out.stdout).contains("the same command goes on"));
    assert_eq!(
        dir.sql("select status from run order by id desc limit 1"),
        [["interrupted"]]
    );
    // Everything the mock answered was committed.
    assert_eq!(
        number(&dir, "select count(*) from request"),
        mock.requests() as i64
    );
}

#[test]
fn only_one_generate_at_a_time() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(50));
    let mut first = shell::spawn(&dir, &arguments("d.db", &mock, "500"));
    std::thread::sleep(Duration::from_millis(400));
    let out = ewe(&dir, &arguments("d.db", &mock, "500")).failure(1);
    assert!(
        out.stderr().contains("another `ewe generate` is working on"),
        "{}",
        out.stderr()
    );
    assert!(out.stderr().contains("hint:"));
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    // Killed, it left no lock behind.
    ewe(&dir, &arguments("d.db", &mock, "1")).success();
}

#[test]
fn budgets_stop_the_run() {
    for (budget, word, within) in [
        (&["--max-requests", "20"][..], "requests", "count(*) <= 20"),
        (
            &["--budget-tokens", "3000"],
            "tokens",
            "sum(prompt_tokens + completion_tokens) < 3000 + 16 * 2000",
        ),
        (
            &["--budget-money", "0.5", "--price-in", "100", "--price-out", "200"],
            "money",
            "sum(prompt_tokens * 100 + completion_tokens * 200) / 1e6 between 0.5 and 0.5 + 16 * 0.4",
        ),
        (&["--max-minutes", "0.005"], "time", "count(*) > 0"),
    ] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        mock.set_latency(Duration::from_millis(20));
        let arguments = [arguments("d.db", &mock, "10000"), budget.to_vec()].concat();
        let out = ewe(&dir, &arguments).success();
        let said = format!("stopped: the budget of {word} is spent");
        assert!(out.stdout().contains(&said), "{word}: {}", out.stdout());
        // What was in flight when it was spent, at most sixteen, is kept.
        assert_eq!(
            number(&dir, &format!("select {within} from request")),
            1,
            "{word}"
        );
        assert_eq!(
            number(&dir, "select count(*) from request"),
            mock.requests() as i64
        );
    }
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let no_price = [arguments("d.db", &mock, "10"), vec!["--budget-money", "1"]].concat();
    ewe(&dir, &no_price).failure(2);
}

#[test]
fn a_model_that_repeats_itself_is_left() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let arguments = [
        arguments("d.db", &mock, "100000"),
        vec!["--min-novelty", "0.3", "--json"],
    ]
    .concat();
    let out = ewe(&dir, &arguments).success();
    let said: serde_json::Value = serde_json::from_str(&out.stdout()).unwrap();
    assert_eq!(said["ending"], "saturated");
    let novelty = said["novelty"].as_f64().unwrap();
    assert!(novelty < 0.3, "{novelty}");
    // The same of the last 500, counted in the file.
    let query = "select avg(verdict = 'accepted' or reason <> 'near_duplicate') from (
        select verdict, reason from candidate
        where kind = 'instruction' and (verdict = 'accepted'
            or reason in ('near_duplicate', 'over_target', 'no_valid_instance', 'unclear_label'))
        order by id desc limit 500)";
    let counted: f64 = dir.sql(query)[0][0].parse().unwrap();
    assert!((counted - novelty).abs() < 1e-9, "{counted} {novelty}");
    // Again, it is still so after one round, and without the condition the run would go on.
    let requests = mock.requests();
    let again = ewe(&dir, &arguments).success();
    assert!(again.stdout().contains("saturated"), "{}", again.stdout());
    assert!(mock.requests() < requests + 500, "{} {requests}", mock.requests());
}

#[test]
fn progress_is_a_line_of_json_where_nobody_looks() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let out = ewe(&dir, &[arguments("d.db", &mock, "10"), vec!["--json"]].concat()).success();
    let lines: Vec<serde_json::Value> = out
        .stderr()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let last = lines.last().expect("a line at the end");
    assert_eq!((&last["accepted"], &last["target"]), (&10.into(), &10.into()));
    assert_eq!(last["endpoints"][0]["url"], mock.url.as_str());
    assert!(last["endpoints"][0]["answered"].as_u64().unwrap() > 10);
    let result: serde_json::Value = serde_json::from_str(&out.stdout()).unwrap();
    let rejected =
        dir.sql("select reason, count(*) from candidate where verdict = 'rejected' group by 1 order by 1");
    for row in &rejected {
        // An instance that is good but falls with its instruction is counted in the file only.
        if row[0] != "instruction_rejected" {
            assert_eq!(
                result["rejected_by_reason"][&row[0]].to_string(),
                row[1],
                "{}",
                row[0]
            );
        }
    }
}

#[test]
fn failures_that_pass_are_tried_again() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.fail_next(429, "{\"error\":{\"message\":\"slow down\"}}", Some("0"));
    mock.fail_next(500, "oops", Some("0"));
    mock.fail_next(200, "{\"choices\": [{\"te", None);
    // The first request goes ahead alone, so these may be three failures in a row.
    let mut arguments = arguments("d.db", &mock, "5");
    *arguments.last_mut().unwrap() = "3";
    ewe(&dir, &arguments).success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        5
    );
}

#[test]
fn a_wrong_key_stops_with_the_server_s_words() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.fail_always(401, "{\"error\":{\"message\":\"no such key\"}}");
    let start = std::time::Instant::now();
    let out = ewe(&dir, &arguments("d.db", &mock, "5")).failure(1);
    assert!(
        out.stderr().contains("401") && out.stderr().contains("no such key"),
        "{}",
        out.stderr()
    );
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(
        dir.sql("select status from run order by id desc limit 1"),
        [["failed"]]
    );
}

#[test]
fn a_server_that_is_not_there_is_said() {
    let dir = Dir::with_dataset();
    let nobody = [
        "generate",
        "--db",
        "d.db",
        "--target",
        "5",
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--endpoint-model",
        "m",
        "--retries",
        "1",
    ];
    let out = ewe(&dir, &nobody).failure(1);
    assert!(
        out.stderr().contains("127.0.0.1:9") && out.stderr().contains("hint:"),
        "{}",
        out.stderr()
    );
}

#[test]
fn the_key_is_sent_and_never_stored() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let mut command = shell::command(&dir, &arguments("d.db", &mock, "2"));
    command.env("OPENAI_API_KEY", "sk-very-secret");
    shell::ran(command).success();
    assert_eq!(mock.last_authorization().unwrap(), "Bearer sk-very-secret");
    let file = std::fs::read(dir.path("d.db")).unwrap();
    assert!(!file.windows(14).any(|window| window == b"sk-very-secret"));
}

#[test]
fn a_full_disk_loses_nothing() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments("d.db", &mock, "10")).success();
    let size = std::fs::metadata(dir.path("d.db")).unwrap().len();
    // The file may grow by a little, then every write fails as on a full disk.
    let blocks = size / 512 + 40;
    let out = shell::ewe_limited(&dir, blocks, &arguments("d.db", &mock, "400")).failure(1);
    assert!(
        out.stderr().contains("disk full") && out.stderr().contains("hint:"),
        "{}",
        out.stderr()
    );
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    let kept = number(&dir, "select count(*) from task where origin = 'machine'");
    assert!(kept >= 10);
    ewe(&dir, &arguments("d.db", &mock, "40")).success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        40
    );
}

#[cfg(feature = "torch")]
#[test]
fn a_local_model_that_cannot_serve_is_named() {
    let dir = Dir::with_dataset();
    let run = |model: &str| {
        ewe(
            &dir,
            &["generate", "--db", "d.db", "--target", "5", "--model", model],
        )
        .failure(1)
    };
    let out = run("./nowhere");
    assert!(
        out.stderr().contains("nowhere") && out.stderr().contains("hint:"),
        "{}",
        out.stderr()
    );
    std::fs::create_dir(dir.path("odd")).unwrap();
    dir.write("odd/config.json", r#"{"model_type": "mamba"}"#);
    let out = run("odd");
    assert!(
        out.stderr().contains("mamba") && out.stderr().contains("gemma3_text"),
        "{}",
        out.stderr()
    );
    // The goldens' context is far too short for a few-shot prompt: no round can be asked for, and the run says so.
    let tiny = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gptj");
    let out = run(tiny);
    assert!(
        out.stderr().contains("rounds in a row could not be asked for"),
        "{}",
        out.stderr()
    );
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        0
    );
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
}
