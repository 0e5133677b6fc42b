//! Constants of recipes from a TOML file: a table for each recipe, `[self-instruct]` and `[alpaca]`, and one for
//! rounds that rewrite tasks, `[evolve]`. Their keys are the fields of the structs; docs/recipes.md describes them.

use super::{Alpaca, Evolve, SelfInstruct};
use anyhow::{Context, Result, anyhow};
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
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the recipe `{name}`"))?;
    toml::from_str(&text).map_err(|error| {
        let place = error
            .span()
            .map_or(0, |span| text.floor_char_boundary(span.start));
        let line = text[..place].matches('\n').count();
        let near = text.lines().nth(line).unwrap_or_default().trim();
        let message = error.message().replace('\n', "; ");
        anyhow!(
            "{name}:{}: {message}, in `{near}`\nhint: docs/recipes.md has the constants of each recipe",
            line + 1
        )
    })
}
