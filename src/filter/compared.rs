//! The text by which tasks are compared for near-duplicates.

use crate::task::Task;
use std::borrow::Cow;

/// What of a conversation is compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compared {
    /// The first question, as of a task of one turn.
    First,
    /// All questions and answers. Many conversations begin alike, with a greeting or one of a few
    /// questions, and go on in different ways.
    #[default]
    Whole,
}

impl Compared {
    /// The word on the command line and in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Compared::First => "first",
            Compared::Whole => "whole",
        }
    }

    /// Returns the text of a task. That of a task of one turn is its instruction, whose answers may
    /// differ.
    pub fn text(self, task: &Task) -> Cow<'_, str> {
        match (self, task.later.as_slice()) {
            (Compared::First, _) | (Compared::Whole, []) => Cow::Borrowed(&task.instruction),
            (Compared::Whole, later) => {
                let said = task.instances.iter().chain(later);
                let said = said.flat_map(|said| [&said.input, &said.output]);
                let texts: Vec<&str> = std::iter::once(&task.instruction)
                    .chain(said)
                    .map(String::as_str)
                    .filter(|text| !text.trim().is_empty())
                    .collect();
                Cow::Owned(texts.join("\n"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Instance;

    #[test]
    fn conversations_are_compared_whole_and_others_by_their_instruction() {
        let instance = |input: &str, output: &str| Instance {
            input: input.to_owned(),
            output: output.to_owned(),
        };
        let mut task = Task {
            instruction: "Hello".to_owned(),
            instances: vec![instance("", "Hi")],
            ..Task::default()
        };
        assert_eq!(Compared::Whole.text(&task), "Hello");
        task.later.push(instance("Name a lake.", "Como"));
        assert_eq!(Compared::Whole.text(&task), "Hello\nHi\nName a lake.\nComo");
        assert_eq!(Compared::First.text(&task), "Hello");
    }
}
