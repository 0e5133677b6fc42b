//! Looks for the items of a suite in the training rows, as `ewe filter --against` looks for
//! evaluation tasks: the same text in normal form, 13 words in a row, or ROUGE-L above 0.7, of
//! instructions and of inputs that are long enough.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use crate::filter::Threshold;
use crate::filter::decontaminate::Evaluation;
use crate::interchange::{Need, Reading};
use crate::pipeline::screening::against::each_task;
use crate::pipeline::split::similar::near;
use crate::store::{DatasetRow, Store};
use crate::suite::item::Item;
use crate::task::{Instance, Task, TaskRef};

/// Words in a row (Brown et al. 2020, appendix C).
const NGRAM: usize = 13;

/// The rows that a model was trained on, as far as it is known.
pub struct TrainingData {
    rows: Evaluation,
    files: Vec<PathBuf>,
    /// The number of tasks.
    pub tasks: usize,
}

/// Where an item was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The task of the dataset.
    pub task_id: Option<i64>,
    /// File and row, from 0, of a file.
    pub row: Option<(String, u32)>,
    /// What they have in common.
    pub how: String,
}

impl Found {
    /// Returns it as `found_in` of an answer.
    pub fn to_json(&self) -> Value {
        match (&self.task_id, &self.row) {
            (Some(id), _) => json!({"task": id, "how": self.how}),
            (None, Some((file, row))) => json!({"file": file, "row": row, "how": self.how}),
            (None, None) => json!({"how": self.how}),
        }
    }
}

impl Default for TrainingData {
    fn default() -> TrainingData {
        TrainingData::new()
    }
}

impl TrainingData {
    /// Takes the rows of a dataset that a run trains on, without held-out tasks and those that read
    /// like one.
    pub fn of_dataset(rows: &[DatasetRow], held_out: &[DatasetRow]) -> TrainingData {
        let left_out = near(held_out, rows);
        let mut data = TrainingData::new();
        let mut task: Option<(i64, Task)> = None;
        for row in rows.iter().filter(|row| !left_out.contains(&row.task_id)) {
            if task.as_ref().is_none_or(|(id, _)| *id != row.task_id) {
                data.add_stored(task.take());
                let instruction = row.instruction.clone();
                let new = Task {
                    instruction,
                    ..Task::default()
                };
                task = Some((row.task_id, new));
            }
            if let Some((_, task)) = &mut task {
                task.instances.push(Instance {
                    input: row.input.clone(),
                    output: String::new(),
                });
            }
        }
        data.add_stored(task);
        data
    }

    /// Adds the rows of files.
    ///
    /// # Errors
    ///
    /// If a file or any of its rows cannot be read: data must not pass as clean because some of it
    /// was skipped.
    pub fn add_files(&mut self, files: &[PathBuf], quiet: bool) -> Result<()> {
        self.files = files.to_vec();
        let reading = Reading {
            need: Need::Instruction,
            ..Reading::default()
        };
        each_task(files, &reading, quiet, |task_ref, task| {
            self.rows.add(task_ref, task);
            self.tasks += 1;
        })
    }

    /// Starts without rows.
    pub fn new() -> TrainingData {
        TrainingData {
            rows: Evaluation::of_training_data(Threshold::SELF_INSTRUCT, NGRAM),
            files: Vec::new(),
            tasks: 0,
        }
    }

    fn add_stored(&mut self, task: Option<(i64, Task)>) {
        if let Some((id, task)) = task {
            self.rows.add(TaskRef::Stored(id), &task);
            self.tasks += 1;
        }
    }

    /// Looks for items. Items with the same texts are looked for once.
    pub fn find(&self, items: &[Item]) -> Vec<Option<Found>> {
        let mut known: HashMap<(&str, &str), Option<Found>> = HashMap::new();
        items
            .iter()
            .map(|item| {
                let texts = (item.instruction.as_str(), item.input.as_str());
                known.entry(texts).or_insert_with(|| self.find_one(item)).clone()
            })
            .collect()
    }

    fn find_one(&self, item: &Item) -> Option<Found> {
        let verdict = self.rows.check(&Task {
            instruction: item.instruction.clone(),
            instances: vec![Instance {
                input: item.input.clone(),
                output: String::new(),
            }],
            ..Task::default()
        });
        verdict.reason?;
        let task = verdict.nearest.map(|nearest| nearest.task);
        Some(Found {
            task_id: match task {
                Some(TaskRef::Stored(id)) => Some(id),
                _ => None,
            },
            row: match task {
                Some(TaskRef::Row { file, row }) => {
                    let file = self.files.get((file as usize).saturating_sub(1))?;
                    Some((file.display().to_string(), row))
                }
                _ => None,
            },
            how: verdict.detail,
        })
    }
}

/// Splits the rows of a dataset into those of held-out tasks and the others.
///
/// # Errors
///
/// If the store fails.
pub async fn sides(store: &Store) -> Result<(Vec<DatasetRow>, Vec<DatasetRow>)> {
    let held_out: std::collections::HashSet<i64> = store.held_out().await?.into_iter().collect();
    let rows = store.dataset(None).await?;
    Ok(rows.into_iter().partition(|row| held_out.contains(&row.task_id)))
}
