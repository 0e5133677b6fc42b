//! Finds and stores the neighbors of tasks, many at a time, so that admissions and imports need not
//! wait for them.

use super::pool::Pool;
use crate::filter::Threshold;
use crate::progress::ProgressMeter;
use crate::store::Store;
use crate::store::asked::round::PoolTask;
use crate::store::query::neighbor::NewNeighbors;
use anyhow::Result;
use std::collections::HashSet;

/// Neighbors stored with each task.
const NEIGHBORS: usize = 10;
/// Tasks that may wait before their neighbors are searched together.
const BATCH: usize = 256;

/// Finds and stores the neighbors of all tasks without any, such as those of an import, in batches.
/// If it is interrupted, the next call continues.
pub async fn complete(store: &Store, quiet: bool) -> Result<()> {
    // Neighbors do not depend on the threshold, which is for verdicts.
    let mut pool = Pool::new(store.pool().await?, Threshold::SELF_INSTRUCT);
    let mut waiting = NeighborQueue::left_over(store, &pool).await?;
    let all = waiting.positions.len() as u64;
    let mut bar = ProgressMeter::new("neighbors", "task", 0, all, quiet);
    loop {
        let found = waiting.take(&mut pool);
        if found.is_empty() {
            break;
        }
        store.set_neighbors(&found).await?;
        bar.set(all - waiting.positions.len() as u64, "");
    }
    bar.finish();
    Ok(())
}

/// Tasks whose neighbors are not found yet. Neighbors are the most similar of the tasks admitted
/// before, a function of the dataset. So it makes no difference when they are searched, and the
/// next run finishes what a killed one left.
#[derive(Debug, Default)]
pub struct NeighborQueue {
    /// Positions of the tasks in the pool.
    positions: Vec<usize>,
}

impl NeighborQueue {
    /// The tasks that earlier runs left. The first task of all never has a neighbor.
    pub async fn left_over(store: &Store, pool: &Pool) -> Result<NeighborQueue> {
        let ids: HashSet<i64> = store.tasks_without_neighbors().await?.into_iter().collect();
        let positions = (1..pool.entries.len()).filter(|&i| ids.contains(&pool.entries[i].id));
        Ok(NeighborQueue {
            positions: positions.collect(),
        })
    }

    /// Adds the task at this position of the pool.
    pub fn push(&mut self, position: usize) {
        self.positions.push(position);
    }

    /// Whether enough tasks wait for a search.
    pub fn is_full(&self) -> bool {
        self.positions.len() >= BATCH
    }

    /// Takes a batch of tasks and finds their neighbors, in parallel. Returns nothing if no task
    /// waits.
    pub fn take(&mut self, pool: &mut Pool) -> Vec<NewNeighbors> {
        let left = self.positions.len().saturating_sub(BATCH);
        let positions = self.positions.split_off(left);
        let found = pool.index.nearest_before(&positions, NEIGHBORS);
        let task = |position: usize| &pool.entries[position];
        positions
            .iter()
            .zip(found)
            .map(|(&position, near)| NewNeighbors {
                task_id: task(position).id,
                similar: near
                    .into_iter()
                    .filter(|near| !is_same_question(task(near.position), task(position)))
                    .map(|near| (task(near.position).id, near.score.f1()))
                    .collect(),
            })
            .collect()
    }
}

/// Whether a task has the question of an earlier one by itself, since either continues a task: that
/// is what it was made for, and no reason to look at both.
fn is_same_question(earlier: &PoolTask, task: &PoolTask) -> bool {
    earlier.is_continuation || task.is_continuation && task.parent_task_id == Some(earlier.id)
}
