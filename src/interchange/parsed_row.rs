//! One row of a file as a task, with everything else that the row has.

use std::sync::Arc;

use super::extra::Extra;
use crate::task::{Task, Turn};

/// Where a row was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceRow {
    /// The file as it was named; `-` is standard input.
    pub file: Arc<str>,
    /// The number of the row, from 1. Rows that cannot be read are counted, too.
    pub row: u64,
}

/// A row of a file, parsed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParsedRow {
    /// The task. It has no instance if the row has no answer and needs none.
    pub task: Task,
    /// The system message.
    pub system: Option<String>,
    /// The row's own id.
    pub source_id: Option<String>,
    /// Rows of one file with the same group and the same instruction are instances of one task.
    pub group: Option<String>,
    /// All other fields.
    pub extra: Extra,
    /// For each instance, the messages after its answer; without some at its end, or empty, where
    /// there are none.
    pub turns: Vec<Vec<Turn>>,
    /// For each instance, its own other fields, if the row has several conversations.
    pub instance_extras: Vec<Extra>,
    /// Where it was read.
    pub place: SourceRow,
    /// Whether prompt and completion are used as they are, without a chat template.
    pub is_finished: bool,
    /// Whether an answer is needed and one of the row's answers is blank.
    pub answer_is_empty: bool,
}

impl ParsedRow {
    /// Returns the messages after the answer of an instance.
    pub fn turns(&self, instance: usize) -> &[Turn] {
        self.turns.get(instance).map_or(&[], Vec::as_slice)
    }

    /// Returns system message and instruction as one text, for formats with one field for both.
    pub fn instruction_under_system(&self) -> String {
        match &self.system {
            Some(system) => format!("{system}\n\n{}", self.task.instruction),
            None => self.task.instruction.clone(),
        }
    }

    /// Returns the whole question of an instance as one text: system message, instruction and
    /// input, with an empty line between them.
    pub fn question(&self, instance: usize) -> String {
        let instruction = self.instruction_under_system();
        match self.task.instances.get(instance) {
            Some(instance) if !instance.input.is_empty() => format!("{instruction}\n\n{}", instance.input),
            _ => instruction,
        }
    }
}
