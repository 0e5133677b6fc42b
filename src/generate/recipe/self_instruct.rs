//! The constants of Self-Instruct (Wang et al. 2023, appendix A and the released code), and where
//! ewe differs. docs/recipes.md has them in a table.

use super::stops;
use crate::backend::Sampling;
use crate::generate::bounds::{at_least, within};
use crate::generate::examples::ExampleSampling;
use serde::{Deserialize, Serialize};

/// The stages of a round, as in `request.stage`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelfInstructStage {
    /// New instructions.
    Instructions,
    /// Whether an instruction is a classification task.
    Classification,
    /// Instances, input first.
    InputFirst,
    /// Instances, label first.
    OutputFirst,
}

impl SelfInstructStage {
    /// The word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            SelfInstructStage::Instructions => "instructions",
            SelfInstructStage::Classification => "classification",
            SelfInstructStage::InputFirst => "input_first",
            SelfInstructStage::OutputFirst => "output_first",
        }
    }
}

/// Settings of the Self-Instruct recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelfInstruct {
    /// In-context instructions of stage 1 (published: 8).
    pub examples: usize,
    /// How many of them are machine-made, once there are any (published: 2).
    pub machine_examples: usize,
    /// Whether instructions that were shown less often are more likely (published: no).
    pub favour_unused: bool,
    /// ROUGE-L F1 above which two instructions are not shown together; 1 allows any two (published:
    /// any).
    pub max_similarity: f64,
    /// Instructions asked for in one stage-1 response (published: up to number 16).
    pub wanted: usize,
    /// Classification tasks in the stage-2 prompt (published: 12).
    pub yes_examples: usize,
    /// Other tasks in the stage-2 prompt (published: 19).
    pub no_examples: usize,
    /// Example tasks in the input-first prompt (published: 11).
    pub input_first_examples: usize,
    /// How many of them have an input (published: 7).
    pub with_input: usize,
    /// Example tasks in the output-first prompt (published: 16).
    pub output_first_examples: usize,
    /// Temperature of stage 1 (published: 0.7).
    pub temperature: f64,
    /// Nucleus of stages 1 and 3 (published: 0.5, with which small base models repeat the
    /// examples).
    pub top_p: f64,
    /// Presence penalty of stage 1 (published: 2, for tokens of several letters; with a tokenizer
    /// that splits digits, it penalizes the numbers of the list).
    pub presence_penalty: f64,
    /// Repetition penalty of stage 1; 1 as published. It also penalizes tokens of the prompt, so a
    /// high one drives the model away from the wording of tasks.
    pub repetition_penalty: f64,
    /// Temperature of stage 2 (published: 0).
    pub classification_temperature: f64,
    /// Temperature of stage 3 (published: 0, with which small base models repeat one line forever).
    pub instance_temperature: f64,
    /// Presence penalty of stage 3 (published: 1.5; see that of stage 1).
    pub instance_presence_penalty: f64,
    /// Repetition penalty of stage 3; 1 as published.
    pub instance_repetition_penalty: f64,
    /// Token limit of stage 1 (published: 1024).
    pub instruction_tokens: usize,
    /// Token limit of stage 2 (published: 3).
    pub classification_tokens: usize,
    /// Token limit of stage 3 (published: 350, and 300 for batches with classification tasks).
    pub instance_tokens: usize,
    /// Stop strings of stage 1; `{number}` is the number after the last wanted (published: an empty
    /// line, `16` at the start of a line, and `16.` and `16 .` anywhere, which cuts "…in 2016."
    /// short).
    pub instruction_stops: Vec<String>,
    /// Stop strings of stage 2 (published: the line's end, and `Task`).
    pub classification_stops: Vec<String>,
    /// Stop strings of stage 3 (published: `Example 6` and `Task:` anywhere, which cuts answers
    /// that contain them).
    pub instance_stops: Vec<String>,
}

impl Default for SelfInstruct {
    fn default() -> Self {
        SelfInstruct {
            examples: 8,
            machine_examples: 2,
            favour_unused: true,
            max_similarity: 0.5,
            wanted: 8,
            yes_examples: 6,
            no_examples: 12,
            input_first_examples: 10,
            with_input: 4,
            output_first_examples: 7,
            temperature: 0.7,
            top_p: 0.9,
            presence_penalty: 0.0,
            repetition_penalty: 1.05,
            classification_temperature: 0.0,
            instance_temperature: 0.7,
            instance_presence_penalty: 0.0,
            instance_repetition_penalty: 1.15,
            instruction_tokens: 320,
            classification_tokens: 4,
            instance_tokens: 160,
            instruction_stops: vec!["\n\n".into(), "\n{number}.".into()],
            classification_stops: vec!["\n".into()],
            instance_stops: vec!["\nTask:".into(), "\n\n\n".into()],
        }
    }
}

impl SelfInstruct {
    /// The sampling parameters of a stage. The seed is set for each request. `shown` is the number
    /// of instructions in the prompt of stage 1.
    pub fn sampling(&self, stage: SelfInstructStage, shown: usize) -> Sampling {
        match stage {
            SelfInstructStage::Instructions => Sampling {
                max_tokens: self.instruction_tokens,
                temperature: self.temperature,
                top_p: self.top_p,
                presence_penalty: self.presence_penalty,
                repetition_penalty: self.repetition_penalty,
                stop: stops(&self.instruction_stops, shown + self.wanted + 1),
                ..Sampling::default()
            },
            SelfInstructStage::Classification => Sampling {
                max_tokens: self.classification_tokens,
                temperature: self.classification_temperature,
                stop: self.classification_stops.clone(),
                ..Sampling::default()
            },
            SelfInstructStage::InputFirst | SelfInstructStage::OutputFirst => Sampling {
                max_tokens: self.instance_tokens,
                temperature: self.instance_temperature,
                top_p: self.top_p,
                presence_penalty: self.instance_presence_penalty,
                repetition_penalty: self.instance_repetition_penalty,
                stop: self.instance_stops.clone(),
                ..Sampling::default()
            },
        }
    }

    /// How to sample the instructions of stage 1's prompt.
    pub(super) fn example_sampling(&self) -> ExampleSampling {
        ExampleSampling {
            examples: self.examples,
            machine_examples: self.machine_examples,
            favour_unused: self.favour_unused,
            max_similarity: self.max_similarity,
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.example_sampling().check()?;
        at_least("wanted", self.wanted, 1)?;
        at_least("instruction_tokens", self.instruction_tokens, 1)?;
        at_least("classification_tokens", self.classification_tokens, 1)?;
        at_least("instance_tokens", self.instance_tokens, 1)?;
        at_least("input_first_examples", self.input_first_examples, self.with_input)?;
        within("temperature", self.temperature, 0.0..=2.0)?;
        within(
            "classification_temperature",
            self.classification_temperature,
            0.0..=2.0,
        )?;
        within("instance_temperature", self.instance_temperature, 0.0..=2.0)?;
        within("top_p", self.top_p, 0.001..=1.0)?;
        within("presence_penalty", self.presence_penalty, -2.0..=2.0)?;
        within(
            "instance_presence_penalty",
            self.instance_presence_penalty,
            -2.0..=2.0,
        )?;
        within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)?;
        within(
            "instance_repetition_penalty",
            self.instance_repetition_penalty,
            0.01..=10.0,
        )
    }
}
