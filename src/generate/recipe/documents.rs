//! The constants of the recipes that make tasks from documents: `grounded` (tasks that a passage
//! answers) and `backtranslation` (Köksal et al. 2023, arXiv 2304.08460; Li et al. 2023, arXiv
//! 2308.06259: a passage is the answer). docs/documents.md has them in a table.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::backend::Sampling;
use crate::generate::bounds::{at_least, within};
use crate::generate::examples::ExampleSampling;

/// Tasks that are sampled for a prompt, of which those that fit are shown.
const SAMPLED: usize = 12;

/// What both recipes share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FromDocuments {
    /// Seeds that a few-shot prompt shows.
    pub examples: usize,
    /// Temperature.
    pub temperature: f64,
    /// Nucleus.
    pub top_p: f64,
    /// Presence penalty.
    pub presence_penalty: f64,
    /// Repetition penalty; 1 is none.
    pub repetition_penalty: f64,
    /// Token limit.
    pub tokens: usize,
    /// Whether the prompt asks for JSON, which a schema constrains, instead of showing examples.
    #[serde(skip_deserializing)]
    pub structured: bool,
    /// Tasks that one structured response has, of kinds of which a passage has several.
    pub tasks: usize,
    /// The share of rounds whose task is not answered by its text.
    #[serde(skip_deserializing)]
    pub absent: f64,
    /// The share of rounds that compare two passages.
    pub comparison: f64,
    /// The least share of the answer's content words that its passage has.
    #[serde(skip_deserializing)]
    pub support: f64,
    /// The most words in a row that an answer may have from its passage.
    #[serde(skip_deserializing)]
    pub copied: usize,
    /// The fewest words of a passage that is asked about, and of an answer that is one.
    pub fewest_words: usize,
    /// The most words of an answer that is a passage; a longer passage is cut.
    pub most_words: usize,
}

impl Default for FromDocuments {
    fn default() -> Self {
        FromDocuments {
            examples: 3,
            temperature: 0.7,
            top_p: 0.9,
            presence_penalty: 0.0,
            repetition_penalty: 1.0,
            tokens: 400,
            structured: false,
            tasks: 3,
            absent: 0.1,
            comparison: 0.1,
            support: 0.6,
            copied: 25,
            fewest_words: 15,
            most_words: 250,
        }
    }
}

/// What a response is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Tasks with their answers.
    Tasks,
    /// An instruction.
    Instruction,
}

impl FromDocuments {
    /// The sampling parameters. The seed is set for each request.
    pub fn sampling(&self, wanted: Wanted) -> Sampling {
        let (stop, schema) = match (self.structured, wanted) {
            (true, Wanted::Tasks) => (Vec::new(), Some(super::alpaca::schema())),
            (true, Wanted::Instruction) => (Vec::new(), Some(schema())),
            (false, Wanted::Tasks) => (vec!["\n###".into(), "\nText:".into(), "\n\"\"\"".into()], None),
            (false, Wanted::Instruction) => (vec!["\n".into()], None),
        };
        Sampling {
            max_tokens: self.tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            presence_penalty: self.presence_penalty,
            repetition_penalty: self.repetition_penalty,
            stop,
            schema,
            ..Sampling::default()
        }
    }

    /// How to sample the tasks of which some are shown: seeds only.
    pub(super) fn example_sampling(&self) -> ExampleSampling {
        ExampleSampling {
            examples: SAMPLED,
            machine_examples: 0,
            favour_unused: true,
            max_similarity: 1.0,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        at_least("tokens", self.tokens, 1)?;
        at_least("tasks", self.tasks, 1)?;
        at_least("fewest_words", self.fewest_words, 1)?;
        at_least("most_words", self.most_words, self.fewest_words)?;
        within("temperature", self.temperature, 0.0..=2.0)?;
        within("top_p", self.top_p, 0.001..=1.0)?;
        within("presence_penalty", self.presence_penalty, -2.0..=2.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?;
        within("absent", self.absent, 0.0..=1.0)?;
        within("support", self.support, 0.0..=1.0)?;
        within("comparison", self.comparison, 0.0..=1.0)
    }
}

/// The JSON Schema of an instruction.
fn schema() -> serde_json::Value {
    json!({
        "type": "object",
        "properties": {"instruction": {"type": "string"}},
        "required": ["instruction"],
        "additionalProperties": false,
    })
}
