//! Tables `influence` and `influence_on`: what training on an instance did to the loss of held-out
//! tasks.

use crate::leave;
use crate::store::rows::json_rows;
use crate::store::{Result, Store};

/// The influence of one instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceInfluence {
    /// The instance.
    pub instance_id: i64,
    /// The mean over all held-out tasks: above zero, training on it lowered their loss.
    pub value: f64,
    /// Some held-out tasks, each with its own value.
    pub on: Vec<(i64, f64)>,
}

/// An instance among those that helped or hurt most.
#[derive(Debug, Clone, PartialEq)]
pub struct StrongInfluence {
    /// Its task.
    pub task_id: i64,
    /// The instance.
    pub instance_id: i64,
    /// Its influence.
    pub value: f64,
    /// What to do.
    pub instruction: String,
}

impl Store {
    /// Takes up the latest run of `command` with exactly this configuration, if it was cut off, and
    /// records that it goes on. Returns its id. The caller knows that it is not running elsewhere.
    pub async fn take_up_run(&self, command: &str, config: &serde_json::Value) -> Result<Option<i64>> {
        let config = config.to_string();
        let mut transaction = self.write().await?;
        let run_id = sqlx::query_scalar!(
            r#"
            SELECT id AS "id!"
            FROM run
            WHERE command = ?1 AND config = ?2 AND status <> 'done'
                AND id = (SELECT max(id) FROM run WHERE command = ?1 AND config = ?2)
            "#,
            command,
            config
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(run_id) = run_id {
            sqlx::query!(
                "
                UPDATE run
                SET status = 'running', ended_at = NULL
                WHERE id = ?
                ",
                run_id
            )
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        if let Some(run_id) = run_id {
            leave::begun(&self.path, run_id);
        }
        Ok(run_id)
    }

    /// Returns the instances whose influence a run has stored, in order.
    pub async fn influenced(&self, run_id: i64) -> Result<Vec<i64>> {
        Ok(sqlx::query_scalar!(
            r#"
            SELECT instance_id AS "instance_id!"
            FROM influence
            WHERE run_id = ?
            ORDER BY instance_id
            "#,
            run_id
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Stores the influence of these instances, all or none; what the run had stored of them is
    /// replaced.
    pub async fn add_influence(&self, run_id: i64, of: &[InstanceInfluence]) -> Result<()> {
        let values: Vec<(i64, f64)> = of.iter().map(|of| (of.instance_id, of.value)).collect();
        let on = |of: &InstanceInfluence| {
            let id = of.instance_id;
            of.on
                .iter()
                .map(move |&(task, value)| (id, task, value))
                .collect::<Vec<_>>()
        };
        let on: Vec<(i64, i64, f64)> = of.iter().flat_map(on).collect();
        let (values, on) = (json_rows(&values), json_rows(&on));
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            INSERT OR REPLACE INTO influence (run_id, instance_id, value)
            SELECT ?, value ->> 0, value ->> 1
            FROM json_each(?)
            ",
            run_id,
            values
        )
        .execute(&mut *transaction)
        .await?;
        sqlx::query!(
            "
            INSERT OR REPLACE INTO influence_on (run_id, instance_id, task_id, value)
            SELECT ?, value ->> 0, value ->> 1, value ->> 2
            FROM json_each(?)
            ",
            run_id,
            on
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Sets `task.influence` to what a run has stored: the mean over the instances of each task. A
    /// task that it says nothing of has none.
    pub async fn settle_influence(&self, run_id: i64) -> Result<()> {
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            UPDATE task
            SET influence = (
                SELECT avg(influence.value)
                FROM instance
                JOIN influence ON influence.instance_id = instance.id AND influence.run_id = ?
                WHERE instance.task_id = task.id
            )
            ",
            run_id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Adds `value` to the configuration of a run, which has ended: until then it is by its
    /// configuration that the run is taken up.
    pub async fn note_in_config(&self, run_id: i64, name: &str, value: &serde_json::Value) -> Result<()> {
        let (path, value) = (format!("$.{name}"), value.to_string());
        let mut transaction = self.write().await?;
        sqlx::query!(
            "
            UPDATE run
            SET config = json_set(config, ?, json(?))
            WHERE id = ?
            ",
            path,
            value,
            run_id
        )
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Returns the `count` instances with the highest influence of a run, or with the lowest, those
    /// first.
    pub async fn strongest_influence(
        &self,
        run_id: i64,
        highest: bool,
        count: i64,
    ) -> Result<Vec<StrongInfluence>> {
        let sign = if highest { -1.0 } else { 1.0 };
        Ok(sqlx::query_as!(
            StrongInfluence,
            r#"
            SELECT
                task.id AS "task_id!", instance.id AS "instance_id!", influence.value AS "value!: f64",
                task.instruction AS "instruction!"
            FROM influence
            JOIN instance ON instance.id = influence.instance_id
            JOIN task ON task.id = instance.task_id
            WHERE influence.run_id = ?1
            ORDER BY influence.value * ?2, instance.id
            LIMIT ?3
            "#,
            run_id,
            sign,
            count
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Counts the instances that a run has stored, and those of them above zero.
    pub async fn influence_counts(&self, run_id: i64) -> Result<(i64, i64)> {
        let counts = sqlx::query!(
            r#"
            SELECT count(*) AS "all!: i64", count(*) FILTER (WHERE value > 0.0) AS "above!: i64"
            FROM influence
            WHERE run_id = ?
            "#,
            run_id
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((counts.all, counts.above))
    }
}
