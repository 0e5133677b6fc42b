//! What judges and people said of the same instances.

use crate::store::{Result, Store};

/// A judge's score of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Opinion {
    /// The instance.
    pub instance_id: i64,
    /// The judge.
    pub judge: String,
    /// The criterion; `None` for the whole score.
    pub criterion: Option<String>,
    /// The score.
    pub score: f64,
    /// Whether a person accepted its task, or rejected it; `None` if nobody did either.
    pub accepted: Option<bool>,
}

impl Store {
    /// Returns all scores that hold. What ewe's own commands rejected is no person's opinion.
    pub async fn opinions(&self) -> Result<Vec<Opinion>> {
        Ok(sqlx::query_as!(
            Opinion,
            r#"
            WITH person (task_id, accepted) AS (
                SELECT id, review = 'accepted'
                FROM task
                WHERE review IN ('accepted', 'rejected')
                    AND EXISTS (
                        SELECT 1
                        FROM revision
                        WHERE revision.task_id = task.id
                            AND revision.action IN ('accept', 'reject')
                            AND revision.who NOT LIKE 'ewe %'
                    )
            )
            SELECT
                judged.instance_id AS "instance_id!: i64", judged.model AS "judge!", NULL AS "criterion?: String",
                judged.score AS "score!: f64", person.accepted AS "accepted?: bool"
            FROM judged
            LEFT JOIN person ON person.task_id = judged.task_id
            WHERE judged.score IS NOT NULL
            UNION ALL
            SELECT
                criterion_score.instance_id, criterion_score.model, criterion_score.criterion, criterion_score.score,
                person.accepted
            FROM criterion_score
            LEFT JOIN person ON person.task_id = criterion_score.task_id
            ORDER BY 2, 3, 1
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
