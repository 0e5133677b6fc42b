//! A file of JSON objects, one at a time: JSON lines, or one JSON array. Holds one object in memory, and knows the line
//! and the column where each begins, so that an error can point at the place.

use std::io::{self, BufRead};

/// Where something is in a file; both count from 1, columns in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// The text of one object.
#[derive(Debug)]
pub struct Row {
    /// JSON, not parsed yet.
    pub text: Vec<u8>,
    /// Where it begins.
    pub place: Place,
}

/// Why a file cannot be split into rows.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file is not what it began as.
    #[error("{what}")]
    Malformed {
        /// Where.
        place: Place,
        /// What is wrong there.
        what: String,
    },
}

/// The two ways to hold rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Lines,
    Array,
}

/// Reads rows; an iterator.
#[derive(Debug)]
pub struct Rows<R> {
    input: R,
    place: Place,
    shape: Option<Shape>,
    first: bool,
    done: bool,
}

impl<R: BufRead> Rows<R> {
    /// Rows of `input`, which is either `[ {…}, {…} ]` or an object a line. Blank lines and a byte order mark mean
    /// nothing.
    pub fn new(input: R) -> Rows<R> {
        Rows {
            input,
            place: Place { line: 1, column: 1 },
            shape: None,
            first: true,
            done: false,
        }
    }

    /// The next byte, without taking it.
    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.input.fill_buf()?.first().copied())
    }

    /// Takes the byte that was peeked at.
    fn take(&mut self, byte: u8) {
        self.input.consume(1);
        if byte == b'\n' {
            self.place = Place {
                line: self.place.line + 1,
                column: 1,
            };
        } else {
            self.place.column += 1;
        }
    }

    /// The next byte that is not space, without taking it.
    fn skip_space(&mut self) -> io::Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.take(byte);
        }
        Ok(None)
    }

    fn malformed(&self, what: impl Into<String>) -> RowError {
        RowError::Malformed {
            place: self.place,
            what: what.into(),
        }
    }

    fn read(&mut self) -> Result<Option<Row>, RowError> {
        if self.shape.is_none() {
            if self.input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
                self.input.consume(3);
            }
            self.shape = Some(match self.skip_space()? {
                Some(b'[') => {
                    self.take(b'[');
                    Shape::Array
                }
                _ => Shape::Lines,
            });
        }
        match self.shape {
            Some(Shape::Array) => self.read_element(),
            _ => self.read_line(),
        }
    }

    fn read_line(&mut self) -> Result<Option<Row>, RowError> {
        if self.skip_space()?.is_none() {
            return Ok(None);
        }
        let place = self.place;
        let mut text = Vec::new();
        self.input.read_until(b'\n', &mut text)?;
        self.place = Place {
            line: place.line + 1,
            column: 1,
        };
        Ok(Some(Row { text, place }))
    }

    fn read_element(&mut self) -> Result<Option<Row>, RowError> {
        let mut next = self.skip_space()?;
        if next == Some(b']') {
            self.take(b']');
            return match self.skip_space()? {
                None => Ok(None),
                Some(_) => Err(self.malformed("there is something after the array")),
            };
        }
        if !self.first {
            if next != Some(b',') {
                return Err(self.malformed("expected `,` or `]` after an object of the array"));
            }
            self.take(b',');
            next = self.skip_space()?;
        }
        self.first = false;
        if next != Some(b'{') {
            return Err(self.malformed("expected an object `{`"));
        }
        let place = self.place;
        let (mut text, mut depth, mut in_string, mut escaped) = (Vec::new(), 0usize, false, false);
        loop {
            let Some(byte) = self.peek()? else {
                return Err(RowError::Malformed {
                    place,
                    what: "the file ends within this object".into(),
                });
            };
            self.take(byte);
            text.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => depth += 1,
                b'}' | b']' if !in_string => {
                    depth -= 1;
                    if depth == 0 {
                        return Ok(Some(Row { text, place }));
                    }
                }
                _ => {}
            }
        }
    }
}

impl<R: BufRead> Iterator for Rows<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let row = self.read().transpose();
        // After an error the place in the file means nothing any more.
        self.done = !matches!(row, Some(Ok(_)));
        row
    }
}

impl Place {
    /// The place in the file of something that a parser found at `line` and `column` of a row beginning here; both
    /// count from 1.
    pub fn of_inner(self, line: usize, column: usize) -> Place {
        match line {
            0 | 1 => Place {
                line: self.line,
                column: self.column + column.saturating_sub(1),
            },
            _ => Place {
                line: self.line + line - 1,
                column,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Result<(String, usize, usize), String>> {
        Rows::new(text.as_bytes())
            .map(|row| match row {
                Ok(row) => Ok((
                    String::from_utf8(row.text).unwrap(),
                    row.place.line,
                    row.place.column,
                )),
                Err(RowError::Malformed { place, what }) => {
                    Err(format!("{}:{}: {what}", place.line, place.column))
                }
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }

    #[test]
    fn lines_and_arrays() {
        assert_eq!(all(""), []);
        assert_eq!(all(" [ ] \n"), []);
        assert_eq!(
            all("\u{feff}\n {\"a\": 1}\n\n{}"),
            [Ok(("{\"a\": 1}\n".into(), 2, 2)), Ok(("{}".into(), 4, 1))]
        );
        assert_eq!(
            all("[{\"a\": \"}\\\"]\"},\n  {\"b\": [{}]}]"),
            [
                Ok(("{\"a\": \"}\\\"]\"}".into(), 1, 2)),
                Ok(("{\"b\": [{}]}".into(), 2, 3))
            ]
        );
    }

    #[test]
    fn broken_arrays() {
        assert_eq!(
            all("[{} {}]")[1],
            Err("1:5: expected `,` or `]` after an object of the array".into())
        );
        assert_eq!(all("[{},\n3]")[1], Err("2:1: expected an object `{`".into()));
        assert_eq!(
            all("[{},\n {\"a\": ")[1],
            Err("2:2: the file ends within this object".into())
        );
        assert_eq!(
            all("[{}] {}")[1],
            Err("1:6: there is something after the array".into())
        );
    }
}
