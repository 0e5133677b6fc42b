//! Checks the length and the beginning of an instruction.

use super::text::{count, pattern};
use super::{Check, EWE, EWE_AFTER_SELF_INSTRUCT, Rule, Settings, shown};
use crate::task::Reason;
use crate::text::counted;
use regex::Regex;
use std::sync::LazyLock;

pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "empty",
        reason: Reason::Empty,
        about: "an instruction without a letter or digit",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instruction(empty),
    },
    Rule {
        name: "too_short",
        reason: Reason::TooShort,
        about: "fewer words than `min_words`; a character of a script without spaces counts as a word",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instruction(too_short),
    },
    Rule {
        name: "too_long",
        reason: Reason::TooLong,
        about: "more words than `max_words`; two characters of a script without spaces count as a word",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instruction(too_long),
    },
    Rule {
        name: "leading_punctuation",
        reason: Reason::LeadingPunctuation,
        about: "begins with a sign that opens nothing: a bullet, a full stop, a closing bracket",
        source: EWE_AFTER_SELF_INSTRUCT,
        check: Check::Instruction(leading_punctuation),
    },
    Rule {
        name: "list_item",
        reason: Reason::ListItem,
        about: "begins as an option of a list, such as `B.` or `(c)`",
        source: EWE,
        check: Check::Instruction(list_item),
    },
];

fn empty(instruction: &str, _: &Settings) -> Option<String> {
    (!instruction.chars().any(char::is_alphanumeric)).then(String::new)
}

fn too_short(instruction: &str, settings: &Settings) -> Option<String> {
    let (spaced, unspaced) = count(instruction);
    let count = spaced + unspaced;
    let least = settings.min_words;
    (count < least).then(|| format!("{}, at least {least} wanted", counted(count, "word")))
}

fn too_long(instruction: &str, settings: &Settings) -> Option<String> {
    let (spaced, unspaced) = count(instruction);
    let count = spaced + unspaced / 2;
    let most = settings.max_words;
    (count > most).then(|| format!("{}, at most {most} wanted", counted(count, "word")))
}

fn leading_punctuation(instruction: &str, _: &Settings) -> Option<String> {
    let text = instruction.trim_start();
    let first = text.chars().next()?;
    // Quotation marks, brackets, inverted Spanish marks, currency signs, a backtick for a name in
    // code.
    let opens = "\"'“‘«‹„‚「『《〈【（([{¿¡$€£¥₹`".contains(first) && !text.starts_with("```");
    (!first.is_alphanumeric() && !opens).then(|| format!("starts with '{first}'"))
}

pattern!(
    ITEM,
    // "E." before a lower-case word begins a species' name, "J." before another initial a person's.
    r"^\s*(?:\(?(?:[A-Za-z]|[ivx]{2,4})\)\s+\S|[A-Z]\.\s+[\p{Lu}\d][^.])"
);

/// Rejects `B. It is snowing`: an option that the model made up, not a task.
fn list_item(instruction: &str, _: &Settings) -> Option<String> {
    ITEM.find(instruction).map(|found| shown(found.as_str()))
}
