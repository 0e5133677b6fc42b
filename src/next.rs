//! What a command ends with: the commands that go on from its result, as they are typed.

use std::path::Path;

use crate::text::shell_word;

/// The environment variable of a command that another one runs as a step, and goes on from by
/// itself.
pub const IS_STEP: &str = "EWE_IS_STEP";

/// Commands that go on from a result.
#[derive(Debug, Default)]
pub struct NextCommands(Vec<(String, String)>);

impl NextCommands {
    /// Adds a command, with the reason for it; that may be empty.
    #[must_use]
    pub fn with(mut self, command: impl Into<String>, reason: impl Into<String>) -> NextCommands {
        self.0.push((command.into(), reason.into()));
        self
    }

    /// Prints them to standard error, unless `quiet`, or unless another command goes on by itself.
    pub fn say(&self, quiet: bool) {
        if quiet || self.0.is_empty() || std::env::var_os(IS_STEP).is_some() {
            return;
        }
        eprintln!("{}", self.text());
    }

    /// The commands below each other, and the reasons as comments of a shell.
    fn text(&self) -> String {
        let width = self.0.iter().map(|(command, _)| command.chars().count()).max();
        let mut text = "next:".to_owned();
        for (command, reason) in &self.0 {
            text += "\n  ";
            match reason.as_str() {
                "" => text += command,
                reason => text += &format!("{command:<width$}  # {reason}", width = width.unwrap_or(0)),
            }
        }
        text
    }
}

/// Returns the file as it is typed, or none if it is standard output.
pub fn file(path: &Path) -> Option<String> {
    (!crate::atomic_file::is_stdout(path)).then(|| shell_word(path))
}

#[cfg(test)]
mod tests {
    use super::NextCommands;

    #[test]
    fn reasons_are_aligned_and_may_be_absent() {
        let next = NextCommands::default()
            .with("ewe curate --db d.db", "review them")
            .with("ewe stats --db d.db", "")
            .with("ewe list", "read them");
        assert_eq!(
            next.text(),
            "next:\n  ewe curate --db d.db  # review them\n  ewe stats --db d.db\n  \
             ewe list              # read them"
        );
    }
}
