//! From messages to text and tokens, and back. In reading order:
//!
//! - [`tokenizer`]: text to tokens; [`token_bytes`]: the bytes of each token.
//! - [`chat_template`]: the model's own chat template, rendered.
//! - [`block_template`]: chat templates made of the blocks that a person names.
//! - [`turns`]: messages of stored conversations.
//! - [`conversation_template`]: the one path from messages to tokens, over all of these.

pub mod block_template;
pub mod chat_template;
pub mod conversation_template;
pub mod token_bytes;
pub mod tokenizer;
pub mod turns;
