//! Helpers of the tests of data commands: a dataset with something of everything, and generation
//! from the mock.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use ewe::backend::{Completion, FinishReason, Sampling};
use ewe::choice::JudgedBy;
use ewe::store::asked::request::NewRequest;
use ewe::store::asked::round::{Admission, AdmittedRound};
use ewe::store::curation::judgment::{JudgeSelection, NewJudgment};
use ewe::store::query::neighbor::NewNeighbors;
use ewe::store::{RunStatus, Store};
use ewe::task::{Candidate, Instance, InstanceCandidate, Reason, TaskRef, Verdict};
use sqlx::{AssertSqlSafe, ConnectOptions, sqlite::SqliteConnectOptions};

use crate::mock::{self, Mock};
use crate::shell::{self, Dir, Ran};
use crate::waiting::pause;

/// A directory with `d.db`, which has something of everything: two machine-made tasks after the
/// seeds, the later one with two instances, rejections of both kinds, two reviews and an edit. It
/// is made once for all tests.
pub fn filled() -> Dir {
    static MADE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let dir = Dir::with_dataset();
        block_on(fill(&dir.path("d.db")));
        ewe(&dir, &["reject", "--db", "d.db", "3", "--reason", "too easy"]).success();
        let last = number(&dir, "select max(id) from task").to_string();
        ewe(&dir, &["accept", "--db", "d.db", &last]).success();
        ewe(&dir, &["edit", "--db", "d.db", "5", "--output", "edited"]).success();
        dir.dataset()
    });
    Dir::with_copy(&MADE)
}

/// Adds to a dataset of seeds what `ewe split`, `ewe influence` and `ewe score --db` store: tasks 5
/// and 6 are held out, task 1 helped, task 2 hurt, and a run that was cut off says the opposite.
pub fn add_influence(dir: &Dir) {
    for statement in [
        "insert into run (id, command, config, status) values (90, 'split', '{}', 'done'), \
         (91, 'influence', '{}', 'done'), (92, 'score', '{}', 'done'), (93, 'influence', '{}', 'interrupted')",
        "insert into held_out (task_id, run_id) values (5, 90), (6, 90)",
        "insert into influence select 91, id, 0.25 from instance where task_id = 1 and ordinal = 0",
        "insert into influence select 91, id, -0.125 from instance where task_id = 2 and ordinal = 0",
        "insert into influence select 93, id, -0.5 from instance where task_id = 1 and ordinal = 0",
        "insert into influence_on select 91, id, 5, 0.75 from instance where task_id = 1 and ordinal = 0",
        "insert into influence_on select 91, id, 6, -0.25 from instance where task_id = 1 and ordinal = 0",
        "insert into influence_on select 91, id, 6, -0.5 from instance where task_id = 2 and ordinal = 0",
        "insert into difficulty select id, 92, 'm', 4, 0.5, 2.0 from instance where task_id = 1 and ordinal = 0",
        "insert into validation (instance_id, run_id, validator, instruction, input, output, accepted, reason) select \
         instance.id, 92, './check', instruction, input, output, 0, 'no' from instance join task on task.id = task_id where \
         task_id = 1 and ordinal = 0",
        "update task set influence = 0.25, ifd = 0.25 where id = 1",
        "update task set influence = -0.125 where id = 2",
    ] {
        dir.sql(statement);
    }
}

/// `count` different rows, each so large that an import writes it in a transaction of its own. The
/// pauses between transactions alone take 25 ms for each, so whoever sees the first row in the
/// dataset has time to interfere.
pub fn large_rows(count: usize) -> String {
    let row = |i: usize| {
        let (instruction, output) = (format!("Count the sheep of farm {i}."), "x".repeat(1_050_000));
        format!("{{\"instruction\": \"{instruction}\", \"input\": \"\", \"output\": \"{output}\"}}\n")
    };
    (1..=count).map(row).collect()
}

/// The single number that a query returns.
pub fn number(dir: &Dir, query: &str) -> i64 {
    dir.sql(query)[0][0].parse().expect("a number")
}

/// The error of SQLite for a statement.
pub fn sql_error(dir: &Dir, statement: &str) -> String {
    block_on(async {
        let mut connection = SqliteConnectOptions::new()
            .filename(dir.path("d.db"))
            .connect()
            .await
            .unwrap();
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .unwrap_err()
            .to_string()
    })
}

/// Kills the command after each of these waits, in milliseconds, and starts it again. Asserts, by
/// the server's count and not ewe's, that no committed response is requested again. Returns the
/// kills.
pub fn kill_again_and_again(dir: &Dir, mock: &Mock, arguments: &[&str], waits: &[u64]) -> usize {
    let mut kills = 0;
    for &wait in waits {
        let before = mock.answered();
        let stored: Vec<String> = dir
            .sql("select prompt, json_extract(parameters, '$.seed') from request")
            .iter()
            .map(|row| mock::question(&row[0], row[1].parse().unwrap()))
            .collect();
        let mut child = shell::spawn(dir, arguments);
        pause(Duration::from_millis(wait));
        kills += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        let after = mock.answered();
        for question in stored {
            assert_eq!(
                before.get(&question),
                after.get(&question),
                "asked again: {question}"
            );
        }
        assert_eq!(dir.sql("pragma integrity_check"), [["ok"]]);
    }
    assert!(kills >= 2, "the run was over before it could be killed");
    kills
}

/// Waits for a future, as `main` does.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// `ewe` as a user called ann, who has no editor.
pub fn command(dir: &Dir, arguments: &[&str]) -> Command {
    let mut command = shell::command(dir, arguments);
    command
        .env("EWE_USER", "ann")
        .env_remove("EDITOR")
        .env_remove("VISUAL");
    command
}

/// Runs [`command`] to its end.
pub fn ewe(dir: &Dir, arguments: &[&str]) -> Ran {
    shell::ran(command(dir, arguments))
}

/// Arguments that generate `target` tasks with the model `mock` at `url`.
pub fn generation<'a>(target: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "generate",
        "--db",
        "d.db",
        "--target",
        target,
        "--endpoint",
        url,
        "--endpoint-model",
        "mock",
    ];
    [&common[..], more].concat()
}

/// Arguments that judge the dataset with a model at `url`.
pub fn judging<'a>(url: &'a str, model: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let common = [
        "judge",
        "--db",
        "d.db",
        "--endpoint",
        url,
        "--endpoint-model",
        model,
    ];
    [&common[..], more].concat()
}

/// Generates `target` tasks with short back-off.
pub fn generate(dir: &Dir, target: &str, url: &str, more: &[&str]) -> Ran {
    let more = [more, &["--backoff", "0.01"]].concat();
    shell::ewe(dir, &generation(target, url, &more))
}

/// Imports a file into the dataset.
pub fn import_file(dir: &Dir, name: &str) -> Ran {
    ewe(dir, &["import", "--db", "d.db", name])
}

/// All examples of the dataset, whatever their review, in Self-Instruct's format.
pub fn export(dir: &Dir) -> String {
    let arguments = "export --db d.db --format self-instruct --review any --out -";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    shell::ewe(dir, &arguments).success().stdout()
}

/// The export of an undisturbed run, which is made once for each target.
pub fn undisturbed(target: &str) -> String {
    static MADE: Mutex<BTreeMap<String, String>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || {
        let (dir, mock) = (Dir::with_dataset(), Mock::start());
        generate(&dir, target, &mock.url, &[]).success();
        export(&dir)
    };
    made.entry(target.to_owned()).or_insert_with(make).clone()
}

/// Starts [`command`] and returns at once.
pub fn spawn(dir: &Dir, arguments: &[&str]) -> Child {
    command(dir, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ewe starts")
}

/// The output of a command, parsed as JSON.
#[track_caller]
pub fn json(ran: Ran) -> serde_json::Value {
    serde_json::from_str(&ran.success().stdout()).expect("JSON on stdout")
}

async fn fill(path: &std::path::Path) {
    let store = Store::open(path).await.unwrap();
    let config = serde_json::json!({ "target": 2 });
    let run_id = store
        .begin_run("generate", &config, Some(7), Some("model <b>x</b>"))
        .await
        .unwrap();
    let request = NewRequest {
        run_id,
        round: 0,
        stage: "instructions",
        ordinal: 0,
        model: "model",
        prompt: "Come up with tasks:".into(),
        sampling: Sampling::default(),
    };
    let answer = Completion {
        text: "1. Name an animal.\n2. List late invoices.\n3. Hm.".into(),
        finish_reason: FinishReason::Stop,
        reasoning: String::new(),
        refusal: None,
        places: None,
        prompt_tokens: 100,
        completion_tokens: 20,
    };
    let request_id = store.insert_request("key", &request, &answer, 12).await.unwrap();
    let instance = |input: &str, output: &str, verdict| InstanceCandidate {
        request_id,
        instance: Instance {
            input: input.into(),
            output: output.into(),
        },
        verdict,
    };
    let candidate = |text: &str, is_classification, verdict, instances| Candidate {
        request_id,
        instruction: text.into(),
        is_classification,
        verdict,
        instances,
        opening: None,
    };
    let accepted = Verdict::accepted;
    let empty = Verdict::rejected(Reason::EmptyOutput, "no output");
    let duplicate = Verdict::near_duplicate(TaskRef::Stored(1), 0.75);
    let admission = Admission {
        run_id,
        rounds: vec![AdmittedRound {
            round: 0,
            evolution: None,
            grounding: None,
            candidates: vec![
                candidate(
                    "Name an animal. <script>alert(1)</script>",
                    false,
                    accepted(),
                    vec![instance("", "a ewe", accepted()), instance("", "", empty)],
                ),
                candidate(
                    "List the late invoices.",
                    true,
                    accepted(),
                    vec![
                        instance("invoice 1: late", "1", accepted()),
                        instance("invoice 2: paid", "none", accepted()),
                    ],
                ),
                candidate("Name an animal, please.", false, duplicate, vec![]),
            ],
        }],
    };
    let tasks = store.admit(&admission).await.unwrap();
    let neighbors = |task_id, similar| NewNeighbors { task_id, similar };
    store
        .set_neighbors(&[
            neighbors(tasks[0].id, vec![(1, 0.5), (2, 0.25)]),
            neighbors(tasks[1].id, vec![(tasks[0].id, 0.4)]),
        ])
        .await
        .unwrap();
    let unjudged = store
        .unjudged(&JudgeSelection::default(), "critic", JudgedBy::Text, None)
        .await
        .unwrap();
    let judgment = NewJudgment {
        judged_by: JudgedBy::Text,
        expected: None,
        of: &unjudged[0],
        run_id,
        request_id,
        model: "critic",
        score: Some(2),
        reason: "A <b>ewe</b> is one animal, but the article is wrong.",
        problem: None,
        rubric: None,
    };
    store.add_judgments(&[judgment]).await.unwrap();
    store.finish_run(run_id, RunStatus::Done).await.unwrap();
    store.close().await;
}
