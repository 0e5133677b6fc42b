//! Records of CSV: delimiters, line ends and quotes.

use csv::ByteRecord;
use memchr::{memchr, memchr2};

/// The dialect of a CSV file, as Python's `csv` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CsvDialect {
    /// The byte between cells.
    pub(super) delimiter: u8,
    /// The byte that ends a line: `\n` or, in files of old programs, `\r`.
    pub(super) line_end: u8,
    /// Whether cells may be quoted. Otherwise a quote is a character like any other.
    pub(super) quoted: bool,
}

/// How far a text that begins with a record contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordEnd {
    /// The record and its line end have this many bytes.
    Whole(usize),
    /// The record goes on after the text.
    Open,
    /// The file ends with the text, and a quoted cell is not closed in it.
    Unclosed,
}

/// Splits a record into cells. Its text may grow between calls.
#[derive(Debug)]
pub(super) struct Splitter {
    dialect: CsvDialect,
    /// The start of the next cell.
    at: usize,
    /// How far that cell was scanned.
    looked: usize,
}

impl Splitter {
    pub(super) fn new(dialect: CsvDialect) -> Splitter {
        Splitter {
            dialect,
            at: 0,
            looked: 0,
        }
    }

    /// Adds the cells of the record that `text` begins with. Each call gives the same text or a
    /// longer one. `is_all`: the file ends with it.
    pub(super) fn split(&mut self, text: &[u8], is_all: bool, record: &mut ByteRecord) -> RecordEnd {
        loop {
            let end = match self.quoted(text, is_all) {
                Quoted::Closed(end) => {
                    record.push_field(&unescaped(&text[self.at + 1..end]));
                    end + 1
                }
                Quoted::No => {
                    let Some(end) = self.unquoted(text, is_all) else {
                        return RecordEnd::Open;
                    };
                    record.push_field(&text[self.at..end]);
                    end
                }
                Quoted::Open => return RecordEnd::Open,
                Quoted::Unclosed => return RecordEnd::Unclosed,
            };
            match text.get(end) {
                Some(&byte) if byte == self.dialect.delimiter => {
                    self.at = end + 1;
                    self.looked = self.at;
                }
                Some(_) => return RecordEnd::Whole(end + line_end(&text[end..], self.dialect).unwrap_or(0)),
                None => return RecordEnd::Whole(end),
            }
        }
    }

    /// Finds the quote that closes the next cell: one before a delimiter or a line end. A cell with
    /// a single quote elsewhere is not quoted, and keeps all its quotes.
    fn quoted(&mut self, text: &[u8], is_all: bool) -> Quoted {
        if !self.dialect.quoted || text.get(self.at) != Some(&b'"') {
            return Quoted::No;
        }
        let mut from = self.looked.max(self.at + 1);
        loop {
            let Some(quote) = memchr(b'"', &text[from.min(text.len())..]).map(|place| from + place) else {
                self.looked = text.len();
                return if is_all { Quoted::Unclosed } else { Quoted::Open };
            };
            self.looked = quote;
            match &text[quote + 1..] {
                [] if !is_all => return Quoted::Open,
                [b'"', ..] => from = quote + 2,
                [] => return Quoted::Closed(quote),
                [byte, ..] if *byte == self.dialect.delimiter => return Quoted::Closed(quote),
                // A `\r` may be the first byte of a line end.
                [b'\r'] if !is_all => return Quoted::Open,
                rest if line_end(rest, self.dialect).is_some() => return Quoted::Closed(quote),
                _ => return Quoted::No,
            }
        }
    }

    /// Returns where the next cell ends, if it does.
    fn unquoted(&self, text: &[u8], is_all: bool) -> Option<usize> {
        let cell = &text[self.at.min(text.len())..];
        let Some(end) = memchr2(self.dialect.delimiter, self.dialect.line_end, cell) else {
            return is_all.then(|| self.at + without_return(cell).len());
        };
        Some(match cell[end] == self.dialect.line_end {
            true => self.at + without_return(&cell[..end]).len(),
            false => self.at + end,
        })
    }
}

/// How a quoted cell ends.
enum Quoted {
    /// With the quote at this place.
    Closed(usize),
    /// After the text.
    Open,
    /// Nowhere in the file.
    Unclosed,
    /// The cell is not quoted.
    No,
}

/// Returns the length of the line end that the text begins with, if it does.
fn line_end(text: &[u8], dialect: CsvDialect) -> Option<usize> {
    match text {
        [byte, ..] if *byte == dialect.line_end => Some(1),
        [b'\r', byte, ..] if *byte == dialect.line_end => Some(2),
        [b'\r'] => Some(1),
        _ => None,
    }
}

fn without_return(cell: &[u8]) -> &[u8] {
    cell.strip_suffix(b"\r").unwrap_or(cell)
}

/// Returns the content of a quoted cell: two quotes in it are one.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(quote) = memchr(b'"', rest) {
        out.extend_from_slice(&rest[..=quote]);
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Returns the first records of a file that begins with `head`: at most `most`, and only whole
/// ones.
pub(super) fn first_records(
    mut head: &[u8],
    is_whole: bool,
    dialect: CsvDialect,
    most: usize,
) -> Vec<ByteRecord> {
    let mut records = Vec::new();
    while records.len() < most && !head.is_empty() {
        if let Some(length) = line_end(head, dialect) {
            head = &head[length..];
            continue;
        }
        let mut record = ByteRecord::new();
        let RecordEnd::Whole(length) = Splitter::new(dialect).split(head, is_whole, &mut record) else {
            break;
        };
        records.push(record);
        head = &head[length..];
    }
    records
}

/// Whether the cells of a tab-separated file are quoted as in CSV. In many such files they are not,
/// and a cell may begin with a quote as any text may. Then each line is a record, and reading it as
/// CSV would leave quoted cells unclosed, or with other cells in them.
pub(super) fn has_csv_quotes(head: &[u8], is_whole: bool, dialect: CsvDialect) -> bool {
    let records = |quoted: bool| first_records(head, is_whole, CsvDialect { quoted, ..dialect }, usize::MAX);
    let plain = records(false);
    let width = plain.first().map_or(0, ByteRecord::len);
    let is_proper = |cell: &[u8]| match cell {
        [b'"', within @ .., b'"'] => {
            let mut runs = within.split(|byte| *byte != b'"');
            runs.all(|quotes| quotes.len().is_multiple_of(2))
        }
        [b'"', ..] => false,
        _ => true,
    };
    if plain.iter().flatten().all(is_proper) {
        return true;
    }
    let regular = |records: &[ByteRecord]| records.iter().filter(|record| record.len() == width).count();
    let quoted = records(true);
    let irregular = |records: &[ByteRecord]| records.len() - regular(records);
    irregular(&plain) > irregular(&quoted) && regular(&quoted) >= regular(&plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: CsvDialect = CsvDialect {
        delimiter: b',',
        line_end: b'\n',
        quoted: true,
    };

    fn records(text: &str, dialect: CsvDialect) -> Vec<Vec<String>> {
        first_records(text.as_bytes(), true, dialect, usize::MAX)
            .iter()
            .map(|record| {
                record
                    .iter()
                    .map(|cell| String::from_utf8_lossy(cell).into_owned())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn quotes_are_lost_only_where_they_close() {
        for (line, cells) in [
            ("\"a, \"\"b\"\"\",c\r\n", &["a, \"b\"", "c"][..]),
            ("\"Hi\" she said,x\n", &["\"Hi\" she said", "x"]),
            ("say \"a\",\"b\"\n", &["say \"a\"", "b"]),
            ("5\" screen,\"\"\n", &["5\" screen", ""]),
            ("\"a\nb\",\"c\"", &["a\nb", "c"]),
            ("\"a\" ,b\n", &["\"a\" ", "b"]),
            ("a,\n", &["a", ""]),
            ("a,b\r\n", &["a", "b"]),
            (",\n", &["", ""]),
        ] {
            assert_eq!(records(line, CSV), [cells], "{line:?}");
        }
        assert_eq!(
            records("\"a,b\nc,\"d\" e\n", CSV),
            [["\"a", "b"], ["c", "\"d\" e"]]
        );
        // A record with an unclosed quote is left out.
        assert_eq!(records("a,b\n\"c,d\n", CSV), [["a", "b"]]);
    }

    #[test]
    fn text_that_grows_is_split_alike() {
        let text = b"\"a\"\"b\r\n\",\"c\"\r\n,x";
        let mut whole = ByteRecord::new();
        let length = match Splitter::new(CSV).split(text, true, &mut whole) {
            RecordEnd::Whole(length) => length,
            other => panic!("{other:?}"),
        };
        let (mut splitter, mut record) = (Splitter::new(CSV), ByteRecord::new());
        let grown = (0..=text.len()).find_map(|end| match splitter.split(&text[..end], false, &mut record) {
            RecordEnd::Whole(length) => Some(length),
            _ => None,
        });
        assert_eq!((grown, record), (Some(length), whole));
    }

    #[test]
    fn tabs_tell_by_their_cells_what_quotes_are() {
        let dialect = CsvDialect {
            delimiter: b'\t',
            ..CSV
        };
        for (text, quoted) in [
            ("q\ta\n\"Hi\" she said\tx\nSay \"\t\"y\n", false),
            ("q\ta\n\"Say\tx\"\ty\n\"a\nb\"\tc\n", true),
            ("q\ta\n\"x\"\t\"y \"\"z\"\"\"\n", true),
            ("q\ta\n\"\"\tx\n", true),
            ("q\ta\n\"\tx\nSay\t\"y\n", false),
            ("q\ta\nx\ty\n", true),
        ] {
            assert_eq!(has_csv_quotes(text.as_bytes(), true, dialect), quoted, "{text:?}");
        }
    }
}
