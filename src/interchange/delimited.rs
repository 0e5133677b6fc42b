//! Rows of CSV and TSV, as the JSON objects that other files of text have: each cell is a text. Holds one row in memory.

use std::io::{self, BufRead, Read};

use csv::ByteRecord;
use memchr::memchr;

use super::{
    cells::{Marks, Split, Splitter, first_records, has_csv_quotes},
    format::Format,
    parse::Reading,
    prose,
    rows::{ENDLESS, Found, LONGEST, MARK, Place, Row, RowError, endless},
};
use crate::text::counted;

/// What may stand between cells, the likeliest first.
const DELIMITERS: [u8; 4] = *b",\t;|";

/// So many rows are compared to tell a table from text with commas in it.
const COMPARED: usize = 4;

/// A line by which spreadsheets are told the delimiter: `sep=;`.
const DECLARATION: &[u8] = b"sep=";

/// How the cells of a file stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    marks: Marks,
    /// The names of the columns.
    pub columns: Vec<String>,
    declared: bool,
}

impl Layout {
    /// The layout of a file that begins with `head`, if it is one of cells. Names of ours in the first row tell; without one, rows
    /// of the same number of cells do, or that the file is called so (`is_named`).
    pub(super) fn of(head: &[u8], is_whole: bool, is_named: bool, reading: &Reading) -> Option<Layout> {
        let head = unmarked(head);
        let declared = head
            .get(..5)
            .filter(|line| line.starts_with(DECLARATION))
            .map(|line| line[4]);
        let head = match declared {
            Some(_) => &head[memchr::memchr(b'\n', head)? + 1..],
            None => head,
        };
        // A file of lines that end in `\r` has no other.
        let line_end = match memchr(b'\n', head).is_none() && memchr(b'\r', head).is_some() {
            true => b'\r',
            false => b'\n',
        };
        let delimiters = declared.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let layouts: Vec<(Layout, Vec<usize>)> = delimiters
            .into_iter()
            .filter_map(|delimiter| {
                let marks = Marks {
                    delimiter,
                    line_end,
                    quoted: true,
                };
                let quoted = delimiter != b'\t' || has_csv_quotes(head, is_whole, marks);
                let marks = Marks { quoted, ..marks };
                let mut records = first_records(head, is_whole, marks, COMPARED + 1).into_iter();
                let columns = names(&records.next()?)?;
                let cells = records.map(|record| record.len()).collect();
                let layout = Layout {
                    marks,
                    columns,
                    declared: declared.is_some(),
                };
                Some((layout, cells))
            })
            .collect();
        let known = layouts.iter().find(|(layout, _)| layout.is_known(reading));
        let regular = || {
            let alike = |(layout, cells): &&(Layout, Vec<usize>)| {
                let width = layout.columns.len();
                let rows = if is_named { 0 } else { 2 };
                width > 1 && cells.len() >= rows && cells.iter().all(|cells| *cells == width)
            };
            layouts
                .iter()
                .filter(alike)
                .max_by_key(|(layout, _)| layout.columns.len())
        };
        let named = || layouts.first().filter(|_| is_named);
        known
            .or_else(regular)
            .or_else(named)
            .map(|(layout, _)| layout.clone())
    }

    fn is_known(&self, reading: &Reading) -> bool {
        let has = |name: &str| {
            self.columns
                .iter()
                .any(|column| column.eq_ignore_ascii_case(name))
        };
        match reading.mapping.is_empty() {
            false => reading.mapping.columns().any(has),
            true => Format::of_columns(has, has, reading.need).is_some(),
        }
    }
}

/// The names of columns; one without a name is called as pandas calls it.
fn names(header: &ByteRecord) -> Option<Vec<String>> {
    let name = |(place, cell): (usize, &[u8])| {
        let name = std::str::from_utf8(cell).ok()?.trim();
        Some(match name {
            "" => format!("Unnamed: {place}"),
            name => name.to_owned(),
        })
    };
    header.iter().enumerate().map(name).collect()
}

/// Text without the byte order marks that it begins with.
fn unmarked(mut text: &[u8]) -> &[u8] {
    while let Some(rest) = text.strip_prefix(MARK) {
        text = rest;
    }
    text
}

/// Reads the rows; an iterator. It ends after an error of the file.
pub struct Delimited<R> {
    input: R,
    layout: Layout,
    /// What was read and is in no record yet begins at `start`, with line `line`.
    text: Vec<u8>,
    start: usize,
    line: usize,
    record: ByteRecord,
    /// Whether everything was read, and nothing more can be.
    is_all: bool,
    ended: bool,
}

impl<R: BufRead> Delimited<R> {
    /// The rows of `input` below its header, which `layout` was found in.
    pub(super) fn new(input: R, layout: Layout) -> Result<Delimited<R>, RowError> {
        let mut rows = Delimited {
            input,
            layout,
            text: Vec::new(),
            start: 0,
            line: 1,
            record: ByteRecord::new(),
            is_all: false,
            ended: false,
        };
        if rows.layout.declared && rows.more()? {
            rows.pass(rows.text.len());
        }
        rows.read()?;
        let columns = &rows.layout.columns;
        let twice = columns
            .iter()
            .enumerate()
            .find(|(place, name)| columns[..*place].contains(name));
        match twice {
            Some((_, name)) => Err(RowError::Damaged(format!("two columns are called `{name}`"))),
            None => Ok(rows),
        }
    }

    /// How the cells stand.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Reads another line; false at the end.
    fn more(&mut self) -> io::Result<bool> {
        self.text.drain(..self.start);
        self.start = 0;
        let before = self.text.len();
        (&mut self.input)
            .take(LONGEST as u64 + 1)
            .read_until(self.layout.marks.line_end, &mut self.text)?;
        if self.text.len() == before {
            self.is_all = true;
            // Programs fill files up with these.
            let filling = |byte: &&u8| matches!(byte, b'\0' | b'\x1a');
            let filled = self.text.iter().rev().take_while(filling).count();
            self.text.truncate(before - filled);
        }
        Ok(!self.is_all)
    }

    /// Passes over so many bytes.
    fn pass(&mut self, count: usize) {
        let passed = &self.text[self.start..][..count];
        self.line += memchr::memchr_iter(self.layout.marks.line_end, passed).count();
        self.start += count;
    }

    /// How long the first line of what was read is, its end included.
    fn first_line(&self) -> usize {
        let text = &self.text[self.start..];
        memchr(self.layout.marks.line_end, text).map_or(text.len(), |end| end + 1)
    }

    /// Passes over what comes before a record: blank lines, marks. False at the end.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.start == self.text.len() && !self.more()? {
                return Ok(false);
            }
            let text = &self.text[self.start..];
            let marks = text.len() - unmarked(text).len();
            self.start += marks;
            let length = self.first_line();
            let line = &self.text[self.start..][..length];
            if !line
                .iter()
                .all(|byte| matches!(byte, b'\r' | b'\n' | b'\0' | b'\x1a'))
            {
                return Ok(true);
            }
            self.pass(length);
        }
    }

    /// Reads a record; gives the line that it begins at, or nothing at the end.
    fn read(&mut self) -> Result<Option<usize>, RowError> {
        if !self.begin()? {
            return Ok(None);
        }
        self.record.clear();
        let line = self.line;
        let mut splitter = Splitter::new(self.layout.marks);
        loop {
            let text = &self.text[self.start..];
            match splitter.split(text, self.is_all, &mut self.record) {
                Split::Whole(length) => {
                    self.pass(length);
                    return Ok(Some(line));
                }
                Split::Open if text.len() <= LONGEST => {
                    self.more()?;
                }
                Split::Open if self.first_line() > LONGEST => return Err(self.too_long(line)?),
                Split::Open | Split::Unclosed => {
                    // Other rows may follow on the next line.
                    let length = self.first_line();
                    let found = Found::text(self.text[self.start..][..length].trim_ascii_end());
                    self.pass(length);
                    return Err(RowError::Malformed {
                        place: place(line),
                        what: "a cell begins with a quote that is not closed".into(),
                        found,
                    });
                }
            }
        }
    }

    /// Passes over a line that is longer than any row.
    fn too_long(&mut self, line: usize) -> Result<RowError, RowError> {
        let error = RowError::too_long(place(line), &self.text[self.start..]);
        let is_ended = self.text.last() == Some(&self.layout.marks.line_end);
        self.text.clear();
        self.start = 0;
        self.line += 1;
        if !is_ended {
            let line_end = self.layout.marks.line_end;
            let skipped = (&mut self.input).take(ENDLESS).skip_until(line_end)?;
            if skipped as u64 == ENDLESS {
                return Err(endless(line));
            }
        }
        Ok(error)
    }

    /// Whether the record is the header once more, as where files were joined.
    fn is_header(&self) -> bool {
        let columns = &self.layout.columns;
        columns.len() > 1
            && self.record.get(0).map(<[u8]>::trim_ascii) == Some(columns[0].as_bytes())
            && names(&self.record).as_ref() == Some(columns)
    }

    fn row(&self, line: usize) -> Result<Row, RowError> {
        let place = place(line);
        let fault = |what| RowError::Malformed {
            place,
            what,
            found: self.found(),
        };
        let (cells, columns) = (self.record.len(), self.layout.columns.len());
        if cells != columns {
            return Err(fault(format!(
                "{} in a table of {}",
                counted(cells, "cell"),
                counted(columns, "column")
            )));
        }
        let mut text = Vec::with_capacity(self.record.as_slice().len() + 16 * columns);
        text.push(b'{');
        for (column, cell) in self.layout.columns.iter().zip(&self.record) {
            let cell = std::str::from_utf8(cell).map_err(|error| {
                let byte = cell[error.valid_up_to()];
                let hint = prose::encoding_hint(self.record.as_slice());
                fault(format!("`{column}` is not UTF-8: the byte 0x{byte:02x}; {hint}"))
            })?;
            if text.len() > 1 {
                text.push(b',');
            }
            write_text(&mut text, column);
            text.push(b':');
            write_text(&mut text, cell);
        }
        text.push(b'}');
        Ok(Row::new(text, place))
    }

    /// The cells, for whoever mends them.
    fn found(&self) -> Found {
        let cells = self.record.iter();
        Found::Cells(
            cells
                .map(|cell| String::from_utf8_lossy(cell).into_owned())
                .collect(),
        )
    }
}

fn place(line: usize) -> Place {
    Place::Text { line, column: 1 }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes any text");
}

impl<R: BufRead> Iterator for Delimited<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.read() {
                Ok(Some(_)) if self.is_header() => {}
                Ok(Some(line)) => return Some(self.row(line)),
                Ok(None) => self.ended = true,
                Err(error) => {
                    self.ended = !matches!(error, RowError::Malformed { .. });
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(head: &str, is_named: bool) -> Option<(u8, Vec<String>)> {
        Layout::of(head.as_bytes(), true, is_named, &Reading::default())
            .map(|layout| (layout.marks.delimiter, layout.columns))
    }

    fn rows(text: &str) -> Vec<String> {
        let layout = Layout::of(text.as_bytes(), true, true, &Reading::default()).unwrap();
        Delimited::new(text.as_bytes(), layout)
            .unwrap()
            .map(|row| match row {
                Ok(row) => String::from_utf8(row.text).unwrap(),
                Err(RowError::Malformed { place, what, .. }) => format!("{}: {what}", place.in_file("f")),
                Err(error) => error.to_string(),
            })
            .collect()
    }

    #[test]
    fn the_header_tells_the_delimiter() {
        for delimiter in DELIMITERS {
            let text =
                "instruction,output\nSay a, b; c|d,x\n".replacen(',', &char::from(delimiter).to_string(), 1);
            let columns = vec!["instruction".to_owned(), "output".to_owned()];
            assert_eq!(layout(&text, false), Some((delimiter, columns)), "{text}");
        }
        assert_eq!(layout("sep=;\nquestion;answer\na;b\n", false).unwrap().0, b';');
        assert_eq!(
            layout("\u{feff}\"question\",\"answer\"\n", false).unwrap().1,
            ["question", "answer"]
        );
        assert_eq!(
            layout(",q,a\n0,x,y\n1,x,y\n", false).unwrap().1,
            ["Unnamed: 0", "q", "a"]
        );
        for text in [
            "",
            "oops\n",
            "Dear all,\nhow, are, you?\n",
            "oops, no\n{\"question\": \"q\"}\n",
        ] {
            assert_eq!(layout(text, false), None, "{text}");
        }
        assert_eq!(layout("q,a\n", true).unwrap().1, ["q", "a"]);
    }

    #[test]
    fn quotes_breaks_and_bad_rows() {
        assert_eq!(
            rows("question,answer\r\n\"a \"\"b\"\",\r\nc\",d\r\n\r\nx\r\n,\n\"open,y\nq,a\n"),
            [
                r#"{"question":"a \"b\",\r\nc","answer":"d"}"#,
                "f:5:1: 1 cell in a table of 2 columns",
                r#"{"question":"","answer":""}"#,
                "f:7:1: a cell begins with a quote that is not closed",
                r#"{"question":"q","answer":"a"}"#,
            ]
        );
        assert_eq!(
            rows("sep=,\nquestion,answer\nx,y,z\n"),
            ["f:3:1: 3 cells in a table of 2 columns"]
        );
    }

    #[test]
    fn a_quote_without_end_does_not_fill_the_memory() {
        let text = format!("question,answer\n\"{}", "x".repeat(LONGEST + 10));
        let found = rows(&text);
        assert_eq!(found, ["f:2:1: the row is longer than 64 MiB"]);
        // Rows behind it are found.
        let lines = format!("\n{},", "x".repeat(1 << 20)).repeat(65);
        for text in [text, format!("question,answer\n\"{lines}")] {
            let text = format!("{text}\nq,a\n");
            let found = rows(&text);
            assert!(found[0].starts_with("f:2:1: "), "{}", found[0]);
            assert_eq!(found.last().unwrap(), r#"{"question":"q","answer":"a"}"#);
        }
    }

    #[test]
    fn joined_files_are_one() {
        let one = "\u{feff}question,answer\nx,y\n";
        assert_eq!(
            rows(&format!("{one}\u{feff}{one}z,w\0\0\u{1a}")),
            [
                r#"{"question":"x","answer":"y"}"#,
                r#"{"question":"x","answer":"y"}"#,
                r#"{"question":"z","answer":"w"}"#
            ]
        );
        assert_eq!(
            rows("question,answer\rx,y\r"),
            [r#"{"question":"x","answer":"y"}"#]
        );
    }

    #[test]
    fn what_is_no_row_is_there_to_be_mended() {
        let text = "question,answer\nx,y,\"z\"\n\"open,y\n";
        let layout = Layout::of(text.as_bytes(), true, true, &Reading::default()).unwrap();
        let found: Vec<Found> = Delimited::new(text.as_bytes(), layout)
            .unwrap()
            .map(|row| match row {
                Err(RowError::Malformed { found, .. }) => found,
                other => panic!("{other:?}"),
            })
            .collect();
        let cells = ["x", "y", "z"].map(str::to_owned).to_vec();
        assert_eq!(found, [Found::Cells(cells), Found::Text("\"open,y".into())]);
    }
}
