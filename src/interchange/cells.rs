//! Cells of a line: what stands between them, and what a quote means.

use csv::ByteRecord;
use memchr::{memchr, memchr2};

/// How cells are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marks {
    /// What stands between cells.
    pub(super) delimiter: u8,
    /// What ends a line, `\n` or, in files of old programs, `\r`.
    pub(super) line_end: u8,
    /// Whether quotes around a cell are none of its letters.
    pub(super) quoted: bool,
}

/// What became of a text that begins with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    /// The record takes so many bytes, its line end included.
    Whole(usize),
    /// It goes on behind the text.
    Open,
    /// The text is all that there is, and a quote before a cell is not closed in it.
    Unclosed,
}

/// Splits a record whose text may grow in between.
#[derive(Debug)]
pub(super) struct Splitter {
    marks: Marks,
    /// Where the next cell begins.
    at: usize,
    /// How far that cell was looked through.
    looked: usize,
}

impl Splitter {
    pub(super) fn new(marks: Marks) -> Splitter {
        Splitter {
            marks,
            at: 0,
            looked: 0,
        }
    }

    /// Adds the cells of the record that `text` begins with. It was given before, unless it is the first time, and may be longer now;
    /// `is_all`: nothing comes behind it.
    pub(super) fn split(&mut self, text: &[u8], is_all: bool, record: &mut ByteRecord) -> Split {
        loop {
            let end = match self.quoted(text, is_all) {
                Quoted::Closed(end) => {
                    record.push_field(&unescaped(&text[self.at + 1..end]));
                    end + 1
                }
                Quoted::No => {
                    let Some(end) = self.unquoted(text, is_all) else {
                        return Split::Open;
                    };
                    record.push_field(&text[self.at..end]);
                    end
                }
                Quoted::Open => return Split::Open,
                Quoted::Unclosed => return Split::Unclosed,
            };
            match text.get(end) {
                Some(&byte) if byte == self.marks.delimiter => {
                    self.at = end + 1;
                    self.looked = self.at;
                }
                Some(_) => return Split::Whole(end + line_end(&text[end..], self.marks).unwrap_or(0)),
                None => return Split::Whole(end),
            }
        }
    }

    /// Looks for the quote that closes the next cell. Only one before a delimiter or at the end of a line does: a cell in which another
    /// stands alone is no quoted one, and keeps them all.
    fn quoted(&mut self, text: &[u8], is_all: bool) -> Quoted {
        if !self.marks.quoted || text.get(self.at) != Some(&b'"') {
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
                [byte, ..] if *byte == self.marks.delimiter => return Quoted::Closed(quote),
                // What follows may be the end of a line.
                [b'\r'] if !is_all => return Quoted::Open,
                rest if line_end(rest, self.marks).is_some() => return Quoted::Closed(quote),
                _ => return Quoted::No,
            }
        }
    }

    /// Where the next cell ends, if it does.
    fn unquoted(&self, text: &[u8], is_all: bool) -> Option<usize> {
        let cell = &text[self.at.min(text.len())..];
        let Some(end) = memchr2(self.marks.delimiter, self.marks.line_end, cell) else {
            return is_all.then(|| self.at + without_return(cell).len());
        };
        Some(match cell[end] == self.marks.line_end {
            true => self.at + without_return(&cell[..end]).len(),
            false => self.at + end,
        })
    }
}

enum Quoted {
    /// By a quote at this place.
    Closed(usize),
    /// Not yet.
    Open,
    /// Nor ever.
    Unclosed,
    /// It is no quoted cell.
    No,
}

/// How long the end of a line is that the text begins with, if it does.
fn line_end(text: &[u8], marks: Marks) -> Option<usize> {
    match text {
        [byte, ..] if *byte == marks.line_end => Some(1),
        [b'\r', byte, ..] if *byte == marks.line_end => Some(2),
        [b'\r'] => Some(1),
        _ => None,
    }
}

fn without_return(cell: &[u8]) -> &[u8] {
    cell.strip_suffix(b"\r").unwrap_or(cell)
}

/// What stands between quotes, where two stand for one.
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

/// The first records of a file that begins with `head`, at most so many, as far as they are whole.
pub(super) fn first_records(mut head: &[u8], is_whole: bool, marks: Marks, most: usize) -> Vec<ByteRecord> {
    let mut records = Vec::new();
    while records.len() < most && !head.is_empty() {
        if let Some(length) = line_end(head, marks) {
            head = &head[length..];
            continue;
        }
        let mut record = ByteRecord::new();
        let Split::Whole(length) = Splitter::new(marks).split(head, is_whole, &mut record) else {
            break;
        };
        records.push(record);
        head = &head[length..];
    }
    records
}

/// Whether the quotes in a file with tabs are those of CSV. Many such files have none, and cells that begin with a quote as any text
/// may; then lines are records, one each, and quoted cells would not be closed, or have others in them.
pub(super) fn has_csv_quotes(head: &[u8], is_whole: bool, marks: Marks) -> bool {
    let records = |quoted: bool| first_records(head, is_whole, Marks { quoted, ..marks }, usize::MAX);
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

    const CSV: Marks = Marks {
        delimiter: b',',
        line_end: b'\n',
        quoted: true,
    };

    fn records(text: &str, marks: Marks) -> Vec<Vec<String>> {
        first_records(text.as_bytes(), true, marks, usize::MAX)
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
        // One that is never closed is no record.
        assert_eq!(records("a,b\n\"c,d\n", CSV), [["a", "b"]]);
    }

    #[test]
    fn text_that_grows_is_split_alike() {
        let text = b"\"a\"\"b\r\n\",\"c\"\r\n,x";
        let mut whole = ByteRecord::new();
        let length = match Splitter::new(CSV).split(text, true, &mut whole) {
            Split::Whole(length) => length,
            other => panic!("{other:?}"),
        };
        let (mut splitter, mut record) = (Splitter::new(CSV), ByteRecord::new());
        let grown = (0..=text.len()).find_map(|end| match splitter.split(&text[..end], false, &mut record) {
            Split::Whole(length) => Some(length),
            _ => None,
        });
        assert_eq!((grown, record), (Some(length), whole));
    }

    #[test]
    fn tabs_tell_by_their_cells_what_quotes_are() {
        let marks = Marks {
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
            assert_eq!(has_csv_quotes(text.as_bytes(), true, marks), quoted, "{text:?}");
        }
    }
}
