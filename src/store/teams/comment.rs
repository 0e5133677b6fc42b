//! Table `comment`: what people write beside tasks.

use super::record::{About, Step, record};
use super::{checked_name, checked_text};
use crate::store::curation::revision::{Actor, Change, check_tasks, next_group};
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// A comment on a task.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Comment {
    /// Its id.
    pub id: i64,
    /// Who wrote it.
    pub author: String,
    /// What.
    pub text: String,
    /// When, in UTC.
    pub created_at: String,
}

impl Store {
    /// Writes a comment beside each of these tasks, as one action.
    ///
    /// # Errors
    ///
    /// [`TeamError`](super::TeamError) if the text or the name is none;
    /// [`Error::NoTask`](crate::store::Error::NoTask).
    pub async fn comment(&self, ids: &[i64], author: &str, text: &str) -> Result<Option<Change>> {
        let (author, text) = (checked_name(author)?, checked_text("comment", text)?);
        let mut transaction = self.act(author).await?;
        let ids = json_rows(ids);
        check_tasks(&mut transaction, &ids).await?;
        let group = next_group(&mut transaction).await?;
        let rows = sqlx::query!(
            r#"
            INSERT INTO comment (task_id, author, text)
            SELECT DISTINCT value, ?, ?
            FROM json_each(?)
            ORDER BY value
            RETURNING task_id AS "task_id!: i64", uid AS "uid!: String"
            "#,
            author,
            text,
            ids
        )
        .fetch_all(&mut *transaction)
        .await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let uids: Vec<(i64, String)> = rows.into_iter().map(|row| (row.task_id, row.uid)).collect();
        let actor = Actor {
            who: author,
            note: None,
        };
        let about = (About::Comment, Step::Came);
        let tasks = record(&mut transaction, group, about, &uids, false, actor).await?;
        transaction.commit().await?;
        Ok(Some(Change {
            group,
            tasks,
            undoes: None,
        }))
    }

    /// Returns the comments on a task, in order.
    pub async fn comments(&self, task_id: i64) -> Result<Vec<Comment>> {
        Ok(sqlx::query_as!(
            Comment,
            r#"
            SELECT id AS "id!", author, text, created_at
            FROM comment
            WHERE task_id = ? AND withdrawn_at IS NULL
            ORDER BY id
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
