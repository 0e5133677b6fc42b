//! The neighbours of tasks: found and stored many at a time, so that neither admission nor an import need wait for them.

use super::pool::Pool;
use crate::filter::Threshold;
use crate::progress::Progress;
use crate::store::Store;
use crate::store::query::neighbor::NewNeighbors;
use anyhow::Result;
use std::collections::HashSet;

/// Neighbours stored with each accepted task.
const NEIGHBORS: usize = 10;
/// Tasks that may wait: at so many they are looked up together.
const BATCH: usize = 256;

/// Finds and stores the neighbours of all tasks that have none yet, such as those of an import, some at a time. What is cut
/// off goes on the next time.
pub async fn complete(store: &Store, quiet: bool) -> Result<()> {
    // No neighbour depends on the threshold, which is for verdicts.
    let mut pool = Pool::new(store.pool().await?, Threshold::SELF_INSTRUCT);
    let mut waiting = Waiting::left_over(store, &pool).await?;
    let all = waiting.positions.len() as u64;
    let mut bar = Progress::new("neighbours", "task", 0, all, quiet);
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

/// Tasks whose neighbours are still to be found. They are the most similar of the tasks admitted before, a function
/// of the dataset: it makes no difference when they are looked for, and what a run that was killed left undone, the
/// next one does.
#[derive(Debug, Default)]
pub struct Waiting {
    positions: Vec<usize>,
}

impl Waiting {
    /// Those that earlier runs left.
    pub async fn left_over(store: &Store, pool: &Pool) -> Result<Waiting> {
        let ids: HashSet<i64> = store.tasks_without_neighbors().await?.into_iter().collect();
        let positions = (0..pool.entries.len()).filter(|&i| ids.contains(&pool.entries[i].id));
        Ok(Waiting {
            positions: positions.collect(),
        })
    }

    /// The task at this position of the pool has come in.
    pub fn push(&mut self, position: usize) {
        self.positions.push(position);
    }

    /// Whether it is time.
    pub fn is_full(&self) -> bool {
        self.positions.len() >= BATCH
    }

    /// Finds the neighbours of some that wait, in parallel; none when nobody waits.
    pub fn take(&mut self, pool: &mut Pool) -> Vec<NewNeighbors> {
        let left = self.positions.len().saturating_sub(BATCH);
        let positions = self.positions.split_off(left);
        let found = pool.index.nearest_before(&positions, NEIGHBORS);
        let task = |position: usize| pool.entries[position].id;
        positions
            .iter()
            .zip(found)
            .map(|(&position, near)| NewNeighbors {
                task_id: task(position),
                similar: near
                    .into_iter()
                    .map(|near| (task(near.position), near.score.f1()))
                    .collect(),
            })
            .collect()
    }
}
