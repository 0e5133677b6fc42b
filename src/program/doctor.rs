//! `ewe doctor`: what a bug report needs, also where half of it is missing.

use std::process::Stdio;

use anyhow::Result;
use serde_json::{Map, Value};

use super::libtorch::{self, Missing, Surroundings};
use super::{about, machine, torch_half, variables};
use crate::store;

/// What was found: names and values, in the order in which they are printed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Facts of the program and the machine.
    pub facts: Vec<(String, String)>,
    /// Variables of the environment, without their secrets.
    pub variables: Vec<(String, String)>,
}

/// Looks at the program, at `ewe-torch`, which is started for its part, and at the machine.
///
/// # Errors
///
/// If SQLite, which is part of the program, does not answer.
pub async fn examine() -> Result<Findings> {
    let mut facts: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| facts.push((name.to_owned(), value));
    add("ewe", about::VERSION.to_owned());
    add("commit", about::COMMIT.to_owned());
    add(
        "built by",
        format!("{}, {}, {}", about::COMPILER, about::TARGET, about::PROFILE),
    );
    let program =
        std::env::current_exe().map_or_else(|_| "unknown".to_owned(), |path| path.display().to_string());
    add("program", program);
    add("SQLite", store::file::check::sqlite_version().await?);
    for (name, value) in torch_facts() {
        add(&name, value);
    }
    for (name, value) in machine::facts() {
        add(name, value);
    }
    Ok(Findings {
        facts,
        variables: variables::shown(std::env::vars_os()),
    })
}

/// What there is of the tensor half: the program, libtorch, and what the program itself says.
fn torch_facts() -> Vec<(String, String)> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let program = torch_half::beside().or_else(torch_half::on_path);
    let mut facts = vec![fact(
        "ewe-torch",
        match &program {
            Some(path) => path.display().to_string(),
            None => "not installed: commands that compute with a model do not work".to_owned(),
        },
    )];
    let libtorch = match libtorch::search(&Surroundings::of_process()) {
        Ok(libtorch) => libtorch,
        Err(missing) => {
            facts.push(fact("libtorch", on_one_line(&missing)));
            return facts;
        }
    };
    facts.push(fact(
        "libtorch",
        format!(
            "{}, in {} (from {})",
            libtorch.build(),
            libtorch.lib().display(),
            libtorch.place
        ),
    ));
    if program.is_some() {
        match asked(&libtorch) {
            Ok(more) => facts.extend(more),
            Err(why) => facts.push(fact("models", format!("`ewe-torch` does not answer: {why}"))),
        }
    }
    facts
}

/// What was not found, with the hint behind it.
fn on_one_line(missing: &Missing) -> String {
    missing.to_string().replace("\nhint: ", "; hint: ")
}

/// What `ewe-torch doctor` says, or why it says nothing, such as the loader's message.
fn asked(libtorch: &libtorch::Libtorch) -> Result<Vec<(String, String)>, String> {
    let ran = torch_half::command(libtorch)
        .arg("doctor")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let last_line = || {
        let said = String::from_utf8_lossy(&ran.stderr);
        said.lines().next_back().map(str::to_owned)
    };
    if !ran.status.success() {
        return Err(last_line().unwrap_or_else(|| ran.status.to_string()));
    }
    let object: Map<String, Value> =
        serde_json::from_slice(&ran.stdout).map_err(|error| format!("it answers otherwise: {error}"))?;
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    Ok(object
        .into_iter()
        .map(|(name, value)| (name, text(value)))
        .collect())
}

impl Findings {
    /// The findings as text, a line for each.
    pub fn text(&self) -> String {
        let all = self.facts.iter().chain(&self.variables);
        let width = all.map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.facts {
            text += &format!("{name:<width$}  {value}\n");
        }
        if !self.variables.is_empty() {
            text += "\nenvironment; secrets are not shown\n";
            for (name, value) in &self.variables {
                text += &format!("{name:<width$}  {value}\n");
            }
        }
        text
    }

    /// The findings as JSON: facts by name, and variables by name below `environment`.
    pub fn json(&self) -> Value {
        let object = |pairs: &[(String, String)]| -> Map<String, Value> {
            pairs
                .iter()
                .map(|(name, value)| (name.clone(), Value::String(value.clone())))
                .collect()
        };
        let mut all = object(&self.facts);
        all.insert("environment".to_owned(), Value::Object(object(&self.variables)));
        Value::Object(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn values_are_aligned_and_variables_apart() {
        let findings = Findings {
            facts: vec![pair("ewe", "0.1.0"), pair("free disk here", "1.0 GB")],
            variables: vec![pair("HF_TOKEN", "set")],
        };
        assert_eq!(
            findings.text(),
            "ewe             0.1.0\nfree disk here  1.0 GB\n\nenvironment; secrets are not shown\nHF_TOKEN        set\n"
        );
        assert_eq!(
            findings.json().to_string(),
            r#"{"ewe":"0.1.0","free disk here":"1.0 GB","environment":{"HF_TOKEN":"set"}}"#
        );
    }
}
