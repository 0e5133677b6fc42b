//! What models have found about the instances of one task: influence and difficulty.

use crate::store::{Result, Store};

/// The most characters of another task's instruction.
const MOST_CHARACTERS: i64 = 300;

/// How many tasks that helped a held-out task are shown, and how many that hurt it.
const MOST_TASKS: i64 = 5;

/// The figures of an instance. A task without any has no such row.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InstanceFigures {
    /// Its place within the task: 0, 1, 2 …
    pub ordinal: i64,
    /// By the latest `ewe influence` that came to its end: the mean over all held-out tasks, from
    /// -1 to 1. Above zero, training on the instance lowered their loss.
    pub influence: Option<f64>,
    /// Its instruction-following difficulty (Li et al. 2023), by the latest `ewe score --db` that
    /// came to its end.
    pub ifd: Option<f64>,
    /// The held-out tasks that it helped most and those that it hurt most, the most helped first.
    pub on: Vec<InfluenceOn>,
}

/// The influence of an instance on one held-out task, seen from the one or from the other.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct InfluenceOn {
    /// The held-out task; for a held-out task, the one that influenced it.
    pub task_id: i64,
    /// The beginning of its instruction.
    pub instruction: String,
    /// The influence, from -1 to 1.
    pub value: f64,
}

impl Store {
    /// Returns the figures of those instances of a task that have any, in order.
    pub async fn instance_figures(&self, task_id: i64) -> Result<Vec<InstanceFigures>> {
        let rows = sqlx::query!(
            r#"
            SELECT
                instance.ordinal AS "ordinal!: i64", influence.value AS "influence?: f64",
                difficulty.nll / difficulty.nll_alone AS "ifd?: f64"
            FROM instance
            LEFT JOIN influence ON influence.instance_id = instance.id
                AND influence.run_id = (SELECT max(id) FROM run WHERE command = 'influence' AND status = 'done')
            LEFT JOIN difficulty ON difficulty.instance_id = instance.id AND difficulty.nll_alone > 0.0
                AND difficulty.run_id = (SELECT max(id) FROM run WHERE command = 'score' AND status = 'done')
            WHERE instance.task_id = ?
            ORDER BY instance.ordinal
            "#,
            task_id
        )
        .fetch_all(&self.pool)
        .await?;
        let mut figures: Vec<InstanceFigures> = rows
            .into_iter()
            .filter(|row| row.influence.is_some() || row.ifd.is_some())
            .map(|row| InstanceFigures {
                ordinal: row.ordinal,
                influence: row.influence,
                ifd: row.ifd,
                on: Vec::new(),
            })
            .collect();
        if figures.iter().any(|of| of.influence.is_some()) {
            self.add_influence_on(task_id, &mut figures).await?;
        }
        Ok(figures)
    }

    /// Returns the tasks that helped a held-out task most and those that hurt it most, the most
    /// helpful first. Each instance names only the few held-out tasks that it influenced most (see
    /// [`InstanceFigures::on`]), so that others may be missing.
    pub async fn influenced_by(&self, task_id: i64) -> Result<Vec<InfluenceOn>> {
        let mut found = self.strongest_on(task_id, 1.0).await?;
        let hurt = self.strongest_on(task_id, -1.0).await?;
        found.extend(hurt.into_iter().rev());
        Ok(found)
    }

    /// Returns the tasks with the strongest influence of this sign on a held-out task, the
    /// strongest first.
    async fn strongest_on(&self, task_id: i64, sign: f64) -> Result<Vec<InfluenceOn>> {
        Ok(sqlx::query_as!(
            InfluenceOn,
            r#"
            SELECT
                task.id AS "task_id!: i64", substr(task.instruction, 1, ?4) AS "instruction!: String",
                max(influence_on.value * ?2) * ?2 AS "value!: f64"
            FROM influence_on
            JOIN instance ON instance.id = influence_on.instance_id
            JOIN task ON task.id = instance.task_id
            WHERE influence_on.task_id = ?1
                AND influence_on.run_id = (SELECT max(id) FROM run WHERE command = 'influence' AND status = 'done')
                AND influence_on.value * ?2 > 0.0
            GROUP BY task.id
            ORDER BY max(influence_on.value * ?2) DESC, task.id
            LIMIT ?3
            "#,
            task_id,
            sign,
            MOST_TASKS,
            MOST_CHARACTERS
        )
        .fetch_all(&self.pool)
        .await?)
    }

    /// Adds the held-out tasks to the figures of a task's instances.
    async fn add_influence_on(&self, task_id: i64, figures: &mut [InstanceFigures]) -> Result<()> {
        // The join keeps its order: a run has ten rows for each of its instances.
        let rows = sqlx::query!(
            r#"
            SELECT
                instance.ordinal AS "ordinal!: i64", held.id AS "task_id!: i64",
                substr(held.instruction, 1, ?2) AS "instruction!: String", influence_on.value AS "value!: f64"
            FROM instance
            CROSS JOIN influence_on ON influence_on.instance_id = instance.id
                AND influence_on.run_id = (SELECT max(id) FROM run WHERE command = 'influence' AND status = 'done')
            JOIN task AS held ON held.id = influence_on.task_id
            WHERE instance.task_id = ?1
            ORDER BY instance.ordinal, influence_on.value DESC, held.id
            "#,
            task_id,
            MOST_CHARACTERS
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            if let Some(of) = figures.iter_mut().find(|of| of.ordinal == row.ordinal) {
                of.on.push(InfluenceOn {
                    task_id: row.task_id,
                    instruction: row.instruction,
                    value: row.value,
                });
            }
        }
        Ok(())
    }
}
