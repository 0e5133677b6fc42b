//! Table `assignment`: who is to look at which task.

use std::collections::BTreeMap;

use sqlx::SqliteConnection;

use super::deal::deal;
use super::record::{About, Step, record};
use super::{TeamError, checked_name};
use crate::store::curation::audit_guard::ActionTransaction;
use crate::store::curation::revision::{Actor, Change, check_tasks, next_group};
use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::store::rows::json_rows;
use crate::store::{Filter, Result, Store};

/// The most reviewers that tasks are dealt to at once.
pub const MOST_REVIEWERS: usize = 100;

/// Tasks of a command: by ids, or by a filter.
#[derive(Debug, Clone, Copy)]
pub enum Chosen<'a> {
    /// These, in this order.
    Ids(&'a [i64]),
    /// All that pass.
    Filter(&'a Filter),
}

/// What came of dealing tasks, or of withdrawing them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Dealt {
    /// The action; `None` if there was nothing to do.
    pub change: Option<Change>,
    /// How many tasks were chosen.
    pub chosen: i64,
    /// How many tasks each reviewer got, or lost, in the order in which they were named.
    pub reviewers: Vec<Share>,
}

/// A reviewer's part of the tasks.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Share {
    /// The name.
    pub reviewer: String,
    /// How many tasks.
    pub tasks: i64,
}

/// A reviewer's work.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Workload {
    /// The name.
    pub reviewer: String,
    /// Tasks that are assigned.
    pub assigned: i64,
    /// Pending tasks among them that wait for an opinion.
    pub waiting: i64,
}

impl Store {
    /// Assigns tasks to `reviewers`, as one action, so that each task has `each` of them. Tasks
    /// that have as many already, whoever they are, are left alone.
    ///
    /// # Errors
    ///
    /// [`TeamError`] if a name is none, or a task would have fewer than `each`;
    /// [`Error::NoTask`](crate::store::Error::NoTask).
    pub async fn assign(
        &self,
        chosen: Chosen<'_>,
        reviewers: &[String],
        each: usize,
        actor: Actor<'_>,
    ) -> Result<Dealt> {
        let names = distinct(reviewers)?;
        let mut transaction = self.act(actor.who).await?;
        let names = spelled(&mut transaction, names).await?;
        let ids = self.chosen(&mut transaction, chosen).await?;
        let has = teams(&mut transaction, &ids, &names).await?;
        let dealt = deal(&has, names.len(), each);
        let lacks = |((own, others), added): (&(Vec<usize>, usize), &Vec<usize>)| {
            own.len() + others + added.len() < each
        };
        if has.iter().zip(&dealt).any(lacks) {
            return Err(TeamError::TooFew {
                each,
                names: names.len(),
            }
            .into());
        }
        let rows: Vec<(i64, &str)> = ids
            .iter()
            .zip(&dealt)
            .flat_map(|(id, places)| places.iter().map(|&place| (*id, names[place].as_str())))
            .collect();
        let done = Dealt {
            change: None,
            chosen: ids.len() as i64,
            reviewers: shares(&names, &rows),
        };
        if rows.is_empty() {
            return Ok(done);
        }
        let uids = insert(&mut transaction, &rows, actor.who).await?;
        finish(transaction, done, Step::Came, &uids, actor).await
    }

    /// Withdraws assignments of these reviewers, or without any of all, as one action. A task whose
    /// other reviewers agree is then decided.
    ///
    /// # Errors
    ///
    /// [`TeamError::Nobody`]; [`Error::NoTask`](crate::store::Error::NoTask).
    pub async fn withdraw(
        &self,
        chosen: Chosen<'_>,
        reviewers: &[String],
        actor: Actor<'_>,
    ) -> Result<Dealt> {
        let mut names = Vec::new();
        for name in distinct(reviewers)? {
            names.push(self.reviewer(&name).await?);
        }
        let mut transaction = self.act(actor.who).await?;
        let ids = self.chosen(&mut transaction, chosen).await?;
        let rows = end(&mut transaction, &ids, &names).await?;
        let pairs: Vec<(i64, &str)> = rows.iter().map(|row| (row.0, row.2.as_str())).collect();
        if names.is_empty() {
            names = pairs.iter().map(|(_, name)| (*name).to_owned()).collect();
            names.sort();
            names.dedup();
        }
        let done = Dealt {
            change: None,
            chosen: ids.len() as i64,
            reviewers: shares(&names, &pairs),
        };
        if rows.is_empty() {
            return Ok(done);
        }
        let uids: Vec<(i64, String)> = rows.into_iter().map(|row| (row.0, row.1)).collect();
        finish(transaction, done, Step::Went, &uids, actor).await
    }

    /// Returns the ids of tasks that a command chose; each once.
    pub(super) async fn chosen(
        &self,
        transaction: &mut ActionTransaction,
        chosen: Chosen<'_>,
    ) -> Result<Vec<i64>> {
        match chosen {
            Chosen::Ids(ids) => {
                check_tasks(transaction, &json_rows(ids)).await?;
                let mut ids = ids.to_vec();
                ids.sort_unstable();
                ids.dedup();
                Ok(ids)
            }
            Chosen::Filter(filter) => {
                // Nobody else can write during the action, so that others see the same tasks.
                let plan = self.query_plan(filter, Goal::All).await?;
                let mut sql = Sql::default();
                sql.push("SELECT task.id");
                plan.push(&mut sql, BY_ID, "");
                sql.push(" ORDER BY task.id");
                self.numbers(sql).await
            }
        }
    }

    /// Returns everybody whom a task was ever assigned to, in the order of names.
    pub async fn reviewers(&self) -> Result<Vec<String>> {
        Ok(sqlx::query_scalar!(
            r#"SELECT DISTINCT reviewer AS "reviewer!" FROM assignment ORDER BY reviewer"#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Returns a reviewer's name as it is spelled in the dataset.
    ///
    /// # Errors
    ///
    /// [`TeamError::Nobody`] if nobody of that name was ever assigned.
    pub async fn reviewer(&self, name: &str) -> Result<String> {
        let name = checked_name(name)?;
        let known = self.reviewers().await?;
        match known.iter().find(|other| other.eq_ignore_ascii_case(name)) {
            Some(known) => Ok(known.clone()),
            None => Err(TeamError::Nobody {
                name: name.to_owned(),
                known,
            }
            .into()),
        }
    }

    /// Returns what is assigned to each reviewer, in the order of names.
    pub async fn workloads(&self) -> Result<Vec<Workload>> {
        Ok(sqlx::query_as!(
            Workload,
            r#"
            SELECT
                min(assigned.reviewer) AS "reviewer!: String", count(*) AS "assigned!: i64",
                count(iif(assigned.verdict IS NULL AND task.review = 'pending', 1, NULL)) AS "waiting!: i64"
            FROM assigned
            CROSS JOIN task ON task.id = assigned.task_id
            GROUP BY assigned.reviewer
            ORDER BY 1
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }
}

/// Checks names, and leaves out those that stand twice.
fn distinct(names: &[String]) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let name = checked_name(name)?;
        if !found.iter().any(|other| other.eq_ignore_ascii_case(name)) {
            found.push(name.to_owned());
        }
    }
    if found.len() > MOST_REVIEWERS {
        return Err(TeamError::TooMany {
            names: found.len(),
            most: MOST_REVIEWERS,
        }
        .into());
    }
    Ok(found)
}

/// Spells names as they were spelled first.
async fn spelled(connection: &mut SqliteConnection, names: Vec<String>) -> Result<Vec<String>> {
    let known = sqlx::query_scalar!(r#"SELECT DISTINCT reviewer AS "reviewer!" FROM assignment"#)
        .fetch_all(connection)
        .await?;
    let spelled = |name: String| {
        let same = known.iter().find(|other| other.eq_ignore_ascii_case(&name));
        same.cloned().unwrap_or(name)
    };
    Ok(names.into_iter().map(spelled).collect())
}

/// Returns of each task which of `names` it is assigned to, by their places, and to how many
/// others.
async fn teams(
    connection: &mut SqliteConnection,
    ids: &[i64],
    names: &[String],
) -> Result<Vec<(Vec<usize>, usize)>> {
    let json = json_rows(ids);
    let rows = sqlx::query!(
        r#"
        SELECT assignment.task_id AS "task_id!", assignment.reviewer AS "reviewer!"
        FROM json_each(?) AS wanted
        CROSS JOIN assignment ON assignment.task_id = wanted.value AND assignment.withdrawn_at IS NULL
        "#,
        json
    )
    .fetch_all(connection)
    .await?;
    let mut by_task: BTreeMap<i64, (Vec<usize>, usize)> = BTreeMap::new();
    for row in rows {
        let (own, others) = by_task.entry(row.task_id).or_default();
        match names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(&row.reviewer))
        {
            Some(place) => own.push(place),
            None => *others += 1,
        }
    }
    Ok(ids
        .iter()
        .map(|id| by_task.remove(id).unwrap_or_default())
        .collect())
}

/// Ends an action in which these rows came or went: `done` with the change. Where they went, the
/// reviewers who are left may decide.
async fn finish(
    mut transaction: ActionTransaction,
    done: Dealt,
    step: Step,
    uids: &[(i64, String)],
    actor: Actor<'_>,
) -> Result<Dealt> {
    let group = next_group(&mut transaction).await?;
    let decides = step == Step::Went;
    let about = (About::Assignment, step);
    let tasks = record(&mut transaction, group, about, uids, decides, actor).await?;
    transaction.commit().await?;
    let change = Change {
        group,
        tasks,
        undoes: None,
    };
    Ok(Dealt {
        change: Some(change),
        ..done
    })
}

/// Adds assignments: a task and a reviewer of each.
async fn insert(
    connection: &mut SqliteConnection,
    rows: &[(i64, &str)],
    who: &str,
) -> Result<Vec<(i64, String)>> {
    let json = json_rows(rows);
    let rows = sqlx::query!(
        r#"
        INSERT INTO assignment (task_id, reviewer, who)
        SELECT value ->> 0, value ->> 1, ?
        FROM json_each(?)
        ORDER BY key
        RETURNING task_id AS "task_id!: i64", uid AS "uid!: String"
        "#,
        who,
        json
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.task_id, row.uid)).collect())
}

/// Withdraws assignments of these names, or without any of all. Returns the task, the uid and the
/// reviewer of each.
async fn end(
    connection: &mut SqliteConnection,
    ids: &[i64],
    names: &[String],
) -> Result<Vec<(i64, String, String)>> {
    let (ids, everybody) = (json_rows(ids), names.is_empty());
    let names = json_rows(names);
    let rows = sqlx::query!(
        r#"
        UPDATE assignment
        SET withdrawn_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
        WHERE withdrawn_at IS NULL
            AND task_id IN (SELECT value FROM json_each(?1))
            AND (?2 OR reviewer IN (SELECT value FROM json_each(?3)))
        RETURNING task_id AS "task_id!: i64", uid AS "uid!: String", reviewer AS "reviewer!: String"
        "#,
        ids,
        everybody,
        names
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.task_id, row.uid, row.reviewer))
        .collect())
}

/// Counts the tasks of each name.
fn shares(names: &[String], rows: &[(i64, &str)]) -> Vec<Share> {
    let share = |name: &String| Share {
        reviewer: name.clone(),
        tasks: rows
            .iter()
            .filter(|(_, other)| name.eq_ignore_ascii_case(other))
            .count() as i64,
    };
    names.iter().map(share).collect()
}
