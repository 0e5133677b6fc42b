//! Constants of recipes from a TOML file: a table for each recipe, `[self-instruct]` and `[alpaca]`, and one for
//! rounds that rewrite tasks, `[evolve]`. Their keys are the fields of the structs; docs/recipes.md describes them.

use super::{Alpaca, Evolve, SelfInstruct};
use crate::settings_file;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// What a file says.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// Constants of Self-Instruct; those that are not named have their default.
    pub self_instruct: Option<SelfInstruct>,
    /// Constants of Alpaca, likewise.
    pub alpaca: Option<Alpaca>,
    /// Constants of rounds that rewrite tasks, likewise.
    pub evolve: Option<Evolve>,
}

/// Reads a file of constants.
///
/// # Errors
///
/// Names the file, and the line where something is not what it should be; a key that no recipe has is an error.
pub fn read(path: &Path) -> Result<File> {
    let name = path.display().to_string();
    let text = settings_file::read_text(path, settings_file::LONGEST_TOML)
        .with_context(|| format!("cannot read the recipe `{name}`"))?;
    let hint = "docs/recipes.md has the constants of each recipe";
    toml::from_str(&text).map_err(|error| settings_file::toml_error(&name, &text, &error, hint))
}
