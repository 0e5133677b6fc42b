//! Tasks that are kept so far, to compare later ones with.

use super::index::{Index, SimilarText};
use super::rouge::Threshold;
use super::rules::same_text;
use crate::task::{Task, TaskRef};
use sha2::{Digest, Sha256};
use std::collections::HashSet;

/// Tasks in the order in which they were kept: their instructions, who they are, and their inputs.
#[derive(Debug)]
pub struct Kept {
    /// The instructions.
    pub index: Index,
    /// The task of each text of the index.
    pub tasks: Vec<TaskRef>,
    /// Hashes of inputs, each with the position of their instruction in the index.
    inputs: HashSet<(u32, u64)>,
}

impl Kept {
    /// Starts with nothing kept.
    pub fn new(threshold: Threshold) -> Kept {
        Kept {
            index: Index::new(threshold),
            tasks: Vec::new(),
            inputs: HashSet::new(),
        }
    }

    /// About how many bytes of memory they take.
    pub fn bytes(&self) -> usize {
        /// With the control byte, and free room around it.
        const INPUT: usize = size_of::<(u32, u64)>() + 8;
        self.index.bytes() + self.tasks.capacity() * size_of::<TaskRef>() + self.inputs.capacity() * INPUT
    }

    /// Whether a near-duplicate of a kept task is in fact another instance of it: it has the words
    /// and the source of that task, and no input kept with it. Then its inputs are kept as well.
    /// `inputs` are those of its instances, by [`inputs`].
    pub fn is_another_instance(&mut self, task: TaskRef, inputs: &[u64], near: &SimilarText) -> bool {
        let has_same_words = 2 * near.score.lcs == near.score.total;
        if !has_same_words || !self.tasks[near.position].has_source_of(task) {
            return false;
        }
        let position = near.position as u32;
        let is_there = |&input: &u64| self.inputs.contains(&(position, input));
        if inputs.is_empty() || inputs.iter().any(is_there) {
            return false;
        }
        self.keep_inputs(near.position, inputs);
        true
    }

    /// Keeps the inputs of the task at `position`. A task without instances counts as one with an
    /// empty input.
    pub fn keep_inputs(&mut self, position: usize, inputs: &[u64]) {
        let position = position as u32;
        if inputs.is_empty() {
            self.inputs.insert((position, hash("")));
        }
        self.inputs.extend(inputs.iter().map(|&input| (position, input)));
    }
}

/// The inputs of a task as 64 bits of SHA-256 each, equal if a dataset treats the inputs as equal.
/// A short hash suffices, since only inputs of equal instructions are compared.
pub fn inputs(task: &Task) -> Vec<u64> {
    task.instances
        .iter()
        .map(|instance| hash(&instance.input))
        .collect()
}

fn hash(input: &str) -> u64 {
    let hash = Sha256::digest(same_text(input));
    u64::from_le_bytes(hash[..8].try_into().expect("a hash is longer"))
}
