//! From tokens to text as it may be shown: whole characters only, and nothing that may yet turn out to be the
//! beginning of a stop string.

use anyhow::Result;

use crate::model::tokenizer::{Decoder, Tokenizer};

/// The text of one answer as it grows.
pub struct TextStream {
    decoder: Decoder,
    stop: Vec<String>,
    /// Decoded, not yet given out.
    held: String,
    /// Characters decoded so far.
    characters: usize,
    stopped: bool,
}

impl TextStream {
    /// The text that follows the tokens `prompt`, up to the first of `stop` (empty strings among them are ignored).
    pub fn after(tokenizer: &Tokenizer, prompt: &[i64], stop: &[String]) -> TextStream {
        TextStream {
            decoder: Decoder::after(tokenizer, prompt),
            stop: stop.iter().filter(|s| !s.is_empty()).cloned().collect(),
            held: String::new(),
            characters: 0,
            stopped: false,
        }
    }

    /// Takes one more token and gives the text that is now certain.
    pub fn push(&mut self, id: i64) -> Result<String> {
        let new = self.decoder.push(id)?;
        Ok(self.give(&new, false))
    }

    /// The rest, when no token follows.
    pub fn finish(&mut self) -> Result<String> {
        if self.stopped {
            return Ok(String::new());
        }
        let new = self.decoder.finish()?;
        Ok(self.give(&new, true))
    }

    /// Characters decoded so far, those held back and those of a stop string among them.
    pub fn characters(&self) -> usize {
        self.characters
    }

    /// Whether a stop string was met.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    fn give(&mut self, new: &str, all: bool) -> String {
        self.held.push_str(new);
        self.characters += new.chars().count();
        if let Some(at) = self
            .stop
            .iter()
            .filter_map(|stop| self.held.find(stop.as_str()))
            .min()
        {
            self.stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = if all {
            0
        } else {
            self.stop
                .iter()
                .map(|stop| beginning(&self.held, stop))
                .max()
                .unwrap_or(0)
        };
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }
}

/// Bytes at the end of `text` that are a proper beginning of `stop`.
fn beginning(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n]))
        .unwrap_or(0)
}
