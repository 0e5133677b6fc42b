//! The templates of a recipe: Jinja, with the variables that its place in the file has.
//!
//! They run within the limits of steps, memory and depth of [`crate::jinja`], and none of them can
//! tell the time: a prompt is a function of seed, round and dataset.

use super::Variables;
use crate::jinja::{self, RenderOptions};
use std::collections::BTreeSet;

/// Bytes of a rendered text, at most.
const LONGEST: usize = 1 << 20;
/// Functions of every template.
const FUNCTIONS: [&str; 6] = [
    "cycler",
    "dict",
    "joiner",
    "namespace",
    "raise_exception",
    "range",
];

/// A template.
#[derive(Debug)]
pub struct Text {
    /// Where it is, such as `prompt` of stage `questions`.
    place: String,
    template: jinja::Template,
}

impl Text {
    /// Parses a template that may use the variables `known`.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(place: String, source: &str, known: &BTreeSet<String>) -> Result<Text, String> {
        let template =
            jinja::Template::parse(source).map_err(|error| format!("{place} is no template: {error}"))?;
        let mut names: Vec<&str> = template.names().collect();
        names.sort_unstable();
        for name in names {
            if known.contains(name) || FUNCTIONS.contains(&name) {
                continue;
            }
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            let why = match name {
                "strftime_now" => "a prompt may not depend on the time".to_string(),
                "passage" => "only a recipe with `passages = true` has one".to_string(),
                _ => format!("here there are {}", known.join(", ")),
            };
            return Err(format!("{place} uses `{name}`: {why}"));
        }
        Ok(Text { place, template })
    }

    /// Returns which of the names it uses.
    pub fn uses(&self, name: &str) -> bool {
        self.template.names().any(|used| used == name)
    }

    /// Renders the template.
    ///
    /// # Errors
    ///
    /// Names the place, and says what is wrong, such as a field that an item lacks.
    pub fn render(&self, variables: &Variables) -> Result<String, String> {
        let options = RenderOptions {
            strict: true,
            now: chrono::NaiveDateTime::default(),
            variables,
        };
        let rendered = self
            .template
            .render(&options)
            .map_err(|error| format!("{}: {error}", self.place))?;
        if rendered.text.len() > LONGEST {
            return Err(format!("{} is longer than {} MiB", self.place, LONGEST >> 20));
        }
        Ok(rendered.text)
    }
}
