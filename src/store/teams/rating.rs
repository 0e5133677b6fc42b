//! Opinions as ratings: what several reviewers said of the same texts.

use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::store::rows::json_rows;
use crate::store::{Filter, Result, Store};
use crate::task::Stance;

/// What a reviewer said of a task at first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rating {
    /// The texts: ratings of the same number are of the same texts of the same task.
    pub item: i64,
    /// The reviewer.
    pub reviewer: String,
    /// The opinion.
    pub verdict: Stance,
}

/// How far a team is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct TeamCounts {
    /// Tasks that are assigned to somebody.
    pub assigned: i64,
    /// Tasks of which two reviewers or more have an opinion that holds.
    pub reviewed_twice: i64,
    /// Tasks that somebody has to decide, since their reviewers do not agree.
    pub disagreements: i64,
    /// Tasks with comments.
    pub commented: i64,
}

impl Store {
    /// Returns what reviewers said of tasks that pass the filter, in the order of items. Of several
    /// opinions of a reviewer on the same texts it is the first: later ones were given by somebody
    /// who may know what others said. What was taken back is left out.
    pub async fn ratings(&self, filter: &Filter) -> Result<Vec<Rating>> {
        let ids = match filter.is_empty() {
            true => None,
            false => {
                let plan = self.query_plan(filter, Goal::All).await?;
                let mut sql = Sql::default();
                sql.push("SELECT task.id");
                plan.push(&mut sql, BY_ID, "");
                Some(json_rows(&self.numbers(sql).await?))
            }
        };
        Ok(sqlx::query_as!(
            Rating,
            r#"
            SELECT
                min(opinion.id) OVER (PARTITION BY opinion.task_id, opinion.texts) AS "item!: i64",
                opinion.reviewer AS "reviewer!", opinion.verdict AS "verdict!: Stance"
            FROM opinion
            WHERE opinion.withdrawn_at IS NULL
                AND (?1 IS NULL OR opinion.task_id IN (SELECT value FROM json_each(?1)))
                AND NOT EXISTS (
                    SELECT 1
                    FROM opinion AS earlier
                    WHERE earlier.task_id = opinion.task_id
                        AND earlier.reviewer = opinion.reviewer
                        AND (earlier.created_at, earlier.id) < (opinion.created_at, opinion.id)
                        AND earlier.withdrawn_at IS NULL
                        AND earlier.texts = opinion.texts
                )
            ORDER BY 1, 2
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Counts what a team has done.
    pub async fn team_counts(&self) -> Result<TeamCounts> {
        Ok(sqlx::query_as!(
            TeamCounts,
            r#"
            SELECT
                (SELECT count(DISTINCT task_id) FROM assignment WHERE withdrawn_at IS NULL) AS "assigned!: i64",
                (
                    SELECT count(*)
                    FROM (SELECT 1 FROM opinion_now GROUP BY task_id HAVING count(*) >= 2)
                ) AS "reviewed_twice!: i64",
                (SELECT count(*) FROM disagreement) AS "disagreements!: i64",
                (SELECT count(DISTINCT task_id) FROM comment WHERE withdrawn_at IS NULL) AS "commented!: i64"
            "#
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
