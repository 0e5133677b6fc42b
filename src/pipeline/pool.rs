//! What a round starts from: the seeds, and the tasks admitted so far.

use crate::filter::{Index, Threshold};
use crate::generate::examples::Shelf;
use crate::prompt::task_list;
use crate::store::Store;
use crate::store::asked::round::PoolTask;
use crate::task::{Instance, Origin, Review, Task};
use anyhow::Result;
use std::collections::HashMap;

/// The instructions that candidates are compared with and prompts are made of, in order of admission: what was there
/// before any round, then round by round.
pub struct Pool {
    /// Their instructions.
    pub index: Index,
    /// In the order of the index.
    pub entries: Vec<PoolTask>,
    /// The first instance of each entry that has one, where prompts show instances.
    instances: Option<Vec<Option<Instance>>>,
}

impl Pool {
    /// Of these tasks.
    pub fn new(entries: Vec<PoolTask>, threshold: Threshold) -> Pool {
        let mut index = Index::new(threshold);
        for some in entries.chunks(4096) {
            let texts: Vec<&str> = some.iter().map(|task| task.instruction.as_str()).collect();
            index.extend(&texts);
        }
        Pool {
            index,
            entries,
            instances: None,
        }
    }

    /// Of these tasks, whose first instances are to be shown.
    pub fn with_instances(
        entries: Vec<PoolTask>,
        threshold: Threshold,
        mut first: HashMap<i64, Instance>,
    ) -> Pool {
        let instances = entries.iter().map(|task| first.remove(&task.id)).collect();
        Pool {
            instances: Some(instances),
            ..Pool::new(entries, threshold)
        }
    }

    /// Adds a task with its first instance behind all others.
    pub fn push(&mut self, task: PoolTask, instance: Option<Instance>) {
        self.index.push(&task.instruction);
        self.entries.push(task);
        if let Some(instances) = &mut self.instances {
            instances.push(instance);
        }
    }

    /// A task as a prompt shows it, with its instance; nothing where instances are not shown, or this has none.
    pub fn shown(&self, position: usize) -> Option<task_list::Shown<'_>> {
        Some(task_list::Shown {
            instruction: &self.entries[position].instruction,
            instance: self.instances.as_ref()?[position].as_ref()?,
        })
    }

    /// How many entries were there once `round` was admitted; `None` is before the first.
    pub fn length_after(&self, round: Option<u64>) -> usize {
        self.entries.partition_point(|task| match (task.round, round) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(of), Some(round)) => of <= round as i64,
        })
    }
}

/// The pool as prompts are made of it: seeds and machine-made tasks that nobody rejected.
pub struct Shown<'a> {
    pub pool: &'a Pool,
    /// Rounds that run side by side.
    pub window: u64,
}

impl Shelf for Shown<'_> {
    fn within(&self, round: u64) -> usize {
        self.pool.length_after(round.checked_sub(self.window))
    }

    fn origin(&self, position: usize) -> Option<Origin> {
        let task = &self.pool.entries[position];
        let can_be_shown = match self.pool.instances {
            None => true,
            Some(_) => self
                .pool
                .shown(position)
                .is_some_and(|shown| task_list::can_be_shown(shown.instruction, shown.instance)),
        };
        (task.review != Review::Rejected && can_be_shown).then_some(task.origin)
    }

    fn similarity(&self, a: usize, b: usize) -> f64 {
        self.pool.index.score(a, b).f1()
    }
}

/// The first instance of each task of the dataset, by the task's id.
pub async fn first_instances(store: &Store) -> Result<HashMap<i64, Instance>> {
    let mut first = HashMap::new();
    for row in store.dataset(None).await? {
        first.entry(row.task_id).or_insert(Instance {
            input: row.input,
            output: row.output,
        });
    }
    Ok(first)
}

/// The accepted seeds with their instances.
pub async fn seed_tasks(store: &Store) -> Result<Vec<Task>> {
    let mut tasks: Vec<(i64, Task)> = Vec::new();
    for row in store
        .dataset(Some(Review::Accepted))
        .await?
        .into_iter()
        .filter(|row| row.origin == Origin::Seed)
    {
        let instance = Instance {
            input: row.input,
            output: row.output,
        };
        match tasks.last_mut() {
            Some((id, task)) if *id == row.task_id => task.instances.push(instance),
            _ => {
                let task = Task {
                    name: None,
                    instruction: row.instruction,
                    instances: vec![instance],
                    is_classification: row.is_classification,
                };
                tasks.push((row.task_id, task));
            }
        }
    }
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}
