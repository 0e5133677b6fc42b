//! The filters of Self-Instruct and Alpaca as in their released code, faults included, so that the
//! results of a run can be compared with theirs.
//!
//! Words are the runs between white space, as in Python. Python's white space has four control
//! characters more than Rust's.

use super::{ALPACA, BOTH, Check, Rule, SELF_INSTRUCT, Settings, shown};
use crate::task::{Instance, Reason};
use crate::text::counted;
use regex::Regex;
use std::sync::LazyLock;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[
    Rule {
        name: "published_too_short",
        reason: Reason::TooShort,
        about: "three words or fewer between white space",
        source: BOTH,
        check: Check::Instruction(too_short),
    },
    Rule {
        name: "published_too_long",
        reason: Reason::TooLong,
        about: "more than 150 words between white space",
        source: BOTH,
        check: Check::Instruction(too_long),
    },
    Rule {
        name: "self_instruct_keywords",
        reason: Reason::UnsuitableMedium,
        about: "one of Self-Instruct's words for what a language model cannot handle",
        source: SELF_INSTRUCT,
        check: Check::Instruction(self_instruct_keywords),
    },
    Rule {
        name: "alpaca_keywords",
        reason: Reason::UnsuitableMedium,
        about: "one of Alpaca's words for what a language model cannot handle",
        source: ALPACA,
        check: Check::Instruction(alpaca_keywords),
    },
    Rule {
        name: "self_instruct_write_a_program",
        reason: Reason::WriteAProgram,
        about: "begins with \"Write a program\", in any case: the original capitalises texts before it looks",
        source: SELF_INSTRUCT,
        check: Check::Instruction(self_instruct_write_a_program),
    },
    Rule {
        name: "alpaca_write_a_program",
        reason: Reason::WriteAProgram,
        about: "begins with \"Write a program\", in exactly this case",
        source: ALPACA,
        check: Check::Instruction(alpaca_write_a_program),
    },
    Rule {
        name: "published_punctuation",
        reason: Reason::LeadingPunctuation,
        about: "begins with ASCII punctuation",
        source: BOTH,
        check: Check::Instruction(punctuation),
    },
    Rule {
        name: "self_instruct_not_ascii",
        reason: Reason::NotAscii,
        about: "begins with a character that, capitalised, is not ASCII",
        source: SELF_INSTRUCT,
        check: Check::Instruction(self_instruct_not_ascii),
    },
    Rule {
        name: "alpaca_not_ascii",
        reason: Reason::NotAscii,
        about: "begins with a character that is not ASCII",
        source: ALPACA,
        check: Check::Instruction(alpaca_not_ascii),
    },
];

pub(super) const INSTANCE_RULES: &[Rule] = &[
    Rule {
        name: "self_instruct_empty_output",
        reason: Reason::EmptyOutput,
        about: "an output of white space, or none",
        source: SELF_INSTRUCT,
        check: Check::Instance(empty_output),
    },
    Rule {
        name: "self_instruct_echo",
        reason: Reason::Echo,
        about: "an output that is exactly the input",
        source: SELF_INSTRUCT,
        check: Check::Instance(echo),
    },
    Rule {
        name: "self_instruct_colon",
        reason: Reason::Incomplete,
        about: "an input or output that ends with a colon",
        source: SELF_INSTRUCT,
        check: Check::Instance(colon),
    },
];

/// Whether the set `self-instruct` has the rule.
pub(super) fn in_self_instruct(rule: &Rule) -> bool {
    is_ours(rule) && rule.source != ALPACA
}

/// Whether the set `alpaca` has the rule. Alpaca's code does not check instances.
pub(super) fn in_alpaca(rule: &Rule) -> bool {
    is_ours(rule) && rule.source != SELF_INSTRUCT
}

/// Whether a rule is one of this file.
fn is_ours(rule: &Rule) -> bool {
    let same = |ours: &Rule| ours.name == rule.name;
    INSTRUCTION_RULES.iter().any(same) || INSTANCE_RULES.iter().any(same)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn count(text: &str) -> usize {
    text.split(is_space).filter(|word| !word.is_empty()).count()
}

fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

fn too_short(instruction: &str, _: &Settings) -> Option<String> {
    let count = count(instruction);
    (count <= 3).then(|| format!("{}, at least 4 wanted", counted(count, "word")))
}

fn too_long(instruction: &str, _: &Settings) -> Option<String> {
    let count = count(instruction);
    (count > 150).then(|| format!("{}, at most 150 wanted", counted(count, "word")))
}

/// The original first replaces runs of white space by a space, so "go" and "to" may be on two
/// lines.
fn self_instruct_keywords(instruction: &str, _: &Settings) -> Option<String> {
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(?i)\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go[\s\x1c-\x1f]+to)\b")
            .unwrap()
    });
    WORDS.find(instruction).map(|found| shown(found.as_str()))
}

fn alpaca_keywords(instruction: &str, _: &Settings) -> Option<String> {
    static WORDS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?i)\b(?:images?|graphs?|pictures?|files?|maps?|draw|plot|go to|video|audio|music|flowchart|diagram)\b",
        )
        .unwrap()
    });
    WORDS.find(instruction).map(|found| shown(found.as_str()))
}

const PROGRAM: &str = "Write a program";

fn self_instruct_write_a_program(instruction: &str, _: &Settings) -> Option<String> {
    let mut words = instruction.split(is_space).filter(|word| !word.is_empty());
    let same = |word: Option<&str>, wanted: &str| word.is_some_and(|word| word.to_lowercase() == wanted);
    // The original compares the beginning of the text, so the third word may go on: "programme"
    // counts.
    (same(words.next(), "write")
        && same(words.next(), "a")
        && words
            .next()
            .is_some_and(|word| word.to_lowercase().starts_with("program")))
    .then(|| shown(PROGRAM))
}

fn alpaca_write_a_program(instruction: &str, _: &Settings) -> Option<String> {
    strip(instruction).starts_with(PROGRAM).then(|| shown(PROGRAM))
}

fn punctuation(instruction: &str, _: &Settings) -> Option<String> {
    let first = strip(instruction).chars().next()?;
    first
        .is_ascii_punctuation()
        .then(|| format!("starts with '{first}'"))
}

fn self_instruct_not_ascii(instruction: &str, _: &Settings) -> Option<String> {
    let first = strip(instruction).chars().next()?;
    let capital = first.to_uppercase().next()?;
    (!capital.is_ascii()).then(|| format!("starts with '{first}'"))
}

fn alpaca_not_ascii(instruction: &str, _: &Settings) -> Option<String> {
    let first = strip(instruction).chars().next()?;
    (!first.is_ascii()).then(|| format!("starts with '{first}'"))
}

fn empty_output(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    strip(&instance.output).is_empty().then(String::new)
}

fn echo(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    (strip(&instance.input) == strip(&instance.output)).then(|| "the output is the input".to_string())
}

fn colon(_: &str, instance: &Instance, _: &Settings) -> Option<String> {
    [("input", &instance.input), ("output", &instance.output)]
        .into_iter()
        .find(|(_, text)| strip(text).ends_with(':'))
        .map(|(name, _)| format!("the {name} ends with a colon"))
}
