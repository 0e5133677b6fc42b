//! Table `difficulty`: how hard an answer is for a model with and without its instruction.

use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// Instruction-following difficulty (IFD) of one instance: how much of the answer the instruction
/// leaves to say. Li et al. 2023, <https://arxiv.org/abs/2308.12032>.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Difficulty {
    /// The instance.
    pub instance_id: i64,
    /// Tokens of the answer.
    pub tokens: i64,
    /// Mean negative log-likelihood of the answer after its instruction, in nats a token.
    pub nll: f64,
    /// The same without the instruction.
    pub nll_alone: f64,
}

impl Difficulty {
    /// Returns the IFD, the ratio of both; none for an answer that is certain without its
    /// instruction.
    pub fn ifd(&self) -> Option<f64> {
        (self.nll_alone > 0.0).then(|| self.nll / self.nll_alone)
    }
}

impl Store {
    /// Returns what a run has stored, in order of instances.
    pub async fn difficulties(&self, run_id: i64) -> Result<Vec<Difficulty>> {
        Ok(sqlx::query_as!(
            Difficulty,
            r#"
            SELECT instance_id AS "instance_id!", tokens, nll, nll_alone
            FROM difficulty
            WHERE run_id = ?
            ORDER BY instance_id
            "#,
            run_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Stores what a model found of these instances, all or none, in place of what it found before.
    pub async fn add_difficulties(&self, run_id: i64, model: &str, of: &[Difficulty]) -> Result<()> {
        let rows: Vec<_> = of
            .iter()
            .map(|of| (of.instance_id, of.tokens, of.nll, of.nll_alone))
            .collect();
        let rows = json_rows(&rows);
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            INSERT OR REPLACE INTO difficulty (instance_id, run_id, model, tokens, nll, nll_alone)
            SELECT value ->> 0, ?, ?, value ->> 1, value ->> 2, value ->> 3
            FROM json_each(?)
            ",
            run_id,
            model,
            rows
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Sets `task.ifd` to what a run has stored: the mean over the instances of each task. A task
    /// that it says nothing of has none.
    pub async fn settle_difficulties(&self, run_id: i64) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            UPDATE task
            SET ifd = (
                SELECT avg(difficulty.nll / difficulty.nll_alone)
                FROM instance
                JOIN difficulty ON difficulty.instance_id = instance.id
                WHERE instance.task_id = task.id AND difficulty.run_id = ? AND difficulty.nll_alone > 0.0
            )
            ",
            run_id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }
}
