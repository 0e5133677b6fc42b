//! Finds the end of a JSON value, and holds its bytes.

use memchr::memchr2;

use super::is_space;
use crate::interchange::rows::{
    location::Location,
    row::{Excerpt, Row, RowError},
};

/// The state of a scan for the end of a value.
#[derive(Debug, Default)]
pub(super) struct Element {
    begun: bool,
    depth: usize,
    /// A JSON string has no line break, so a line that ends within one is broken, and no row goes
    /// on after it.
    pub(super) in_string: bool,
    escaped: bool,
}

impl Element {
    /// Starts within an array, after its first element. The scan ends with the array.
    pub(super) fn in_array() -> Element {
        Element {
            begun: true,
            depth: 1,
            ..Element::default()
        }
    }

    /// Scans on. Returns where in `text` the value ends, if it does. A value that is not JSON ends
    /// where the next value may begin.
    pub(super) fn end(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < text.len() {
            if self.in_string && !self.escaped {
                at += memchr2(b'"', b'\\', &text[at..])?;
            }
            match text[at] {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if self.depth == 0 && self.begun => return Some(at),
                b'{' | b'[' => self.depth += 1,
                b',' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ => {}
            }
            self.begun = true;
            at += 1;
        }
        None
    }
}

/// The bytes of a row, up to a limit.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// The number of all bytes, and the number without trailing white space.
    length: u64,
    solid: u64,
    most: usize,
}

impl Held {
    pub(super) fn new(most: usize) -> Held {
        Held {
            bytes: Vec::new(),
            length: 0,
            solid: 0,
            most,
        }
    }

    /// Adds bytes.
    pub(super) fn add(&mut self, chunk: &[u8]) {
        let room = self.most - self.bytes.len();
        self.bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if let Some(last) = chunk.iter().rposition(|byte| !is_space(*byte)) {
            self.solid = self.length + last as u64 + 1;
        }
        self.length += chunk.len() as u64;
    }

    /// Returns how many bytes were added, with those beyond the limit.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Returns the bytes held, without trailing white space. Bytes beyond the limit are missing.
    pub(super) fn bytes(&self) -> &[u8] {
        let solid = usize::try_from(self.solid).unwrap_or(usize::MAX);
        &self.bytes[..solid.min(self.bytes.len())]
    }

    /// Returns the bytes for an error.
    pub(super) fn found(&self) -> Excerpt {
        match self.solid > self.most as u64 {
            true => Excerpt::beginning(&self.bytes),
            false => Excerpt::text(self.bytes()),
        }
    }

    /// Returns the bytes as a row, unless there are too many.
    pub(super) fn into_row(mut self, place: Location) -> Result<Row, RowError> {
        if self.solid > self.most as u64 {
            return Err(RowError::too_long(place, &self.bytes));
        }
        self.bytes.truncate(self.bytes().len());
        Ok(Row::new(self.bytes, place))
    }
}
