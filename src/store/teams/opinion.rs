//! Table `opinion`: what reviewers say of tasks that are assigned to them.

use sqlx::SqliteConnection;

use super::assignment::Chosen;
use super::record::{About, Step, record};
use super::{TeamError, checked_text};
use crate::store::curation::revision::{Actor, Change, next_group};
use crate::store::rows::json_rows;
use crate::store::{Error, Result, Store};
use crate::task::Stance;

/// An opinion to store.
#[derive(Debug, Clone, Copy)]
pub struct NewOpinion<'a> {
    /// Whose, as spelled in the dataset: see [`Store::reviewer`].
    pub reviewer: &'a str,
    /// What the reviewer thinks.
    pub verdict: Stance,
    /// Why.
    pub note: Option<&'a str>,
}

/// What came of opinions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Given {
    /// The action.
    #[serde(flatten)]
    pub change: Change,
    /// Tasks that are accepted by them.
    pub accepted: i64,
    /// Tasks that are rejected by them.
    pub rejected: i64,
    /// Tasks that all reviewers have spoken of, and that somebody has to decide.
    pub disagreements: i64,
}

/// A reviewer of a task, and what the reviewer said of its present texts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Assigned {
    /// The name.
    pub reviewer: String,
    /// The opinion; `None` if there is none that holds, or it may not be shown.
    pub verdict: Option<Stance>,
    /// Its reason.
    pub note: Option<String>,
    /// Whether there is one.
    pub has_spoken: bool,
}

impl Assigned {
    /// Returns what the reviewer said, for people, on one line.
    pub fn said(&self) -> String {
        match (self.verdict, &self.note) {
            (Some(verdict), Some(note)) => format!("{verdict} ({})", crate::text::one_line(note, 200)),
            (Some(verdict), None) => verdict.to_string(),
            (None, _) if self.has_spoken => {
                "has an opinion, which you see once you have given yours".to_owned()
            }
            (None, _) => "no opinion yet".to_owned(),
        }
    }
}

impl Store {
    /// Records a reviewer's opinion of tasks that are assigned to the reviewer, as one action, and
    /// decides those whose reviewers agree now. Opinions that are the reviewer's already are left
    /// alone; returns `None` if all are. With `seen`, no text may have changed since this version.
    ///
    /// # Errors
    ///
    /// [`TeamError::NotAssigned`], [`Error::NoTask`]; [`Error::AnotherCount`] if another number of
    /// tasks than `expected` was chosen; [`Error::ChangedMeanwhile`]. Then nothing is recorded.
    pub async fn give_opinion(
        &self,
        chosen: Chosen<'_>,
        expected: Option<i64>,
        seen: Option<i64>,
        new: &NewOpinion<'_>,
    ) -> Result<Option<Given>> {
        let note = new.note.map(|note| checked_text("note", note)).transpose()?;
        let mut transaction = self.act(new.reviewer).await?;
        let ids = self.chosen(&mut transaction, chosen).await?;
        let found = ids.len() as i64;
        if let Some(expected) = expected.filter(|&expected| expected != found) {
            return Err(Error::AnotherCount { expected, found });
        }
        if let (Some(seen), [id]) = (seen, ids.as_slice()) {
            check_texts(&mut transaction, *id, seen).await?;
        }
        let json = json_rows(&ids);
        check_assigned(&mut transaction, &json, new.reviewer).await?;
        let uids = insert(&mut transaction, &json, new, note).await?;
        if uids.is_empty() {
            return Ok(None);
        }
        let group = next_group(&mut transaction).await?;
        let actor = Actor {
            who: new.reviewer,
            note,
        };
        let about = (About::Opinion, Step::Came);
        record(&mut transaction, group, about, &uids, true, actor).await?;
        let given = given(&mut transaction, group).await?;
        transaction.commit().await?;
        Ok(Some(given))
    }

    /// Returns to whom a task is assigned, in the order of names, and what each said. `viewer` sees
    /// nothing of what others said before having spoken too, if the task is the viewer's.
    pub async fn assigned(&self, task_id: i64, viewer: &str) -> Result<Vec<Assigned>> {
        let mut all = sqlx::query_as!(
            Assigned,
            r#"
            SELECT
                reviewer AS "reviewer!", verdict AS "verdict?: Stance", note AS "note?", verdict IS NOT NULL AS "has_spoken!: bool"
            FROM assigned
            WHERE task_id = ?
            ORDER BY reviewer
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        let own = all.iter().find(|one| one.reviewer.eq_ignore_ascii_case(viewer));
        if own.is_some_and(|own| !own.has_spoken) {
            for one in &mut all {
                (one.verdict, one.note) = (None, None);
            }
        }
        Ok(all)
    }
}

/// Fails if one of `ids`, a JSON list, is not assigned to this reviewer.
async fn check_assigned(connection: &mut SqliteConnection, ids: &str, reviewer: &str) -> Result<()> {
    let other = sqlx::query_scalar!(
        r#"
        SELECT value + 0 AS "value!: i64"
        FROM json_each(?)
        WHERE NOT EXISTS (
            SELECT 1 FROM assignment WHERE reviewer = ? AND task_id = value AND withdrawn_at IS NULL
        )
        LIMIT 1
        "#,
        ids,
        reviewer
    )
    .fetch_optional(connection)
    .await?;
    match other {
        Some(id) => Err(TeamError::NotAssigned {
            id,
            reviewer: reviewer.to_owned(),
        }
        .into()),
        None => Ok(()),
    }
}

/// Fails if a text of the task has changed since the version that somebody saw. What others decide
/// and write meanwhile does not matter.
async fn check_texts(connection: &mut SqliteConnection, id: i64, seen: i64) -> Result<()> {
    let now = sqlx::query_scalar!(
        r#"
        SELECT max(id) AS "id: i64"
        FROM revision
        WHERE task_id = ?
            AND id > ?
            AND about IS NULL
            AND field_id IS NULL
            AND (instance_id IS NOT NULL OR json_type(after, '$.instruction') IS NOT NULL)
        "#,
        id,
        seen
    )
    .fetch_one(connection)
    .await?;
    match now {
        Some(now) => Err(Error::ChangedMeanwhile { id, seen, now }),
        None => Ok(()),
    }
}

/// Adds the opinion of those tasks of which the reviewer has another one, or none. Returns the task
/// and the uid of each.
async fn insert(
    connection: &mut SqliteConnection,
    ids: &str,
    new: &NewOpinion<'_>,
    note: Option<&str>,
) -> Result<Vec<(i64, String)>> {
    let rows = sqlx::query!(
        r#"
        INSERT INTO opinion (task_id, reviewer, verdict, note, texts)
        SELECT seen_text.task_id, ?1, ?2, ?3, seen_text.texts
        FROM json_each(?4) AS wanted
        CROSS JOIN seen_text ON seen_text.task_id = wanted.value
        WHERE NOT EXISTS (
            SELECT 1
            FROM opinion_now
            WHERE opinion_now.task_id = wanted.value
                AND opinion_now.reviewer = ?1
                AND opinion_now.verdict = ?2
                AND opinion_now.note IS ?3
        )
        ORDER BY wanted.key
        RETURNING task_id AS "task_id!: i64", uid AS "uid!: String"
        "#,
        new.reviewer,
        new.verdict,
        note,
        ids
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.task_id, row.uid)).collect())
}

/// Says what became of the tasks of a group.
async fn given(connection: &mut SqliteConnection, group: i64) -> Result<Given> {
    let row = sqlx::query!(
        r#"
        SELECT
            count(*) AS "tasks!: i64",
            count(iif(after ->> 'review' = 'accepted', 1, NULL)) AS "accepted!: i64",
            count(iif(after ->> 'review' = 'rejected', 1, NULL)) AS "rejected!: i64",
            count(iif(task_id IN (SELECT task_id FROM disagreement), 1, NULL)) AS "disagreements!: i64"
        FROM revision
        WHERE group_id = ?
        "#,
        group
    )
    .fetch_one(connection)
    .await?;
    Ok(Given {
        change: Change {
            group,
            tasks: row.tasks,
            undoes: None,
        },
        accepted: row.accepted,
        rejected: row.rejected,
        disagreements: row.disagreements,
    })
}
