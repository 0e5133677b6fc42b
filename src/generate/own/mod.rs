//! Recipes that users write: a TOML file with stages, whose prompts are Jinja templates.
//! docs/recipes.md describes the file.
//!
//! - [`form`]: the file, read and checked.
//! - [`template`]: its templates, with the variables that each may use.
//! - [`parser`]: answers as [items](item) with fields; [`objects`](mod@objects): those in JSON.
//! - [`built_in`]: built-in recipes written as such files.
//!
//! A round asks the first stage once, and each later stage once for every item of the one before.
//! So an item carries the fields of all stages up to its own, and at the end it is an instance.

pub mod built_in;
pub mod form;
pub mod item;
pub mod objects;
pub mod parser;
pub mod template;

use super::examples::ExampleSampling;
use super::round::RoundRng;
use crate::backend::{Question, Sampling};
use parser::Parser;
use serde::Serialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;
use template::Text;

/// Values of templates by name.
pub type Variables = Map<String, Value>;

/// Stages of a recipe, at most: each asks a request for every item of the one before.
pub const MOST_STAGES: usize = 8;
/// Items that a round follows, at most.
pub const MOST_ITEMS: usize = 256;

/// A recipe of a file.
#[derive(Debug)]
pub struct OwnRecipe {
    /// Its name in the dataset.
    pub name: String,
    /// The SHA-256 of the file.
    pub sha256: String,
    /// The file's text.
    pub text: String,
    /// How tasks are sampled for its prompts.
    pub sampling: ExampleSampling,
    /// Whether each round has a passage of a document.
    pub passages: bool,
    /// Words of which each round gets one, by the variable's name.
    pub vary: Vec<(String, Vec<String>)>,
    /// What is asked, in order.
    pub stages: Vec<Stage>,
    /// What becomes a candidate.
    pub candidate: CandidateForm,
}

/// A stage: a prompt, and how its answer is read.
#[derive(Debug)]
pub struct Stage {
    /// Its name, which later templates use. It lives as long as the process, as those of built-in
    /// recipes do; a process reads one recipe.
    pub name: &'static str,
    /// What is asked.
    pub prompt: StagePrompt,
    /// The sampling parameters; the seed is set for each request.
    pub sampling: Sampling,
    /// How the answer is read.
    pub parser: Parser,
    /// An answer as the model may give it, for `ewe recipe check`.
    pub sample: Option<String>,
}

/// The prompt of a stage.
#[derive(Debug)]
pub enum StagePrompt {
    /// A text to continue.
    Text(Text),
    /// A message, perhaps with a system message before it.
    Messages {
        /// The system message.
        system: Option<Text>,
        /// The user's message.
        user: Text,
    },
}

/// A rendered prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedPrompt {
    /// A text to continue.
    Text(String),
    /// Messages.
    Messages(Question),
}

/// Which fields become a candidate.
#[derive(Debug)]
pub struct CandidateForm {
    /// The instruction.
    pub instruction: Text,
    /// The input; often empty.
    pub input: Text,
    /// The output.
    pub output: Text,
    /// The last stage whose fields the instruction needs. Once that is answered, the rules see the
    /// instruction, and later stages ask only about those that they accept.
    pub known_after: usize,
    /// Limits of a comparison with the passage; `None` for none.
    pub grounded: Option<Grounded>,
}

/// How answers are compared with the passage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grounded {
    /// The least share of the answer's content words that its passage has.
    pub support: f64,
    /// The most words in a row that an answer may have from its passage.
    pub copied: usize,
}

impl StagePrompt {
    /// Renders the prompt.
    ///
    /// # Errors
    ///
    /// Names the key, and what is wrong with its template.
    pub fn render(&self, variables: &Variables) -> Result<RenderedPrompt, String> {
        Ok(match self {
            StagePrompt::Text(text) => RenderedPrompt::Text(text.render(variables)?),
            StagePrompt::Messages { system, user } => RenderedPrompt::Messages(Question {
                system: match system {
                    Some(system) => system.render(variables)?,
                    None => String::new(),
                },
                ..Question::new(user.render(variables)?)
            }),
        })
    }
}

impl OwnRecipe {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Names the file, the line and the key.
    pub fn read(path: &Path) -> anyhow::Result<Arc<OwnRecipe>> {
        form::read(path).map(Arc::new)
    }

    /// Makes the variables of a round: the tasks that are shown, its topic, its passage and a word
    /// of each list.
    pub fn round_variables(
        &self,
        examples: Vec<Value>,
        topic: Option<&str>,
        passage: Option<Value>,
        (seed, place): (u64, u64),
    ) -> Variables {
        let mut variables = Variables::new();
        variables.insert("examples".into(), Value::Array(examples));
        variables.insert("topic".into(), topic.map_or(Value::Null, Value::from));
        if let Some(passage) = passage {
            variables.insert("passage".into(), passage);
        }
        let mut rng = RoundRng::for_own(seed, place);
        for (name, words) in &self.vary {
            let word = &words[rng.below(words.len() as u64) as usize];
            variables.insert(name.clone(), word.as_str().into());
        }
        variables
    }
}

/// The settings of a run have the whole file, so that a dataset says how it was made.
impl Serialize for OwnRecipe {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = [
            ("recipe", &self.name),
            ("sha256", &self.sha256),
            ("text", &self.text),
        ];
        serializer.collect_map(fields)
    }
}

impl PartialEq for OwnRecipe {
    fn eq(&self, other: &OwnRecipe) -> bool {
        self.sha256 == other.sha256 && self.name == other.name
    }
}
