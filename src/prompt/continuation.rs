//! Makes chat models continue a text. The prompts of generation are texts to continue, which base
//! models do anyway.

/// The system message of a chat whose only other message is the text to continue.
pub const SYSTEM: &str = "Continue the user's text from exactly where it ends, in the same form. \
    Write the continuation only: repeat nothing of the text, and add no remark.";
