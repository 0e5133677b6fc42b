//! The constants of Stanford Alpaca (Taori et al. 2023, the released `generate_instruction.py` and
//! `utils.py`), and where ewe differs. docs/recipes.md has them in a table.

use super::stops;
use crate::backend::Sampling;
use crate::generate::bounds::{at_least, within};
use crate::generate::examples::ExampleSampling;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The only stage of a round, as `request.stage` names it.
pub const STAGE: &str = "tasks";

/// Settings of the Alpaca recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alpaca {
    /// In-context tasks (published: 3).
    pub examples: usize,
    /// How many of them are machine-made, once there are any (published: none, "only sampling from
    /// the seed tasks").
    pub machine_examples: usize,
    /// Whether tasks that were shown less often are more likely (published: no).
    pub favour_unused: bool,
    /// ROUGE-L F1 of instructions above which two tasks are not shown together; 1 allows any two
    /// (published: any).
    pub max_similarity: f64,
    /// The number of the last task of the list, counting the shown ones (published: 20 is asked
    /// for, but the stop string `20.` ends the response with number 19; ewe stops before 21).
    pub last: usize,
    /// Temperature (published: 1).
    pub temperature: f64,
    /// Nucleus (published: 1).
    pub top_p: f64,
    /// Presence penalty (published: 0).
    pub presence_penalty: f64,
    /// Repetition penalty; 1 as published.
    pub repetition_penalty: f64,
    /// Token limit (published: 3072, less if prompt and response exceed the context).
    pub tokens: usize,
    /// Stop strings; `{number}` is the number after the last wanted (published: `20` at the start
    /// of a line, and `20.` anywhere, which cuts "…in 2020." short). With `--structured` there are
    /// none: the schema ends the response.
    pub stops: Vec<String>,
    /// Whether a JSON Schema constrains the response, on endpoints that support it (published: no).
    #[serde(skip_deserializing)]
    pub structured: bool,
}

impl Default for Alpaca {
    fn default() -> Self {
        Alpaca {
            examples: 3,
            machine_examples: 0,
            favour_unused: true,
            max_similarity: 0.5,
            last: 20,
            temperature: 1.0,
            top_p: 1.0,
            presence_penalty: 0.0,
            repetition_penalty: 1.0,
            tokens: 3072,
            stops: vec!["\n{number}. Instruction:".into()],
            structured: false,
        }
    }
}

impl Alpaca {
    /// The sampling parameters. The seed is set for each request.
    pub fn sampling(&self) -> Sampling {
        let (stop, schema) = if self.structured {
            (Vec::new(), Some(schema()))
        } else {
            (stops(&self.stops, self.last + 1), None)
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

    /// How to sample the tasks of the prompt.
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
        at_least("last", self.last, self.examples + 1)?;
        at_least("tokens", self.tokens, 1)?;
        within("temperature", self.temperature, 0.0..=2.0)?;
        within("top_p", self.top_p, 0.001..=1.0)?;
        within("presence_penalty", self.presence_penalty, -2.0..=2.0)?;
        within("repetition_penalty", self.repetition_penalty, 0.01..=10.0)
    }
}

/// The JSON Schema of a list of tasks. The list is in an object and nothing is optional, as
/// OpenAI's strict mode requires.
pub(super) fn schema() -> serde_json::Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "properties": {"tasks": {"type": "array", "items": {
            "type": "object",
            "properties": {"instruction": text, "input": text, "output": text},
            "required": ["instruction", "input", "output"],
            "additionalProperties": false,
        }}},
        "required": ["tasks"],
        "additionalProperties": false,
    })
}
