//! Rows of CSV and TSV files as JSON objects, whose values are all strings. Holds one row in
//! memory.

mod cells;

use std::io::{self, BufRead, Read};

use csv::ByteRecord;
use memchr::memchr;

use super::{
    location::Location,
    row::{ENDLESS, Excerpt, LONGEST, Row, RowError},
};
use crate::interchange::{
    Format, Reading,
    bytes::encoding::{encoding_hint, without_marks},
};
use crate::text::counted;
use cells::{CsvDialect, RecordEnd, Splitter, first_records, has_csv_quotes};

/// Possible delimiters, the likeliest first.
pub const DELIMITERS: [u8; 4] = *b",\t;|";

/// How many rows are compared to tell a table from text with commas in it.
const COMPARED: usize = 4;

/// The first line of files that tell a spreadsheet the delimiter: `sep=;`.
const DECLARATION: &[u8] = b"sep=";

/// The dialect and the columns of a CSV file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableLayout {
    dialect: CsvDialect,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// Whether the first line is a [`DECLARATION`].
    declared: bool,
}

impl TableLayout {
    /// Recognizes a CSV file that begins with `head`: by a first row with the columns of a format,
    /// else by rows of equal length, else by its name (`is_named`).
    pub fn of(head: &[u8], is_whole: bool, is_named: bool, reading: &Reading) -> Option<TableLayout> {
        let head = without_marks(head);
        let declared = head
            .get(..5)
            .filter(|line| line.starts_with(DECLARATION))
            .map(|line| line[4]);
        let head = match declared {
            Some(_) => &head[memchr::memchr(b'\n', head)? + 1..],
            None => head,
        };
        // A file whose lines end in `\r` has no `\n`.
        let line_end = match memchr(b'\n', head).is_none() && memchr(b'\r', head).is_some() {
            true => b'\r',
            false => b'\n',
        };
        let delimiters = declared.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let layouts: Vec<(TableLayout, Vec<usize>)> = delimiters
            .into_iter()
            .filter_map(|delimiter| {
                let dialect = CsvDialect {
                    delimiter,
                    line_end,
                    quoted: true,
                };
                let quoted = delimiter != b'\t' || has_csv_quotes(head, is_whole, dialect);
                let dialect = CsvDialect { quoted, ..dialect };
                let mut records = first_records(head, is_whole, dialect, COMPARED + 1).into_iter();
                let columns = names(&records.next()?)?;
                let cells = records.map(|record| record.len()).collect();
                let layout = TableLayout {
                    dialect,
                    columns,
                    declared: declared.is_some(),
                };
                Some((layout, cells))
            })
            .collect();
        let known = layouts.iter().find(|(layout, _)| layout.is_known(reading));
        let regular = || {
            let alike = |(layout, cells): &&(TableLayout, Vec<usize>)| {
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

    /// Returns the byte between cells.
    pub fn delimiter(&self) -> u8 {
        self.dialect.delimiter
    }

    /// Whether cells may be quoted. Otherwise a quote is a character like any other.
    pub fn is_quoted(&self) -> bool {
        self.dialect.quoted
    }

    /// Whether the first line is no row, but tells a spreadsheet the delimiter.
    pub fn is_declared(&self) -> bool {
        self.declared
    }

    /// Whether the columns are those of a format, or those that `--map` names.
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

/// Returns the names of the columns. A column without a name gets the one that pandas gives it.
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

/// Reads the rows of a CSV file. It ends after an error of the file.
pub struct CsvReader<R> {
    input: R,
    layout: TableLayout,
    /// What was read. The next record begins at `start`, on line `line`.
    text: Vec<u8>,
    start: usize,
    line: usize,
    record: ByteRecord,
    /// Whether `text` has the rest of the file.
    is_all: bool,
    ended: bool,
}

impl<R: BufRead> CsvReader<R> {
    /// Reads the rows of `input` below its header.
    pub fn new(input: R, layout: TableLayout) -> Result<CsvReader<R>, RowError> {
        let mut rows = CsvReader {
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
            rows.skip_bytes(rows.text.len());
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

    /// Returns dialect and columns.
    pub fn layout(&self) -> &TableLayout {
        &self.layout
    }

    /// Reads another line. Returns false at the end of the file.
    fn more(&mut self) -> io::Result<bool> {
        self.text.drain(..self.start);
        self.start = 0;
        let before = self.text.len();
        (&mut self.input)
            .take(LONGEST as u64 + 1)
            .read_until(self.layout.dialect.line_end, &mut self.text)?;
        if self.text.len() == before {
            self.is_all = true;
            // Some programs fill up files with these bytes.
            let filling = |byte: &&u8| matches!(byte, b'\0' | b'\x1a');
            let filled = self.text.iter().rev().take_while(filling).count();
            self.text.truncate(before - filled);
        }
        Ok(!self.is_all)
    }

    /// Skips `count` bytes.
    fn skip_bytes(&mut self, count: usize) {
        let passed = &self.text[self.start..][..count];
        self.line += memchr::memchr_iter(self.layout.dialect.line_end, passed).count();
        self.start += count;
    }

    /// Returns the length of the first line of what was read, with its end.
    fn first_line(&self) -> usize {
        let text = &self.text[self.start..];
        memchr(self.layout.dialect.line_end, text).map_or(text.len(), |end| end + 1)
    }

    /// Skips blank lines and byte order marks before a record. Returns false at the end of the
    /// file.
    fn begin(&mut self) -> io::Result<bool> {
        loop {
            if self.start == self.text.len() && !self.more()? {
                return Ok(false);
            }
            let text = &self.text[self.start..];
            let marks = text.len() - without_marks(text).len();
            self.start += marks;
            let length = self.first_line();
            let line = &self.text[self.start..][..length];
            if !line
                .iter()
                .all(|byte| matches!(byte, b'\r' | b'\n' | b'\0' | b'\x1a'))
            {
                return Ok(true);
            }
            self.skip_bytes(length);
        }
    }

    /// Reads a record. Returns the line where it begins, or `None` at the end of the file.
    fn read(&mut self) -> Result<Option<usize>, RowError> {
        if !self.begin()? {
            return Ok(None);
        }
        self.record.clear();
        let line = self.line;
        let mut splitter = Splitter::new(self.layout.dialect);
        loop {
            let text = &self.text[self.start..];
            match splitter.split(text, self.is_all, &mut self.record) {
                RecordEnd::Whole(length) => {
                    self.skip_bytes(length);
                    return Ok(Some(line));
                }
                RecordEnd::Open if text.len() <= LONGEST => {
                    self.more()?;
                }
                RecordEnd::Open if self.first_line() > LONGEST => return Err(self.too_long(line)?),
                RecordEnd::Open | RecordEnd::Unclosed => {
                    // Other rows may follow on the next line.
                    let length = self.first_line();
                    let found = Excerpt::text(self.text[self.start..][..length].trim_ascii_end());
                    self.skip_bytes(length);
                    return Err(RowError::Malformed {
                        place: place(line),
                        what: "a cell begins with a quote that is not closed".into(),
                        found,
                    });
                }
            }
        }
    }

    /// Skips a line that is longer than [`LONGEST`].
    fn too_long(&mut self, line: usize) -> Result<RowError, RowError> {
        let error = RowError::too_long(place(line), &self.text[self.start..]);
        let is_ended = self.text.last() == Some(&self.layout.dialect.line_end);
        self.text.clear();
        self.start = 0;
        self.line += 1;
        if !is_ended {
            let line_end = self.layout.dialect.line_end;
            let skipped = (&mut self.input).take(ENDLESS).skip_until(line_end)?;
            if skipped as u64 == ENDLESS {
                return Err(RowError::endless(line));
            }
        }
        Ok(error)
    }

    /// Whether the record is the header again, as in a file joined from several.
    fn is_header(&self) -> bool {
        let columns = &self.layout.columns;
        columns.len() > 1
            && self.record.get(0).map(<[u8]>::trim_ascii) == Some(columns[0].as_bytes())
            && names(&self.record).as_ref() == Some(columns)
    }

    /// Turns the record into a JSON object.
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
                let hint = encoding_hint(self.record.as_slice());
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

    /// Returns the cells for an error.
    fn found(&self) -> Excerpt {
        let cells = self.record.iter();
        Excerpt::Cells(
            cells
                .map(|cell| String::from_utf8_lossy(cell).into_owned())
                .collect(),
        )
    }
}

fn place(line: usize) -> Location {
    Location::Text { line, column: 1 }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes any text");
}

impl<R: BufRead> Iterator for CsvReader<R> {
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
        TableLayout::of(head.as_bytes(), true, is_named, &Reading::default())
            .map(|layout| (layout.dialect.delimiter, layout.columns))
    }

    fn rows(text: &str) -> Vec<String> {
        let layout = TableLayout::of(text.as_bytes(), true, true, &Reading::default()).unwrap();
        CsvReader::new(text.as_bytes(), layout)
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
        // The rows after it are found.
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
        let layout = TableLayout::of(text.as_bytes(), true, true, &Reading::default()).unwrap();
        let found: Vec<Excerpt> = CsvReader::new(text.as_bytes(), layout)
            .unwrap()
            .map(|row| match row {
                Err(RowError::Malformed { found, .. }) => found,
                other => panic!("{other:?}"),
            })
            .collect();
        let cells = ["x", "y", "z"].map(str::to_owned).to_vec();
        assert_eq!(found, [Excerpt::Cells(cells), Excerpt::Text("\"open,y".into())]);
    }
}
