//! Recipes: how to ask for tasks, with the published value of every constant.
//!
//! - [`self_instruct`]: instructions first, then the kind and the instances of each.
//! - [`alpaca`]: up to twenty complete tasks per response.
//! - [`documents`]: tasks from passages: `grounded` and `backtranslation`.
//! - [`evolve`]: rewriting a task, in some rounds of either recipe.
//! - [`file`](mod@file): reads constants from a TOML file.

pub mod alpaca;
pub mod documents;
pub mod evolve;
pub mod file;
pub mod self_instruct;

pub use alpaca::Alpaca;
pub use documents::FromDocuments;
pub use evolve::Evolve;
pub use self_instruct::SelfInstruct;

use super::examples::ExampleSampling;
use serde::Serialize;

/// How to ask for tasks.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Recipe {
    /// Wang et al. 2023.
    SelfInstruct(SelfInstruct),
    /// Taori et al. 2023.
    Alpaca(Alpaca),
    /// Tasks that a passage of a document answers.
    Grounded(FromDocuments),
    /// Köksal et al. 2023, Li et al. 2023: a passage is the answer.
    Backtranslation(FromDocuments),
}

impl Recipe {
    /// How to sample the tasks that a prompt shows.
    pub fn example_sampling(&self) -> ExampleSampling {
        match self {
            Recipe::SelfInstruct(recipe) => recipe.example_sampling(),
            Recipe::Alpaca(recipe) => recipe.example_sampling(),
            Recipe::Grounded(recipe) | Recipe::Backtranslation(recipe) => recipe.example_sampling(),
        }
    }

    /// # Errors
    ///
    /// Names the first constant that no request could be made with.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Recipe::SelfInstruct(recipe) => recipe.check(),
            Recipe::Alpaca(recipe) => recipe.check(),
            Recipe::Grounded(recipe) | Recipe::Backtranslation(recipe) => recipe.check(),
        }
    }

    /// The constants, if it makes tasks from documents.
    pub fn from_documents(&self) -> Option<&FromDocuments> {
        match self {
            Recipe::Grounded(recipe) | Recipe::Backtranslation(recipe) => Some(recipe),
            Recipe::SelfInstruct(_) | Recipe::Alpaca(_) => None,
        }
    }
}

/// Stop strings with `number` in place of `{number}`.
fn stops(patterns: &[String], number: usize) -> Vec<String> {
    let number = number.to_string();
    patterns
        .iter()
        .map(|stop| stop.replace("{number}", &number))
        .collect()
}
