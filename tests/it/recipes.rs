//! `ewe generate --recipe`: how each recipe reads a model's responses, without the faults of the
//! published programs.

use crate::mock::Mock;
use crate::shell::{Dir, ewe};
use crate::support::{self, export, generation, number};
use std::time::Duration;

/// Arguments that generate `target` tasks from the mock.
pub fn arguments<'a>(mock: &'a Mock, target: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    generation(target, &mock.url, &[&["--retries", "2"][..], more].concat())
}

pub const ALPACA: [&str; 2] = ["--recipe", "alpaca"];

/// Asserts what holds for every dataset with `tasks` machine-made tasks, however it was made.
pub fn all_accounted_for(dir: &Dir, tasks: i64) {
    let count = |query: &str| number(dir, query);
    assert_eq!(count("select count(*) from task where origin = 'machine'"), tasks);
    assert_eq!(
        count("select sum(parsed) from round"),
        count("select count(*) from candidate")
    );
    assert_eq!(
        count("select count(*) from candidate where verdict = 'accepted' and kind = 'instruction'"),
        tasks
    );
    assert_eq!(
        count("select count(*) from candidate where verdict = 'rejected' and reason is null"),
        0
    );
    assert_eq!(
        count("select count(*) from task where id not in (select task_id from instance)"),
        0
    );
    assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
}

#[test]
fn alpaca_sends_one_request_a_round_and_meets_the_target() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(&dir, &arguments(&mock, "60", &ALPACA)).success();
    all_accounted_for(&dir, 60);
    assert_eq!(dir.sql("select distinct stage from request"), [["tasks"]]);
    assert_eq!(
        number(&dir, "select count(*) from request"),
        mock.requests() as i64
    );
    assert!(number(&dir, "select max(parsed) from round") > 20);
    for reason in [
        "unparsed",
        "truncated",
        "unsuitable_medium",
        "too_short",
        "instruction_rejected",
    ] {
        let query = format!("select count(*) from candidate where reason = '{reason}'");
        assert!(number(&dir, &query) > 0, "{reason}");
    }
    // There was no classification request.
    assert_eq!(
        number(
            &dir,
            "select count(*) from task where origin = 'machine' and is_classification"
        ),
        0
    );
    // The prompt shows three seeds and continues with number 4.
    let prompt = &dir.sql("select prompt from request limit 1")[0][0];
    assert_eq!(prompt.matches("\n###\n").count(), 4);
    assert!(prompt.ends_with("\n###\n4. Instruction:"), "{prompt}");
    let asked = mock.last_body();
    assert_eq!(asked["stop"], serde_json::json!(["\n21. Instruction:"]));
    assert_eq!(
        (asked["temperature"].as_f64(), asked["max_tokens"].as_u64()),
        (Some(1.0), Some(3072))
    );
}

#[test]
fn a_killed_alpaca_run_resumes_to_the_same_export() {
    // Prompts show machine-made tasks, so a round depends on earlier ones.
    let file = "[alpaca]\nmachine_examples = 2\n";
    let start = || {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        dir.write("r.toml", file);
        dir.write("topics.txt", "bees\na nurse on night shift\n\ntrains\n");
        (dir, mock)
    };
    let more = [
        &ALPACA[..],
        &["--recipe-file", "r.toml", "--topics", "topics.txt"],
    ]
    .concat();
    let (whole, mock) = start();
    ewe(&whole, &arguments(&mock, "100", &more)).success();
    let wanted = export(&whole);

    let (dir, mock) = start();
    mock.set_latency(Duration::from_millis(60));
    support::kill_again_and_again(
        &dir,
        &mock,
        &arguments(&mock, "100", &more),
        &[90, 140, 100, 200, 120, 170],
    );
    ewe(&dir, &arguments(&mock, "100", &more)).success();
    assert_eq!(export(&dir), wanted);
    all_accounted_for(&dir, 100);
    let shown = number(
        &dir,
        "select count(*) from request where prompt like '%to do with this: bees%'",
    );
    assert!(shown > 0);
}

/// Runs one round in which the model responds with `text`. Returns the instructions and outputs of
/// the machine-made tasks, and the reasons of rejections.
fn run_with(text: &str, finish: &str, more: &[&str]) -> (Vec<[String; 2]>, Vec<String>) {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.say("This is a numbered list", text, finish);
    let more = [
        &ALPACA[..],
        &["--rules", "none", "--window", "1", "--max-requests", "1"],
        more,
    ]
    .concat();
    ewe(&dir, &arguments(&mock, "100", &more)).success();
    let tasks = dir.sql(
        "select task.instruction, output from task join instance on task_id = task.id where origin = 'machine' \
         order by task.id",
    );
    let reasons = dir.sql("select reason from candidate where reason is not null order by id");
    (
        tasks.into_iter().map(|row| row.try_into().unwrap()).collect(),
        reasons.concat(),
    )
}

/// Tasks 4, 5 and 6, with `from` replaced by `to`.
fn three(from: &str, to: &str) -> String {
    let list = " Name a river in France.\n4. Input: <noinput>\n4. Output: Loire\n###\n\
                5. Instruction: Translate the word to German.\n5. Input: sea\n5. Output: Meer\n###\n\
                6. Instruction: NASA was founded when?\n6. Output: 1958\n###";
    list.replace(from, to)
}

#[test]
fn parsing_faults_of_the_published_alpaca_are_absent() {
    let wanted = |output: &str| {
        [
            ["Name a river in France.", "Loire"],
            ["Translate the word to German.", output],
            ["NASA was founded when?", "1958"],
        ]
        .map(|row| row.map(String::from))
        .to_vec()
    };
    for output in [
        "It ended in 2020. Then came 2021.",
        "One, 16. and 20. too",
        "# One\n###\n### Two",
        "Example 1\nOutput: 4",
        "1. wash\n2. cut",
    ] {
        let (tasks, reasons) = run_with(&three("Meer", output), "stop", &[]);
        assert_eq!(tasks, wanted(output));
        assert!(reasons.is_empty(), "{reasons:?}");
    }
    for (from, to) in [
        ("5. ", "5) "),
        ("5. Instruction: ", "5."),
        ("###\n5. ", "### 5."),
        ("5. ", "9. "),
        ("5. ", "4. "),
        ("###\n5. ", "5. "),
    ] {
        let (tasks, reasons) = run_with(&three(from, to), "stop", &[]);
        assert_eq!(tasks, wanted("Meer"), "{to}");
        assert!(reasons.is_empty(), "{to}: {reasons:?}");
    }
    // A damaged task is rejected alone, and its text is kept.
    let (tasks, reasons) = run_with(&three("5. Output: Meer\n", ""), "stop", &[]);
    assert_eq!(tasks.len(), 2);
    assert_eq!(reasons, ["unparsed"]);
    // The last task of a truncated response may be complete; nothing shows it.
    let (tasks, reasons) = run_with(&three("", ""), "length", &[]);
    assert_eq!(tasks, wanted("Meer")[..2]);
    assert_eq!(reasons, ["truncated"]);
}

#[test]
fn parsing_faults_of_the_published_self_instruct_are_absent() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    mock.say(
        "Come up with a series of tasks",
        " Explain what happened in 2016. Then say why 16. is even\n10) NASA was founded when, says pH?\n12.Give three \
         rhymes for moon\n13. Tell who signed the treaty in Rome\n14. Sort these words by length",
        "stop",
    );
    mock.reply("Task: NASA was founded when, says pH?\nIs it", 400, "no");
    mock.say(
        "Task: Tell who signed the treaty in Rome\nIs it",
        " Perhaps",
        "stop",
    );
    mock.say("Is it classification?", " No", "stop");
    let say = |part: &str, text: &str| mock.say(part, text, "stop");
    say(
        "Task: Give three rhymes for moon\n",
        "Output: Example 1: soon. Its Output: noon\nExample 2",
    );
    say(
        "Task: Sort these words by length\n",
        "Output: first\nOutput: second",
    );
    say(
        "Task: Explain what happened in 2016.",
        "Output: It ended in 2020. So it goes.",
    );
    let more = ["--rules", "none", "--window", "1", "--max-requests", "9"];
    ewe(&dir, &arguments(&mock, "100", &more)).success();
    let tasks = dir.sql(
        "select task.instruction, output from task join instance on task_id = task.id where origin = 'machine' \
         order by task.id",
    );
    assert_eq!(
        tasks,
        [
            [
                "Explain what happened in 2016. Then say why 16. is even",
                "It ended in 2020. So it goes."
            ],
            [
                "Give three rhymes for moon",
                "Example 1: soon. Its Output: noon\nExample 2"
            ],
        ]
    );
    let rejected = dir.sql(
        "select instruction, reason from candidate where kind = 'instruction' and reason is not null and round = 0 \
         order by id",
    );
    assert_eq!(
        rejected,
        [
            ["NASA was founded when, says pH?", "request_failed"],
            ["Tell who signed the treaty in Rome", "unclear_label"],
            ["Sort these words by length", "no_valid_instance"],
        ]
    );
    let stops = dir.sql("select distinct json_extract(parameters, '$.stop') from request order by id");
    for stop in stops.concat() {
        let stops: Vec<String> = serde_json::from_str(&stop).unwrap();
        assert!(stops.iter().all(|stop| stop.starts_with('\n')), "{stops:?}");
    }
}

#[test]
fn structured_output_is_requested_and_read_even_if_truncated() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    ewe(
        &dir,
        &arguments(&mock, "60", &["--recipe", "alpaca", "--structured"]),
    )
    .success();
    all_accounted_for(&dir, 60);
    let format = &mock.last_body()["response_format"];
    assert_eq!(format["type"], "json_schema");
    let task = &format["json_schema"]["schema"]["properties"]["tasks"]["items"];
    assert_eq!(
        task["required"],
        serde_json::json!(["instruction", "input", "output"])
    );
    assert!(mock.last_body()["stop"].is_null());
    assert!(number(&dir, "select count(*) from candidate where reason = 'truncated'") > 0);
    // Without an endpoint, nothing can enforce a schema; and Self-Instruct's stages are not lists
    // of tasks.
    let local = [
        "generate",
        "--db",
        "d.db",
        "--target",
        "1",
        "--model",
        "m",
        "--structured",
    ];
    let out = ewe(&dir, &local).failure(2);
    assert!(out.stderr().contains("--endpoint"), "{}", out.stderr());
    let out = ewe(&dir, &arguments(&mock, "100", &["--structured"])).failure(1);
    assert!(out.stderr().contains("--recipe alpaca"), "{}", out.stderr());
}

#[test]
fn a_recipe_file_sets_constants_and_options_override_it() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write(
        "r.toml",
        "[alpaca]\nexamples = 5\nlast = 12\ntemperature = 0.8\ntop_p = 0.95\ntokens = 2000\nstops = [\"\\n{number})\"]\n",
    );
    let more = [&ALPACA[..], &["--recipe-file", "r.toml", "--temperature", "0.6"]].concat();
    ewe(&dir, &arguments(&mock, "5", &more)).success();
    let asked = mock.last_body();
    assert_eq!(asked["temperature"], 0.6);
    assert_eq!(asked["top_p"], 0.95);
    assert_eq!(asked["max_tokens"], 2000);
    assert_eq!(asked["stop"], serde_json::json!(["\n13)"]));
    assert!(asked["prompt"].as_str().unwrap().ends_with("\n6. Instruction:"));
    let kept = dir.sql("select json_extract(config, '$.recipe.name'), json_extract(config, '$.recipe.last') from run where command = 'generate'");
    assert_eq!(kept, [["alpaca", "12"]]);

    for (content, wanted) in [
        (
            "[alpaca]\nexamples = 3\ntemprature = 1\n",
            "r.toml:3: unknown field `temprature`",
        ),
        (
            "[alpaca]\nstructured = true\n",
            "r.toml:2: unknown field `structured`",
        ),
        ("[alpacca]\n", "r.toml:1: unknown field `alpacca`"),
        ("[alpaca]\nexamples = \"three\"\n", "r.toml:2:"),
        ("[self-instruct]\n", "r.toml: there is no table [alpaca]"),
        ("[alpaca]\ntop_p = 1.5\n", "r.toml: `top_p` is 1.5"),
        (
            "[alpaca]\nmachine_examples = 4\n",
            "r.toml: `machine_examples` is 4",
        ),
    ] {
        dir.write("r.toml", content);
        let more = [&ALPACA[..], &["--recipe-file", "r.toml"]].concat();
        let out = ewe(&dir, &arguments(&mock, "9", &more)).failure(1);
        assert!(out.stderr().contains(wanted), "{}", out.stderr());
    }
    let out = ewe(&dir, &arguments(&mock, "9", &["--temperature", "3"])).failure(1);
    assert!(out.stderr().contains("`temperature` is 3"), "{}", out.stderr());
}

#[test]
fn topics_rotate_and_faults_in_their_file_are_named() {
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    dir.write("topics.txt", "\u{feff}bees\n\n a nurse on night shift \r\n");
    let more = ["--topics", "topics.txt", "--window", "1"];
    ewe(&dir, &arguments(&mock, "12", &more)).success();
    let prompts = dir.sql("select round, prompt from request where stage = 'instructions' order by round");
    assert!(prompts.len() > 1);
    for row in prompts {
        let round: usize = row[0].parse().unwrap();
        let topic = ["bees", "a nurse on night shift"][round % 2];
        let head =
            format!("Come up with a series of tasks. Tasks 9 to 16 have to do with this: {topic}\n\n1.");
        assert!(row[1].starts_with(&head), "{}", row[1]);
    }
    for (content, wanted) in [
        (&b"\n \n"[..], "topics.txt:1: there is no topic"),
        (b"bees\n\xff\xfe\n", "topics.txt:2: the line is not UTF-8"),
    ] {
        dir.write("topics.txt", content);
        let out = ewe(&dir, &arguments(&mock, "50", &more)).failure(1);
        assert!(
            out.stderr().contains(wanted) && out.stderr().contains("hint:"),
            "{}",
            out.stderr()
        );
    }
    let out = ewe(&dir, &arguments(&mock, "50", &["--topics", "nowhere.txt"])).failure(1);
    assert!(out.stderr().contains("nowhere.txt"), "{}", out.stderr());
}

/// docs/recipes.md has a row for every constant.
#[test]
fn every_constant_is_documented() {
    use ewe::generate::recipe::{Alpaca, Evolve, SelfInstruct, Turns};
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recipes.md")).unwrap();
    let (_, rest) = docs.split_once("## self-instruct").unwrap();
    let (self_instruct, rest) = rest.split_once("## alpaca").unwrap();
    let (alpaca, rest) = rest.split_once("## Rounds that rewrite").unwrap();
    let (evolve, turns) = rest.split_once("## Conversations").unwrap();
    let mut constants = serde_json::to_value(Evolve::default()).unwrap();
    // These constants belong to another table.
    constants.as_object_mut().unwrap().remove("stages");
    for (text, recipe) in [
        (
            self_instruct,
            serde_json::to_value(SelfInstruct::default()).unwrap(),
        ),
        (alpaca, serde_json::to_value(Alpaca::default()).unwrap()),
        (evolve, constants),
        (turns, serde_json::to_value(Turns::default()).unwrap()),
    ] {
        for (name, value) in recipe.as_object().unwrap() {
            let row = text
                .lines()
                .find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("`{name}` is not in docs/recipes.md"));
            let ours = row.split(" | ").nth(2).unwrap();
            let value = match value.as_f64() {
                Some(number) => number.to_string(),
                None => value.to_string(),
            };
            assert_eq!(ours.trim_matches('`'), value, "{row}");
        }
    }
}
