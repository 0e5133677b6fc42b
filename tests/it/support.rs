//! What tests of the data commands share: a dataset with something of everything in it, and a history with a name.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ewe::backend::{Completion, FinishReason, Sampling};
use ewe::store::asked::request::NewRequest;
use ewe::store::asked::round::{
    Admission, AdmittedInstance, AdmittedInstruction, AdmittedRound, Rejection, Similar,
};
use ewe::store::curation::judgment::{Choice, NewJudgment};
use ewe::store::query::neighbor::NewNeighbors;
use ewe::store::{RunStatus, Store};
use ewe::task::Instance;
use sqlx::{AssertSqlSafe, ConnectOptions, sqlite::SqliteConnectOptions};

use crate::mock::{self, Mock};
use crate::shell::{self, Dir, Ran};

/// A directory with `d.db`, in which something of everything is: two machine-made tasks after the seeds, the later one
/// with two instances, rejections of either kind, two reviews and an edit.
pub fn filled() -> Dir {
    let dir = Dir::with_dataset();
    block_on(fill(&dir.path("d.db")));
    ewe(&dir, &["reject", "--db", "d.db", "3", "--reason", "too easy"]).success();
    ewe(
        &dir,
        &[
            "accept",
            "--db",
            "d.db",
            &number(&dir, "select max(id) from task").to_string(),
        ],
    )
    .success();
    ewe(&dir, &["edit", "--db", "d.db", "5", "--output", "edited"]).success();
    dir
}

/// The one number that a query gives.
pub fn number(dir: &Dir, query: &str) -> i64 {
    dir.sql(query)[0][0].parse().expect("a number")
}

/// What SQLite says against a statement.
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

/// Kills the command after each of these waits, in milliseconds, and starts it again. What was committed before is not
/// asked for again: counted by the server, not by ewe.
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
        std::thread::sleep(Duration::from_millis(wait));
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

/// `ewe` as somebody called ann, who has no editor.
pub fn command(dir: &Dir, arguments: &[&str]) -> Command {
    let mut command = shell::command(dir, arguments);
    command
        .env("EWE_USER", "ann")
        .env_remove("EDITOR")
        .env_remove("VISUAL");
    command
}

/// Runs it to its end.
pub fn ewe(dir: &Dir, arguments: &[&str]) -> Ran {
    shell::ran(command(dir, arguments))
}

/// The command that generates `target` tasks by asking the model `mock` at `url`.
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

/// Runs it, with short waits.
pub fn generate(dir: &Dir, target: &str, url: &str, more: &[&str]) -> Ran {
    let more = [more, &["--backoff", "0.01"]].concat();
    shell::ewe(dir, &generation(target, url, &more))
}

/// All that is in the dataset, whoever has looked at it, in the form of Self-Instruct.
pub fn export(dir: &Dir) -> String {
    let arguments = "export --db d.db --format self-instruct --review any --out -";
    let arguments: Vec<&str> = arguments.split(' ').collect();
    shell::ewe(dir, &arguments).success().stdout()
}

/// Starts it and lets it run.
pub fn spawn(dir: &Dir, arguments: &[&str]) -> Child {
    command(dir, arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ewe starts")
}

/// What it printed, read as JSON.
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
        prompt_tokens: 100,
        completion_tokens: 20,
    };
    let request_id = store.insert_request("key", &request, &answer, 12).await.unwrap();
    let instance = |input: &str, output: &str, rejection| AdmittedInstance {
        request_id,
        instance: Instance {
            input: input.into(),
            output: output.into(),
        },
        rejection,
    };
    let instruction = |text: &str, is_classification, rejection, instances| AdmittedInstruction {
        request_id,
        text: text.into(),
        is_classification,
        rejection,
        instances,
    };
    let duplicate = Rejection {
        nearest: Some((Similar::Task(1), 0.75)),
        ..Rejection::new("near_duplicate", String::new())
    };
    let admission = Admission {
        run_id,
        rounds: vec![AdmittedRound {
            round: 0,
            evolution: None,
            instructions: vec![
                instruction(
                    "Name an animal. <script>alert(1)</script>",
                    false,
                    None,
                    vec![
                        instance("", "a ewe", None),
                        instance("", "", Some(Rejection::new("empty_output", "no output".into()))),
                    ],
                ),
                instruction(
                    "List the late invoices.",
                    true,
                    None,
                    vec![
                        instance("invoice 1: late", "1", None),
                        instance("invoice 2: paid", "none", None),
                    ],
                ),
                instruction("Name an animal, please.", false, Some(duplicate), vec![]),
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
    let unjudged = store.unjudged(&Choice::default(), "critic").await.unwrap();
    let judgment = NewJudgment {
        of: &unjudged[0],
        run_id,
        request_id,
        model: "critic",
        score: Some(2),
        reason: "A <b>ewe</b> is one animal, but the article is wrong.",
        problem: None,
    };
    store.add_judgments(&[judgment]).await.unwrap();
    store.finish_run(run_id, RunStatus::Done).await.unwrap();
    store.close().await;
}
