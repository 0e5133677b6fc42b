//! The prompts of generation are texts to be continued, which is what a base model does. A chat model is asked for it.

/// The system message of a chat whose only message is a text to be continued.
pub const SYSTEM: &str = "Continue the user's text from exactly where it ends, in the same form. \
    Write the continuation only: repeat nothing of the text, and add no remark.";
