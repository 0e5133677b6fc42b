//! Parses responses into candidates. No text is lost: every part of a response becomes a candidate,
//! and a part that cannot be parsed becomes one with a fault.

use crate::backend::FinishReason;
use crate::prompt::self_instruct::{INPUT, LABEL, OUTPUT};
use crate::task::{Instance, Reason};

/// Why a part of a response cannot be used, whatever it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The token limit cut the response off inside this part.
    Truncated,
    /// It does not have the form that the prompt asked for.
    Unparsed,
}

impl Fault {
    /// The reason of the candidate's rejection.
    pub fn reason(self) -> Reason {
        match self {
            Fault::Truncated => Reason::Truncated,
            Fault::Unparsed => Reason::Unparsed,
        }
    }
}

/// An instruction of a stage-1 response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedInstruction {
    /// The text without its number, trimmed.
    pub text: String,
    /// Why it cannot be used.
    pub fault: Option<Fault>,
}

/// An instance of a stage-3 response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedInstance {
    /// Input and output, trimmed. Text that cannot be parsed is kept as the output.
    pub instance: Instance,
    /// Why it cannot be used.
    pub fault: Option<Fault>,
}

/// Parses the continuation of a numbered list whose first item has the number `first`.
///
/// A new item starts at a line with a number after the last one (up to two may be skipped) and a
/// `.` or `)`. Any other number is text. Text after the last item, such as after a blank line,
/// makes that item unparsed. A chat model may begin with the number that the prompt ended with, or
/// count from 1 again.
pub fn instructions(answer: &str, finish: FinishReason, first: usize) -> Vec<ParsedInstruction> {
    let mut items: Vec<String> = vec![String::new()];
    let mut last = first;
    let answer = match numbered(answer) {
        Some((number, rest)) if number == first || number == 1 => {
            last = number;
            rest
        }
        _ => answer,
    };
    for (i, line) in answer.split('\n').enumerate() {
        match numbered(line) {
            Some((number, rest)) if i > 0 && number > last && number <= last + 3 => {
                last = number;
                items.push(rest.to_string());
            }
            _ => {
                let item = items.last_mut().expect("there is always one");
                if i > 0 {
                    item.push('\n');
                }
                item.push_str(line);
            }
        }
    }
    let count = items.len();
    let items = items.into_iter().enumerate().map(|(i, item)| {
        let text = item.trim().to_string();
        let fault = if i + 1 == count && finish == FinishReason::Length {
            Some(Fault::Truncated)
        } else if text.contains('\n') {
            // An instruction takes one line. With more, the model talks about something else.
            Some(Fault::Unparsed)
        } else {
            None
        };
        ParsedInstruction { text, fault }
    });
    // The stop string of the next number leaves an empty item at the end, which is no candidate.
    items.filter(|item| !item.text.is_empty()).collect()
}

/// Splits `12. text` or `12) text` into number and text.
fn numbered(line: &str) -> Option<(usize, &str)> {
    let line = line.trim_start();
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = line[digits..].strip_prefix(['.', ')'])?;
    Some((line[..digits].parse().ok()?, rest))
}

/// Parses a rewritten task. The model may repeat the label. With more than one line, it talks about
/// something else. An empty response gives an empty candidate that is unparsed.
pub fn evolved(answer: &str, finish: FinishReason, label: &str) -> ParsedInstruction {
    let text = answer.trim();
    let text = text.strip_prefix(label).unwrap_or(text).trim().to_string();
    let fault = if finish == FinishReason::Length {
        Some(Fault::Truncated)
    } else if text.is_empty() || text.contains('\n') {
        Some(Fault::Unparsed)
    } else {
        None
    };
    ParsedInstruction { text, fault }
}

/// Parses the answer to a question; `None` if it is neither yes nor no.
pub fn yes_or_no(answer: &str) -> Option<bool> {
    let word: String = answer.trim().chars().take_while(|c| c.is_alphabetic()).collect();
    match word.to_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Parses an input-first response: an optional `Input:` and an `Output:`, once or several times.
pub fn input_first(answer: &str, finish: FinishReason) -> Vec<ParsedInstance> {
    let (before, parts) = parts(answer, &[INPUT, OUTPUT]);
    let mut found = Vec::new();
    if !before.is_empty() {
        found.push(unparsed(before));
    }
    let mut input: Option<String> = None;
    for (marker, text) in parts {
        match (marker, input.take(), found.last_mut()) {
            // Two inputs in a row: the first has no output.
            (INPUT, before, _) => {
                found.extend(before.map(unparsed));
                input = Some(text);
            }
            // Two outputs in a row are two answers, or one that contains "Output:".
            (_, None, Some(last)) if last.fault.is_none() => {
                last.instance.output.push_str(&format!("\n{OUTPUT} {text}"));
                last.fault = Some(Fault::Unparsed);
            }
            (_, before, _) => {
                // Models that were trained on Alpaca's data write placeholders for "no input".
                let input = before.filter(|text| !is_no_input(text)).unwrap_or_default();
                found.push(ParsedInstance {
                    instance: Instance { input, output: text },
                    fault: None,
                });
            }
        }
    }
    found.extend(input.map(unparsed));
    mark_truncated(&mut found, finish);
    found
}

/// Parses the continuation of `Class label:`: a label and its `Input:`, once or several times.
pub fn output_first(answer: &str, finish: FinishReason) -> Vec<ParsedInstance> {
    let (_, parts) = parts(&format!("{LABEL}{answer}"), &[LABEL, INPUT]);
    let mut found = Vec::new();
    let mut label: Option<String> = None;
    for (marker, text) in parts {
        if marker == LABEL {
            found.extend(label.replace(text).map(unparsed));
        } else {
            found.push(match label.take() {
                Some(output) => ParsedInstance {
                    instance: Instance { input: text, output },
                    fault: None,
                },
                None => unparsed(text),
            });
        }
    }
    found.extend(label.map(unparsed));
    mark_truncated(&mut found, finish);
    found
}

/// Splits a text at the lines that start with a marker. Returns the text before the first marker,
/// then each marker with its text.
fn parts<'m>(text: &str, markers: &[&'m str]) -> (String, Vec<(&'m str, String)>) {
    let mut before = String::new();
    let mut parts: Vec<(&str, String)> = Vec::new();
    for line in text.split('\n') {
        let start = markers
            .iter()
            .find_map(|marker| Some((*marker, line.trim_start().strip_prefix(marker)?)));
        match (start, parts.last_mut()) {
            (Some((marker, rest)), _) => parts.push((marker, rest.to_string())),
            (None, Some((_, part))) => {
                part.push('\n');
                part.push_str(line);
            }
            (None, None) => {
                before.push_str(line);
                before.push('\n');
            }
        }
    }
    for (_, part) in &mut parts {
        *part = part.trim().to_string();
    }
    (before.trim().to_string(), parts)
}

fn unparsed(text: String) -> ParsedInstance {
    ParsedInstance {
        instance: Instance {
            input: String::new(),
            output: text,
        },
        fault: Some(Fault::Unparsed),
    }
}

fn mark_truncated(found: &mut [ParsedInstance], finish: FinishReason) {
    if let (FinishReason::Length, Some(last)) = (finish, found.last_mut()) {
        last.fault = Some(Fault::Truncated);
    }
}

/// Whether a text is a placeholder for "no input".
pub fn is_no_input(text: &str) -> bool {
    let text: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    matches!(
        text.as_str(),
        "" | "noinput" | "none" | "na" | "noinputneeded" | "noinputrequired"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::evolution::HARDER;
    use FinishReason::{Length, Stop};
    use proptest::prelude::*;

    fn texts(answer: &str, finish: FinishReason) -> Vec<(String, Option<Fault>)> {
        instructions(answer, finish, 9)
            .into_iter()
            .map(|i| (i.text, i.fault))
            .collect()
    }

    fn pairs(found: Vec<ParsedInstance>) -> Vec<(String, String, Option<Fault>)> {
        found
            .into_iter()
            .map(|p| (p.instance.input, p.instance.output, p.fault))
            .collect()
    }

    #[test]
    fn a_numbered_list_is_read() {
        let got = texts(
            " Name a river.\n10. Sum 2 and 3.\n11) Spell cat.\n12.Give a rhyme.",
            Stop,
        );
        assert_eq!(
            got.iter().map(|g| g.0.as_str()).collect::<Vec<_>>(),
            ["Name a river.", "Sum 2 and 3.", "Spell cat.", "Give a rhyme."]
        );
        assert!(got.iter().all(|g| g.1.is_none()));
    }

    #[test]
    fn numbers_in_text_are_text() {
        let got = texts(" Who ruled in 2020.\n10. Explain what 16. means", Stop);
        assert_eq!(got[0].0, "Who ruled in 2020.");
        assert_eq!(got[1].0, "Explain what 16. means");
        assert_eq!(
            texts(" Sort these\n1. apple\n2. pear", Stop),
            [("Sort these\n1. apple\n2. pear".to_string(), Some(Fault::Unparsed))]
        );
    }

    #[test]
    fn a_list_may_begin_with_its_number_or_anew() {
        for (answer, wanted) in [
            (
                "9. Name a river.\n10. Spell cat.",
                ["Name a river.", "Spell cat."],
            ),
            (
                "\n\n1. Name a river.\n2. Spell cat.",
                ["Name a river.", "Spell cat."],
            ),
            (
                " 5. is a number.\n10. Spell cat.",
                ["5. is a number.", "Spell cat."],
            ),
        ] {
            let got: Vec<String> = texts(answer, Stop).into_iter().map(|(text, _)| text).collect();
            assert_eq!(got, wanted, "{answer}");
        }
    }

    #[test]
    fn a_skipped_number_does_not_drop_the_rest() {
        assert_eq!(texts(" a\n11. b\n12. c", Stop).len(), 3);
    }

    #[test]
    fn the_last_of_a_cut_answer_is_truncated() {
        assert_eq!(
            texts(" Name a river.\n10. Sum the", Length)[1].1,
            Some(Fault::Truncated)
        );
    }

    #[test]
    fn a_rewritten_task_is_one_line() {
        let read = |answer, finish| {
            let parsed = evolved(answer, finish, HARDER);
            (parsed.text, parsed.fault)
        };
        assert_eq!(
            read(" Name two rivers.\n", Stop),
            ("Name two rivers.".into(), None)
        );
        assert_eq!(
            read("Harder task: Name two rivers.", Stop),
            ("Name two rivers.".into(), None)
        );
        assert_eq!(
            read(" Name two rivers.\nThey are long.", Stop),
            ("Name two rivers.\nThey are long.".into(), Some(Fault::Unparsed))
        );
        assert_eq!(
            read(" Name two", Length),
            ("Name two".into(), Some(Fault::Truncated))
        );
        assert_eq!(read(" \n", Stop), (String::new(), Some(Fault::Unparsed)));
    }

    #[test]
    fn instances_are_read_input_first() {
        assert_eq!(
            pairs(input_first("Output: Loire\nand Rhine", Stop)),
            [("".into(), "Loire\nand Rhine".into(), None)]
        );
        assert_eq!(
            pairs(input_first(
                "Input: sea\nOutput: mer\n\nInput: <noinput>\nOutput: sun",
                Stop
            )),
            [
                ("sea".into(), "mer".into(), None),
                ("".into(), "sun".into(), None)
            ]
        );
        assert_eq!(
            pairs(input_first("Input: sea\n", Stop)),
            [("".into(), "sea".into(), Some(Fault::Unparsed))]
        );
        assert_eq!(
            pairs(input_first("Well, let us see.", Stop))[0].2,
            Some(Fault::Unparsed)
        );
        assert_eq!(
            pairs(input_first("Output: a\nInput: b", Length))[1].2,
            Some(Fault::Truncated)
        );
        assert_eq!(
            pairs(input_first("Output: the word Output: is text here", Stop))[0].1,
            "the word Output: is text here"
        );
        assert_eq!(
            pairs(input_first("Output: a\nOutput: b", Stop)),
            [("".into(), "a\nOutput: b".into(), Some(Fault::Unparsed))]
        );
        assert!(input_first("", Stop).is_empty());
    }

    #[test]
    fn instances_are_read_label_first() {
        assert_eq!(
            pairs(output_first(
                " spam\nInput: win now\nClass label: ham\nInput: lunch?",
                Stop
            )),
            [
                ("win now".into(), "spam".into(), None),
                ("lunch?".into(), "ham".into(), None)
            ]
        );
        assert_eq!(
            pairs(output_first(" spam", Stop)),
            [("".into(), "spam".into(), Some(Fault::Unparsed))]
        );
        assert_eq!(
            pairs(output_first(" spam\nInput: win", Length))[0].2,
            Some(Fault::Truncated)
        );
    }

    #[test]
    fn yes_no_and_neither() {
        assert_eq!(yes_or_no(" Yes"), Some(true));
        assert_eq!(yes_or_no(" no.\n"), Some(false));
        assert_eq!(yes_or_no(" Not sure"), None);
        assert_eq!(yes_or_no(""), None);
    }

    /// The letters and digits of a text. No parser may lose or add any.
    fn content(text: &str) -> String {
        text.chars().filter(|c| c.is_alphanumeric()).collect()
    }

    proptest! {
        #[test]
        fn parsers_lose_no_text(lines in prop::collection::vec("(Input:|Output:|Class label:|1[0-2]\\.|)[ x-z]{0,12}", 0..12)) {
            let answer = lines.join("\n");
            let strip = |text: &str| content(&text.replace("Input:", "").replace("Output:", "").replace("Class label:", ""));
            let read: String = input_first(&answer, Stop).iter().map(|p| p.instance.input.clone() + &p.instance.output).collect();
            prop_assert_eq!(strip(&answer), strip(&read));
            let mut listed = strip(&instructions(&answer, Stop, 9).iter().map(|i| i.text.clone()).collect::<String>());
            let mut all = strip(&answer);
            listed.retain(|c| !c.is_ascii_digit());
            all.retain(|c| !c.is_ascii_digit());
            prop_assert_eq!(listed, all);
        }

        #[test]
        fn parsers_never_panic(answer in "\\PC{0,120}") {
            instructions(&answer, Length, 9);
            input_first(&answer, Length);
            output_first(&answer, Length);
            // No text is lost.
            prop_assert_eq!(evolved(&answer, Stop, HARDER).text, answer.trim());
        }
    }
}
