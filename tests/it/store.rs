//! The store by itself: making, opening, and files that are not ours.

use ewe::{
    store::{Error, NewTask, RunStatus, Store},
    task::{Instance, Origin, Review, Task},
};

use crate::support::Scratch;

fn task(instruction: &str, instances: &[(&str, &str)]) -> Task {
    let instances = instances.iter().map(|&(input, output)| Instance {
        input: input.into(),
        output: output.into(),
    });
    Task {
        instruction: instruction.into(),
        instances: instances.collect(),
        ..Task::default()
    }
}

#[tokio::test]
async fn tasks_come_back_in_order() {
    let scratch = Scratch::new();
    let store = Store::create(&scratch.path("a.db")).await.unwrap();
    let run = store
        .begin_run("init", &serde_json::json!({"seeds": "x"}), Some(7), None)
        .await
        .unwrap();
    let first = NewTask::new(task("Add.", &[("1 2", "3"), ("2 2", "4")]), Origin::Seed);
    let second = NewTask {
        run_id: Some(run),
        ..NewTask::new(task("Say hi.", &[("", "hi")]), Origin::Machine)
    };
    assert_eq!(store.add_tasks(&[first, second]).await.unwrap(), [1, 2]);
    store.finish_run(run, RunStatus::Done).await.unwrap();
    let rows = store.dataset(None).await.unwrap();
    let texts: Vec<_> = rows
        .iter()
        .map(|row| (row.task_id, row.input.as_str(), row.output.as_str()))
        .collect();
    assert_eq!(texts, [(1, "1 2", "3"), (1, "2 2", "4"), (2, "", "hi")]);
    assert_eq!(store.dataset(Some(Review::Accepted)).await.unwrap().len(), 2);
    store.close().await;
    let again = Store::open(&scratch.path("a.db")).await.unwrap();
    assert_eq!(again.dataset(None).await.unwrap(), rows);
}

#[tokio::test]
async fn create_never_replaces() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("a.db"), "mine").unwrap();
    assert!(matches!(
        Store::create(&scratch.path("a.db")).await,
        Err(Error::Exists { .. })
    ));
    assert_eq!(std::fs::read(scratch.path("a.db")).unwrap(), b"mine");
}

#[tokio::test]
async fn open_never_creates() {
    let scratch = Scratch::new();
    assert!(matches!(
        Store::open(&scratch.path("a.db")).await,
        Err(Error::Missing { .. })
    ));
    assert!(!scratch.path("a.db").exists());
    std::fs::write(
        scratch.path("text.db"),
        "this is not a database, and long enough to have a header",
    )
    .unwrap();
    assert!(matches!(
        Store::open(&scratch.path("text.db")).await,
        Err(Error::NotADatabase { .. })
    ));
    std::fs::write(scratch.path("empty.db"), "").unwrap();
    assert!(matches!(
        Store::open(&scratch.path("empty.db")).await,
        Err(Error::NotEwe { .. })
    ));
}
