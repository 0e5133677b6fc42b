//! A second task inside the first: a model that goes on with the list or the form of its prompt.

use super::text::{pattern, tokens};
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::Instance;
use regex::Regex;
use std::sync::LazyLock;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[
    Rule {
        name: "numbered_instruction",
        reason: "merged_task",
        about: "an instruction that begins with the number it had in a list",
        source: EWE,
        check: Check::Instruction(numbered_instruction),
    },
    Rule {
        name: "merged_instruction",
        reason: "merged_task",
        about: "lines of a prompt inside an instruction: `Input:`, `###`, `12. Write …` out of order",
        source: EWE,
        check: Check::Instruction(merged_instruction),
    },
];

pub(super) const INSTANCE_RULES: &[Rule] = &[Rule {
    name: "merged_instance",
    reason: "merged_task",
    about: "lines of a prompt inside an input or output: `Instruction:`, `Task 12:`, `12. Write …` out of order",
    source: EWE,
    check: Check::Instance(merged_instance),
}];

pattern!(
    NUMBERED,
    r"^\s*(?:\d{1,3}\s?[.):]|[#№]\s?\d{1,3}\b[.):]?)\s+\p{L}"
);

fn numbered_instruction(instruction: &str, _: &Settings) -> Option<String> {
    NUMBERED.find(instruction).map(|found| shown(found.as_str()))
}

fn merged_instruction(instruction: &str, _: &Settings) -> Option<String> {
    // Before anything else "Task:" is a heading; what follows a first line is not.
    let rest = &instruction[instruction.find('\n').unwrap_or(instruction.len())..];
    marker(rest)
        .or_else(|| marker(instruction).filter(|found| found.form))
        .map(|found| found.line)
        .or_else(|| stray_number(instruction))
        .map(shown)
}

fn merged_instance(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    // An input may be laid out as a form of its own, if the instruction speaks of it; its output then may, too.
    let lower = instruction.to_lowercase();
    let named = |found: &Found| !found.form && !found.word.is_empty() && lower.contains(&found.word);
    // So are the worked examples of a problem that is set.
    let set_problem = WORKED_EXAMPLE.is_match(&instance.input);
    if let Some(found) = marker(&instance.input)
        && !named(&found)
        && (found.form || !set_problem)
    {
        return Some(shown(found.line));
    }
    if let Some(found) = marker(&instance.output)
        && !(named(&found) && (found.word == "example" || marker(&instance.input).is_some()))
    {
        return Some(shown(found.line));
    }
    [&instance.input, &instance.output]
        .into_iter()
        .find_map(|text| stray_number(text))
        .map(shown)
}

/// A line that only a prompt has.
struct Found<'a> {
    line: &'a str,
    /// The word of the marker in lower case; empty for a sign.
    word: String,
    /// Whether nothing but a prompt has it.
    form: bool,
}

pattern!(
    MARKER,
    r"(?im)^[\ \t>*_\x22']*(?:\#{1,6}\s*)?[\ \t*_]*(?:\d{1,3}\s?[.):]\s*)?(?P<word>task|instruction|input|output|example|class\ label)(?P<rest>\s*(?:no\.?\s*|\#)?\d{0,3}\s*[*_]*\s*:|\s+\d{1,3}[\ \t]*\.?[\ \t]*$)[^\n]*"
);
pattern!(
    FORM,
    r"(?im)^[ \t]*(?:#{3,}[ \t]*(?:(?:instructions?|inputs?|outputs?|task|response|human|assistant|example|end)?[ \t]*\d{0,3}[ \t]*[:.]?[ \t]*)$|#{3,}[ \t]*(?:\d{1,3}[.:)]?[ \t]|(?:instructions?|inputs?|outputs?|task|response|human|assistant)\b[^\n]*$)|is it (?:a )?classification(?: task)?\?)[^\n]*|<\|[a-z_]{2,30}\|>|\[/?INST\]|<</?SYS>>|</s>\s*$"
);

fn marker(text: &str) -> Option<Found<'_>> {
    if let Some(found) = FORM.find(text) {
        return Some(Found {
            line: found.as_str(),
            word: String::new(),
            form: true,
        });
    }
    let found = MARKER.captures_iter(text).find(|found| {
        let word = found["word"].to_lowercase();
        // "Example:" and "Example 3" on a line of its own are ordinary in an explanation, "Example 3:" is not.
        match word.as_str() {
            "example" => found["rest"].contains(':') && found["rest"].contains(|c: char| c.is_ascii_digit()),
            _ => true,
        }
    })?;
    let word = found["word"].to_lowercase();
    Some(Found {
        line: found.get(0).expect("the whole match").as_str(),
        form: word == "class label",
        word,
    })
}

pattern!(WORKED_EXAMPLE, r"(?im)^\s*(?:sample|example)s?\s*\d{0,2}\s*:\s*$");
pattern!(
    NUMBERED_LINE,
    r"(?im)^[ \t>*_]*(?:task\s+)?#?(\d{1,3})\s?(?:[.):]|\.\))[*_]*[ \t]+(\S[^\n]*)$"
);

/// A numbered line whose number does not continue a list of the text and that reads like an instruction.
fn stray_number(text: &str) -> Option<&str> {
    let mut last = None;
    for found in NUMBERED_LINE.captures_iter(text) {
        let number: u32 = found[1].parse().unwrap_or(u32::MAX);
        let continues = match last {
            // A list may begin anew; that the first one begins with 1 or 0 is all that shows it is one.
            Some(last) => number <= 1 || number == last + 1,
            None => number <= 1,
        };
        let rest = found.get(2).expect("the pattern has two groups");
        if !continues && reads_like_instruction(rest.as_str()) {
            return Some(found.get(0).expect("the whole match").as_str());
        }
        last = Some(number);
    }
    None
}

/// First words of instructions, from verbs of asking to question words.
const OPENINGS: &[&str] = &[
    "add",
    "analyze",
    "analyse",
    "answer",
    "are",
    "arrange",
    "assign",
    "brainstorm",
    "build",
    "calculate",
    "can",
    "categorize",
    "categorise",
    "change",
    "check",
    "choose",
    "classify",
    "combine",
    "come",
    "compare",
    "complete",
    "compose",
    "compute",
    "consider",
    "construct",
    "convert",
    "correct",
    "could",
    "count",
    "create",
    "decide",
    "define",
    "describe",
    "design",
    "detect",
    "determine",
    "develop",
    "discuss",
    "do",
    "does",
    "draft",
    "edit",
    "estimate",
    "evaluate",
    "examine",
    "expand",
    "explain",
    "extract",
    "fill",
    "find",
    "fix",
    "for",
    "generate",
    "give",
    "given",
    "guess",
    "how",
    "identify",
    "if",
    "imagine",
    "implement",
    "improve",
    "in",
    "indicate",
    "infer",
    "is",
    "judge",
    "label",
    "list",
    "make",
    "match",
    "mention",
    "name",
    "order",
    "organize",
    "organise",
    "outline",
    "paraphrase",
    "pick",
    "plan",
    "predict",
    "produce",
    "proofread",
    "propose",
    "prove",
    "provide",
    "rank",
    "rate",
    "read",
    "recommend",
    "reorder",
    "rephrase",
    "replace",
    "report",
    "respond",
    "rewrite",
    "select",
    "sentence",
    "should",
    "shorten",
    "show",
    "simplify",
    "solve",
    "sort",
    "split",
    "state",
    "suggest",
    "summarize",
    "summarise",
    "suppose",
    "tell",
    "think",
    "to",
    "transform",
    "translate",
    "turn",
    "use",
    "using",
    "verify",
    "what",
    "when",
    "where",
    "which",
    "who",
    "whose",
    "why",
    "will",
    "with",
    "write",
    "you",
    "your",
    "a",
    "an",
    "the",
];

fn reads_like_instruction(line: &str) -> bool {
    let mut words = tokens(line);
    let Some(first) = words.next().map(str::to_lowercase) else {
        return false;
    };
    words.take(3).count() == 3 && OPENINGS.contains(&first.as_str())
}
