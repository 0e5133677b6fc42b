//! The pool: the tasks that candidates are compared with and that prompts show.

use crate::filter::{Index, Threshold};
use crate::generate::examples::ExamplePool;
use crate::prompt::alpaca::{self, PromptTask};
use crate::store::Store;
use crate::store::asked::round::PoolTask;
use crate::task::{Instance, Origin, Review, Task};
use anyhow::Result;
use std::collections::{HashMap, HashSet};

/// All tasks in the order of admission: seeds and imports, then round by round.
pub struct Pool {
    /// Their instructions.
    pub index: Index,
    /// The tasks, in the order of the index.
    pub entries: Vec<PoolTask>,
    /// The first instance of each task that has one; `None` for recipes that do not show instances.
    instances: Option<Vec<Option<Instance>>>,
}

impl Pool {
    /// Makes a pool of tasks, without instances.
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

    /// Makes a pool of tasks with their first instances, by the ids of the tasks.
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

    /// Appends a task with its first instance.
    pub fn push(&mut self, task: PoolTask, instance: Option<Instance>) {
        self.index.push(&task.instruction);
        self.entries.push(task);
        if let Some(instances) = &mut self.instances {
            instances.push(instance);
        }
    }

    /// A task with its instance for a prompt; `None` if it has no instance, or the pool has none.
    pub fn prompt_task(&self, position: usize) -> Option<PromptTask<'_>> {
        Some(PromptTask {
            instruction: &self.entries[position].instruction,
            instance: self.instances.as_ref()?[position].as_ref()?,
        })
    }

    /// The number of tasks after the admission of `round`; `None` is before the first round.
    pub fn length_after(&self, round: Option<u64>) -> usize {
        self.entries.partition_point(|task| match (task.round, round) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(of), Some(round)) => of <= round as i64,
        })
    }
}

/// The tasks of the pool that prompts may show: seeds and machine-made tasks that nobody rejected,
/// and that are not held out for evaluation. Of a conversation that continues a task, the question
/// is that of the task, which would be shown twice as often.
pub struct ShownPool<'a> {
    pub pool: &'a Pool,
    /// Rounds that run side by side.
    pub window: u64,
}

impl ExamplePool for ShownPool<'_> {
    fn within(&self, round: u64) -> usize {
        self.pool.length_after(round.checked_sub(self.window))
    }

    fn origin(&self, position: usize) -> Option<Origin> {
        let task = &self.pool.entries[position];
        let can_be_shown = match self.pool.instances {
            None => true,
            Some(_) => self
                .pool
                .prompt_task(position)
                .is_some_and(|shown| alpaca::can_be_shown(shown.instruction, shown.instance)),
        };
        (task.review != Review::Rejected && !task.is_held_out && !task.is_continuation && can_be_shown)
            .then_some(task.origin)
    }

    fn similarity(&self, a: usize, b: usize) -> f64 {
        self.pool.index.score(a, b).f1()
    }
}

/// The first instance of each task of the dataset, by the id of the task.
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

/// The accepted seeds with their instances, for prompts: without those that are held out.
pub async fn seed_tasks(store: &Store) -> Result<Vec<Task>> {
    let held_out: HashSet<i64> = store.held_out().await?.into_iter().collect();
    let mut tasks: Vec<(i64, Task)> = Vec::new();
    for row in store
        .dataset(Some(Review::Accepted))
        .await?
        .into_iter()
        .filter(|row| row.origin == Origin::Seed && !held_out.contains(&row.task_id))
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
                    later: Vec::new(),
                };
                tasks.push((row.task_id, task));
            }
        }
    }
    Ok(tasks.into_iter().map(|(_, task)| task).collect())
}
