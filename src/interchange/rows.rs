//! A file of JSON objects, one at a time: JSON lines, or one JSON array. Holds one object in memory, and knows the line
//! and the column where each begins, so that an error can point at the place. A row that is not what it should be is
//! said, and the next one found.

use std::{
    fmt,
    io::{self, BufRead, Cursor, Read},
};

use memchr::{memchr_iter, memchr2, memrchr};

use super::columns::Cells;

/// A row of more bytes is not held in memory; it is an error of the row.
pub const LONGEST: usize = 64 << 20;

/// Where something is in a file; everything counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In a file of text.
    Text {
        /// The line.
        line: usize,
        /// The column, in bytes.
        column: usize,
    },
    /// In a file of columns, which has no lines.
    Row(u64),
}

/// The text of one object.
#[derive(Debug, Clone)]
pub struct Row {
    /// JSON, not parsed yet.
    pub text: Vec<u8>,
    /// Where it begins.
    pub place: Place,
    /// Which row of the file it is, counted from 1; [`super::read::RowReader`] sees to that.
    pub number: u64,
    /// Of a row of a Parquet file, what the text was made of.
    pub(super) cells: Option<Cells>,
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
    },
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was read yet.
    Start,
    /// A line.
    Line,
    /// An element of the array; the first one may be missing.
    Element { first: bool },
    /// The comma after an element, or the end of the array.
    Separator,
    /// An object over several lines, outside of an array.
    Object,
    /// Nothing any more.
    End,
}

/// Reads rows; an iterator. It ends by itself where nothing after an error could be told apart.
#[derive(Debug)]
pub struct Rows<R> {
    /// What was looked at for a byte order mark, then everything else.
    input: io::Chain<Cursor<Vec<u8>>, R>,
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
    /// Rows of `input`, which is either `[ {…}, {…} ]` or an object a line. Blank lines and a byte order mark mean
    /// nothing.
    pub fn new(input: R) -> Rows<R> {
        Rows {
            input: Cursor::new(Vec::new()).chain(input),
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
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            match buffer.iter().position(|byte| !byte.is_ascii_whitespace()) {
                Some(0) => return Ok(Some(buffer[0])),
                space => {
                    let count = space.unwrap_or(buffer.len());
                    self.take(count)?;
                }
            }
        }
    }

    fn malformed(&self, what: impl Into<String>) -> RowError {
        RowError::Malformed {
            place: self.place(),
            what: what.into(),
        }
    }

    fn read(&mut self) -> Result<Option<Row>, RowError> {
        match self.state {
            State::Start => {
                self.start()?;
                self.read()
            }
            State::Line => self.read_line(),
            State::Element { first } => self.read_element(first),
            State::Separator => self.read_separator(),
            State::Object => self.read_object(),
            State::End => Ok(None),
        }
    }

    fn start(&mut self) -> io::Result<()> {
        // A buffer may be shorter than the mark.
        let (head, rest) = self.input.get_mut();
        rest.take(3).read_to_end(head.get_mut())?;
        if head.get_ref() == b"\xef\xbb\xbf" {
            head.set_position(3);
            (self.offset, self.line_start) = (3, 3);
        }
        self.state = match self.skip_space()? {
            Some(b'[') => {
                self.take(1)?;
                State::Element { first: true }
            }
            _ if self.indented => State::Object,
            _ => State::Line,
        };
        Ok(())
    }

    fn read_line(&mut self) -> Result<Option<Row>, RowError> {
        if self.skip_space()?.is_none() {
            self.state = State::End;
            return Ok(None);
        }
        let place = self.place();
        let mut text = Vec::new();
        let mut taken = (&mut self.input)
            .take(self.longest as u64 + 1)
            .read_until(b'\n', &mut text)?;
        let cut = text.len() > self.longest && text.last() != Some(&b'\n');
        if cut {
            taken += self.input.skip_until(b'\n')?;
        }
        self.offset += taken as u64;
        self.line += 1;
        self.line_start = self.offset;
        if cut {
            return Err(RowError::too_long(place));
        }
        // A parser that runs into the line's end would point at the next line.
        text.truncate(text.trim_ascii_end().len());
        Ok(Some(Row::new(text, place)))
    }

    fn read_separator(&mut self) -> Result<Option<Row>, RowError> {
        match self.skip_space()? {
            Some(b']') => self.read_end(),
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
                Err(self.malformed("expected `,` or `]` after an object of the array"))
            }
        }
    }

    /// Takes the `]`.
    fn read_end(&mut self) -> Result<Option<Row>, RowError> {
        self.take(1)?;
        self.state = State::End;
        match self.skip_space()? {
            None => Ok(None),
            Some(_) => Err(self.malformed("there is something after the array")),
        }
    }

    /// One of several objects that stand one after another.
    fn read_object(&mut self) -> Result<Option<Row>, RowError> {
        match self.skip_space()? {
            None => {
                self.state = State::End;
                Ok(None)
            }
            Some(b'{') => {
                let row = self.read_whole(true);
                if self.state != State::End {
                    self.state = State::Object;
                }
                row
            }
            Some(_) => {
                // Nothing tells where it ends but the line.
                let place = self.place();
                let skipped = self.input.skip_until(b'\n')?;
                self.offset += skipped as u64;
                self.line += 1;
                self.line_start = self.offset;
                Err(RowError::Malformed {
                    place,
                    what: "expected an object `{`".into(),
                })
            }
        }
    }

    fn read_element(&mut self, first: bool) -> Result<Option<Row>, RowError> {
        let next = self.skip_space()?;
        if first && next == Some(b']') {
            return self.read_end();
        }
        self.read_whole(next == Some(b'{'))
    }

    /// Reads an element to its end.
    fn read_whole(&mut self, is_object: bool) -> Result<Option<Row>, RowError> {
        self.state = State::Separator;
        let place = self.place();
        let (mut element, mut text, mut length) = (Element::default(), Vec::new(), 0);
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                self.state = State::End;
                break;
            }
            let end = element.end(buffer);
            let count = end.unwrap_or(buffer.len());
            length += count;
            if is_object && length <= self.longest {
                text.extend_from_slice(&buffer[..count]);
            } else {
                text = Vec::new();
            }
            self.take(count)?;
            if end.is_some() {
                break;
            }
        }
        match (is_object, self.state) {
            (false, _) => Err(RowError::Malformed {
                place,
                what: "expected an object `{`".into(),
            }),
            (true, State::End) => Err(RowError::Malformed {
                place,
                what: "the file ends within this object".into(),
            }),
            _ if length > self.longest => Err(RowError::too_long(place)),
            _ => Ok(Some(Row::new(text, place))),
        }
    }
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
    let Some(end) = memchr::memchr(b'\n', text) else {
        return false;
    };
    let (line, rest) = text.split_at(end);
    let mut element = Element::default();
    // Within a string there is no line break, so that a line that ends in one is broken, not indented.
    element.end(line).is_none()
        && !element.in_string
        && matches!(rest.trim_ascii_start().first(), Some(b'"' | b'}'))
}

/// How far into an element of the array we are.
#[derive(Debug, Default)]
struct Element {
    begun: bool,
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Element {
    /// Reads on; where in `text` the element ends, if it does. What is no JSON ends where the next element might begin.
    fn end(&mut self, text: &[u8]) -> Option<usize> {
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

impl RowError {
    /// The row at `place` is longer than [`LONGEST`].
    pub(super) fn too_long(place: Place) -> RowError {
        RowError::Malformed {
            place,
            what: format!("the row is longer than {} MiB", LONGEST >> 20),
        }
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

impl Place {
    /// The place in the file of something that a parser found at `line` and `column` of a row beginning here; both
    /// count from 1.
    pub fn of_inner(self, inner_line: usize, inner_column: usize) -> Place {
        match self {
            Place::Text { line, column } if inner_line <= 1 => Place::Text {
                line,
                column: column + inner_column.saturating_sub(1),
            },
            Place::Text { line, .. } => Place::Text {
                line: line + inner_line - 1,
                column: inner_column,
            },
            Place::Row(_) => self,
        }
    }

    /// The place, with the name of the file: `rows.jsonl:3:1`, or `rows.parquet: row 3`.
    pub fn in_file(self, file: &str) -> impl fmt::Display {
        fmt::from_fn(move |f| match self {
            Place::Text { line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Row(row) => write!(f, "{file}: row {row}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use proptest::prelude::*;

    use super::*;

    /// What a file is split into: each row with its place, or what is said in its stead.
    fn split(input: impl BufRead, longest: usize) -> Vec<Result<(Vec<u8>, String), String>> {
        let rows = Rows {
            longest,
            ..Rows::new(input)
        };
        rows.map(|row| match row {
            Ok(row) => Ok((row.text, row.place.in_file("f").to_string())),
            Err(RowError::Malformed { place, what }) => Err(format!("{}: {what}", place.in_file("f"))),
            Err(error) => Err(error.to_string()),
        })
        .collect()
    }

    fn all(text: &str) -> Vec<Result<(String, String), String>> {
        split(text.as_bytes(), LONGEST)
            .into_iter()
            .map(|row| row.map(|(text, place)| (String::from_utf8(text).unwrap(), place)))
            .collect()
    }

    fn row(text: &str, place: &str) -> Result<(String, String), String> {
        Ok((text.into(), place.into()))
    }

    fn fault(what: &str) -> Result<(String, String), String> {
        Err(what.into())
    }

    #[test]
    fn lines_and_arrays() {
        assert_eq!(all(""), []);
        assert_eq!(all(" [ ] \n"), []);
        assert_eq!(
            all("\u{feff}\n {\"a\": 1}\n\n{}"),
            [row("{\"a\": 1}", "f:2:2"), row("{}", "f:4:1")]
        );
        assert_eq!(all("\u{feff}{}"), [row("{}", "f:1:1")]);
        assert_eq!(
            all("[{\"a\": \"}\\\"]\"},\n  {\"b\": [{}]}]"),
            [row("{\"a\": \"}\\\"]\"}", "f:1:2"), row("{\"b\": [{}]}", "f:2:3")]
        );
    }

    #[test]
    fn what_is_no_row_is_said_and_the_next_one_found() {
        let comma = "expected `,` or `]` after an object of the array";
        let object = "expected an object `{`";
        assert_eq!(
            all("[{} {}]"),
            [
                row("{}", "f:1:2"),
                fault(&format!("f:1:5: {comma}")),
                row("{}", "f:1:5")
            ]
        );
        assert_eq!(
            all("[{},\n3, \"a,\\\"]\", [1, {}],,null {\"b\": 1},]"),
            [
                row("{}", "f:1:2"),
                fault(&format!("f:2:1: {object}")),
                fault(&format!("f:2:4: {object}")),
                fault(&format!("f:2:13: {object}")),
                fault(&format!("f:2:21: {object}")),
                fault(&format!("f:2:22: {object}")),
                fault(&format!("f:2:27: {comma}")),
                row("{\"b\": 1}", "f:2:27"),
                fault(&format!("f:2:36: {object}")),
            ]
        );
        assert_eq!(
            all("[{},\n {\"a\": ")[1..],
            [fault("f:2:2: the file ends within this object")]
        );
        assert_eq!(all("[{}")[1..], [fault(&format!("f:1:4: {comma}"))]);
        assert_eq!(all("[{},")[1..], [fault(&format!("f:1:5: {object}"))]);
        assert_eq!(
            all("[{}] {}")[1..],
            [fault("f:1:6: there is something after the array")]
        );
    }

    #[test]
    fn a_row_without_bound_is_passed_over() {
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(100));
        for (text, place, next) in [
            (format!("{{}}\n{long}\n{{\"b\": 1}}"), "f:2:1", "f:3:1"),
            (format!("[{{}},\n{long},\n{{\"b\": 1}}]"), "f:2:1", "f:3:1"),
        ] {
            let rows = split(text.as_bytes(), 20);
            assert_eq!(rows.len(), 3, "{rows:?}");
            assert_eq!(rows[1], Err(format!("{place}: the row is longer than 64 MiB")));
            assert_eq!(rows[2], Ok((b"{\"b\": 1}".to_vec(), next.to_owned())));
        }
        let exact = "{\"a\": 12345678901234}";
        for text in [exact.to_owned(), format!("{exact}\n"), format!("[{exact}]")] {
            assert!(split(text.as_bytes(), 21)[0].is_ok(), "{text}");
            assert!(split(text.as_bytes(), 20)[0].is_err(), "{text}");
        }
    }

    #[test]
    fn the_size_of_the_buffer_changes_nothing() {
        let texts = [
            "\u{feff}{\"a\": \"x\\\\\"}\r\n\r\n  {\"b\": [1, {\"c\": \"}\"}]} \noops\n{\"d\": \"\u{2602}\"}",
            "\u{feff} [ {\"a\": \"\\\"]\\\\\"} ,\n3, {\"b\":\n [1, {\"c\": \"\\\\\\\"}\"}]}\n{\"d\": 1}, [[]], {\"e\"",
            "\u{fe00}{}",
        ];
        for text in texts {
            for longest in [10, LONGEST] {
                let whole = split(text.as_bytes(), longest);
                for capacity in 1..64 {
                    let buffered = BufReader::with_capacity(capacity, text.as_bytes());
                    assert_eq!(split(buffered, longest), whole, "{text} by {capacity}");
                }
            }
        }
    }

    /// Any JSON.
    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
            "[\\[\\]{},\"\\\\\n ]{0,8}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                object(inner)
            ]
        })
    }

    fn object(value: impl Strategy<Value = serde_json::Value>) -> impl Strategy<Value = serde_json::Value> {
        prop::collection::btree_map(any::<String>(), value, 0..4)
            .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn every_object_comes_back(
            objects in prop::collection::vec(object(value()), 1..6), capacity in 1usize..40, pretty in any::<bool>()
        ) {
            let lines: Vec<String> = objects.iter().map(|object| object.to_string()).collect();
            let elements = match pretty {
                true => objects.iter().map(|object| serde_json::to_string_pretty(object).unwrap()).collect(),
                false => lines.clone(),
            };
            for (text, rows) in [
                (lines.join("\r\n\n"), lines),
                (format!("\t[\n{}\n]\n", elements.join(" ,\n")), elements),
            ] {
                let found = split(BufReader::with_capacity(capacity, text.as_bytes()), LONGEST);
                let found: Vec<_> = found.into_iter().map(|row| String::from_utf8(row.unwrap().0).unwrap()).collect();
                prop_assert_eq!(found, rows);
            }
        }

        #[test]
        fn any_bytes_come_to_an_end(
            bytes in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..200),
                "\\[?[\\[\\]{},:\"\\\\ \na1]{0,100}".prop_map(String::into_bytes),
            ],
            capacity in 1usize..40
        ) {
            // Nothing is said twice of a place where nothing is taken: at most twice as much as there are bytes.
            let mut rows = Rows::new(BufReader::with_capacity(capacity, bytes.as_slice()));
            let count = (0..2 * bytes.len() + 2).map_while(|_| rows.next()).count();
            prop_assert!(count < 2 * bytes.len() + 2);
            prop_assert!(rows.next().is_none());
            prop_assert_eq!(split(BufReader::with_capacity(capacity, bytes.as_slice()), 7), split(bytes.as_slice(), 7));
        }
    }
}
