//! The constants of Evol-Instruct's rounds (Xu et al. 2023, arXiv 2304.12244, and the released
//! `openai_access.py`), and where ewe differs. docs/recipes.md has them in a table.

use super::SelfInstruct;
use crate::backend::Sampling;
use crate::generate::bounds::{at_least, within};
use serde::{Deserialize, Serialize};

/// The stages of a round before those it shares with Self-Instruct, as in `request.stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EvolveStage {
    /// Rewriting a task.
    Evolution,
    /// Asking whether the rewritten task is the same as its parent.
    Equality,
}

impl EvolveStage {
    /// The word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            EvolveStage::Evolution => "evolution",
            EvolveStage::Equality => "equality",
        }
    }
}

/// Settings of rounds that rewrite tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Evolve {
    /// The share of rounds that rewrite a task (published: all).
    #[serde(skip_deserializing)]
    pub part: f64,
    /// The share of them that rewrite in breadth (published: one of six prompts). The operators in
    /// depth share the rest evenly.
    pub breadth: f64,
    /// Ancestors with which a task is not rewritten any more (published: 4).
    pub generations: u64,
    /// Temperature (published: 1, with which small base models write at random).
    pub temperature: f64,
    /// Nucleus (published: 0.95).
    pub top_p: f64,
    /// Repetition penalty; 1 as published.
    pub repetition_penalty: f64,
    /// Token limit (published: 2048; ewe asks for one line).
    pub tokens: usize,
    /// Stop strings (published: none; a base model would continue with the next example).
    pub stops: Vec<String>,
    /// Whether to ask the model if the two tasks are the same (published: yes). A model that cannot
    /// tell rejects tasks at random. Their words are compared in any case.
    pub equality: bool,
    /// Temperature of that question.
    pub equality_temperature: f64,
    /// Token limit of its answer.
    pub equality_tokens: usize,
    /// Stop strings of its answer.
    pub equality_stops: Vec<String>,
    /// Token limit of an instance (published: 2048), instead of `instance_tokens`: harder tasks
    /// have longer answers.
    pub answer_tokens: usize,
    /// An answer with fewer words that begins with "sorry" is a refusal (published: 80).
    pub refusal_words: usize,
    /// How to ask for the kind and the instances of a rewritten task: stages 2 and 3 of
    /// Self-Instruct.
    #[serde(skip_deserializing)]
    pub stages: SelfInstruct,
}

impl Default for Evolve {
    fn default() -> Self {
        Evolve {
            part: 0.0,
            breadth: 0.17,
            generations: 4,
            temperature: 0.7,
            top_p: 0.9,
            repetition_penalty: 1.0,
            tokens: 256,
            stops: vec![
                "\n\n".into(),
                "\nTask:".into(),
                "\nHarder task:".into(),
                "\nRarer task:".into(),
            ],
            equality: true,
            equality_temperature: 0.0,
            equality_tokens: 4,
            equality_stops: vec!["\n".into()],
            answer_tokens: 400,
            refusal_words: 80,
            stages: SelfInstruct::default(),
        }
    }
}

impl Evolve {
    /// Completes these constants for a run: `part` is the share of rounds that rewrite, `stages`
    /// the constants of the stages shared with Self-Instruct.
    pub fn with(self, part: f64, stages: SelfInstruct) -> Evolve {
        let stages = SelfInstruct {
            instance_tokens: self.answer_tokens,
            ..stages
        };
        Evolve { part, stages, ..self }
    }

    /// The sampling parameters of a stage. The seed is set for each request.
    pub fn sampling(&self, stage: EvolveStage) -> Sampling {
        match stage {
            EvolveStage::Evolution => Sampling {
                max_tokens: self.tokens,
                temperature: self.temperature,
                top_p: self.top_p,
                repetition_penalty: self.repetition_penalty,
                stop: self.stops.clone(),
                ..Sampling::default()
            },
            EvolveStage::Equality => Sampling {
                max_tokens: self.equality_tokens,
                temperature: self.equality_temperature,
                stop: self.equality_stops.clone(),
                ..Sampling::default()
            },
        }
    }

    /// # Errors
    ///
    /// Names the first constant that no request could be made with.
    pub fn check(&self) -> Result<(), String> {
        within("breadth", self.breadth, 0.0..=1.0)?;
        at_least("tokens", self.tokens, 1)?;
        at_least("equality_tokens", self.equality_tokens, 1)?;
        at_least("answer_tokens", self.answer_tokens, 1)?;
        within("temperature", self.temperature, 0.0..=2.0)?;
        within("equality_temperature", self.equality_temperature, 0.0..=2.0)?;
        within("top_p", self.top_p, 0.001..=1.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?;
        self.stages.check()
    }
}
