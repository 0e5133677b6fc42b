//! Reads the constants of recipes from a TOML file: a table for each recipe, `[self-instruct]`,
//! `[alpaca]`, `[grounded]` and `[backtranslation]`, `[evolve]` for rounds that rewrite tasks, and
//! `[turns]` for rounds that continue them. The keys are the fields of the structs; docs/recipes.md
//! describes them.

use super::{Alpaca, Evolve, FromDocuments, SelfInstruct, Turns};
use crate::settings_file;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::path::Path;

/// The tables of a file. Constants that a table does not name have their default.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecipeFile {
    /// `[self-instruct]`
    pub self_instruct: Option<SelfInstruct>,
    /// `[alpaca]`
    pub alpaca: Option<Alpaca>,
    /// `[grounded]`
    pub grounded: Option<FromDocuments>,
    /// `[backtranslation]`
    pub backtranslation: Option<FromDocuments>,
    /// `[evolve]`: rounds that rewrite tasks.
    pub evolve: Option<Evolve>,
    /// `[turns]`: rounds that continue tasks as conversations.
    pub turns: Option<Turns>,
}

/// Reads a file of constants.
///
/// # Errors
///
/// Names the file, the line and the key. A key that the recipe does not have is an error.
pub fn read(path: &Path) -> Result<RecipeFile> {
    let name = path.display().to_string();
    let text = settings_file::read_text(path, settings_file::LONGEST_TOML)
        .with_context(|| format!("cannot read the recipe `{name}`"))?;
    let hint = "docs/recipes.md has the constants of each recipe, docs/documents.md those of documents";
    toml::from_str(&text).map_err(|error| settings_file::toml_error(&name, &text, &error, hint))
}
