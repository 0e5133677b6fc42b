//! Rows of JSON files: objects, one a line or over several lines each, and arrays of objects, one
//! after another in any order, as `cat` joins files. Holds one row in memory, and knows line and
//! column of each, so that errors can point at the place. A malformed row is reported, and reading
//! goes on with the next.

mod ahead;
mod element;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead};

use memchr::{memchr, memchr_iter, memrchr};

use super::{
    location::Location,
    row::{ENDLESS, LONGEST, Row, RowError},
};
use crate::interchange::{
    bytes::encoding::{BYTE_ORDER_MARK, beginning},
    conversation,
};
use ahead::LookAhead;
use element::{Element, Held};

/// What the text is expected to have next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The first value.
    Start,
    /// A value: an object or an array.
    Value,
    /// An element of an array; the first one may be missing.
    Element { first: bool },
    /// The comma after an element, or the end of the array.
    Separator,
    /// Nothing: the file has ended.
    End,
}

/// Reads the rows of a JSON file. It ends after an error behind which no row can be found.
#[derive(Debug)]
pub struct JsonReader<R> {
    input: LookAhead<R>,
    /// Bytes consumed so far.
    offset: u64,
    line: usize,
    /// The offset of the line.
    line_start: u64,
    expected: Expected,
    indented: bool,
    longest: usize,
}

impl<R: BufRead> JsonReader<R> {
    /// Reads `input`, which is `[ {…}, {…} ]`, an object a line, or several of these one after
    /// another. Blank lines and byte order marks are skipped. An array of messages is one row, a
    /// conversation.
    pub fn new(input: R) -> JsonReader<R> {
        JsonReader {
            input: LookAhead::new(input),
            offset: 0,
            line: 1,
            line_start: 0,
            expected: Expected::Start,
            indented: false,
            longest: LONGEST,
        }
    }

    /// Reads `input`, objects of several lines each, one after another.
    pub fn of_indented(input: R) -> JsonReader<R> {
        JsonReader {
            indented: true,
            ..JsonReader::new(input)
        }
    }

    fn place(&self) -> Location {
        Location::Text {
            line: self.line,
            column: (self.offset - self.line_start) as usize + 1,
        }
    }

    fn held(&self) -> Held {
        Held::new(self.longest)
    }

    /// Consumes `count` bytes of the buffer.
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

    /// Skips white space. Returns the next byte without consuming it.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        self.skip_space_into(&mut Held::new(0))
    }

    /// Like [`JsonReader::skip_space`], and adds the white space to `text`.
    fn skip_space_into(&mut self, text: &mut Held) -> io::Result<Option<u8>> {
        loop {
            if self.input.begins(BYTE_ORDER_MARK)? {
                let is_first = self.offset == self.line_start;
                self.take(BYTE_ORDER_MARK.len())?;
                if is_first {
                    // The mark does not count as a column.
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

    /// Returns the next byte of the line that is not white space, if there is one. The white space
    /// is added to `text`.
    fn next_on_line(&mut self, text: &mut Held) -> io::Result<Option<u8>> {
        loop {
            let next = self.input.fill_buf()?.first().copied();
            match next {
                Some(byte) if byte != b'\n' && is_space(byte) => {
                    text.add(&[byte]);
                    self.take(1)?;
                }
                _ if self.input.begins(BYTE_ORDER_MARK)? => return Ok(None),
                _ => return Ok(next.filter(|byte| *byte != b'\n')),
            }
        }
    }

    /// Reads the next row.
    fn read(&mut self) -> Result<Option<Row>, RowError> {
        while self.expected != Expected::End {
            let row = match self.expected {
                Expected::Start | Expected::Value => self.read_value(),
                Expected::Element { first } => self.read_element(first),
                Expected::Separator => self.read_separator(),
                Expected::End => Ok(None),
            };
            if let Some(row) = row? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    fn read_value(&mut self) -> Result<Option<Row>, RowError> {
        let is_first = std::mem::replace(&mut self.expected, Expected::Value) == Expected::Start;
        match self.skip_space()? {
            None => {
                self.expected = Expected::End;
                Ok(None)
            }
            Some(b'{') => self.read_object(),
            Some(b'[') => self.read_array(is_first),
            Some(_) => self.read_line(self.place(), self.held()),
        }
    }

    /// Reads the rest of a line that begins at `place` with `text` and is no JSON value. Its parser
    /// says what is wrong with it.
    fn read_line(&mut self, place: Location, mut text: Held) -> Result<Option<Row>, RowError> {
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

    /// Reads an object on one line or over several.
    fn read_object(&mut self) -> Result<Option<Row>, RowError> {
        let place = self.place();
        let (mut element, mut text) = (Element::default(), self.held());
        let mut goes_on = self.indented;
        loop {
            let buffer = self.input.fill_buf()?;
            let line = memchr(b'\n', buffer);
            let chunk = &buffer[..line.map_or(buffer.len(), |end| end + 1)];
            let end = element.end(chunk);
            let count = end.unwrap_or(chunk.len());
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
                    // The next line goes on with this object, or has one of its own and this one is
                    // broken.
                    if element.in_string || !matches!(self.skip_space_into(&mut text)?, Some(b'"' | b'}')) {
                        return text.into_row(place).map(Some);
                    }
                    goes_on = true;
                }
                _ => ends(&text, place)?,
            }
        }
    }

    /// Checks what follows an object on its line: if it is neither nothing nor another value, the
    /// whole line is malformed.
    fn end_line(&mut self, place: Location, mut text: Held) -> Result<Option<Row>, RowError> {
        match self.next_on_line(&mut text)? {
            None | Some(b'{' | b'[') => text.into_row(place).map(Some),
            Some(_) => self.read_line(place, text),
        }
    }

    /// Reads the start of an array of rows, or of one that is a row itself. After the first value,
    /// text in brackets may be no JSON at all.
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
        self.expected = Expected::Element { first: true };
        Ok(None)
    }

    /// Reads the first object of an array that begins at `opened`, or the whole array if that
    /// object is a message.
    fn read_first(&mut self, opened: Location, mut text: Held) -> Result<Option<Row>, RowError> {
        let (place, mut object) = (self.place(), self.held());
        let is_whole = self.read_to_end(Element::default(), &mut object, place)?;
        if !is_whole {
            return Err(malformed(place, "the file ends within this object", &object));
        }
        if !conversation::is_message(object.bytes()) {
            self.expected = Expected::Separator;
            return object.into_row(place).map(Some);
        }
        text.add(object.bytes());
        match self.read_to_end(Element::in_array(), &mut text, opened)? {
            true => text.into_row(opened).map(Some),
            false => Err(malformed(opened, "the file ends within this array", &text)),
        }
    }

    /// Reads the comma between two objects of an array, and the second object, or the end of the
    /// array.
    fn read_separator(&mut self) -> Result<Option<Row>, RowError> {
        match self.skip_space()? {
            Some(b']') => self.close(),
            Some(b',') => {
                self.take(1)?;
                self.read_element(false)
            }
            next => {
                // This may be an object whose comma is missing.
                self.expected = match next {
                    Some(_) => Expected::Element { first: false },
                    None => Expected::End,
                };
                let what = "expected `,` or `]` after an object of the array";
                Err(malformed(self.place(), what, &self.held()))
            }
        }
    }

    /// Consumes the `]`. Another value may follow.
    fn close(&mut self) -> Result<Option<Row>, RowError> {
        self.take(1)?;
        self.expected = Expected::Value;
        Ok(None)
    }

    /// Reads an object of an array.
    fn read_element(&mut self, first: bool) -> Result<Option<Row>, RowError> {
        let next = self.skip_space()?;
        if first && next == Some(b']') {
            return self.close();
        }
        self.expected = Expected::Separator;
        let (place, mut text) = (self.place(), self.held());
        let is_whole = self.read_to_end(Element::default(), &mut text, place)?;
        match next {
            Some(b'{') if !is_whole => Err(malformed(place, "the file ends within this object", &text)),
            Some(b'{') => text.into_row(place).map(Some),
            Some(b'[') if is_whole && conversation::is_list(text.bytes()) => text.into_row(place).map(Some),
            _ => Err(malformed(place, "expected an object `{`", &text)),
        }
    }

    /// Reads a value to its end. Returns false if the file ends first; then there is no row after
    /// it.
    fn read_to_end(
        &mut self,
        mut element: Element,
        text: &mut Held,
        place: Location,
    ) -> Result<bool, RowError> {
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                self.expected = Expected::End;
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

/// Whether a byte is skipped between values: white space, the zeros and Ctrl-Z with which some
/// programs fill up files, and the record separator of RFC 7464.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'\0' | b'\x1a' | b'\x1e')
}

fn malformed(place: Location, what: &str, text: &Held) -> RowError {
    RowError::Malformed {
        place,
        what: what.into(),
        found: text.found(),
    }
}

/// Fails on a row without an end.
fn ends(text: &Held, place: Location) -> Result<(), RowError> {
    match (text.length() > ENDLESS, place) {
        (true, Location::Text { line, .. }) => Err(RowError::endless(line)),
        _ => Ok(()),
    }
}

impl<R: BufRead> Iterator for JsonReader<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.read().transpose();
        if matches!(row, Some(Err(RowError::Io(_)))) {
            self.expected = Expected::End;
        }
        row
    }
}

/// Whether a JSON file begins with an object of several lines, as `jq` and `json.dump(indent=2)`
/// print them.
pub fn is_indented(head: &[u8]) -> bool {
    let text = beginning(head);
    text.first() == Some(&b'{') && spans_lines(text)
}

/// Whether the object that the text begins with goes on after its first line.
fn spans_lines(text: &[u8]) -> bool {
    let Some(end) = memchr(b'\n', text) else {
        return false;
    };
    let (line, rest) = text.split_at(end);
    let mut element = Element::default();
    element.end(line).is_none()
        && !element.in_string
        && matches!(rest.trim_ascii_start().first(), Some(b'"' | b'}'))
}
