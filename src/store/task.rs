//! Table `task`: instructions, their origin and their review.

use sqlx::SqliteConnection;

use super::{Error, Result, Store, instance};
use crate::store::asked::bulk_guard;
use crate::task::{Origin, Review, Task};

/// A task to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The task with its instances.
    pub task: Task,
    /// Where it comes from.
    pub origin: Origin,
    /// Its first review.
    pub review: Review,
    /// Its id in the source file.
    pub source_id: Option<String>,
    /// The request whose response has its instruction.
    pub request_id: Option<i64>,
    /// The round that admitted it.
    pub round: Option<i64>,
    /// The run that adds it.
    pub run_id: Option<i64>,
    /// The system message.
    pub system: Option<String>,
    /// Its row in the source file, from 1.
    pub source_row: Option<i64>,
    /// Other fields of that row, as a JSON object.
    pub extra: Option<String>,
}

impl NewTask {
    /// Makes a task of this origin: seeds start accepted, all others pending.
    pub fn new(task: Task, origin: Origin) -> NewTask {
        let review = match origin {
            Origin::Seed => Review::Accepted,
            Origin::Machine | Origin::Import => Review::Pending,
        };
        NewTask {
            task,
            origin,
            review,
            source_id: None,
            request_id: None,
            round: None,
            run_id: None,
            system: None,
            source_row: None,
            extra: None,
        }
    }
}

/// A stored task, without its instances.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoredTask {
    /// Its id.
    pub id: i64,
    /// Its id in the source file.
    pub source_id: Option<String>,
    /// A short name for people.
    pub name: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// What to do.
    pub instruction: String,
    /// Whether the output is one of a few labels.
    pub is_classification: bool,
    /// Where it came from.
    pub origin: Origin,
    /// What people think of it.
    pub review: Review,
    /// Whether it is held out for evaluation.
    pub is_held_out: bool,
    /// The request whose response has its instruction.
    pub request_id: Option<i64>,
    /// The round that admitted it.
    pub round: Option<i64>,
    /// The run that added it.
    pub run_id: Option<i64>,
    /// When it was stored, in UTC.
    pub created_at: String,
    /// When it was last reviewed or edited, in UTC.
    pub updated_at: String,
}

/// Inserts a task and its instances within the caller's transaction, between [`bulk_guard::begin`]
/// and [`bulk_guard::end`].
pub(crate) async fn insert(connection: &mut SqliteConnection, id: i64, new: &NewTask) -> Result<()> {
    let length = bulk_guard::length(&new.task.instruction, &new.task.instances);
    sqlx::query!(
        "
        INSERT INTO task (
            id, source_id, name, system, instruction, length, is_classification, origin, review, request_id, round,
            run_id
        )
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ",
        id,
        new.source_id,
        new.task.name,
        new.system,
        new.task.instruction,
        length,
        new.task.is_classification,
        new.origin,
        new.review,
        new.request_id,
        new.round,
        new.run_id
    )
    .execute(&mut *connection)
    .await?;
    for (ordinal, new_instance) in (0..).zip(&new.task.instances) {
        // The other fields of a row with several instances are kept with the first one.
        let extra = new.extra.as_deref().filter(|_| ordinal == 0);
        instance::insert(connection, id, ordinal, new_instance, new.source_row, extra).await?;
    }
    Ok(())
}

impl Store {
    /// Adds a task with its instances. Returns its id.
    pub async fn add_task(&self, new: &NewTask) -> Result<i64> {
        let ids = self.add_tasks(std::slice::from_ref(new)).await?;
        Ok(ids[0])
    }

    /// Adds all tasks or, after an error, none. Returns their ids in order.
    pub async fn add_tasks(&self, tasks: &[NewTask]) -> Result<Vec<i64>> {
        let mut transaction = self.write().await?;
        let first = bulk_guard::begin(&mut transaction).await?;
        let mut ids = Vec::with_capacity(tasks.len());
        for (id, new) in (first..).zip(tasks) {
            insert(&mut transaction, id, new).await?;
            ids.push(id);
        }
        bulk_guard::end(&mut transaction, first).await?;
        transaction.commit().await?;
        Ok(ids)
    }

    /// Returns the task with this id.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`].
    pub async fn task(&self, id: i64) -> Result<StoredTask> {
        sqlx::query_as!(
            StoredTask,
            r#"
            SELECT
                id, source_id, name, system, instruction, is_classification AS "is_classification: bool",
                origin AS "origin: Origin", review AS "review: Review", request_id, round, run_id,
                created_at, updated_at,
                EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id) AS "is_held_out!: bool"
            FROM task
            WHERE id = ?
            "#,
            id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(Error::NoTask { id })
    }
}
