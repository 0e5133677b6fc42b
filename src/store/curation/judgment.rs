//! Table `judgment`: what models think of instances. Rows are only ever added, and nothing else changes with them.

use crate::store::{Result, Store};
use crate::task::{Origin, Review};

/// Which instances are to be judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Choice {
    /// Only of tasks of this origin; none is all but seeds, which experts wrote.
    pub origin: Option<Origin>,
    /// Only of tasks of this review; none is all that nobody rejected.
    pub review: Option<Review>,
}

/// An instance as a judge sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// Its id.
    pub instance_id: i64,
    /// The round that its task came from; 0 where no round made it.
    pub round: i64,
    /// What was to be done.
    pub instruction: String,
    /// What it was to be done to; may be empty.
    pub input: String,
    /// The answer that is judged.
    pub output: String,
}

/// A judgment on its way into the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJudgment<'a> {
    /// What was judged, with the texts as they were then.
    pub of: &'a Unjudged,
    /// The run that asked.
    pub run_id: i64,
    /// The answer it was read from.
    pub request_id: i64,
    /// Who judged.
    pub model: &'a str,
    /// 1 to 5; none where the answer had no score that can be read.
    pub score: Option<u8>,
    /// In the judge's words; may be empty.
    pub reason: &'a str,
    /// Why there is no score.
    pub problem: Option<&'a str>,
}

/// A judgment, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Judgment {
    /// Its id.
    pub id: i64,
    /// The place of the instance within its task.
    pub ordinal: i64,
    /// Who judged.
    pub model: String,
    /// 1 to 5; none where the answer had no score that can be read.
    pub score: Option<i64>,
    /// In the judge's words; may be empty.
    pub reason: String,
    /// Why there is no score.
    pub problem: Option<String>,
    /// Whether it is the judge's latest, and about the texts as they are now.
    pub holds: bool,
    /// The answer it was read from.
    pub request_id: i64,
    /// When it was stored, UTC.
    pub created_at: String,
}

impl Store {
    /// The instances that this model has not judged as they are now, in the order of task and instance.
    pub async fn unjudged(&self, choice: &Choice, model: &str) -> Result<Vec<Unjudged>> {
        Ok(sqlx::query_as!(
            Unjudged,
            r#"
            SELECT
                instance.id AS instance_id, coalesce(task.round, 0) AS "round!: i64", task.instruction, instance.input,
                instance.output
            FROM task
            JOIN instance ON instance.task_id = task.id
            WHERE ((?1 IS NULL AND task.origin <> 'seed') OR task.origin = ?1)
                AND ((?2 IS NULL AND task.review <> 'rejected') OR task.review = ?2)
                AND NOT EXISTS (SELECT 1 FROM judged WHERE judged.instance_id = instance.id AND judged.model = ?3)
            ORDER BY task.id, instance.ordinal
            "#,
            choice.origin,
            choice.review,
            model
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Adds judgments, all or none.
    pub async fn add_judgments(&self, judgments: &[NewJudgment<'_>]) -> Result<()> {
        let mut transaction = self.write().await?;
        for judgment in judgments {
            let Unjudged {
                instance_id,
                instruction,
                input,
                output,
                ..
            } = judgment.of;
            let score = judgment.score.map(i64::from);
            sqlx::query!(
                "
                INSERT INTO judgment (
                    instance_id, run_id, request_id, model, instruction, input, output, score, reason, problem
                )
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                ",
                instance_id,
                judgment.run_id,
                judgment.request_id,
                judgment.model,
                instruction,
                input,
                output,
                score,
                judgment.reason,
                judgment.problem
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// All judgments on the instances of a task, in order.
    pub async fn judgments(&self, task_id: i64) -> Result<Vec<Judgment>> {
        Ok(sqlx::query_as!(
            Judgment,
            r#"
            SELECT
                judgment.id, instance.ordinal, judgment.model, judgment.score, judgment.reason, judgment.problem,
                judgment.id IN (SELECT judgment_id FROM judged WHERE judged.task_id = ?1) AS "holds!: bool",
                judgment.request_id, judgment.created_at
            FROM judgment
            JOIN instance ON instance.id = judgment.instance_id
            WHERE instance.task_id = ?1
            ORDER BY instance.ordinal, judgment.id
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Instances of the dataset that have no score; with `review`, only of tasks of that review.
    pub async fn unscored(&self, review: Option<Review>) -> Result<i64> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "count!: i64"
            FROM scored
            WHERE score IS NULL AND (?1 IS NULL OR review = ?1)
            "#,
            review
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
