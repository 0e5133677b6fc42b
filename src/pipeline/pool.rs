//! What a round starts from: the prompts that seeds make, and the tasks admitted so far.

use crate::filter::{Index, Threshold};
use crate::generate::recipe::SelfInstruct;
use crate::prompt::few_shot::{Classification, InputFirst, OutputFirst};
use crate::store::Store;
use crate::store::round::PoolTask;
use crate::task::{Instance, Origin, Review, Task};
use anyhow::Result;

/// The parts of prompts that are the same in all rounds.
pub struct Prompts {
    /// Stage 2.
    pub classification: Classification,
    /// Stage 3 of most tasks.
    pub input_first: InputFirst,
    /// Stage 3 of classification tasks.
    pub output_first: OutputFirst,
}

impl Prompts {
    /// Built once a run.
    pub fn from_seeds(recipe: &SelfInstruct, seeds: &[Task]) -> Self {
        Prompts {
            classification: Classification::from_seeds(seeds, recipe.yes_examples, recipe.no_examples),
            input_first: InputFirst::from_seeds(seeds, recipe.input_first_examples, recipe.with_input),
            output_first: OutputFirst::from_seeds(seeds, recipe.output_first_examples),
        }
    }
}

/// The instructions that candidates are compared with and prompts are made of, in order of admission: what was there
/// before any round, then round by round.
pub struct Pool {
    /// Their instructions.
    pub index: Index,
    /// In the order of the index.
    pub entries: Vec<PoolTask>,
}

impl Pool {
    /// Of these tasks.
    pub fn new(entries: Vec<PoolTask>, threshold: Threshold) -> Pool {
        let mut index = Index::new(threshold);
        for some in entries.chunks(4096) {
            let texts: Vec<&str> = some.iter().map(|task| task.instruction.as_str()).collect();
            index.extend(&texts);
        }
        Pool { index, entries }
    }

    /// Adds a task behind all others.
    pub fn push(&mut self, task: PoolTask) {
        self.index.push(&task.instruction);
        self.entries.push(task);
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
