//! `ewe generate --validator` and `ewe validate`: programs of the user's that accept rows.

use std::time::{Duration, Instant};

use crate::mock::Mock;
use crate::recipes::{all_accounted_for, arguments};
use crate::shell::{self, Dir, ewe, signal};
use crate::support::{self, export, json, number};
use crate::waiting::until;

/// The program of docs/validators.md that compiles Python.
fn example() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/validators.md");
    let page = std::fs::read_to_string(page).unwrap();
    let begin = page.find("```python\n").expect("the example") + 10;
    page[begin..begin + page[begin..].find("```").unwrap()].to_string()
}

/// A program that rejects outputs with the word `castle`, and does `also` with each row.
fn no_castle(also: &str) -> String {
    format!(
        "import json, os, sys, time\nfor line in sys.stdin:\n    row = json.loads(line)\n    {also}\n    bad = 'castle' in \
         row['output']\n    print(json.dumps({{'accept': not bad, 'reason': 'a castle' if bad else ''}}))\n"
    )
}

fn with(program: &str) -> Dir {
    let dir = Dir::with_dataset();
    dir.write("check.py", program);
    dir
}

const CHECK: [&str; 2] = ["--validator", "python3 check.py"];

/// A dataset of four imported rows, and what `ewe validate` prints of it.
fn imported(program: &str) -> Dir {
    let dir = with(program);
    dir.write(
        "rows.jsonl",
        "{\"instruction\": \"Add two numbers in Python.\", \"output\": \"print(1 + 2)\"}\n\
         {\"instruction\": \"Print a word in Python.\", \"output\": \"print('word'\"}\n\
         {\"instruction\": \"Count to three in Python.\", \"output\": \"for i in range(3): print(i)\"}\n\
         {\"instruction\": \"Say hello in Python.\", \"output\": \"say hello\"}\n",
    );
    ewe(&dir, &["import", "--db", "d.db", "rows.jsonl"]).success();
    dir
}

fn validate(dir: &Dir, more: &[&str]) -> shell::Ran {
    let line = ["validate", "--db", "d.db", "--origin", "import"];
    ewe(dir, &[&line[..], &CHECK, more].concat())
}

#[test]
fn rows_that_are_there_are_validated_and_undone() {
    let dir = imported(&example());
    let dry = json(validate(&dir, &["--dry-run", "--json"]));
    assert_eq!(
        (
            dry["accepted"].as_u64(),
            dry["rejected"].as_array().unwrap().len()
        ),
        (Some(2), 2)
    );
    assert_eq!(number(&dir, "select count(*) from validation"), 0);
    let said = validate(&dir, &[]).success().stdout();
    assert!(
        said.contains("2 of 4 rows rejected") && said.contains("line 1: '(' was never closed"),
        "{said}"
    );
    assert!(said.contains("2 tasks rejected (action "), "{said}");
    let left = "select instruction from task where origin = 'import' and review <> 'rejected' order by id";
    assert_eq!(
        dir.sql(left),
        [["Add two numbers in Python."], ["Count to three in Python."]]
    );
    let notes = dir.sql("select note from revision where action = 'reject' order by id limit 1");
    assert!(notes[0][0].starts_with("validator: line 1: "), "{notes:?}");
    let id = &dir.sql("select id from task where instruction like 'Print a word%'")[0][0];
    let shown = ewe(&dir, &["show", "--db", "d.db", id]).success().stdout();
    assert!(
        shown.contains("rejected by `python3 check.py`: line 1: "),
        "{shown}"
    );
    let stats = ewe(&dir, &["stats", "--db", "d.db"]).success().stdout();
    assert!(stats.contains("python3 check.py"), "{stats}");
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    assert_eq!(dir.sql(left).len(), 4);
    // A known row is not asked about again, unless somebody wants it or its text is another one.
    let known = json(validate(&dir, &["--json"]));
    assert_eq!(
        (known["rows"].as_u64(), known["known"].as_u64()),
        (Some(0), Some(4))
    );
    ewe(&dir, &["undo", "--db", "d.db"]).success();
    ewe(&dir, &["edit", "--db", "d.db", id, "--output", "print('word')"]).success();
    let edited = json(validate(&dir, &["--json"]));
    assert_eq!(
        (edited["rows"].as_u64(), edited["accepted"].as_u64()),
        (Some(1), Some(1))
    );
    let again = json(validate(&dir, &["--json", "--again"]));
    assert_eq!(
        (again["rows"].as_u64(), again["known"].as_u64()),
        (Some(3), Some(0))
    );
    // A person's word holds against a validator's.
    ewe(
        &dir,
        &[
            "accept",
            "--db",
            "d.db",
            "--where",
            "instruction = 'Say hello in Python.'",
            "--yes",
        ],
    )
    .success();
    let kept = json(validate(&dir, &["--json", "--again"]));
    assert_eq!(kept["kept_by_people"].as_u64(), Some(1));
    ewe(&dir, &["check", "--db", "d.db"]).success();
    assert!(support::sql_error(&dir, "delete from validation").contains("append-only"));
}

#[test]
fn a_program_may_be_started_for_every_row_and_answer_by_its_exit_code() {
    let dir = imported(
        "import json, sys\nrow = json.load(sys.stdin)\ntry:\n    compile(row['output'], 'answer', 'exec')\nexcept SyntaxError as \
         error:\n    print(error.msg)\n    sys.exit(1)\n",
    );
    let said = json(validate(&dir, &["--validator-per-row", "--json"]));
    assert_eq!(said["accepted"].as_u64(), Some(2));
    assert_eq!(said["rejected"][0]["reason"], "'(' was never closed");
}

#[test]
fn a_program_may_end_after_each_answer() {
    let dir = imported(
        "import json, sys\nrow = json.loads(sys.stdin.readline())\nprint(json.dumps({'accept': 'hello' not in row['output']}))\n",
    );
    let ran = validate(&dir, &["--validator-jobs", "1", "--json"]);
    assert_eq!(ran.stderr(), "");
    let said = json(ran);
    assert_eq!(
        (said["accepted"].as_u64(), said["failed"].as_u64()),
        (Some(3), Some(0))
    );
}

#[test]
fn programs_that_fail_are_named_with_their_row_and_the_others_have_verdicts() {
    let third = "row['instruction'].startswith('Count')";
    for (also, wanted) in [
        (
            "os._exit(3) if COUNT else 0",
            "ended with exit code 3 without an answer",
        ),
        (
            "raise ValueError('no luck') if COUNT else 0",
            "ended with exit code 1: ValueError: no luck",
        ),
        ("time.sleep(600) if COUNT else 0", "took more than 5s"),
        (
            "print('x' * 3000000) if COUNT else 0",
            "wrote a line of more than 1 MiB",
        ),
        (
            "print('well, no') if COUNT else 0",
            "answered 'well, no', and not {\"accept\": true}",
        ),
        ("os._exit(137) if COUNT else 0", "ended with exit code 137"),
        ("bytearray(1 << 31) if COUNT else 0", "MemoryError"),
    ] {
        let also = match also.strip_prefix("raise ") {
            Some(_) => format!("if {third}: raise ValueError('no luck')"),
            None => also.replace("COUNT", third),
        };
        let dir = imported(&no_castle(&also));
        let started = Instant::now();
        let timeout = if wanted.starts_with("took") { "5" } else { "60" };
        let ran = validate(
            &dir,
            &[
                "--validator-timeout",
                timeout,
                "--validator-memory",
                "500MB",
                "--validator-jobs",
                "1",
            ],
        );
        let ran = ran.success();
        let error = ran.stderr();
        assert!(
            error.contains("gave no verdict on 1 row; the first, task ") && error.contains(wanted),
            "{wanted}: {error}"
        );
        assert_eq!(number(&dir, "select count(*) from validated"), 3, "{wanted}");
        assert!(started.elapsed() < Duration::from_secs(120), "{wanted}");
        // It is asked about again once the program is mended.
        dir.write("check.py", no_castle("pass"));
        assert_eq!(json(validate(&dir, &["--json"]))["rows"].as_u64(), Some(1));
    }
}

#[test]
fn a_validation_without_any_verdict_fails() {
    for (command, wanted) in [
        ("./gone", "not found"),
        ("echo hi", "answered 'hi'"),
        ("exit 3", "ended with exit code 3 without an answer"),
    ] {
        let dir = imported("");
        let line = [
            "validate",
            "--db",
            "d.db",
            "--origin",
            "import",
            "--validator",
            command,
        ];
        let error = ewe(&dir, &line).failure(1).stderr();
        assert!(
            error.contains("no row has a verdict: the validator gave none on 4 rows; the first, task ")
                && error.contains(wanted)
                && error.contains("hint: mend"),
            "{command}: {error}"
        );
        let said = ewe(&dir, &[&line[..], &["--json"]].concat()).failure(1).stdout();
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["failed"].as_u64(), Some(4), "{said}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn processes_that_leave_the_group_are_killed_too() {
    let seconds = format!("9753{}", std::process::id());
    let dir = imported("");
    let command = format!("timeout 300000 sleep {seconds}; echo");
    let line = [
        "validate",
        "--db",
        "d.db",
        "--origin",
        "import",
        "--validator",
        &command,
        "--validator-timeout",
        "1",
        "--validator-jobs",
        "4",
    ];
    let error = ewe(&dir, &line).failure(1).stderr();
    assert!(error.contains("took more than 1s"), "{error}");
    // The command line of a process that has ended is empty.
    let is_left = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
        lines.any(|line| String::from_utf8_lossy(&line).contains(&seconds))
    };
    until("the end of all processes", || !is_left());
}

#[test]
fn an_interrupted_validation_goes_on() {
    let dir = imported(&no_castle("time.sleep(0.05)"));
    let row = |i: usize| {
        format!("{{\"instruction\": \"Count the sheep of farm {i}.\", \"output\": \"{i} sheep\"}}\n")
    };
    dir.write("more.jsonl", (0..1500).map(row).collect::<String>());
    ewe(&dir, &["import", "--db", "d.db", "more.jsonl"]).success();
    let line = [
        "validate",
        "--db",
        "d.db",
        "--origin",
        "import",
        "--validator-jobs",
        "16",
    ];
    let mut child = shell::spawn(&dir, &[&line[..], &CHECK].concat());
    until("some verdicts", || {
        number(&dir, "select count(*) from validation") > 0
    });
    signal(child.id(), "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let before = number(&dir, "select count(*) from validation");
    assert!((1..1504).contains(&before), "{before}");
    dir.write("check.py", no_castle("pass"));
    let rest = json(validate(&dir, &["--json"]));
    assert_eq!(rest["known"].as_i64(), Some(before));
    assert_eq!(number(&dir, "select count(*) from validation"), 1504);
}

#[test]
fn generated_rows_pass_the_validator_or_say_why_not() {
    let (dir, mock) = (with(&no_castle("pass")), Mock::start());
    ewe(&dir, &arguments(&mock, "40", &CHECK)).success();
    all_accounted_for(&dir, 40);
    let bad = "select count(*) from task join instance on task_id = task.id where origin = 'machine' and output like \
               '%castle%'";
    assert_eq!(number(&dir, bad), 0);
    let rejected =
        dir.sql("select distinct detail from candidate where reason = 'validator' and kind = 'instance'");
    assert_eq!(rejected, [["a castle"]]);
    let listed = ewe(&dir, &["candidates", "--db", "d.db", "--rule", "validator"])
        .success()
        .stdout();
    assert!(listed.contains("a castle"), "{listed}");
    let kept = dir.sql("select config ->> '$.validator.command' from run where command = 'generate'");
    assert_eq!(kept, [["python3 check.py"]]);
}

#[test]
fn a_validator_that_breaks_ends_the_run_and_loses_nothing() {
    // It works for the seed that it is tried on and for twenty rows, then never again.
    let breaks = no_castle(
        "n = int(open('n').read() or 0) if os.path.exists('n') else 0; open('n', 'w').write(str(n + 1)); n > 20 and \
         os._exit(9)",
    );
    let (dir, mock) = (with(&breaks), Mock::start());
    let line = arguments(&mock, "60", &[&CHECK[..], &["--validator-jobs", "1"]].concat()).join("\n");
    let line: Vec<&str> = line.split('\n').collect();
    let error = ewe(&dir, &line).failure(1).stderr();
    assert!(
        error.contains("gave no verdict on 10 rows in a row; the first, round ")
            && error.contains("hint: mend it"),
        "{error}"
    );
    let asked = mock.requests();
    dir.write("check.py", no_castle("pass"));
    ewe(&dir, &line).success();
    all_accounted_for(&dir, 60);
    // What was answered is not asked again.
    let twice = mock.answered().values().filter(|&&times| times > 1).count();
    assert_eq!(twice, 0, "{asked}");
    let whole = with(&no_castle("pass"));
    ewe(&whole, &line).success();
    assert_eq!(export(&whole).lines().count(), export(&dir).lines().count());
}

#[test]
fn a_validator_that_cannot_work_costs_no_request() {
    for (command, wanted) in [
        ("./gone", "not found"),
        ("echo hi", "answered 'hi'"),
        ("true", "ended with exit code 0 without an answer"),
        ("sleep 600", "took more than 2s"),
    ] {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        let more = ["--validator", command, "--validator-timeout", "2"];
        let error = ewe(&dir, &arguments(&mock, "5", &more)).failure(1).stderr();
        assert!(
            error.contains(wanted) && error.contains("hint: "),
            "{command}: {error}"
        );
        assert_eq!(mock.received(), 0, "{command}");
    }
    let (dir, mock) = (Dir::with_dataset(), Mock::start());
    let error = ewe(&dir, &arguments(&mock, "5", &["--validator-jobs", "2"]))
        .failure(2)
        .stderr();
    assert!(error.contains("--validator"), "{error}");
    // No file makes a program run.
    dir.write("ewe.toml", "[generate]\nvalidator = \"touch ran\"\n");
    let _ = ewe(&dir, &arguments(&mock, "5", &["--max-requests", "1"]));
    assert!(!dir.path("ran").exists());
}
