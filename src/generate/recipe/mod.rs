//! Recipes: how to ask for tasks, with the published value of every constant.
//!
//! - [`self_instruct`]: instructions first, then the kind and the instances of each.
//! - [`alpaca`]: up to twenty complete tasks per response.
//! - [`documents`]: tasks from passages: `grounded` and `backtranslation`.
//! - [`evolve`]: rewriting a task, in some rounds of either recipe.
//! - [`turns`]: continuing a task as a conversation, in rounds of any recipe.
//! - [`file`](mod@file): reads constants from a TOML file.

pub mod alpaca;
pub mod documents;
pub mod evolve;
pub mod file;
pub mod self_instruct;
pub mod turns;

pub use alpaca::Alpaca;
pub use documents::FromDocuments;
pub use evolve::Evolve;
pub use self_instruct::SelfInstruct;
pub use turns::Turns;

use super::examples::ExampleSampling;
use super::own::OwnRecipe;
use serde::Serialize;
use std::sync::Arc;

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
    /// A recipe of the user's.
    File(#[serde(serialize_with = "shared")] Arc<OwnRecipe>),
}

impl Recipe {
    /// How to sample the tasks that a prompt shows.
    pub fn example_sampling(&self) -> ExampleSampling {
        match self {
            Recipe::SelfInstruct(recipe) => recipe.example_sampling(),
            Recipe::Alpaca(recipe) => recipe.example_sampling(),
            Recipe::Grounded(recipe) | Recipe::Backtranslation(recipe) => recipe.example_sampling(),
            Recipe::File(recipe) => recipe.sampling,
        }
    }

    /// How many tasks a round asks for; at least one.
    pub fn tasks_per_round(&self) -> u64 {
        let tasks = match self {
            Recipe::SelfInstruct(recipe) => recipe.wanted,
            Recipe::Alpaca(recipe) => recipe.last.saturating_sub(recipe.examples),
            Recipe::Grounded(recipe) => recipe.tasks,
            Recipe::Backtranslation(_) | Recipe::File(_) => 1,
        };
        tasks.max(1) as u64
    }

    /// # Errors
    ///
    /// Names the first constant that no request could be made with.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Recipe::SelfInstruct(recipe) => recipe.check(),
            Recipe::Alpaca(recipe) => recipe.check(),
            Recipe::Grounded(recipe) | Recipe::Backtranslation(recipe) => recipe.check(),
            // It was checked when it was read.
            Recipe::File(_) => Ok(()),
        }
    }

    /// Whether answers are compared with the passage that they were made from.
    pub fn is_grounded(&self) -> bool {
        match self {
            Recipe::Grounded(_) | Recipe::Backtranslation(_) => true,
            Recipe::SelfInstruct(_) | Recipe::Alpaca(_) => false,
            Recipe::File(recipe) => recipe.candidate.grounded.is_some(),
        }
    }
}

/// Writes the recipe that is shared.
fn shared<S: serde::Serializer>(recipe: &Arc<OwnRecipe>, serializer: S) -> Result<S::Ok, S::Error> {
    recipe.as_ref().serialize(serializer)
}

/// Stop strings with `number` in place of `{number}`.
fn stops(patterns: &[String], number: usize) -> Vec<String> {
    let number = number.to_string();
    patterns
        .iter()
        .map(|stop| stop.replace("{number}", &number))
        .collect()
}
