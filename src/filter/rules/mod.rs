//! Rules: checks of a single task.
//!
//! A rule is a value: a name, a reason, a description, a source, and a function that returns what
//! it found. A [`RuleSet`] is a list of rules with their parameters. The first rule that objects
//! sets the reason.
//!
//! - `form`: length and beginning of an instruction.
//! - `medium`, `absence`, `act`: instructions to make, see or do something that a language model
//!   cannot; `pretence`: answers that claim it.
//! - `context`, `link`: missing texts.
//! - `merged`: a second task inside the first; `thoughts`: the model's reasoning.
//! - `answer`, `truncated`: defects of an answer.
//! - `repetition`, `characters`, `language`: checks of every text of a task.
//! - `pii`: personal data and secrets; in no named set.
//! - `published`: the filters of Self-Instruct and Alpaca, as released.
//! - `set`: sets of rules; `settings`, `read`: their parameters, and TOML files.
//! - `text`: words, sentences and quotations, as the rules see them.
//!
//! Every rule takes time linear in the length of its text, for any text.

mod absence;
mod act;
mod answer;
mod characters;
mod context;
mod form;
mod language;
mod link;
mod medium;
mod merged;
mod pii;
mod pretence;
mod published;
mod read;
mod repetition;
mod set;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod thoughts;
mod truncated;

pub use set::{RuleSet, same_text};
pub use settings::{Settings, Together};

use crate::task::{Instance, Reason};

/// A check of one task.
#[derive(Debug)]
pub struct Rule {
    /// The name in TOML files: unique, in snake_case.
    pub name: &'static str,
    /// The reason of its rejections. Rules that look for one fault in several places share a
    /// reason.
    pub reason: Reason,
    /// What it looks for, in a line of docs/rules.md.
    pub about: &'static str,
    /// The paper or code that it comes from.
    pub source: &'static str,
    /// The function that looks.
    pub check: Check,
}

/// The text that a rule looks at. The functions return what exactly they found, or `None`.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// An instruction.
    Instruction(fn(&str, &Settings) -> Option<String>),
    /// An instance; the first argument is its instruction.
    Instance(fn(&str, &Instance, &Settings) -> Option<String>),
}

const SELF_INSTRUCT: &str = "Self-Instruct (Wang et al. 2023), released code";
const ALPACA: &str = "Stanford Alpaca (Taori et al. 2023), released code";
const BOTH: &str = "Self-Instruct and Alpaca, released code";
const EWE: &str = "ewe";
const EWE_AFTER_SELF_INSTRUCT: &str = "ewe, after Self-Instruct's rule";

/// All rules, in the order in which sets apply them.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [
        published::INSTRUCTION_RULES,
        form::RULES,
        characters::INSTRUCTION_RULES,
        merged::INSTRUCTION_RULES,
        thoughts::INSTRUCTION_RULES,
        repetition::INSTRUCTION_RULES,
        medium::RULES,
        absence::RULES,
        act::RULES,
        language::INSTRUCTION_RULES,
        published::INSTANCE_RULES,
        answer::EMPTY_RULES,
        characters::INSTANCE_RULES,
        merged::INSTANCE_RULES,
        thoughts::INSTANCE_RULES,
        context::RULES,
        link::RULES,
        answer::RULES,
        pretence::RULES,
        repetition::INSTANCE_RULES,
        truncated::RULES,
        language::INSTANCE_RULES,
        pii::RULES,
    ]
    .into_iter()
    .flatten()
}

/// Quotes a text that a rule found, at most 60 characters of it.
pub(super) fn shown(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}
