//! Counts over all tables: the figures of `stats`, of the page's dashboard and of the report.

use super::{Result, Store};
use crate::task::{Origin, Review};

/// How many tasks there are of one kind.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TaskCount {
    /// Where they came from.
    pub origin: Origin,
    /// What people think of them.
    pub review: Review,
    /// Tasks.
    pub tasks: i64,
    /// Their instances.
    pub instances: i64,
}

/// Tasks of the dataset by shape; rejected tasks are not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Balance {
    /// Tasks whose answer is one of a few labels.
    pub classification: i64,
    /// All others.
    pub other: i64,
    /// Instances with an input.
    pub with_input: i64,
    /// Instances without.
    pub without_input: i64,
}

/// What a run cost.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RunCost {
    /// The run.
    pub run_id: i64,
    /// What it did.
    pub command: String,
    /// The model it asked.
    pub model: Option<String>,
    /// How far it got.
    pub status: super::RunStatus,
    /// When it started, UTC.
    pub started_at: String,
    /// Model calls that were answered.
    pub requests: i64,
    /// Tokens of all prompts.
    pub prompt_tokens: i64,
    /// Tokens of all answers.
    pub completion_tokens: i64,
    /// Tasks it brought in.
    pub tasks: i64,
}

/// How many candidates met one verdict.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct VerdictCount {
    /// `instruction` or `instance`.
    pub kind: String,
    /// `accepted` or `rejected`.
    pub verdict: String,
    /// Why it was rejected.
    pub reason: Option<String>,
    /// How many.
    pub candidates: i64,
}

/// A bar of a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Bucket {
    /// The smallest value that belongs here.
    pub from: i64,
    /// How many there are.
    pub count: i64,
}

/// How often something begins an instruction.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WordCount {
    /// The word, in lower case.
    pub word: String,
    /// Tasks.
    pub tasks: i64,
}

/// What came of one round of generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct RoundCount {
    /// The round.
    pub round: i64,
    /// Candidates parsed.
    pub parsed: i64,
    /// Tasks admitted.
    pub accepted: i64,
}

impl Store {
    /// Tasks and instances by origin and review.
    pub async fn task_counts(&self) -> Result<Vec<TaskCount>> {
        Ok(sqlx::query_as!(
            TaskCount,
            r#"
            SELECT
                task.origin AS "origin: Origin", task.review AS "review: Review",
                count(DISTINCT task.id) AS "tasks!: i64", count(instance.id) AS "instances!: i64"
            FROM task
            LEFT JOIN instance ON instance.task_id = task.id
            GROUP BY task.origin, task.review
            ORDER BY task.origin, task.review
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// How the dataset divides into classification and not, with input and without.
    pub async fn balance(&self) -> Result<Balance> {
        Ok(sqlx::query_as!(
            Balance,
            r#"
            SELECT
                count(DISTINCT CASE WHEN is_classification THEN task_id END) AS "classification!: i64",
                count(DISTINCT CASE WHEN NOT is_classification THEN task_id END) AS "other!: i64",
                count(CASE WHEN input <> '' THEN 1 END) AS "with_input!: i64",
                count(CASE WHEN input = '' THEN 1 END) AS "without_input!: i64"
            FROM dataset
            "#
        )
        .fetch_one(&self.pool)
        .await?)
    }

    /// What each run cost and brought, in order.
    pub async fn run_costs(&self) -> Result<Vec<RunCost>> {
        Ok(sqlx::query_as!(
            RunCost,
            r#"
            SELECT
                run.id AS "run_id!", run.command, run.model, run.status AS "status: super::RunStatus", run.started_at,
                count(request.id) AS "requests!: i64",
                coalesce(sum(request.prompt_tokens), 0) AS "prompt_tokens!: i64",
                coalesce(sum(request.completion_tokens), 0) AS "completion_tokens!: i64",
                (SELECT count(*) FROM task WHERE task.run_id = run.id) AS "tasks!: i64"
            FROM run
            LEFT JOIN request ON request.run_id = run.id
            GROUP BY run.id
            ORDER BY run.id
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Candidates by kind, verdict and reason, the most frequent first.
    pub async fn verdict_counts(&self) -> Result<Vec<VerdictCount>> {
        Ok(sqlx::query_as!(
            VerdictCount,
            r#"
            SELECT kind, verdict, reason, count(*) AS "candidates!: i64"
            FROM candidate
            GROUP BY kind, verdict, reason
            ORDER BY kind, verdict, count(*) DESC, reason
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Reasons for which runs of `generate` could have turned a candidate away, and never did.
    pub async fn silent_reasons(&self) -> Result<Vec<String>> {
        let reasons = sqlx::query_scalar!(
            r#"
            SELECT DISTINCT reason.value || '' AS "reason!: String"
            FROM run, json_each(run.config, '$.reasons') AS reason
            WHERE run.command = 'generate'
                AND reason.value NOT IN (SELECT candidate.reason FROM candidate WHERE candidate.reason IS NOT NULL)
            ORDER BY 1
            "#
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(reasons)
    }

    /// Instructions of the dataset by length in characters, in steps of 25.
    pub async fn instruction_lengths(&self) -> Result<Vec<Bucket>> {
        Ok(sqlx::query_as!(
            Bucket,
            r#"
            SELECT length(instruction) / 25 * 25 AS "from!: i64", count(*) AS "count!: i64"
            FROM task
            WHERE review <> 'rejected'
            GROUP BY 1
            ORDER BY 1
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Outputs of the dataset by length in characters, in steps of 100.
    pub async fn output_lengths(&self) -> Result<Vec<Bucket>> {
        Ok(sqlx::query_as!(
            Bucket,
            r#"
            SELECT length(output) / 100 * 100 AS "from!: i64", count(*) AS "count!: i64"
            FROM dataset
            GROUP BY 1
            ORDER BY 1
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Tasks of the dataset by ROUGE-L with their nearest neighbour, in steps of 5 hundredths.
    pub async fn similarities(&self) -> Result<Vec<Bucket>> {
        Ok(sqlx::query_as!(
            Bucket,
            r#"
            SELECT CAST(neighbor.rouge_l * 20 AS INTEGER) * 5 AS "from!: i64", count(*) AS "count!: i64"
            FROM neighbor
            JOIN task ON task.id = neighbor.task_id
            WHERE neighbor.rank = 1 AND task.review <> 'rejected'
            GROUP BY 1
            ORDER BY 1
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The first words of the dataset's instructions, mostly verbs; the most frequent first.
    pub async fn first_words(&self, limit: i64) -> Result<Vec<WordCount>> {
        Ok(sqlx::query_as!(
            WordCount,
            r#"
            SELECT
                rtrim(lower(substr(instruction, 1, instr(instruction || ' ', ' ') - 1)), ',.:;!?') AS "word!: String",
                count(*) AS "tasks!: i64"
            FROM task
            WHERE review <> 'rejected'
            GROUP BY 1
            ORDER BY 2 DESC, 1
            LIMIT ?
            "#,
            limit
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// The rounds of generation in order.
    pub async fn rounds(&self) -> Result<Vec<RoundCount>> {
        Ok(sqlx::query_as!(
            RoundCount,
            "
            SELECT round, parsed, accepted
            FROM round
            ORDER BY round
            "
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
