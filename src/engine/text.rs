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
    /// Tokens taken so far.
    tokens: usize,
    /// Stop strings are looked for behind so many.
    min_tokens: usize,
    /// Bytes at the beginning of what the decoder gives next that are of these.
    free: usize,
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
            tokens: 0,
            min_tokens: 0,
            free: 0,
            stopped: false,
        }
    }

    /// The same, with stop strings looked for behind the first `min_tokens` tokens only.
    #[must_use]
    pub fn stopping_behind(self, min_tokens: usize) -> TextStream {
        TextStream { min_tokens, ..self }
    }

    /// Takes one more token and gives the text that is now certain.
    pub fn push(&mut self, id: i64) -> Result<String> {
        let held = self.decoder.held().len();
        let mut new = self.decoder.push(id)?;
        self.tokens += 1;
        // What the first tokens say is given out at once, so that nothing behind it can stop within it.
        if self.tokens <= self.min_tokens {
            self.free = self.decoder.held().len();
            self.characters += new.chars().count();
            return Ok(new);
        }
        // What tokens to come may change is certain where it ends the text, so that none comes.
        let ends = self.decoder.held().len() > held && self.stops_in_held();
        if ends {
            new += &self.decoder.finish()?;
        }
        Ok(self.give(&new, ends))
    }

    /// The rest, when no token follows.
    pub fn finish(&mut self) -> Result<String> {
        if self.stopped {
            return Ok(String::new());
        }
        let new = self.decoder.finish()?;
        if self.tokens <= self.min_tokens {
            self.characters += new.chars().count();
            return Ok(new);
        }
        Ok(self.give(&new, true))
    }

    /// Characters so far, those held back and those of a stop string among them.
    pub fn characters(&self) -> usize {
        self.characters + self.decoder.held().chars().count()
    }

    /// Whether a stop string was met.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether a stop string ends with what the decoder holds.
    fn stops_in_held(&self) -> bool {
        let new = self.decoder.held();
        let new = &new[new.floor_char_boundary(self.free)..];
        self.stop.iter().any(|stop| {
            let begun = stop.strip_suffix(new);
            new.ends_with(stop.as_str()) || begun.is_some_and(|begun| self.held.ends_with(begun))
        })
    }

    fn give(&mut self, new: &str, all: bool) -> String {
        if new.is_empty() {
            return self.search(new, all);
        }
        self.characters += new.chars().count();
        let (free, new) = new.split_at(new.floor_char_boundary(self.free));
        self.free = 0;
        free.to_owned() + &self.search(new, all)
    }

    /// What may be shown of what is held and `new`.
    fn search(&mut self, new: &str, all: bool) -> String {
        self.held.push_str(new);
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
