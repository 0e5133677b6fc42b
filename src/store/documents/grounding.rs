//! Table `grounding`: the passages that a round asked about, and so its tasks.

use sqlx::SqliteConnection;

use crate::store::{Result, Store};

/// The passages of a round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewGrounding {
    /// Their ids: one, or two that were compared.
    pub passages: Vec<i64>,
    /// What was asked for: see [`TaskPassage::kind`].
    pub kind: &'static str,
}

impl NewGrounding {
    /// Inserts the rows within the caller's transaction, after the row of the round. A passage that
    /// is gone since is left out.
    pub(in crate::store) async fn insert(&self, connection: &mut SqliteConnection, round: i64) -> Result<()> {
        for (ordinal, passage) in self.passages.iter().enumerate() {
            let ordinal = ordinal as i64;
            sqlx::query!(
                "
                INSERT INTO grounding (round, ordinal, passage_id, kind)
                SELECT ?, ?, id, ?
                FROM passage
                WHERE id = ?
                ",
                round,
                ordinal,
                self.kind,
                passage
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

/// A passage that a task was made from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaskPassage {
    /// Its id.
    pub passage_id: i64,
    /// What was asked for: `question`, `extraction`, `summary`, `transformation`, `comparison`,
    /// `absent` or `backtranslation`; `own` for a recipe of the user's.
    pub kind: String,
    /// The path of its document.
    pub path: String,
    /// The title of its document, where it has one.
    pub title: Option<String>,
    /// The headings that it is under.
    pub heading: String,
    /// Its text.
    pub text: String,
    /// The page that it begins on.
    pub page: Option<i64>,
    /// Whether the document still says so.
    pub is_current: bool,
}

impl Store {
    /// The passages of a task; empty for one that was not made from a document.
    pub async fn task_passages(&self, task_id: i64) -> Result<Vec<TaskPassage>> {
        Ok(sqlx::query_as!(
            TaskPassage,
            r#"
            SELECT
                passage.id AS "passage_id!", grounding.kind, document.path, document.title, passage.heading,
                passage.text, passage.page, passage.is_current AS "is_current!: bool"
            FROM task
            JOIN grounding ON grounding.round = task.round
            JOIN passage ON passage.id = grounding.passage_id
            JOIN document ON document.id = passage.document_id
            WHERE task.id = ?
            ORDER BY grounding.ordinal
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
