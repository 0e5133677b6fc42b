//! What a single task must satisfy.
//!
//! A rule is a value: a name, a reason code, a line about it, its source and a function that says what it found. A
//! [`RuleSet`] is a list of rules with their parameters; the first rule of the list that objects names the reason.
//!
//! - `form`: length and beginning of an instruction.
//! - `medium`, `absence`, `act`: what a model of text can neither make, see nor do; `pretence`: that it has.
//! - `context`, `link`: texts that are not there.
//! - `merged`: a second task inside the first; `thoughts`: the model's reasoning.
//! - `answer`, `truncated`: what is wrong with an answer.
//! - `repetition`, `characters`, `language`: over every text of a task.
//! - `pii`: personal data and secrets; in no named set.
//! - `published`: the filters of Self-Instruct and Alpaca, as released.
//! - `settings`, `read`: parameters, and the TOML file that holds them.
//! - `text`: how the rules read.
//!
//! Every rule is linear in the length of its text, whatever the text is.

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

use crate::task::Instance;

/// One thing that a task must satisfy.
#[derive(Debug)]
pub struct Rule {
    /// Unique, in snake_case; what a TOML file calls it.
    pub name: &'static str,
    /// The reason code that the store keeps. Rules that look for the same fault in different places share one.
    pub reason: &'static str,
    /// A line for people: what it looks for.
    pub about: &'static str,
    /// Where it comes from.
    pub source: &'static str,
    /// The function that looks.
    pub check: Check,
}

/// What a rule looks at. The functions return what exactly they found, or nothing.
#[derive(Debug, Clone, Copy)]
pub enum Check {
    /// An instruction.
    Instruction(fn(&str, &Settings) -> Option<String>),
    /// An instance; the first argument is its instruction.
    Instance(fn(&str, &Instance, &Settings) -> Option<String>),
}

/// Why something was rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// Reason code, one word.
    pub reason: &'static str,
    /// What exactly was found.
    pub detail: String,
}

/// Reason code of an instance that repeats an earlier one of its task.
const REPEATED: &str = "repeated_instance";
/// Reason code of instances that answer the same input differently.
const CONFLICTING: &str = "conflicting_instances";

const SELF_INSTRUCT: &str = "Self-Instruct (Wang et al. 2023), released code";
const ALPACA: &str = "Stanford Alpaca (Taori et al. 2023), released code";
const BOTH: &str = "Self-Instruct and Alpaca, released code";
const EWE: &str = "ewe";
const EWE_AFTER_SELF_INSTRUCT: &str = "ewe, after Self-Instruct's rule";

/// Every rule there is, in the order in which sets apply them.
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

/// What a rule found, shortened for people.
pub(super) fn shown(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("'{}…'", &text[..end]),
        None => format!("'{text}'"),
    }
}
