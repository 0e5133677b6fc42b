//! Which rows a command can work with.

/// The least that a command needs of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Need {
    /// A task with an answer.
    #[default]
    Task,
    /// An instruction. Input and output are read if the row has them.
    Instruction,
    /// A prompt and its completion. In format `completion`, either may be empty.
    Pair,
    /// A prompt to complete.
    Prompt,
}

impl Need {
    /// Whether a row must have an answer.
    pub(super) fn answer(self) -> bool {
        matches!(self, Need::Task | Need::Pair)
    }

    /// Whether instructions are compared with each other.
    pub(super) fn compares_instructions(self) -> bool {
        matches!(self, Need::Task | Need::Instruction)
    }
}
