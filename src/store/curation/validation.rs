//! Table `validation`: verdicts of the user's validators. Rows are only added, and change no other
//! table.

use super::super::rows::json_rows;
use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::store::{Filter, Result, Store};

/// An instance for a validator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unvalidated {
    /// Its id.
    pub instance_id: i64,
    /// Its task's.
    pub task_id: i64,
    /// Its place within the task.
    pub ordinal: i64,
    /// What to do.
    pub instruction: String,
    /// The input; may be empty.
    pub input: String,
    /// The output.
    pub output: String,
    /// The messages after it, as a JSON list.
    pub turns: Option<String>,
    /// The system message.
    pub system: Option<String>,
}

/// A verdict to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewValidation {
    /// The instance, with its texts at that time.
    pub of: Unvalidated,
    /// Whether the validator accepts it.
    pub accepted: bool,
    /// Its reason; may be empty.
    pub reason: String,
}

/// A stored verdict on an instance of a task.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Validation {
    /// The place of the instance within its task.
    pub ordinal: i64,
    /// The validator's command line.
    pub validator: String,
    /// Whether it accepts the instance.
    pub accepted: bool,
    /// Its reason; may be empty.
    pub reason: String,
    /// When it was stored, in UTC.
    pub created_at: String,
}

/// What validators said of a dataset.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ValidatorCounts {
    /// The validator's command line.
    pub validator: String,
    /// Instances that it accepts.
    pub accepted: i64,
    /// Instances that it rejects.
    pub rejected: i64,
}

impl Store {
    /// Returns the instances of tasks that pass `filter` and are not rejected, in order of task and
    /// instance: of each its task's id, its own, and whether this validator has a verdict on it
    /// that holds.
    pub async fn validatable(&self, filter: &Filter, validator: &str) -> Result<Vec<(i64, i64, bool)>> {
        let filter = Filter {
            in_dataset: true,
            ..filter.clone()
        };
        let plan = self.query_plan(&filter, Goal::All).await?;
        let mut sql = Sql::default();
        sql.push(
            "SELECT task.id, instance.id, EXISTS (
                SELECT 1 FROM validated WHERE validated.instance_id = instance.id AND validated.validator = ?
            )",
        )
        .values(&[validator.into()]);
        plan.push(
            &mut sql,
            BY_ID,
            " CROSS JOIN instance ON instance.task_id = task.id",
        );
        sql.push(" ORDER BY task.id, instance.id");
        let (text, values) = sql.finish();
        Ok(sqlx::query_as_with(text, values).fetch_all(&self.pool).await?)
    }

    /// Returns instances by their ids, in this order.
    pub async fn unvalidated(&self, instance_ids: &[i64]) -> Result<Vec<Unvalidated>> {
        let ids = json_rows(instance_ids);
        Ok(sqlx::query_as!(
            Unvalidated,
            r#"
            SELECT
                instance.id AS "instance_id!", task.id AS "task_id!", instance.ordinal, task.instruction,
                instance.input, instance.output, instance.turns, task.system
            FROM json_each(?) AS wanted
            CROSS JOIN instance ON instance.id = wanted.value
            JOIN task ON task.id = instance.task_id
            ORDER BY wanted.key
            "#,
            ids
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Adds all verdicts or none.
    pub async fn add_validations(
        &self,
        run_id: i64,
        validator: &str,
        validations: &[NewValidation],
    ) -> Result<()> {
        let mut transaction = self.write().await?;
        for NewValidation { of, accepted, reason } in validations {
            sqlx::query!(
                "
                INSERT INTO validation (
                    instance_id, run_id, validator, instruction, input, output, turns, accepted, reason
                )
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                ",
                of.instance_id,
                run_id,
                validator,
                of.instruction,
                of.input,
                of.output,
                of.turns,
                accepted,
                reason
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the tasks among these of which this validator rejects an instance, with the reason
    /// for the first one.
    pub async fn invalid_tasks(&self, validator: &str, task_ids: &[i64]) -> Result<Vec<(i64, String)>> {
        let ids = json_rows(task_ids);
        let rows = sqlx::query!(
            r#"
            SELECT wanted.value + 0 AS "task_id!: i64", validated.reason AS "reason!", min(instance.ordinal) AS "ordinal: i64"
            FROM json_each(?) AS wanted
            CROSS JOIN instance ON instance.task_id = wanted.value
            JOIN validated ON validated.instance_id = instance.id
            WHERE validated.validator = ? AND validated.accepted = 0
            GROUP BY wanted.value
            ORDER BY wanted.value
            "#,
            ids,
            validator
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.task_id, row.reason)).collect())
    }

    /// Returns the verdicts that hold on a task's instances, in order.
    pub async fn validations(&self, task_id: i64) -> Result<Vec<Validation>> {
        Ok(sqlx::query_as!(
            Validation,
            r#"
            SELECT
                instance.ordinal, validated.validator, validated.accepted AS "accepted: bool", validated.reason,
                validated.created_at
            FROM validated
            JOIN instance ON instance.id = validated.instance_id
            WHERE validated.task_id = ?
            ORDER BY instance.ordinal, validated.validation_id
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Counts the verdicts that hold, by validator.
    pub async fn validator_counts(&self) -> Result<Vec<ValidatorCounts>> {
        Ok(sqlx::query_as!(
            ValidatorCounts,
            r#"
            SELECT
                validator, sum(accepted) AS "accepted!: i64", sum(1 - accepted) AS "rejected!: i64"
            FROM validated
            GROUP BY validator
            ORDER BY validator
            "#
        )
        .fetch_all(&self.pool)
        .await?)
    }
}
