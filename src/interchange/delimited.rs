//! Rows of CSV and TSV, as the JSON objects that other files of text have: each cell is a text. Holds one row in memory.

use std::io::{self, BufRead, Read};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};

use super::{
    format::Format,
    parse::Reading,
    rows::{LONGEST, Place, Row, RowError},
    sniff,
};

/// What may stand between cells, the likeliest first.
const DELIMITERS: [u8; 4] = *b",\t;|";

/// So many rows are compared to tell a table from text with commas in it.
const COMPARED: usize = 4;

/// A line by which spreadsheets are told the delimiter: `sep=;`.
const DECLARATION: &[u8] = b"sep=";

/// How the cells of a file stand beside each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// What stands between them.
    pub delimiter: u8,
    /// The names of the columns.
    pub columns: Vec<String>,
    declared: bool,
}

impl Layout {
    /// The layout of a file that begins with `head`, if it is one of cells. Names of ours in the first row tell; without one, rows
    /// of the same number of cells do, or that the file is called so (`is_named`).
    pub(super) fn of(head: &[u8], is_whole: bool, is_named: bool, reading: &Reading) -> Option<Layout> {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        let declared = head
            .get(..5)
            .filter(|line| line.starts_with(DECLARATION))
            .map(|line| line[4]);
        let head = match declared {
            Some(_) => &head[memchr::memchr(b'\n', head)? + 1..],
            None => head,
        };
        let delimiters = declared.map_or(DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
        let layouts: Vec<(Layout, Vec<usize>)> = delimiters
            .into_iter()
            .filter_map(|delimiter| {
                let mut records = records(head, is_whole, delimiter).into_iter();
                let columns = names(&records.next()?)?;
                let cells = records.map(|record| record.len()).take(COMPARED).collect();
                let declared = declared.is_some();
                Some((
                    Layout {
                        delimiter,
                        columns,
                        declared,
                    },
                    cells,
                ))
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
        let has = |name: &str| self.columns.iter().any(|column| column == name);
        match reading.mapping.is_empty() {
            false => reading.mapping.columns().any(has),
            true => Format::of_columns(has, has, reading.need).is_some(),
        }
    }
}

/// The first records, as far as they are whole.
fn records(head: &[u8], is_whole: bool, delimiter: u8) -> Vec<ByteRecord> {
    let mut reader = builder(delimiter).from_reader(head);
    let mut records = Vec::new();
    let mut record = ByteRecord::new();
    while records.len() <= COMPARED && reader.read_byte_record(&mut record).unwrap_or(false) {
        if !is_whole && reader.position().byte() == head.len() as u64 {
            break;
        }
        records.push(record.clone());
    }
    records
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

fn builder(delimiter: u8) -> ReaderBuilder {
    let mut builder = ReaderBuilder::new();
    builder.delimiter(delimiter).has_headers(false).flexible(true);
    builder
}

/// Reads the rows; an iterator. It ends after an error of the file.
pub struct Delimited<R> {
    reader: Reader<Lines<R>>,
    record: ByteRecord,
    layout: Layout,
    ended: bool,
}

impl<R: BufRead> Delimited<R> {
    /// The rows of `input` below its header, which `layout` was found in.
    pub(super) fn new(mut input: R, layout: Layout) -> Result<Delimited<R>, RowError> {
        if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        }
        if layout.declared {
            input.skip_until(b'\n')?;
        }
        let mut rows = Delimited {
            reader: builder(layout.delimiter)
                .buffer_capacity(1 << 16)
                .from_reader(Lines {
                    input,
                    left: LONGEST as u64,
                    begun: 0,
                    at_start: true,
                    first: None,
                    has_quote: false,
                    ended: false,
                }),
            record: ByteRecord::new(),
            layout,
            ended: false,
        };
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

    /// Reads a record; false at the end.
    fn read(&mut self) -> Result<bool, RowError> {
        self.reader.get_mut().begin_record();
        let read = self.reader.read_byte_record(&mut self.record);
        read.map_err(|error| match error.into_kind() {
            ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                RowError::Damaged(format!(
                    "a row that begins at line {} is longer than {} MiB: is a quote not closed?",
                    self.line(),
                    LONGEST >> 20
                ))
            }
            ErrorKind::Io(error) => RowError::Io(error),
            other => RowError::Damaged(format!("{other:?}")),
        })
    }

    /// The line that the record begins at.
    fn line(&self) -> usize {
        let lines = self.reader.get_ref();
        lines.first.unwrap_or(lines.begun) + usize::from(self.layout.declared)
    }

    fn row(&self) -> Result<Row, RowError> {
        let place = Place::Text {
            line: self.line(),
            column: 1,
        };
        let fault = |what| RowError::Malformed { place, what };
        let (cells, columns) = (self.record.len(), self.layout.columns.len());
        if cells != columns {
            let lines = self.reader.get_ref();
            let quote = match lines.ended && lines.has_quote && cells < columns {
                true => ": is a quote not closed?",
                false => "",
            };
            return Err(fault(format!(
                "{cells} cells in a table of {columns} columns{quote}"
            )));
        }
        let mut text = Vec::with_capacity(self.record.as_slice().len() + 16 * columns);
        text.push(b'{');
        for (column, cell) in self.layout.columns.iter().zip(&self.record) {
            let cell = std::str::from_utf8(cell).map_err(|error| {
                let byte = cell[error.valid_up_to()];
                let hint = sniff::encoding_hint(self.record.as_slice());
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
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("memory takes any text");
}

impl<R: BufRead> Iterator for Delimited<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.read() {
            Ok(true) => Some(self.row()),
            Ok(false) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                Some(Err(error))
            }
        }
    }
}

/// Gives out a line at a time, so that it is known at which one a record begins: the parser passes over blank lines without
/// a word. Of one record it gives so many bytes and no more: a quote that is never closed would take all of the file into one
/// cell.
struct Lines<R> {
    input: R,
    left: u64,
    /// How many lines were begun.
    begun: usize,
    /// Whether the next byte begins a line.
    at_start: bool,
    /// The first line of the record that is not blank.
    first: Option<usize>,
    /// Whether there is a quote in the record.
    has_quote: bool,
    /// Whether the file ended within the record, or before it.
    ended: bool,
}

impl<R> Lines<R> {
    fn begin_record(&mut self) {
        self.left = LONGEST as u64;
        self.first = None;
        self.has_quote = false;
    }
}

impl<R: BufRead> Read for Lines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let room = out.len().min(self.left as usize);
        let buffer = self.input.fill_buf()?;
        let Some(&first) = buffer.first() else {
            self.ended = true;
            return Ok(0);
        };
        let there = &buffer[..room.min(buffer.len())];
        let line = match memchr::memchr(b'\n', there) {
            Some(end) => &there[..=end],
            None => there,
        };
        out[..line.len()].copy_from_slice(line);
        if self.at_start {
            self.begun += 1;
            if self.first.is_none() && !matches!(first, b'\n' | b'\r') {
                self.first = Some(self.begun);
            }
        }
        self.at_start = line.ends_with(b"\n");
        self.has_quote |= memchr::memchr(b'"', line).is_some();
        let count = line.len();
        self.input.consume(count);
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(head: &str, is_named: bool) -> Option<(u8, Vec<String>)> {
        Layout::of(head.as_bytes(), true, is_named, &Reading::default())
            .map(|layout| (layout.delimiter, layout.columns))
    }

    fn rows(text: &str) -> Vec<String> {
        let layout = Layout::of(text.as_bytes(), true, true, &Reading::default()).unwrap();
        Delimited::new(text.as_bytes(), layout)
            .unwrap()
            .map(|row| match row {
                Ok(row) => String::from_utf8(row.text).unwrap(),
                Err(RowError::Malformed { place, what }) => format!("{}: {what}", place.in_file("f")),
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
            rows("question,answer\r\n\"a \"\"b\"\",\r\nc\",d\r\n\r\nx\r\n,\n\"open,y\n"),
            [
                r#"{"question":"a \"b\",\r\nc","answer":"d"}"#,
                "f:5:1: 1 cells in a table of 2 columns",
                r#"{"question":"","answer":""}"#,
                "f:7:1: 1 cells in a table of 2 columns: is a quote not closed?",
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
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("begins at line 2 is longer than 64 MiB"),
            "{}",
            found[0]
        );
    }
}
