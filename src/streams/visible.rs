//! Text for a terminal: control characters are made visible, however the text is split into writes.

use std::io::{self, Write};

use crate::text::clean;

/// Cleans text that arrives in parts. An incomplete character at the end waits for the next part.
#[derive(Debug)]
pub(super) struct Cleaner {
    unfinished: Vec<u8>,
}

impl Cleaner {
    pub const fn new() -> Cleaner {
        Cleaner {
            unfinished: Vec::new(),
        }
    }

    /// Returns the text that has become complete, cleaned. Invalid UTF-8 becomes `U+FFFD`.
    pub fn take(&mut self, bytes: &[u8]) -> String {
        self.unfinished.extend_from_slice(bytes);
        let whole = self.unfinished.len() - unfinished(&self.unfinished);
        let text = clean(&String::from_utf8_lossy(&self.unfinished[..whole]));
        self.unfinished.drain(..whole);
        text
    }

    /// Returns the rest at the end of the text.
    pub fn end(&mut self) -> String {
        clean(&String::from_utf8_lossy(&std::mem::take(&mut self.unfinished)))
    }
}

/// How many bytes at the end are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let Some(last) = bytes.utf8_chunks().last() else {
        return 0;
    };
    match std::str::from_utf8(last.invalid()) {
        Err(error) if error.error_len().is_none() => last.invalid().len(),
        _ => 0,
    }
}

/// A writer that cleans text if it leads to a terminal, and passes it on unchanged otherwise.
#[derive(Debug)]
pub struct Visible<W> {
    out: W,
    /// `None` if it is no terminal.
    cleaner: Option<Cleaner>,
}

impl<W: Write> Visible<W> {
    /// Wraps `out`, which the caller knows to be a terminal or not.
    pub fn new(out: W, is_terminal: bool) -> Visible<W> {
        Visible {
            out,
            cleaner: is_terminal.then(Cleaner::new),
        }
    }

    /// Writes the incomplete rest.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn end(mut self) -> io::Result<()> {
        if let Some(cleaner) = &mut self.cleaner {
            self.out.write_all(cleaner.end().as_bytes())?;
        }
        self.out.flush()
    }
}

impl<W: Write> Write for Visible<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.cleaner {
            Some(cleaner) => {
                self.out.write_all(cleaner.take(bytes).as_bytes())?;
                Ok(bytes.len())
            }
            None => self.out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\x1b[2J\u{9b}31m\u{202e}羊\u{1f411}\n";
    const CLEAN: &str = "a␛[2J\u{fffd}31m\u{fffd}羊\u{1f411}\n";

    #[test]
    fn a_text_is_cleaned_wherever_it_is_cut() {
        for size in 1..=TEXT.len() {
            let (mut seen, mut raw) = (Vec::new(), Vec::new());
            let (mut terminal, mut file) = (Visible::new(&mut seen, true), Visible::new(&mut raw, false));
            for piece in TEXT.as_bytes().chunks(size) {
                terminal.write_all(piece).unwrap();
                file.write_all(piece).unwrap();
            }
            terminal.end().unwrap();
            file.end().unwrap();
            assert_eq!(String::from_utf8(seen).unwrap(), CLEAN, "in pieces of {size}");
            assert_eq!(raw, TEXT.as_bytes());
        }
    }

    #[test]
    fn what_is_no_text_is_shown_as_such() {
        let mut cleaner = Cleaner::new();
        assert_eq!(cleaner.take(b"a\xffb\xc2"), "a\u{fffd}b");
        assert_eq!(cleaner.take(b"\x9bc\xe7\xbe"), "\u{fffd}c");
        assert_eq!(cleaner.take(b"d\xe7"), "\u{fffd}d");
        assert_eq!(cleaner.end(), "\u{fffd}");
    }
}
