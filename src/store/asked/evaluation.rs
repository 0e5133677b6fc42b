//! Tables `evaluation` and `evaluation_answer`: suites that a model was asked, and its answers.

use serde::Serialize;
use serde_json::Value;

use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// A suite to store.
#[derive(Debug, Clone, Copy)]
pub struct NewEvaluation<'a> {
    /// The run that asked it.
    pub run_id: i64,
    /// The kind of suite.
    pub suite: &'a str,
    /// Its file or directory; empty for held-out tasks.
    pub source: &'a str,
    /// The name of the model.
    pub model: &'a str,
    /// The training run that made the model.
    pub train_run_id: Option<i64>,
    /// The figures.
    pub result: &'a Value,
}

/// An answer to store.
#[derive(Debug, Clone, Serialize)]
pub struct NewEvaluationAnswer<'a> {
    /// The item's name within the suite.
    pub item: &'a str,
    /// Its category.
    pub category: Option<&'a str>,
    /// The held-out task.
    pub task_id: Option<i64>,
    /// The whole question.
    pub prompt: String,
    /// The answer.
    pub answer: &'a str,
    /// Why it ended.
    pub finish_reason: &'static str,
    /// Right answers.
    pub references: &'a [String],
    /// Its scores.
    pub scores: Value,
    /// The training task in which the item was found.
    pub found_in: Option<i64>,
}

/// Bytes of the answers of one statement, apart from the last one.
const AT_ONCE: usize = 16 << 20;

/// Splits answers into parts for one statement each.
fn parts<'a, 'b>(answers: &'a [NewEvaluationAnswer<'b>]) -> Vec<&'a [NewEvaluationAnswer<'b>]> {
    let (mut parts, mut rest, mut bytes) = (Vec::new(), answers, 0);
    let mut at = 0;
    while at < rest.len() {
        bytes += rest[at].answer.len() + rest[at].prompt.len();
        at += 1;
        if bytes >= AT_ONCE {
            let (part, more) = rest.split_at(at);
            parts.push(part);
            (rest, bytes, at) = (more, 0, 0);
        }
    }
    parts.extend((!rest.is_empty()).then_some(rest));
    parts
}

impl Store {
    /// Stores the suites of a run with their answers, all or none.
    pub async fn add_evaluations(
        &self,
        evaluations: &[(NewEvaluation<'_>, Vec<NewEvaluationAnswer<'_>>)],
    ) -> Result<()> {
        let mut transaction = self.write().await?;
        for (new, answers) in evaluations {
            let result = new.result.to_string();
            let id = sqlx::query!(
                "
                INSERT INTO evaluation (run_id, suite, source, model, train_run_id, result)
                VALUES (?, ?, ?, ?, ?, ?)
                ",
                new.run_id,
                new.suite,
                new.source,
                new.model,
                new.train_run_id,
                result
            )
            .execute(&mut *transaction)
            .await?
            .last_insert_rowid();
            for some in parts(answers) {
                let rows = json_rows(some);
                sqlx::query!(
                    r#"
                    INSERT INTO evaluation_answer (
                        evaluation_id, item, category, task_id, prompt, answer, finish_reason, "references", scores,
                        found_in
                    )
                    SELECT
                        ?, value ->> 'item', value ->> 'category', value ->> 'task_id', value ->> 'prompt',
                        value ->> 'answer', value ->> 'finish_reason', value -> 'references', value -> 'scores',
                        value ->> 'found_in'
                    FROM json_each(?)
                    "#,
                    id,
                    rows
                )
                .execute(&mut *transaction)
                .await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the latest training run of this dataset that wrote to `out`, an absolute path.
    pub async fn training_run_into(&self, out: &str) -> Result<Option<i64>> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT max(id) AS "id: i64"
            FROM run
            WHERE command = 'train' AND config ->> 'out' = ?
            "#,
            out
        )
        .fetch_one(&self.pool)
        .await?)
    }
}
