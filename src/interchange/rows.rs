//! A file of JSON, a row at a time: objects, one a line or over several lines each, and arrays of them, one after another in any
//! order, as `cat` joins files. Holds one row in memory, and knows the line and the column where each begins, so that an error
//! can point at the place. A row that is not what it should be is said, and the next one found.

mod ahead;
mod element;
mod place;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

use memchr::{memchr, memchr_iter, memrchr};
use serde::Serialize;

use super::{columns::Cells, conversation};
use ahead::Ahead;
use element::{Element, Held};
pub use place::Place;

/// A row of more bytes is not held in memory; it is an error of the row.
pub const LONGEST: usize = 64 << 20;

/// What is passed over in search of a row's end has this many bytes at most, or the row has none, as on a device.
pub(super) const ENDLESS: u64 = 1 << 30;

/// Of a row that is too long to be held so many bytes are shown.
const SHOWN: usize = 1 << 12;

/// The byte order mark of UTF-8. Joined files have one where each begins.
pub(super) const MARK: &[u8] = b"\xef\xbb\xbf";

/// The text of one row.
#[derive(Debug, Clone)]
pub struct Row {
    /// JSON, not parsed yet: an object, or a conversation that is an array.
    pub text: Vec<u8>,
    /// Where it begins.
    pub place: Place,
    /// Which row of the file it is, counted from 1; [`super::read::RowReader`] sees to that.
    pub number: u64,
    /// Of a row of a Parquet file, what the text was made of.
    pub(super) cells: Option<Cells>,
}

/// What stands where a row cannot be read, for whoever mends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Found {
    /// Text, as it is there; its beginning, where there is too much of it.
    Text(String),
    /// The cells of a table's row.
    Cells(Vec<String>),
}

/// Why a file cannot be split into rows.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file of columns is not whole.
    #[error("{0}")]
    Damaged(String),
    /// Something in the file is no row. There may be rows after it.
    #[error("{what}")]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong there.
        what: String,
        /// What stands there.
        found: Found,
    },
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first value.
    Start,
    /// A value: an object or an array.
    Value,
    /// An element of an array; the first one may be missing.
    Element { first: bool },
    /// The comma after an element, or the end of the array.
    Separator,
    /// Nothing any more.
    End,
}

/// Reads rows; an iterator. It ends by itself where nothing after an error could be told apart.
#[derive(Debug)]
pub struct Rows<R> {
    input: Ahead<R>,
    /// Bytes taken so far.
    offset: u64,
    line: usize,
    /// Where the line begins.
    line_start: u64,
    state: State,
    indented: bool,
    longest: usize,
}

impl<R: BufRead> Rows<R> {
    /// Rows of `input`, which is `[ {…}, {…} ]`, an object a line, or several of these one after another. Blank lines and byte
    /// order marks mean nothing. An array of messages is one row, a conversation.
    pub fn new(input: R) -> Rows<R> {
        Rows {
            input: Ahead::new(input),
            offset: 0,
            line: 1,
            line_start: 0,
            state: State::Start,
            indented: false,
            longest: LONGEST,
        }
    }

    /// Rows of `input`, objects one after another that go over several lines each.
    pub fn of_indented(input: R) -> Rows<R> {
        Rows {
            indented: true,
            ..Rows::new(input)
        }
    }

    fn place(&self) -> Place {
        Place::Text {
            line: self.line,
            column: (self.offset - self.line_start) as usize + 1,
        }
    }

    fn held(&self) -> Held {
        Held::new(self.longest)
    }

    /// Takes so many bytes of the buffer.
    fn take(&mut self, count: usize) -> io::Result<()> {
        let taken = &self.input.fill_buf()?[..count];
        if let Some(last) = memrchr(b'\n', taken) {
            self.line += memchr_iter(b'\n', taken).count();
            self.line_start = self.offset + last as u64 + 1;
        }
        self.offset += count as u64;
        self.input.consume(count);
        Ok(())
    }

    /// The next byte that is not space, without taking it.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        self.skip_space_into(&mut Held::new(0))
    }

    /// The same; the space is added to `text`.
    fn skip_space_into(&mut self, text: &mut Held) -> io::Result<Option<u8>> {
        loop {
            if self.input.begins(MARK)? {
                let is_first = self.offset == self.line_start;
                self.take(MARK.len())?;
                if is_first {
                    // It stands before the first column.
                    self.line_start = self.offset;
                }
                continue;
            }
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            match buffer.iter().position(|byte| !is_space(*byte)) {
                Some(0) => return Ok(Some(buffer[0])),
                space => {
                    let count = space.unwrap_or(buffer.len());
                    text.add(&buffer[..count]);
                    self.take(count)?;
                }
            }
        }
    }

    /// The next byte that is not space, if there is one before the line ends. The space is added to `text`.
    fn next_on_line(&mut self, text: &mut Held) -> io::Result<Option<u8>> {
        loop {
            let next = self.input.fill_buf()?.first().copied();
            match next {
                Some(byte) if byte != b'\n' && is_space(byte) => {
                    text.add(&[byte]);
                    self.take(1)?;
                }
                _ if self.input.begins(MARK)? => return Ok(None),
                _ => return Ok(next.filter(|byte| *byte != b'\n')),
            }
        }
    }

    /// Reads until there is a row, or nothing any more.
    fn read(&mut self) -> Result<Option<Row>, RowError> {
        while self.state != State::End {
            let row = match self.state {
                State::Start | State::Value => self.read_value(),
                State::Element { first } => self.read_element(first),
                State::Separator => self.read_separator(),
                State::End => Ok(None),
            };
            if let Some(row) = row? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn read_value(&mut self) -> Result<Option<Row>, RowError> {
        let is_first = std::mem::replace(&mut self.state, State::Value) == State::Start;
        match self.skip_space()? {
            None => {
                self.state = State::End;
                Ok(None)
            }
            Some(b'{') => self.read_object(),
            Some(b'[') => self.read_array(is_first),
            Some(_) => self.read_line(self.place(), self.held()),
        }
    }

    /// The rest of a line that begins at `place` with `text`, whatever it is; who parses it says what is wrong.
    fn read_line(&mut self, place: Place, mut text: Held) -> Result<Option<Row>, RowError> {
        loop {
            let buffer = self.input.fill_buf()?;
            let end = memchr(b'\n', buffer);
            let count = end.map_or(buffer.len(), |end| end + 1);
            text.add(&buffer[..count]);
            self.take(count)?;
            if end.is_some() || count == 0 {
                return text.into_row(place).map(Some);
            }
            ends(&text, place)?;
        }
    }

    /// An object on a line, or over several.
    fn read_object(&mut self) -> Result<Option<Row>, RowError> {
        let place = self.place();
        let (mut element, mut text) = (Element::default(), self.held());
        let mut goes_on = self.indented;
        loop {
            let buffer = self.input.fill_buf()?;
            let line = memchr(b'\n', buffer);
            let piece = &buffer[..line.map_or(buffer.len(), |end| end + 1)];
            let end = element.end(piece);
            let count = end.unwrap_or(piece.len());
            text.add(&buffer[..count]);
            self.take(count)?;
            match (end, line) {
                (Some(_), _) if goes_on => return text.into_row(place).map(Some),
                (Some(_), _) => return self.end_line(place, text),
                (None, None) if count == 0 && goes_on => {
                    return Err(malformed(place, "the file ends within this object", &text));
                }
                (None, None) if count == 0 => return text.into_row(place).map(Some),
                (None, Some(_)) if !goes_on => {
                    // The next line goes on with this object, or has one of its own and this one is broken.
                    if element.in_string || !matches!(self.skip_space_into(&mut text)?, Some(b'"' | b'}')) {
                        return text.into_row(place).map(Some);
                    }
                    goes_on = true;
                }
                _ => ends(&text, place)?,
            }
        }
    }

    /// Looks at what follows an object on its line: nothing or another value, or the line is no row.
    fn end_line(&mut self, place: Place, mut text: Held) -> Result<Option<Row>, RowError> {
        match self.next_on_line(&mut text)? {
            None | Some(b'{' | b'[') => text.into_row(place).map(Some),
            Some(_) => self.read_line(place, text),
        }
    }

    /// An array of rows, or one that is a row itself. Beyond the first value, what stands in brackets may be no JSON at all.
    fn read_array(&mut self, is_first: bool) -> Result<Option<Row>, RowError> {
        let (place, mut text) = (self.place(), self.held());
        text.add(b"[");
        self.take(1)?;
        match self.next_on_line(&mut text)? {
            None | Some(b'{' | b'[' | b']') => {}
            Some(byte) if is_first && byte != b'"' => {}
            Some(_) => return self.read_line(place, text),
        }
        if self.skip_space_into(&mut text)? == Some(b'{') {
            return self.read_first(place, text);
        }
        self.state = State::Element { first: true };
        Ok(None)
    }

    /// The first object of an array that `opened` at a place; all of the array, if that object is a message.
    fn read_first(&mut self, opened: Place, mut text: Held) -> Result<Option<Row>, RowError> {
        let (place, mut object) = (self.place(), self.held());
        let is_whole = self.read_to_end(Element::default(), &mut object, place)?;
        if !is_whole {
            return Err(malformed(place, "the file ends within this object", &object));
        }
        if !conversation::is_message(object.bytes()) {
            self.state = State::Separator;
            return object.into_row(place).map(Some);
        }
        text.add(object.bytes());
        match self.read_to_end(Element::in_array(), &mut text, opened)? {
            true => text.into_row(opened).map(Some),
            false => Err(malformed(opened, "the file ends within this array", &text)),
        }
    }

    fn read_separator(&mut self) -> Result<Option<Row>, RowError> {
        match self.skip_space()? {
            Some(b']') => self.close(),
            Some(b',') => {
                self.take(1)?;
                self.read_element(false)
            }
            next => {
                // What stands here may be an object whose comma was forgotten.
                self.state = match next {
                    Some(_) => State::Element { first: false },
                    None => State::End,
                };
                let what = "expected `,` or `]` after an object of the array";
                Err(malformed(self.place(), what, &self.held()))
            }
        }
    }

    /// Takes the `]`. Another value may follow.
    fn close(&mut self) -> Result<Option<Row>, RowError> {
        self.take(1)?;
        self.state = State::Value;
        Ok(None)
    }

    fn read_element(&mut self, first: bool) -> Result<Option<Row>, RowError> {
        let next = self.skip_space()?;
        if first && next == Some(b']') {
            return self.close();
        }
        self.state = State::Separator;
        let (place, mut text) = (self.place(), self.held());
        let is_whole = self.read_to_end(Element::default(), &mut text, place)?;
        match next {
            Some(b'{') if !is_whole => Err(malformed(place, "the file ends within this object", &text)),
            Some(b'{') => text.into_row(place).map(Some),
            Some(b'[') if is_whole && conversation::is_list(text.bytes()) => text.into_row(place).map(Some),
            _ => Err(malformed(place, "expected an object `{`", &text)),
        }
    }

    /// Reads a value to its end; false where the file ends first, and with it everything.
    fn read_to_end(&mut self, mut element: Element, text: &mut Held, place: Place) -> Result<bool, RowError> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                self.state = State::End;
                return Ok(false);
            }
            let end = element.end(buffer);
            let count = end.unwrap_or(buffer.len());
            text.add(&buffer[..count]);
            self.take(count)?;
            if end.is_some() {
                return Ok(true);
            }
            ends(text, place)?;
        }
    }
}

/// What means nothing between values: white space, the zeros and the Ctrl-Z that some programs fill files up with, and the
/// separator of RFC 7464.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'\0' | b'\x1a' | b'\x1e')
}

fn malformed(place: Place, what: &str, text: &Held) -> RowError {
    RowError::Malformed {
        place,
        what: what.into(),
        found: text.found(),
    }
}

/// Fails on a row that does not end.
fn ends(text: &Held, place: Place) -> Result<(), RowError> {
    match (text.length() > ENDLESS, place) {
        (true, Place::Text { line, .. }) => Err(endless(line)),
        _ => Ok(()),
    }
}

/// The row that begins at `line` does not end.
pub(super) fn endless(line: usize) -> RowError {
    let error = format!("the row at line {line} has no end within {} MiB", ENDLESS >> 20);
    RowError::Io(io::Error::new(io::ErrorKind::FileTooLarge, error))
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read().transpose();
        if matches!(row, Some(Err(RowError::Io(_)))) {
            self.state = State::End;
        }
        row
    }
}

/// Whether the object that the text begins with goes on behind its first line.
pub(super) fn spans_lines(text: &[u8]) -> bool {
    let Some(end) = memchr(b'\n', text) else {
        return false;
    };
    let (line, rest) = text.split_at(end);
    let mut element = Element::default();
    element.end(line).is_none()
        && !element.in_string
        && matches!(rest.trim_ascii_start().first(), Some(b'"' | b'}'))
}

impl RowError {
    /// The row at `place`, which begins so, is longer than [`LONGEST`].
    pub(super) fn too_long(place: Place, beginning: &[u8]) -> RowError {
        RowError::Malformed {
            place,
            what: format!("the row is longer than {} MiB", LONGEST >> 20),
            found: Found::beginning(beginning),
        }
    }
}

impl Found {
    /// All of these bytes.
    pub(super) fn text(bytes: &[u8]) -> Found {
        Found::Text(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The first of these bytes, of more than can be held.
    fn beginning(bytes: &[u8]) -> Found {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]);
        Found::Text(format!("{shown}…"))
    }
}

impl Row {
    /// A row of a file of text.
    pub fn new(text: Vec<u8>, place: Place) -> Row {
        Row {
            text,
            place,
            number: 0,
            cells: None,
        }
    }
}
