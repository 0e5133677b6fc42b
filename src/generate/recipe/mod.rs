//! The recipes: what a round asks for, with every constant beside the published one.
//!
//! - [`self_instruct`]: instructions first, then for each its kind and its instances.
//! - [`alpaca`]: complete tasks, up to twenty an answer.
//! - [`evolve`]: a task made of one that is there, in some rounds of either recipe.
//! - [`file`](mod@file): constants from a TOML file.

pub mod alpaca;
pub mod evolve;
pub mod file;
pub mod self_instruct;

pub use alpaca::Alpaca;
pub use evolve::Evolve;
pub use self_instruct::SelfInstruct;

use super::examples::Choice;
use serde::Serialize;

/// How tasks are asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "name", rename_all = "kebab-case")]
pub enum Recipe {
    /// Wang et al. 2023.
    SelfInstruct(SelfInstruct),
    /// Taori et al. 2023.
    Alpaca(Alpaca),
}

impl Recipe {
    /// How the tasks that a prompt shows are chosen.
    pub fn choice(&self) -> Choice {
        match self {
            Recipe::SelfInstruct(recipe) => recipe.choice(),
            Recipe::Alpaca(recipe) => recipe.choice(),
        }
    }

    /// # Errors
    ///
    /// Names the first constant that no request could be made with.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Recipe::SelfInstruct(recipe) => recipe.check(),
            Recipe::Alpaca(recipe) => recipe.check(),
        }
    }
}

/// Stop strings with the number after the last wanted in place of `{number}`.
fn stops(patterns: &[String], number: usize) -> Vec<String> {
    let number = number.to_string();
    patterns
        .iter()
        .map(|stop| stop.replace("{number}", &number))
        .collect()
}

/// `name` must lie in `range`; what is said otherwise.
pub(super) fn within(name: &str, value: f64, range: std::ops::RangeInclusive<f64>) -> Result<(), String> {
    if range.contains(&value) {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is {value}: want a number from {} to {}",
            range.start(),
            range.end()
        ))
    }
}

/// `name` must be at least `least`; what is said otherwise.
fn at_least(name: &str, value: usize, least: usize) -> Result<(), String> {
    if value >= least {
        Ok(())
    } else {
        Err(format!("`{name}` is {value}: want at least {least}"))
    }
}
