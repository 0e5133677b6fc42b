//! The constants of Self-Instruct (Wang et al. 2023, appendix A and the released code), and where ours differ.

use crate::backend::Sampling;

/// The stages of a round, as `request.stage` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// New instructions.
    Instructions,
    /// Whether an instruction is a classification task.
    Classification,
    /// Instances, input first.
    InputFirst,
    /// Instances, label first.
    OutputFirst,
}

impl Stage {
    /// The word in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Instructions => "instructions",
            Stage::Classification => "classification",
            Stage::InputFirst => "input_first",
            Stage::OutputFirst => "output_first",
        }
    }
}

/// Settings of the Self-Instruct recipe.
#[derive(Debug, Clone, serde::Serialize)]
pub struct SelfInstruct {
    /// In-context instructions of stage 1 (published: 8).
    pub examples: usize,
    /// How many of them are machine-made, once there are any (published: 2).
    pub machine_examples: usize,
    /// Instructions asked for in one stage-1 answer (published: up to number 16).
    pub wanted: usize,
    /// Classification tasks in the stage-2 prompt (published: 12).
    pub yes_examples: usize,
    /// Other tasks in the stage-2 prompt (published: 19).
    pub no_examples: usize,
    /// Example tasks in the input-first prompt (published: 13).
    pub input_first_examples: usize,
    /// How many of them have an input.
    pub with_input: usize,
    /// Example tasks in the output-first prompt (published: 9).
    pub output_first_examples: usize,
    /// Temperature of stage 1 (published: 0.7).
    pub temperature: f64,
    /// Nucleus of stage 1 (published: 0.5; small base models then repeat the examples).
    pub top_p: f64,
    /// Presence penalty of stage 1 (published: 2, on tokens of several characters; ours counts digits alone).
    pub presence_penalty: f64,
    /// Repetition penalty of stage 1; 1 as published. It reaches into the prompt, so a high one drives the model away
    /// from the wording of tasks.
    pub repetition_penalty: f64,
    /// Temperature of stage 3 (published: 0; small base models then repeat one line for ever).
    pub instance_temperature: f64,
    /// Repetition penalty of stage 3; 1 as published.
    pub instance_repetition_penalty: f64,
    /// Token limit of stage 1 (published: 1024).
    pub instruction_tokens: usize,
    /// Token limit of stage 3 (published: 300).
    pub instance_tokens: usize,
}

impl Default for SelfInstruct {
    fn default() -> Self {
        SelfInstruct {
            examples: 8,
            machine_examples: 2,
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
            instance_temperature: 0.7,
            instance_repetition_penalty: 1.15,
            instruction_tokens: 320,
            instance_tokens: 160,
        }
    }
}

impl SelfInstruct {
    /// How the model is sampled in a stage, for the request with this seed.
    pub fn sampling(&self, stage: Stage, seed: u64) -> Sampling {
        let base = Sampling {
            seed,
            ..Sampling::default()
        };
        match stage {
            Stage::Instructions => Sampling {
                max_tokens: self.instruction_tokens,
                temperature: self.temperature,
                top_p: self.top_p,
                presence_penalty: self.presence_penalty,
                repetition_penalty: self.repetition_penalty,
                // A stop needs its own line: "16." alone would cut "…in 2016." short.
                stop: vec!["\n\n".into(), format!("\n{}.", self.examples + self.wanted + 1)],
                ..base
            },
            Stage::Classification => Sampling {
                max_tokens: 4,
                temperature: 0.0,
                stop: vec!["\n".into()],
                ..base
            },
            Stage::InputFirst | Stage::OutputFirst => Sampling {
                max_tokens: self.instance_tokens,
                temperature: self.instance_temperature,
                top_p: self.top_p,
                repetition_penalty: self.instance_repetition_penalty,
                stop: vec!["\nTask:".into(), "\n\n\n".into()],
                ..base
            },
        }
    }
}
