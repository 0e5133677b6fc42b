//! Reasons of rejections: the codes in `candidate.reason`, in verdict files and in docs/rules.md.

use std::cmp::Ordering;
use std::fmt;

use serde::{Serialize, Serializer};

/// Declares the reasons. A row is the sentence for people, the variant and its code.
macro_rules! reasons {
    ($($(#[doc = $about:literal])+ $name:ident = $code:literal,)+) => {
        /// Why a candidate is rejected.
        ///
        /// Datasets of other versions may have other codes. So the store reads reasons as text, and
        /// [`Reason::of_code`] finds the ones that this version knows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $about])+ $name,)+
        }

        impl Reason {
            /// All reasons, in the order of docs/rules.md.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The code in the database, in JSON and on the command line.
            pub const fn code(self) -> &'static str {
                match self {
                    $(Reason::$name => $code,)+
                }
            }

            /// A sentence for people.
            pub fn about(self) -> &'static str {
                let about = match self {
                    $(Reason::$name => concat!($($about),+),)+
                };
                about.trim_start()
            }
        }
    };
}

reasons! {
    // The response.
    /// The row cannot be read as a task.
    Malformed = "malformed",
    /// The response was cut off inside this candidate by the token limit.
    Truncated = "truncated",
    /// The candidate does not have the form that the prompt asked for.
    Unparsed = "unparsed",
    /// The response has no text.
    EmptyAnswer = "empty_answer",
    /// A later request about the instruction failed, such as the one for its instances.
    RequestFailed = "request_failed",
    /// The model said neither yes nor no when asked whether the task is classification.
    UnclearLabel = "unclear_label",

    // The other candidates of the round.
    /// Every instance of the instruction is rejected.
    NoValidInstance = "no_valid_instance",
    /// The instance is fine, but its instruction is rejected.
    InstructionRejected = "instruction_rejected",
    /// The dataset has as many tasks as were asked for.
    OverTarget = "over_target",

    // Other tasks.
    /// The instruction is too similar to one that was accepted earlier.
    NearDuplicate = "near_duplicate",
    /// The task has text in common with an evaluation file.
    Contaminated = "contaminated",

    // The task that this one was rewritten from (Evol-Instruct's elimination step).
    /// The rewritten task asks for the same as its parent.
    NoGain = "no_gain",
    /// The model said neither yes nor no when asked whether the task is the same as its parent.
    UnclearEquality = "unclear_equality",
    /// The task, or a turn, contains words or an example of the prompt that asked for it.
    PromptLeak = "prompt_leak",
    /// The answer to the rewritten task is an apology.
    Unanswerable = "unanswerable",
    /// The answer to the rewritten task consists of function words and signs.
    NoContent = "no_content",

    // The conversation that a task is continued to.
    /// A turn of the conversation speaks as the other speaker, or for both.
    RoleConfusion = "role_confusion",
    /// A turn of the conversation repeats an earlier one of the same speaker.
    RepeatedTurn = "repeated_turn",
    /// The user's turn only thanks, agrees or says goodbye.
    ClosingTurn = "closing_turn",
    /// The conversation ended before it had enough turns.
    TooFewTurns = "too_few_turns",

    // The passage that it was made from.
    /// The answer has numbers, names or too many words that are not in its passage, or its words
    /// with a negation more or less.
    Ungrounded = "ungrounded",
    /// The answer, or an instruction to write it, copies too many words of the passage in a row.
    CopiesPassage = "copies_passage",
    /// The row does what a sentence of its passage orders.
    ObeysPassage = "obeys_passage",
    /// The question was to have no answer in its passage, and has one.
    InThePassage = "in_the_passage",

    // Rules over an instruction.
    /// The instruction has no letter or digit.
    Empty = "empty",
    /// The instruction has too few words.
    TooShort = "too_short",
    /// The instruction has too many words.
    TooLong = "too_long",
    /// The instruction begins with punctuation.
    LeadingPunctuation = "leading_punctuation",
    /// The instruction begins with a character that is not ASCII.
    NotAscii = "not_ascii",
    /// The instruction begins like an option of a list.
    ListItem = "list_item",
    /// The instruction begins with "Write a program".
    WriteAProgram = "write_a_program",
    /// The instruction needs or asks for pictures, sound, films or files.
    UnsuitableMedium = "unsuitable_medium",
    /// The instruction asks for a deed instead of a text.
    UnsuitableAct = "unsuitable_act",

    // Rules over an instruction or an instance.
    /// A text has control characters or characters of a broken encoding.
    ControlCharacters = "control_characters",
    /// A text was decoded in the wrong encoding.
    Mojibake = "mojibake",
    /// A text contains a part of another task, or of the prompt.
    MergedTask = "merged_task",
    /// A text contains the model's reasoning.
    Reasoning = "reasoning",
    /// A text repeats itself in a loop.
    Repetition = "repetition",
    /// A text is in the wrong language.
    WrongLanguage = "wrong_language",

    // Rules over an instance.
    /// The output is empty.
    EmptyOutput = "empty_output",
    /// The input or output is a placeholder, such as `<noinput>`.
    Placeholder = "placeholder",
    /// The instruction needs a text that the input does not give.
    MissingContext = "missing_context",
    /// The input or output is only a link or a file name.
    LinkOnly = "link_only",
    /// The input or output ends with a colon.
    Incomplete = "incomplete",
    /// The output repeats the input or the instruction, or the input the instruction.
    Echo = "echo",
    /// The answer declines.
    Refusal = "refusal",
    /// The instruction wants a program, and the answer has none.
    NoCode = "no_code",
    /// The answer claims a deed that a language model cannot do.
    PretendedAction = "pretended_action",
    /// The answer ends too early.
    TruncatedOutput = "truncated_output",
    /// A text contains an e-mail address.
    PiiEmail = "pii_email",
    /// A text contains a telephone number.
    PiiPhone = "pii_phone",
    /// A text contains the number of a payment card.
    PiiCard = "pii_card",
    /// A text contains a key or another secret.
    PiiKey = "pii_key",

    // Instances of one task.
    /// The instance repeats an earlier one of its task.
    RepeatedInstance = "repeated_instance",
    /// Instances of the task give different outputs for the same input.
    ConflictingInstances = "conflicting_instances",

    // A program of the user's.
    /// The user's validator rejects the instance.
    Validator = "validator",
    /// The user's validator gave no verdict on the instance.
    ValidatorFailed = "validator_failed",
}

impl Reason {
    /// The reason with this code; `None` for one that only another version knows.
    pub fn of_code(code: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.code() == code)
    }

    /// Whether an instruction rejected for this reason counts as new in the novelty of a run;
    /// `None` if it was rejected before it was compared with the other tasks.
    pub fn is_new(self) -> Option<bool> {
        match self {
            Reason::OverTarget | Reason::NoValidInstance | Reason::UnclearLabel | Reason::UnclearEquality => {
                Some(true)
            }
            Reason::NearDuplicate | Reason::NoGain => Some(false),
            _ => None,
        }
    }

    /// Whether the text could not be parsed, so that no rule has seen it.
    pub fn is_unreadable(self) -> bool {
        matches!(self, Reason::Truncated | Reason::Unparsed)
    }
}

/// By code, as lists and JSON objects show them.
impl Ord for Reason {
    fn cmp(&self, other: &Self) -> Ordering {
        self.code().cmp(other.code())
    }
}

impl PartialOrd for Reason {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    const ROOT: &str = env!("CARGO_MANIFEST_DIR");

    fn codes(text: &str) -> BTreeSet<String> {
        let quoted = Regex::new("'([a-z_]+)'").unwrap();
        quoted
            .captures_iter(text)
            .map(|found| found[1].to_string())
            .collect()
    }

    fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| match path.is_dir() {
                true => files(&path, ending),
                false => vec![path],
            })
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect()
    }

    #[test]
    fn codes_are_unique_and_found_again() {
        for &reason in Reason::ALL {
            assert_eq!(Reason::of_code(reason.code()), Some(reason));
            assert_eq!(serde_json::json!(reason), reason.code());
            assert!(reason.about().ends_with('.'), "{reason}");
        }
        assert_eq!(Reason::of_code("a_reason_of_another_version"), None);
    }

    #[test]
    fn the_document_has_every_reason_and_no_other() {
        let document = include_str!("../../docs/rules.md");
        let section = document.split("\n## All reasons\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = Reason::ALL
            .iter()
            .map(|reason| {
                let new = match reason.is_new() {
                    Some(true) => "yes",
                    Some(false) => "no",
                    None => "—",
                };
                format!("| `{reason}` | {new} | {} |", reason.about())
            })
            .collect();
        assert_eq!(rows, expected, "write:\n{}", expected.join("\n"));
    }

    /// SQL that is checked when ewe is compiled has its codes as literals.
    #[test]
    fn sql_names_no_other_reason() {
        let compared = Regex::new(r"\breason\s*(?:=|<>)\s*'[a-z_]+'|\breason\s+IN\s*\([^)]*\)").unwrap();
        let (mut found, mut novelty) = (0, None);
        let paths = files(&Path::new(ROOT).join("db/migrations"), "sql");
        for path in paths
            .into_iter()
            .chain(files(&Path::new(ROOT).join("src/store"), "rs"))
        {
            let text = std::fs::read_to_string(&path).unwrap();
            for part in compared.find_iter(&text) {
                let codes = codes(part.as_str());
                for code in &codes {
                    assert!(Reason::of_code(code).is_some(), "{}: {code}", path.display());
                }
                found += codes.len();
                if path.ends_with("asked/round.rs") {
                    novelty = Some(codes);
                }
            }
        }
        assert!(found >= 8, "{found}");
        let compared: BTreeSet<String> = Reason::ALL
            .iter()
            .filter(|reason| reason.is_new().is_some())
            .map(|reason| reason.code().to_string())
            .collect();
        assert_eq!(novelty, Some(compared));
    }
}
