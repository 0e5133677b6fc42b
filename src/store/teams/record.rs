//! Revisions of assignments, opinions and comments, and their undo.

use sqlx::SqliteConnection;

use crate::store::curation::revision::Actor;
use crate::store::rows::json_rows;
use crate::store::{Error, Result};

/// What revisions are about, as column `about` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Rows of `assignment`.
    Assignment,
    /// Rows of `opinion`.
    Opinion,
    /// Rows of `comment`.
    Comment,
}

impl About {
    fn as_str(self) -> &'static str {
        match self {
            About::Assignment => "assignment",
            About::Opinion => "opinion",
            About::Comment => "comment",
        }
    }
}

/// Whether rows came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// They are there now.
    Came,
    /// They are withdrawn.
    Went,
}

/// Rows of a group, each a task and the uid of one of its rows.
pub(super) type Uids = [(i64, String)];

/// Writes the revisions of a group, one for each task, and with `decides` the review of each task
/// that its reviewers decide by what they say now. Returns how many tasks the group has.
///
/// Reviewers decide when all whom a task is assigned to have an opinion that holds, and it is the
/// same. A decision of theirs ends when they no longer agree; one by somebody else stays.
pub(super) async fn record(
    connection: &mut SqliteConnection,
    group: i64,
    about: (About, Step),
    uids: &Uids,
    decides: bool,
    actor: Actor<'_>,
) -> Result<i64> {
    let rows = json_rows(uids);
    let (what, came) = (about.0.as_str(), about.1 == Step::Came);
    let revisions = sqlx::query!(
        r#"
        INSERT INTO revision (group_id, task_id, who, action, about, before, after, note)
        SELECT
            ?1, task_id, ?2,
            CASE decided WHEN 'accepted' THEN 'accept' WHEN 'rejected' THEN 'reject' ELSE 'edit' END,
            ?3,
            json_patch(
                iif(?4, '{}', json_object(?3, json(uids))), iif(decided IS NULL, '{}', json_object('review', review))
            ),
            json_patch(
                iif(?4, json_object(?3, json(uids)), '{}'), iif(decided IS NULL, '{}', json_object('review', decided))
            ),
            iif(?3 <> 'opinion' OR decided IN ('accepted', 'rejected'), ?5, NULL)
        FROM (
            SELECT
                task_id, uids, review,
                CASE
                    WHEN NOT ?6 THEN NULL
                    WHEN agreed <> review THEN agreed
                    WHEN agreed IS NULL AND review <> 'pending' AND was_decided THEN 'pending'
                END AS decided
            FROM (
                SELECT
                    task.id AS task_id, of_task.uids, task.review,
                    (
                        SELECT iif(
                            count(verdict) = count(*)
                                AND min(verdict) = max(verdict)
                                AND max(verdict) <> 'unsure',
                            max(verdict),
                            NULL
                        )
                        FROM assigned
                        WHERE assigned.task_id = task.id
                    ) AS agreed,
                    (
                        SELECT about IS NOT NULL
                        FROM revision
                        WHERE revision.task_id = task.id AND revision.after ->> 'review' IS NOT NULL
                        ORDER BY revision.id DESC
                        LIMIT 1
                    ) AS was_decided
                FROM (
                    SELECT value ->> 0 AS id, json_group_array(value ->> 1) AS uids
                    FROM json_each(?7)
                    GROUP BY 1
                ) AS of_task
                CROSS JOIN task ON task.id = of_task.id
            )
        )
        ORDER BY task_id
        "#,
        group,
        actor.who,
        what,
        came,
        actor.note,
        decides,
        rows
    )
    .execute(&mut *connection)
    .await?;
    if decides {
        decide(connection, group).await?;
    }
    Ok(revisions.rows_affected() as i64)
}

/// Sets the reviews that the revisions of a group say.
async fn decide(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    sqlx::query!(
        "
        UPDATE task
        SET review = revision.after ->> 'review', updated_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        FROM revision
        WHERE revision.group_id = ? AND revision.task_id = task.id AND revision.after ->> 'review' IS NOT NULL
        ",
        group
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the first task of which a row that the group made to come or to go was changed since, or
/// whose present review rests on an opinion of the group: the last decision that stands was made
/// later. An action that was taken back, and what took it back, are as if they had not been.
async fn changed_since(connection: &mut SqliteConnection, group: i64) -> Result<Option<i64>> {
    Ok(sqlx::query_scalar!(
        r#"
        SELECT revision.task_id AS "task_id!: i64"
        FROM revision
        WHERE revision.group_id = ?
            AND revision.about IS NOT NULL
            AND (
                EXISTS (
                    SELECT 1
                    FROM json_each(revision.after, '$.' || revision.about) AS named
                    WHERE named.value NOT IN (
                        SELECT uid FROM assignment WHERE task_id = revision.task_id AND withdrawn_at IS NULL
                        UNION ALL
                        SELECT uid FROM opinion WHERE task_id = revision.task_id AND withdrawn_at IS NULL
                        UNION ALL
                        SELECT uid FROM comment WHERE task_id = revision.task_id AND withdrawn_at IS NULL
                    )
                )
                OR EXISTS (
                    SELECT 1
                    FROM json_each(revision.before, '$.assignment') AS named
                    JOIN assignment ON assignment.uid = named.value
                    JOIN assignment AS other
                        ON other.task_id = assignment.task_id
                        AND other.reviewer = assignment.reviewer
                        AND other.withdrawn_at IS NULL
                )
                OR (
                    revision.after ->> 'opinion' IS NOT NULL
                    AND EXISTS (
                        SELECT 1
                        FROM revision AS decision
                        WHERE decision.task_id = revision.task_id
                            AND decision.id > revision.id
                            AND decision.about IS NOT NULL
                            AND decision.undoes IS NULL
                            AND decision.after ->> 'review' IN ('accepted', 'rejected')
                            AND NOT EXISTS (
                                SELECT 1
                                FROM revision AS taken
                                WHERE taken.undoes = decision.group_id
                                    AND NOT EXISTS (
                                        SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.group_id
                                    )
                            )
                            AND NOT EXISTS (
                                SELECT 1
                                FROM revision AS later
                                WHERE later.task_id = revision.task_id
                                    AND later.id > decision.id
                                    AND later.undoes IS NULL
                                    AND later.after ->> 'review' IS NOT NULL
                                    AND NOT EXISTS (
                                        SELECT 1
                                        FROM revision AS taken
                                        WHERE taken.undoes = later.group_id
                                            AND NOT EXISTS (
                                                SELECT 1 FROM revision AS redone WHERE redone.undoes = taken.group_id
                                            )
                                    )
                            )
                    )
                )
            )
        ORDER BY revision.id
        LIMIT 1
        "#,
        group
    )
    .fetch_optional(connection)
    .await?)
}

/// Fails if the group cannot be taken back.
///
/// # Errors
///
/// [`Error::ChangedSince`].
pub(in crate::store) async fn check_unchanged(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    match changed_since(connection, group).await? {
        Some(id) => Err(Error::ChangedSince { group, id }),
        None => Ok(()),
    }
}

/// Withdraws the rows of a table that the group made to come, and brings back those that went.
macro_rules! take_back {
    ($connection:expr, $group:expr, $table:literal) => {{
        sqlx::query!(
            "UPDATE "
                + $table
                + " SET withdrawn_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
                WHERE uid IN (
                    SELECT named.value
                    FROM revision
                    CROSS JOIN json_each(revision.after, '$."
                + $table
                + "') AS named
                    WHERE revision.group_id = ? AND revision.about IS NOT NULL
                )",
            $group
        )
        .execute(&mut *$connection)
        .await?;
        sqlx::query!(
            "UPDATE "
                + $table
                + " SET withdrawn_at = NULL
                WHERE uid IN (
                    SELECT named.value
                    FROM revision
                    CROSS JOIN json_each(revision.before, '$."
                + $table
                + "') AS named
                    WHERE revision.group_id = ? AND revision.about IS NOT NULL
                )",
            $group
        )
        .execute(&mut *$connection)
        .await?;
    }};
}

/// Puts assignments, opinions and comments back to what they were before the group.
pub(in crate::store) async fn restore(connection: &mut SqliteConnection, group: i64) -> Result<()> {
    take_back!(connection, group, "assignment");
    take_back!(connection, group, "opinion");
    take_back!(connection, group, "comment");
    Ok(())
}
