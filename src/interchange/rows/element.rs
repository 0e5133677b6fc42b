//! Where a value of JSON ends, and what is held of it meanwhile.

use memchr::memchr2;

use super::{Found, Place, Row, RowError, is_space};

/// How far into a value we are.
#[derive(Debug, Default)]
pub(super) struct Element {
    begun: bool,
    depth: usize,
    /// Within a string there is no line break, so that a line that ends in one is broken, and does not go on.
    pub(super) in_string: bool,
    escaped: bool,
}

impl Element {
    /// Behind the first element of an array, which ends with the array.
    pub(super) fn in_array() -> Element {
        Element {
            begun: true,
            depth: 1,
            ..Element::default()
        }
    }

    /// Reads on; where in `text` the value ends, if it does. What is no JSON ends where the next value might begin.
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

/// The bytes of a row, as many as one may have.
#[derive(Debug)]
pub(super) struct Held {
    bytes: Vec<u8>,
    /// How many there were, and how many without the space behind them.
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

    pub(super) fn add(&mut self, piece: &[u8]) {
        let room = self.most - self.bytes.len();
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if let Some(last) = piece.iter().rposition(|byte| !is_space(*byte)) {
            self.solid = self.length + last as u64 + 1;
        }
        self.length += piece.len() as u64;
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// What is held; all of it, unless there was too much.
    pub(super) fn bytes(&self) -> &[u8] {
        let solid = usize::try_from(self.solid).unwrap_or(usize::MAX);
        &self.bytes[..solid.min(self.bytes.len())]
    }

    pub(super) fn found(&self) -> Found {
        match self.solid > self.most as u64 {
            true => Found::beginning(&self.bytes),
            false => Found::text(self.bytes()),
        }
    }

    /// The row that it is, unless it is too long for one.
    pub(super) fn into_row(mut self, place: Place) -> Result<Row, RowError> {
        if self.solid > self.most as u64 {
            return Err(RowError::too_long(place, &self.bytes));
        }
        self.bytes.truncate(self.bytes().len());
        Ok(Row::new(self.bytes, place))
    }
}
