//! Responses waiting for table `request`, committed in groups.

use super::request::{self, NewAnswer};
use crate::store::{Error, Result};
use sqlx::{Connection, SqliteConnection, SqlitePool};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// The most responses of one commit, so that none waits long because of many others.
const MOST: usize = 256;

/// The queue of responses. Cheap to clone; all clones share one queue.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct AnswerQueue {
    queue: Arc<Mutex<Queue>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<QueuedAnswer>,
    /// Whether a writer is at work, which will look here again before it stops.
    writing: bool,
}

#[derive(Debug)]
struct QueuedAnswer {
    answer: NewAnswer,
    committed: oneshot::Sender<Result<i64>>,
}

impl AnswerQueue {
    /// Queues the response and waits until it is committed. Returns its row's id. The caller may be
    /// dropped meanwhile: a queued response is committed nonetheless.
    pub async fn commit(&self, pool: &SqlitePool, answer: NewAnswer) -> Result<i64> {
        let (committed, outcome) = oneshot::channel();
        let begin = {
            let mut queue = self.queue.lock().expect("nobody panics with the queue");
            queue.waiting.push_back(QueuedAnswer { answer, committed });
            !std::mem::replace(&mut queue.writing, true)
        };
        if begin {
            // A task of its own, since a future that nobody polls would hold up all others.
            tokio::spawn(write(self.clone(), pool.clone()));
        }
        // The writer disappears without an answer only when the runtime ends.
        outcome
            .await
            .unwrap_or(Err(Error::Sql(sqlx::Error::WorkerCrashed)))
    }

    /// Waits until the queue is empty and written.
    pub async fn settle(&self) {
        while self.queue.lock().expect("nobody panics with the queue").writing {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Takes the next group; `None` ends the writer, since nothing waits.
    fn take(&self) -> Option<Vec<QueuedAnswer>> {
        let mut queue = self.queue.lock().expect("nobody panics with the queue");
        queue.writing = !queue.waiting.is_empty();
        let count = queue.waiting.len().min(MOST);
        queue.writing.then(|| queue.waiting.drain(..count).collect())
    }
}

async fn write(answers: AnswerQueue, pool: SqlitePool) {
    while let Some(group) = answers.take() {
        let rows: Vec<&NewAnswer> = group.iter().map(|waiting| &waiting.answer).collect();
        match insert(&pool, &rows).await {
            Ok(ids) => {
                for (waiting, id) in group.into_iter().zip(ids) {
                    // A caller that no longer waits does not need to know.
                    let _ = waiting.committed.send(Ok(id));
                }
            }
            // One of them may be to blame; the others must not fail with it.
            Err(_) => {
                for waiting in group {
                    let alone = insert(&pool, &[&waiting.answer]).await;
                    let _ = waiting.committed.send(alone.map(|ids| ids[0]));
                }
            }
        }
    }
}

/// Inserts all rows in one transaction. Returns their ids in order.
async fn insert(pool: &SqlitePool, rows: &[&NewAnswer]) -> Result<Vec<i64>> {
    let mut connection = pool.acquire().await?;
    let inserted = insert_with(&mut connection, rows).await;
    if inserted.is_err() {
        // A full disk ends the transaction within SQLite without the connection's knowledge: its
        // next user would get another error than that the disk is full. An error of closing is of
        // no interest.
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
