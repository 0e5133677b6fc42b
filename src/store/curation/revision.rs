//! Reviews and edits, recorded in table `revision` so that each can be looked at and taken back.
//!
//! An action is a group of revisions, one for each task or instance that changed, named by the id
//! of the first. An undo is a group that takes another one back; a redo is an undo of an undo. A
//! group is in force unless an undo that is itself in force takes it back. Redos are not taken
//! back: undoing one means undoing the action that it restored, so chains are never deeper.
//!
//! An editing session that saves as it goes is one group, too. Each save adds rows whose `before`
//! is the text before the session, so that the last row of a group for a task or an instance says
//! all that the group did to it.

use sqlx::SqliteConnection;

use super::audit_guard::ActionTransaction;
use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::store::rows::json_rows;
use crate::store::{Error, Filter, Result, Store};
use crate::task::Review;

/// Who acts, and why.
#[derive(Debug, Clone, Copy)]
pub struct Actor<'a> {
    /// The name for the history.
    pub who: &'a str,
    /// The reason.
    pub note: Option<&'a str>,
}

/// The effect of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// The new group.
    pub group: i64,
    /// How many tasks changed.
    pub tasks: i64,
    /// The group that was taken back, for an undo or a redo.
    pub undoes: Option<i64>,
}

/// Begins a group. Returns the id of its first revision. The caller holds the write lock.
pub(in crate::store) async fn next_group(connection: &mut SqliteConnection) -> Result<i64> {
    let next = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(id), 0) + 1 AS "next!: i64"
        FROM revision
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(next)
}

/// Returns the name of a review in the history. A review cannot become pending.
fn action(review: Review) -> Result<&'static str> {
    match review {
        Review::Accepted => Ok("accept"),
        Review::Rejected => Ok("reject"),
        Review::Pending => Err(Error::NotAnAction),
    }
}

/// Fails if one of `ids`, a JSON list, names no task.
pub(in crate::store) async fn check_tasks(connection: &mut SqliteConnection, ids: &str) -> Result<()> {
    let unknown = sqlx::query_scalar!(
        r#"
        SELECT value + 0 AS "value!: i64"
        FROM json_each(?)
        WHERE value NOT IN (SELECT id FROM task)
        LIMIT 1
        "#,
        ids
    )
    .fetch_optional(connection)
    .await?;
    if let Some(id) = unknown {
        return Err(Error::NoTask { id });
    }
    Ok(())
}

/// Sets the review of these tasks and commits the transaction.
async fn review_each(
    mut transaction: ActionTransaction,
    ids: &[i64],
    review: Review,
    actor: Actor<'_>,
) -> Result<Option<Change>> {
    let action = action(review)?;
    let ids = json_rows(ids);
    check_tasks(&mut transaction, &ids).await?;
    let group = next_group(&mut transaction).await?;
    let revisions = sqlx::query!(
        "
        INSERT INTO revision (group_id, task_id, who, action, before, after, note)
        SELECT ?1, id, ?2, ?3, json_object('review', review), json_object('review', ?4), ?5
        FROM task
        WHERE id IN (SELECT value FROM json_each(?6)) AND review <> ?4
        ORDER BY id
        ",
        group,
        actor.who,
        action,
        review,
        actor.note,
        ids
    )
    .execute(&mut *transaction)
    .await?;
    reviewed(transaction, group, review, revisions.rows_affected()).await
}

/// Completes an action whose revisions were written: sets the review of all tasks of the group.
/// Without revisions nothing happens.
async fn reviewed(
    mut action: ActionTransaction,
    group: i64,
    review: Review,
    revisions: u64,
) -> Result<Option<Change>> {
    if revisions == 0 {
        return Ok(None);
    }
    sqlx::query!(
        "
        UPDATE task
        SET review = ?1, updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE id IN (SELECT task_id FROM revision WHERE group_id = ?2)
        ",
        review,
        group
    )
    .execute(&mut *action)
    .await?;
    action.commit().await?;
    Ok(Some(Change {
        group,
        tasks: revisions as i64,
        undoes: None,
    }))
}

impl Store {
    /// Sets the review of these tasks, as one action. Tasks that have it already are left alone.
    /// Returns `None` if all have it.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`] if one of the ids names no task; then no review is set.
    pub async fn review(&self, ids: &[i64], review: Review, actor: Actor<'_>) -> Result<Option<Change>> {
        review_each(self.act(actor.who).await?, ids, review, actor).await
    }

    /// Sets the review of one task, which must be of the version that somebody saw. Returns `None`
    /// if it has the review already.
    ///
    /// # Errors
    ///
    /// [`Error::NoTask`]; [`Error::ChangedMeanwhile`].
    pub async fn review_seen(
        &self,
        id: i64,
        seen: i64,
        review: Review,
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        let mut transaction = self.act(actor.who).await?;
        check_version(&mut transaction, id, seen).await?;
        review_each(transaction, &[id], review, actor).await
    }

    /// Sets the review of all tasks that pass the filter, as one action. Tasks that have it already
    /// are left alone. Returns `None` if all have it.
    ///
    /// # Errors
    ///
    /// [`Error::AnotherCount`] if another number of tasks than `expected` passes the filter.
    pub async fn review_all(
        &self,
        filter: &Filter,
        expected: Option<i64>,
        review: Review,
        actor: Actor<'_>,
    ) -> Result<Option<Change>> {
        let action = action(review)?;
        let plan = self.query_plan(filter, Goal::All).await?;
        let mut transaction = self.act(actor.who).await?;
        if let Some(expected) = expected {
            // Nobody else can write during the action, so that it sees the same number itself.
            let found = self.count(filter, None).await?;
            if found != expected {
                return Err(Error::AnotherCount { expected, found });
            }
        }
        let group = next_group(&mut transaction).await?;
        let mut sql = Sql::default();
        sql.push(
            "INSERT INTO revision (group_id, task_id, who, action, before, after, note)
            SELECT ?, task.id, ?, ?, json_object('review', review), json_object('review', ?), nullif(?, '')",
        )
        .values(&[
            group.into(),
            actor.who.into(),
            action.into(),
            review.as_str().into(),
            actor.note.unwrap_or_default().into(),
        ]);
        plan.push(&mut sql, BY_ID, "");
        sql.push(" AND +task.review <> ? ORDER BY task.id")
            .values(&[review.as_str().into()]);
        let (text, values) = sql.finish();
        let revisions = sqlx::query_with(text, values).execute(&mut *transaction).await?;
        reviewed(transaction, group, review, revisions.rows_affected()).await
    }

    /// Returns how many of the `count` tasks that pass the filter have another review, so that
    /// [`Store::review_all`] would change them.
    pub async fn count_changing(&self, filter: &Filter, count: i64, review: Review) -> Result<i64> {
        let already = match filter.review {
            Some(only) if only == review => count,
            Some(_) => 0,
            None => {
                let already = Filter {
                    review: Some(review),
                    ..filter.clone()
                };
                self.count(&already, None).await?
            }
        };
        Ok(count - already)
    }

    /// Rejects tasks, each for a reason of its own, as one action. Tasks that are no longer pending
    /// are left alone: somebody has decided meanwhile. Returns `None` if none is pending.
    pub async fn reject_pending(&self, reasons: &[(i64, String)], who: &str) -> Result<Option<Change>> {
        let reasons = json_rows(reasons);
        let mut transaction = self.act(who).await?;
        let group = next_group(&mut transaction).await?;
        let revisions = sqlx::query!(
            "
            INSERT INTO revision (group_id, task_id, who, action, before, after, note)
            SELECT
                ?1, task.id, ?2, 'reject', json_object('review', 'pending'), json_object('review', 'rejected'),
                json_extract(reason.value, '$[1]')
            FROM json_each(?3) AS reason
            -- CROSS keeps the order: SQLite would rather look through all reasons for each task.
            CROSS JOIN task ON task.id = json_extract(reason.value, '$[0]')
            WHERE task.review = 'pending'
            ORDER BY task.id
            ",
            group,
            who,
            reasons
        )
        .execute(&mut *transaction)
        .await?;
        reviewed(transaction, group, Review::Rejected, revisions.rows_affected()).await
    }

    /// Returns the number of the latest change of a task of any kind; 0 before the first. Opinions
    /// and comments change no version.
    pub async fn touched(&self, task_id: i64) -> Result<i64> {
        let last = sqlx::query_scalar!(
            r#"
            SELECT coalesce(max(id), 0) AS "last!: i64"
            FROM revision
            WHERE task_id = ?
            "#,
            task_id
        );
        Ok(last.fetch_one(&self.pool).await?)
    }

    /// Returns the version of a task, which grows with each action on its texts, its fields and its
    /// review; 0 before the first.
    pub async fn version(&self, task_id: i64) -> Result<i64> {
        version(&mut *self.pool.acquire().await?, task_id).await
    }
}

/// Returns the version of a task, see [`Store::version`].
pub(in crate::store) async fn version(connection: &mut SqliteConnection, task_id: i64) -> Result<i64> {
    let version = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(id), 0) AS "version!: i64"
        FROM revision
        WHERE task_id = ? AND (about IS NULL OR after ->> 'review' IS NOT NULL)
        "#,
        task_id
    )
    .fetch_one(connection)
    .await?;
    Ok(version)
}

/// Fails if the task is of another version than somebody saw.
pub(in crate::store) async fn check_version(
    connection: &mut SqliteConnection,
    id: i64,
    seen: i64,
) -> Result<()> {
    let now = version(connection, id).await?;
    if now != seen {
        return Err(Error::ChangedMeanwhile { id, seen, now });
    }
    Ok(())
}
