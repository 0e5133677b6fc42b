//! Table `judgment`: scores by language models. Rows are only added, and change no other table.

use crate::choice::JudgedBy;
use crate::store::{Result, Store};
use crate::task::{Origin, Review};

/// The instances to judge.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct JudgeSelection {
    /// Only of tasks of this origin; `None` is all but seeds, which experts wrote.
    pub origin: Option<Origin>,
    /// Only of tasks of this review; `None` is all but rejected ones.
    pub review: Option<Review>,
}

/// An instance for a judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// Its id.
    pub instance_id: i64,
    /// The round that its task came from; 0 if it came from none.
    pub round: i64,
    /// What to do.
    pub instruction: String,
    /// The input; may be empty.
    pub input: String,
    /// The output to judge.
    pub output: String,
    /// The messages after it, as a JSON list, if it is a conversation of several turns; then its
    /// last answer is judged.
    pub turns: Option<String>,
}

/// A judgment to store.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJudgment<'a> {
    /// The judged instance, with its texts at that time.
    pub of: &'a Unjudged,
    /// The run that asked.
    pub run_id: i64,
    /// The response that it was parsed from.
    pub request_id: i64,
    /// The judge.
    pub model: &'a str,
    /// 1 to 5; `None` if the response has no readable score.
    pub score: Option<u8>,
    /// By what the judgment is.
    pub judged_by: JudgedBy,
    /// By likelihood, the mean of all scores, weighted by their probabilities.
    pub expected: Option<f64>,
    /// The judge's reason; may be empty.
    pub reason: &'a str,
    /// Why there is no score.
    pub problem: Option<&'a str>,
    /// The rubric that it was judged by.
    pub rubric: Option<OfRubric<'a>>,
}

/// A rubric, and what a judgment says of its criteria.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OfRubric<'a> {
    /// Its name.
    pub name: &'a str,
    /// The SHA-256 of its file.
    pub sha256: &'a str,
    /// The criteria as a JSON list; `None` without a score.
    pub criteria: Option<&'a str>,
}

/// A stored judgment.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Judgment {
    /// Its id.
    pub id: i64,
    /// The place of the instance within its task.
    pub ordinal: i64,
    /// The judge.
    pub model: String,
    /// 1 to 5; `None` if the response has no readable score.
    pub score: Option<i64>,
    /// By likelihood, the mean of all scores, weighted by their probabilities. It counts before
    /// `score`.
    pub expected: Option<f64>,
    /// The judge's reason; may be empty.
    pub reason: String,
    /// Why there is no score.
    pub problem: Option<String>,
    /// The rubric that it was judged by; `None` for ewe's own scale.
    pub rubric: Option<String>,
    /// What it says of each criterion, as a JSON list.
    #[serde(serialize_with = "as_json")]
    pub criteria: Option<String>,
    /// Whether it is the judge's latest, and about the present texts.
    pub holds: bool,
    /// The response that it was parsed from.
    pub request_id: i64,
    /// When it was stored, in UTC.
    pub created_at: String,
}

/// What a judgment says of one criterion.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub struct StoredCriterion {
    /// The criterion.
    pub criterion: String,
    /// The score.
    pub score: f64,
    /// The highest score there is.
    pub highest: f64,
    /// The reason; may be empty.
    pub reason: String,
}

impl Judgment {
    /// Returns what it says of each criterion of its rubric; `None` without one, or a score.
    pub fn criteria(&self) -> Option<Vec<StoredCriterion>> {
        serde_json::from_str(self.criteria.as_deref()?).ok()
    }
}

/// Writes a text that is JSON as what it is.
fn as_json<S: serde::Serializer>(
    text: &Option<String>,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    let value: Option<serde_json::Value> = text.as_deref().and_then(|text| serde_json::from_str(text).ok());
    serde::Serialize::serialize(&value, serializer)
}

impl Store {
    /// Returns the instances that this model has not judged in their present form, in order of task
    /// and instance. By likelihood, those that it judged by text are among
    /// them; by a rubric, of which this is the hash, those that it judged otherwise.
    pub async fn unjudged(
        &self,
        selection: &JudgeSelection,
        model: &str,
        by: JudgedBy,
        rubric: Option<&str>,
    ) -> Result<Vec<Unjudged>> {
        let wanted = by.as_str();
        Ok(sqlx::query_as!(
            Unjudged,
            r#"
            SELECT
                instance.id AS instance_id, coalesce(task.round, 0) AS "round!: i64", task.instruction, instance.input,
                instance.output, instance.turns
            FROM task
            JOIN instance ON instance.task_id = task.id
            WHERE ((?1 IS NULL AND task.origin <> 'seed') OR task.origin = ?1)
                AND ((?2 IS NULL AND task.review <> 'rejected') OR task.review = ?2)
                AND NOT EXISTS (SELECT 1 FROM judged WHERE judged.instance_id = instance.id AND judged.model = ?3
                        AND ?4 IN (judged.judged_by, 'text') AND judged.rubric_hash IS ?5)
            ORDER BY task.id, instance.ordinal
            "#,
            selection.origin,
            selection.review,
            model,
            wanted,
            rubric
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Adds all judgments or none.
    pub async fn add_judgments(&self, judgments: &[NewJudgment<'_>]) -> Result<()> {
        let mut transaction = self.write().await?;
        for judgment in judgments {
            let Unjudged {
                instance_id,
                instruction,
                input,
                output,
                turns,
                ..
            } = judgment.of;
            let score = judgment.score.map(i64::from);
            let judged_by = judgment.judged_by.as_str();
            let rubric = judgment.rubric.map(|rubric| rubric.name);
            let rubric_hash = judgment.rubric.map(|rubric| rubric.sha256);
            let criteria = judgment.rubric.and_then(|rubric| rubric.criteria);
            sqlx::query!(
                "
                INSERT INTO judgment (
                    instance_id, run_id, request_id, model, instruction, input, output, score, reason, problem,
                    judged_by, expected, turns, rubric, rubric_hash, criteria
                )
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
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
                judgment.problem,
                judged_by,
                judgment.expected,
                turns,
                rubric,
                rubric_hash,
                criteria
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Returns all judgments of a task's instances, in order.
    pub async fn judgments(&self, task_id: i64) -> Result<Vec<Judgment>> {
        Ok(sqlx::query_as!(
            Judgment,
            r#"
            SELECT
                judgment.id, instance.ordinal, judgment.model, judgment.score, judgment.expected, judgment.reason,
                judgment.problem, judgment.rubric, judgment.criteria,
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

    /// Counts the instances of the dataset without a score; with `review`, only of tasks of that
    /// review.
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
