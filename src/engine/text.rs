//! From tokens to text that may be shown: whole characters, and no text that could still become a
//! stop string.

use anyhow::Result;

use crate::model::text::tokenizer::{Decoder, Tokenizer};

/// The text of one answer, token by token.
pub struct TextStream {
    decoder: Decoder,
    stop: Vec<String>,
    /// Decoded text that is held back.
    held: String,
    /// Characters decoded so far.
    characters: usize,
    /// Tokens pushed so far.
    tokens: usize,
    /// Stop strings are searched for after this many tokens.
    min_tokens: usize,
    /// Special tokens that have a text here, with it.
    shown: Vec<(i64, String)>,
    /// Bytes at the start of the decoder's next text that belong to the first `min_tokens` tokens.
    free: usize,
    stopped: bool,
}

impl TextStream {
    /// Returns the text that follows the tokens `prompt`, up to the first string of `stop`. Empty
    /// strings are ignored.
    pub fn after(tokenizer: &Tokenizer, prompt: &[i64], stop: &[String]) -> TextStream {
        TextStream {
            decoder: Decoder::after(tokenizer, prompt),
            stop: stop.iter().filter(|s| !s.is_empty()).cloned().collect(),
            held: String::new(),
            characters: 0,
            tokens: 0,
            min_tokens: 0,
            shown: Vec::new(),
            free: 0,
            stopped: false,
        }
    }

    /// Searches for stop strings only after the first `min_tokens` tokens.
    #[must_use]
    pub fn stopping_behind(self, min_tokens: usize) -> TextStream {
        TextStream { min_tokens, ..self }
    }

    /// Also returns the names of these special tokens, which have no text otherwise.
    #[must_use]
    pub fn showing(self, tokenizer: &Tokenizer, special: &[i64]) -> TextStream {
        let named = special.iter().filter_map(|&id| Some((id, tokenizer.token(id)?)));
        TextStream {
            shown: named.collect(),
            ..self
        }
    }

    /// Takes one more token. Returns the text that is now certain.
    pub fn push(&mut self, id: i64) -> Result<String> {
        let held = self.decoder.held().len();
        let mut new = match self.shown.iter().find(|(shown, _)| *shown == id) {
            Some((_, name)) => self.decoder.finish()? + name,
            None => self.decoder.push(id)?,
        };
        self.tokens += 1;
        // Text of the first tokens is returned at once, so that no stop string can begin in it.
        if self.tokens <= self.min_tokens {
            self.free = self.decoder.held().len();
            self.characters += new.chars().count();
            return Ok(new);
        }
        // Text that later tokens could change is certain if it ends the answer, since none follows.
        let ends = self.decoder.held().len() > held && self.stops_in_held();
        if ends {
            new += &self.decoder.finish()?;
        }
        Ok(self.give(&new, ends))
    }

    /// Returns the rest, when no token follows.
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

    /// Returns the characters so far, including held-back text and a stop string.
    pub fn characters(&self) -> usize {
        self.characters + self.decoder.held().chars().count()
    }

    /// Whether a stop string was found.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether a stop string ends with the text that the decoder holds.
    fn stops_in_held(&self) -> bool {
        let new = self.decoder.held();
        let new = &new[new.floor_char_boundary(self.free)..];
        self.stop.iter().any(|stop| {
            let begun = stop.strip_suffix(new);
            new.ends_with(stop.as_str()) || begun.is_some_and(|begun| self.held.ends_with(begun))
        })
    }

    /// Takes decoded text. Returns what is certain of it; all of it if `all`.
    fn give(&mut self, new: &str, all: bool) -> String {
        if new.is_empty() {
            return self.search(new, all);
        }
        self.characters += new.chars().count();
        let (free, new) = new.split_at(new.floor_char_boundary(self.free));
        self.free = 0;
        free.to_owned() + &self.search(new, all)
    }

    /// Searches the held text and `new` for stop strings. Returns what may be shown.
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

/// Returns how many bytes at the end of `text` are a beginning of `stop`, but not all of it.
fn beginning(text: &str, stop: &str) -> usize {
    let longest = text.len().min(stop.len() - 1);
    (1..=longest)
        .rev()
        .find(|&n| stop.is_char_boundary(n) && text.ends_with(&stop[..n]))
        .unwrap_or(0)
}
