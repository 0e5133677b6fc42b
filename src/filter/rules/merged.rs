//! Rejects a second task inside the first: the model continued the list or the form of its prompt.

use super::text::{head, pattern, tokens};
use super::{Check, EWE, Rule, Settings, shown};
use crate::task::{Instance, Reason};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const INSTRUCTION_RULES: &[Rule] = &[
    Rule {
        name: "numbered_instruction",
        reason: Reason::MergedTask,
        about: "an instruction that begins with the number it had in a list",
        source: EWE,
        check: Check::Instruction(numbered_instruction),
    },
    Rule {
        name: "merged_instruction",
        reason: Reason::MergedTask,
        about: "lines of a prompt inside an instruction: `Input:`, `###`, `12. Write …` out of order",
        source: EWE,
        check: Check::Instruction(merged_instruction),
    },
];

pub(super) const INSTANCE_RULES: &[Rule] = &[Rule {
    name: "merged_instance",
    reason: Reason::MergedTask,
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
    // "Task:" in the first line is a heading. In a later line it begins another task.
    let rest = &instruction[instruction.find('\n').unwrap_or(instruction.len())..];
    marker(rest)
        .or_else(|| marker(instruction).filter(|found| found.form))
        .map(|found| found.line)
        .or_else(|| stray_number("", instruction))
        .map(shown)
}

fn merged_instance(instruction: &str, instance: &Instance, _: &Settings) -> Option<String> {
    // An input may be a form of its own if the instruction mentions it. Then its output may be one,
    // too.
    let lower = instruction.to_lowercase();
    let named = |found: &PromptLine| !found.form && !found.word.is_empty() && lower.contains(&found.word);
    // Problems contain worked examples, which look the same.
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
    if let Some(found) = NEXT_QUESTION.find(instance.output.trim())
        && !ASKS_FOR_QUESTIONS.is_match(&lower)
    {
        return Some(shown(found.as_str()));
    }
    stray_number(instruction, &instance.input)
        .or_else(|| {
            stray_number(
                &format!("{instruction}\n{}", head(&instance.input, 8000)),
                &instance.output,
            )
        })
        .map(shown)
}

/// A line that looks like one of a prompt.
struct PromptLine<'a> {
    line: &'a str,
    /// The word of the label in lower case; empty for a sign.
    word: String,
    /// Whether only prompts have such a line.
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

/// The first line that looks like one of a prompt.
fn marker(text: &str) -> Option<PromptLine<'_>> {
    if let Some(found) = FORM.find(text) {
        return Some(PromptLine {
            line: found.as_str(),
            word: String::new(),
            form: true,
        });
    }
    let found = MARKER.captures_iter(text).find(|found| {
        let word = found["word"].to_lowercase();
        // "Example:" and "Example 3" on a line of their own are common in explanations, "Example
        // 3:" is not.
        match word.as_str() {
            "example" => found["rest"].contains(':') && found["rest"].contains(|c: char| c.is_ascii_digit()),
            _ => true,
        }
    })?;
    let word = found["word"].to_lowercase();
    Some(PromptLine {
        line: found.get(0).expect("the whole match").as_str(),
        form: word == "class label",
        word,
    })
}

pattern!(WORKED_EXAMPLE, r"(?im)^\s*(?:sample|example)s?\s*\d{0,2}\s*:\s*$");
pattern!(
    NEXT_QUESTION,
    r"(?i)\n[ \t]*(?:q|question)[ \t]*\d{0,3}[ \t]*:[ \t]+\p{L}[^\n]*"
);
pattern!(
    ASKS_FOR_QUESTIONS,
    r"question|quiz|faq|q&a|interview|exam|test|trivia|riddle|joke|conversation|dialog|chat|flashcard|survey|card"
);
pattern!(
    NUMBERED_LINE,
    r"(?im)^[ \t>*_]*(?:task\s+)?#?(\d{1,3})\s?(?:[.):]|\.\))[*_]*[ \t]+(\S[^\n]*)$"
);

/// Finds a numbered line that continues no list, and so has its number from the prompt. The list
/// may have begun in `before`, which the text answers.
fn stray_number<'a>(before: &str, text: &'a str) -> Option<&'a str> {
    let mut last = None;
    for found in NUMBERED_LINE.captures_iter(text) {
        let number: u32 = found[1].parse().expect("three digits at most");
        let line = found.get(0).expect("the whole match");
        let continues = match last {
            // A list may begin again.
            Some(last) => number <= 1 || number == last + 1,
            // An answer may begin with the number of an option.
            None => number <= 1 || text[..line.start()].trim().is_empty(),
        };
        let announced = || {
            tokens(head(before, 8000)).any(|word| {
                word.parse::<u32>()
                    .is_ok_and(|other| number == other || number == other + 1)
            })
        };
        if !continues && reads_like_instruction(&found[2]) && !announced() {
            return Some(line.as_str());
        }
        last = Some(number);
    }
    None
}

/// Whether a line begins like a sentence and has four words or more.
fn reads_like_instruction(line: &str) -> bool {
    let begins = line
        .trim_start_matches(|c: char| !c.is_alphanumeric())
        .starts_with(|c: char| !c.is_lowercase() && c.is_alphabetic());
    begins && tokens(line).take(4).count() == 4
}
