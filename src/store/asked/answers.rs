//! Answers on their way into table `request`, committed in groups.

use super::request::{self, NewAnswer};
use crate::store::{Error, Result};
use sqlx::{Connection, SqliteConnection, SqlitePool};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// Answers of one commit, at most: none shall wait for long because so many others do.
const MOST: usize = 256;

/// The answers that wait. Cheap to clone; all clones are one queue.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Answers {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether somebody is writing, and will look here again before they stop.
    writing: bool,
}

#[derive(Debug)]
struct Waiting {
    answer: NewAnswer,
    committed: oneshot::Sender<Result<i64>>,
}

impl Answers {
    /// Waits until the answer is committed; returns its row's id. Whoever waits may be dropped: an answer that was
    /// handed over is committed nonetheless.
    pub async fn commit(&self, pool: &SqlitePool, answer: NewAnswer) -> Result<i64> {
        let (committed, outcome) = oneshot::channel();
        let begin = {
            let mut queue = self.queue.lock().expect("nobody panics with the queue");
            queue.waiting.push_back(Waiting { answer, committed });
            !std::mem::replace(&mut queue.writing, true)
        };
        if begin {
            // A task of its own, since a future that nobody polls would hold up all others.
            tokio::spawn(write(self.clone(), pool.clone()));
        }
        // The writer is gone without a word only when the runtime ends.
        outcome
            .await
            .unwrap_or(Err(Error::Sql(sqlx::Error::WorkerCrashed)))
    }

    /// Waits until nothing waits to be written.
    pub async fn settle(&self) {
        while self.queue.lock().expect("nobody panics with the queue").writing {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The next group; none, and nobody writes any more, when nothing waits.
    fn take(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue.lock().expect("nobody panics with the queue");
        queue.writing = !queue.waiting.is_empty();
        let count = queue.waiting.len().min(MOST);
        queue.writing.then(|| queue.waiting.drain(..count).collect())
    }
}

async fn write(answers: Answers, pool: SqlitePool) {
    while let Some(group) = answers.take() {
        let rows: Vec<&NewAnswer> = group.iter().map(|waiting| &waiting.answer).collect();
        match insert(&pool, &rows).await {
            Ok(ids) => {
                for (waiting, id) in group.into_iter().zip(ids) {
                    // Who does not wait any more does not need to know.
                    let _ = waiting.committed.send(Ok(id));
                }
            }
            // One of them may be to blame; the others are not to fall with it.
            Err(_) => {
                for waiting in group {
                    let alone = insert(&pool, &[&waiting.answer]).await;
                    let _ = waiting.committed.send(alone.map(|ids| ids[0]));
                }
            }
        }
    }
}

/// Inserts all rows in one transaction; returns their ids in order.
async fn insert(pool: &SqlitePool, rows: &[&NewAnswer]) -> Result<Vec<i64>> {
    let mut connection = pool.acquire().await?;
    let inserted = insert_with(&mut connection, rows).await;
    if inserted.is_err() {
        // A full disk ends the transaction within SQLite, and the connection does not know: the next to use it would be
        // told something else than that the disk is full. What closing it says is of no more interest.
        let _ = connection.close().await;
    }
    inserted
}

async fn insert_with(connection: &mut SqliteConnection, rows: &[&NewAnswer]) -> Result<Vec<i64>> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let ids = request::insert(&mut transaction, rows).await?;
    transaction.commit().await?;
    Ok(ids)
}
