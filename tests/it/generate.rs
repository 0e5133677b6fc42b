//! `ewe generate` against an endpoint: verdicts, crashes, and bad servers.

use crate::mock::Mock;
use crate::recipes::all_accounted_for;
use crate::review::Screen;
use crate::shell::{self, Dir, ewe};
use crate::support::{self, export, generation, number};
use crate::waiting::{pause, until};
use std::io::{BufRead, BufReader};
use std::time::Duration;

/// Arguments that generate `target` tasks from the mock.
fn arguments<'a>(mock: &'a Mock, target: &'a str) -> Vec<&'a str> {
    generation(target, &mock.url, &["--retries", "2"])
}

#[test]
fn a_run_meets_its_target_and_every_candidate_has_a_verdict() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let out = ewe(&dir, &arguments(&mock, "30")).success();
    assert!(
        out.stdout().contains("30 machine-made tasks, 30 of them new"),
        "{}",
        out.stdout()
    );
    let said = out.stderr();
    let last = said.lines().rfind(|line| line.starts_with("generate: 30/30"));
    let last = last.unwrap_or_else(|| panic!("{said}"));
    for stage in ["instructions", "classification", "output_first"] {
        let rate = last
            .split(&format!("{stage} "))
            .nth(1)
            .and_then(|rest| rest.split("/min").next());
        let rate: f64 = rate
            .and_then(|rate| rate.parse().ok())
            .unwrap_or_else(|| panic!("{last}"));
        assert!(rate > 0.0, "{last}");
    }

    all_accounted_for(&dir, 30);
    // The filter finds each kind of fault of the mock.
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
    // Accepted tasks have ordered neighbors, and none is a near-duplicate.
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
    // The printed figures equal those in the file.
    let said = format!(
        "{} requests, {} tokens",
        mock.requests(),
        number(&dir, "select sum(prompt_tokens + completion_tokens) from request")
    );
    assert!(out.stdout().contains(&said), "{said}: {}", out.stdout());
}

/// ROUGE-L F1 by the textbook's table.
pub fn rouge_l(a: &str, b: &str) -> f64 {
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
fn the_ten_nearest_neighbors_are_exact() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "30")).success();
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
fn rules_selects_a_set_and_stats_lists_rules_that_never_fired() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let arguments = [arguments(&mock, "20"), vec!["--rules", "self-instruct"]].concat();
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
    // The mock writes no long instructions.
    assert!(silent.split(", ").any(|reason| reason == "too_long"), "{silent}");
}

#[test]
fn repeating_a_finished_run_sends_no_request() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "12")).success();
    let asked = mock.requests();
    let out = ewe(&dir, &arguments(&mock, "12")).success();
    assert!(
        out.stdout().contains("12 machine-made tasks, 0 of them new"),
        "{}",
        out.stdout()
    );
    assert_eq!(mock.requests(), asked);
}

#[test]
fn a_killed_run_resumes_to_the_same_export() {
    let (whole, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&whole, &arguments(&mock, "60")).success();
    let wanted = export(&whole);

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(5));
    // No response is lost or requested twice.
    support::kill_again_and_again(
        &dir,
        &mock,
        &arguments(&mock, "60"),
        &[90, 140, 60, 200, 110, 170, 250, 80],
    );
    ewe(&dir, &arguments(&mock, "60")).success();
    assert_eq!(export(&dir), wanted);
}

/// The long form of the test above, with kills at random moments: `make soak`. `EWE_SOAK_SEED`
/// repeats a run.
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
    // The mock knows few words, so only nearly identical texts count as duplicates.
    let target = [&target, "--threshold", "0.95"];
    let format = [
        "export", "--db", "d.db", "--format", "alpaca", "--review", "any", "--out", "-",
    ];
    let (whole, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&whole, &[&arguments(&mock, target[0]), &target[1..]].concat()).success();
    let wanted = ewe(&whole, &format).success().stdout();

    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(40));
    // Knuth's multiplier; the upper bits are random enough.
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
        &[&arguments(&mock, target[0]), &target[1..]].concat(),
        &waits,
    );
    assert_eq!(
        kills, KILLS,
        "the run was over too early: a higher target is wanted"
    );
    ewe(&dir, &[&arguments(&mock, target[0]), &target[1..]].concat()).success();
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
fn it_says_what_it_waits_for_and_ctrl_c_is_answered_at_once() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    // No answer comes while the test runs.
    mock.set_latency(Duration::from_secs(3600));
    let mut child = shell::spawn(&dir, &arguments(&mock, "5"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next = || lines.next().expect("more is said").unwrap();
    assert_eq!(
        next(),
        format!(
            "generate: asking mock at {} for 5 tasks, 8 rounds side by side; Ctrl-C stops, and the same command goes on",
            mock.url
        )
    );
    let waits = next();
    assert!(
        waits.starts_with("generate: 0/5 in 0:0")
            && waits.ends_with("0 answers so far; the first tasks come when the first round is complete"),
        "{waits}"
    );
    until("a request", || mock.received() > 0);
    shell::signal(child.id(), "INT");
    while !next().starts_with("stopping: what is in flight is still answered, and kept; Ctrl-C again") {}
    shell::signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(
        dir.sql("select status from run order by id desc limit 1"),
        [["interrupted"]]
    );
}

#[test]
fn words_stay_above_the_bar_and_the_pace_is_of_what_is_new() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "5")).success();
    mock.set_latency(Duration::from_secs(3600));
    let mut screen = Screen::run(&dir, &arguments(&mock, "9"), "true", (24, 80));
    screen.shows(&["5/9 tasks", "0/s", "? left"]);
    screen.press("\x03");
    let word = "stopping: what is in flight is still answered";
    screen.shows(&[word]);
    // The bar is drawn four times a second.
    pause(Duration::from_millis(700));
    screen.shows(&[word, "5/9 tasks"]);
    screen.press("\x03");
    screen.ended();
}

#[test]
fn an_interrupt_keeps_every_response() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(40));
    let child = shell::spawn(&dir, &arguments(&mock, "500"));
    until("some answers", || mock.requests() >= 20);
    shell::signal(child.id(), "INT");
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&out.stdout).contains("the same command goes on"));
    assert_eq!(
        dir.sql("select status from run order by id desc limit 1"),
        [["interrupted"]]
    );
    // Every answer of the mock was committed.
    assert_eq!(
        number(&dir, "select count(*) from request"),
        mock.requests() as i64
    );
}

#[test]
fn only_one_generate_at_a_time() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.set_latency(Duration::from_millis(50));
    let mut first = shell::spawn(&dir, &arguments(&mock, "500"));
    until("a run that asks", || mock.received() > 0);
    let out = ewe(&dir, &arguments(&mock, "500")).failure(1);
    assert!(
        out.stderr().contains("another `ewe generate` is working on"),
        "{}",
        out.stderr()
    );
    assert!(out.stderr().contains("hint:"));
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    // A killed run leaves no lock.
    ewe(&dir, &arguments(&mock, "1")).success();
}

#[test]
fn budgets_end_the_run() {
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
        (&["--max-minutes", "0.03"], "time", "count(*) > 0"),
    ] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        mock.set_latency(Duration::from_millis(20));
        let arguments = [arguments(&mock, "10000"), budget.to_vec()].concat();
        let out = ewe(&dir, &arguments).success();
        let said = format!("stopped: the budget of {word} is spent");
        assert!(out.stdout().contains(&said), "{word}: {}", out.stdout());
        // Requests in flight when it was spent, at most sixteen, are kept.
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
    let no_price = [arguments(&mock, "10"), vec!["--budget-money", "1"]].concat();
    ewe(&dir, &no_price).failure(2);
}

#[test]
fn min_novelty_ends_a_run_of_repetitions() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let arguments = [arguments(&mock, "100000"), vec!["--min-novelty", "0.3", "--json"]].concat();
    let out = ewe(&dir, &arguments).success();
    let said: serde_json::Value = serde_json::from_str(&out.stdout()).unwrap();
    assert_eq!(said["ending"], "saturated");
    let novelty = said["novelty"].as_f64().unwrap();
    assert!(novelty < 0.3, "{novelty}");
    // The novelty of the last 500, counted in the file.
    let query = "select avg(verdict = 'accepted' or reason <> 'near_duplicate') from (
        select verdict, reason from candidate
        where kind = 'instruction' and (verdict = 'accepted'
            or reason in ('near_duplicate', 'over_target', 'no_valid_instance', 'unclear_label'))
        order by id desc limit 500)";
    let counted: f64 = dir.sql(query)[0][0].parse().unwrap();
    assert!((counted - novelty).abs() < 1e-9, "{counted} {novelty}");
    // A second run ends after one round; without the condition it would continue.
    let requests = mock.requests();
    let again = ewe(&dir, &arguments).success();
    assert!(again.stdout().contains("saturated"), "{}", again.stdout());
    assert!(mock.requests() < requests + 500, "{} {requests}", mock.requests());
}

#[test]
fn progress_with_json_is_lines_of_json() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let out = ewe(&dir, &[arguments(&mock, "10"), vec!["--json"]].concat()).success();
    let lines: Vec<serde_json::Value> = out
        .stderr()
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let last = lines.last().expect("a line at the end");
    assert_eq!((&last["accepted"], &last["target"]), (&10.into(), &10.into()));
    assert_eq!(last["endpoints"][0]["url"], mock.url.as_str());
    assert!(last["endpoints"][0]["answered"].as_u64().unwrap() > 10);
    assert!(
        last["answers_per_second"]["instructions"].as_f64().unwrap() > 0.0,
        "{last}"
    );
    let result: serde_json::Value = serde_json::from_str(&out.stdout()).unwrap();
    let rejected =
        dir.sql("select reason, count(*) from candidate where verdict = 'rejected' group by 1 order by 1");
    for row in &rejected {
        // A good instance that is rejected with its instruction is counted in the file only.
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
fn transient_failures_are_retried() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.fail_next(429, "{\"error\":{\"message\":\"slow down\"}}", Some("0"));
    mock.fail_next(500, "oops", Some("0"));
    mock.fail_next(200, "{\"choices\": [{\"te", None);
    // The first request goes ahead alone, so these may be three failures in a row.
    let mut arguments = arguments(&mock, "5");
    *arguments.last_mut().unwrap() = "3";
    ewe(&dir, &arguments).success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        5
    );
}

#[test]
fn a_wrong_key_ends_the_run_with_the_server_s_message() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.fail_always(401, "{\"error\":{\"message\":\"no such key\"}}");
    let out = ewe(&dir, &arguments(&mock, "5")).failure(1);
    assert!(
        out.stderr().contains("401") && out.stderr().contains("no such key"),
        "{}",
        out.stderr()
    );
    assert!(!out.stderr().contains(" tries"), "it is not tried again");
    assert_eq!(
        dir.sql("select status from run order by id desc limit 1"),
        [["failed"]]
    );
}

#[test]
fn an_unreachable_server_is_named() {
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
    let mut command = shell::command(&dir, &arguments(&mock, "2"));
    command.env("OPENAI_API_KEY", "sk-very-secret");
    shell::ran(command).success();
    assert_eq!(mock.last_authorization().unwrap(), "Bearer sk-very-secret");
    let file = std::fs::read(dir.path("d.db")).unwrap();
    assert!(!file.windows(14).any(|window| window == b"sk-very-secret"));
}

#[test]
fn a_full_disk_loses_nothing() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "10")).success();
    let size = std::fs::metadata(dir.path("d.db")).unwrap().len();
    // The file may grow a little; then every write fails as on a full disk.
    let blocks = size / 512 + 40;
    let out = shell::ewe_limited(&dir, blocks, &arguments(&mock, "400")).failure(1);
    assert!(
        out.stderr().contains("disk full") && out.stderr().contains("hint:"),
        "{}",
        out.stderr()
    );
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    let kept = number(&dir, "select count(*) from task where origin = 'machine'");
    assert!(kept >= 10);
    ewe(&dir, &arguments(&mock, "40")).success();
    assert_eq!(
        number(&dir, "select count(*) from task where origin = 'machine'"),
        40
    );
}

#[cfg(feature = "torch")]
#[test]
fn a_local_model_that_cannot_be_used_is_named() {
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
    // The tiny model's context is too short for a few-shot prompt: no round can be requested, and
    // the run says so.
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
