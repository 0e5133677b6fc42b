//! CSV and JSONL: each row of the named columns is a passage by itself.

use serde_json::Value;

use super::fault::{Fault, FaultKind};
use super::{Block, BlockKind, Document};
use crate::interchange::{DELIMITERS, Reading, TableLayout};
use crate::text::counted;

/// Columns that are taken if none is named: the first of these that is there.
const USUAL: [&str; 6] = ["text", "content", "body", "document", "passage", "article"];

/// How much of a table tells how its rows are written, in bytes.
const HEAD: usize = 1 << 16;

/// How the rows of a table are written.
struct Dialect {
    delimiter: u8,
    quoted: bool,
    /// Whether the first line tells a spreadsheet the delimiter.
    declared: bool,
}

impl Dialect {
    /// Recognizes it as `ewe import` does. If no delimiter makes rows of equal length, it is the
    /// one that the first line has most of.
    fn of(text: &str) -> Dialect {
        let head = &text.as_bytes()[..text.len().min(HEAD)];
        let layout = TableLayout::of(head, head.len() == text.len(), true, &Reading::default());
        match layout.filter(|layout| layout.is_declared() || layout.columns.len() > 1) {
            Some(layout) => Dialect {
                delimiter: layout.delimiter(),
                quoted: layout.is_quoted(),
                declared: layout.is_declared(),
            },
            None => Dialect {
                delimiter: most_frequent(text.lines().next().unwrap_or_default()),
                quoted: true,
                declared: false,
            },
        }
    }
}

/// The delimiter that a line has most of; a comma if it has none.
fn most_frequent(line: &str) -> u8 {
    let count = |delimiter: &u8| line.bytes().filter(|byte| byte == delimiter).count();
    // Of several it is the first of the list.
    DELIMITERS.into_iter().rev().max_by_key(count).unwrap_or(b',')
}

/// Reads CSV: values between commas, tabs, semicolons or bars.
///
/// # Errors
///
/// [`FaultKind::NoColumn`], [`FaultKind::Damaged`].
pub fn csv(text: &str, wanted: &[String]) -> Result<Document, Fault> {
    let dialect = Dialect::of(text);
    let rows = match dialect.declared {
        true => text.split_once('\n').map_or("", |(_, rows)| rows),
        false => text,
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(dialect.delimiter)
        .quoting(dialect.quoted)
        .flexible(true)
        .from_reader(rows.as_bytes());
    let damaged = |error: csv::Error| Fault::damaged(error.to_string());
    let header = reader.headers().map_err(damaged)?.clone();
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    let chosen = chosen(&names, wanted)?;
    let places: Vec<usize> = chosen
        .iter()
        .filter_map(|name| names.iter().position(|own| own == name))
        .collect();
    let mut document = Document::default();
    let mut blank = 0;
    for row in reader.records() {
        let row = row.map_err(damaged)?;
        let cells = places.iter().filter_map(|&at| row.get(at)).map(str::to_string);
        blank += u64::from(!add(&mut document, cells));
    }
    note_blank(&mut document, blank, &chosen);
    Ok(document)
}

/// Reads JSON objects, one a line, or a list of them.
///
/// # Errors
///
/// [`FaultKind::NoColumn`], [`FaultKind::Damaged`].
pub fn json(text: &str, wanted: &[String]) -> Result<Document, Fault> {
    let damaged = |error: serde_json::Error| Fault::damaged(format!("JSON: {error}"));
    let rows: Vec<Value> = match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(rows)) => rows,
        Ok(row) => vec![row],
        Err(_) => {
            let rows = serde_json::Deserializer::from_str(text).into_iter::<Value>();
            rows.collect::<Result<_, _>>().map_err(damaged)?
        }
    };
    let names: Vec<&str> = match rows.iter().find_map(Value::as_object) {
        Some(row) => row.keys().map(String::as_str).collect(),
        None if rows.is_empty() => return Ok(Document::default()),
        None => return Err(Fault::damaged("its rows are not JSON objects")),
    };
    let chosen = chosen(&names, wanted)?;
    let mut document = Document::default();
    let mut blank = 0;
    for row in &rows {
        let cells = chosen.iter().filter_map(|name| match row.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        });
        blank += u64::from(!add(&mut document, cells));
    }
    note_blank(&mut document, blank, &chosen);
    Ok(document)
}

/// The columns to read, of those that are there.
fn chosen<'a>(names: &[&'a str], wanted: &'a [String]) -> Result<Vec<&'a str>, Fault> {
    let there = || {
        let shown: Vec<String> = names.iter().take(12).map(|name| format!("`{name}`")).collect();
        shown.join(", ")
    };
    if wanted.is_empty() {
        let usual = USUAL.into_iter().find(|name| names.contains(name));
        let only = || (names.len() == 1).then(|| names[0]);
        return usual.or_else(only).map(|name| vec![name]).ok_or_else(|| {
            Fault::new(
                FaultKind::NoColumn,
                format!("which column has the text? there are {}", there()),
            )
        });
    }
    let found: Vec<&str> = wanted
        .iter()
        .map(String::as_str)
        .filter(|name| names.contains(name))
        .collect();
    match found.is_empty() {
        true => {
            let wanted = wanted.join("`, `");
            Err(Fault::new(
                FaultKind::NoColumn,
                format!("no column `{wanted}`; there are {}", there()),
            ))
        }
        false => Ok(found),
    }
}

/// Notes how many rows had no text.
fn note_blank(document: &mut Document, blank: u64, columns: &[&str]) {
    if blank > 0 {
        let rows = counted(blank, "row");
        let columns = columns.join("` or `");
        document
            .notes
            .push(format!("{rows} without text in `{columns}` passed over"));
    }
}

/// Adds the text of a row. Returns false if it has none.
fn add(document: &mut Document, cells: impl Iterator<Item = String>) -> bool {
    let cells: Vec<String> = cells
        .map(|cell| cell.trim().to_string())
        .filter(|cell| !cell.is_empty())
        .collect();
    if cells.is_empty() {
        return false;
    }
    document
        .blocks
        .push(Block::new(BlockKind::Whole, cells.join("\n\n")));
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_blocks_of_the_named_columns() {
        let text = "id,title,text\n1,Bees,They fly.\n2,\"Ewes, all\",\"One\ntwo\"\n3,,\n";
        let texts = |document: Document| -> Vec<String> {
            document.blocks.into_iter().map(|block| block.text).collect()
        };
        assert_eq!(texts(csv(text, &[]).unwrap()), ["They fly.", "One\ntwo"]);
        let both = ["title".to_string(), "text".to_string()];
        assert_eq!(texts(csv(text, &both).unwrap())[1], "Ewes, all\n\nOne\ntwo");
        let fault = csv(text, &["corps".to_string()]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::NoColumn);
        assert!(fault.detail.contains("`id`, `title`, `text`"), "{fault}");
        assert_eq!(csv("a\tb\n1\tx", &["b".to_string()]).unwrap().text(), "x");
    }

    #[test]
    fn delimiters_are_those_of_imports() {
        let wanted = ["text".to_string()];
        for (text, expected) in [
            (
                "text;n\n\"The flock, all of it; and a dog.\";1\n",
                "The flock, all of it; and a dog.",
            ),
            ("n|text\n1|A, b; c\n2|D\n", "A, b; c\n\nD"),
            ("n\ttext\n1\tA \"b\n2\t\"C\n", "A \"b\n\n\"C"),
            // Rows of other lengths.
            ("n\ttext\n1\tA\tx\n2\n", "A"),
            ("a;n;text\n1;2;A;x\n", "A"),
            ("sep=;\ntext;n\nA, b;1\n", "A, b"),
            ("sep=|\ntext\nA, b\n", "A, b"),
            ("text\n\"A; b, c\"\n", "A; b, c"),
        ] {
            assert_eq!(csv(text, &wanted).unwrap().text(), expected, "{text}");
        }
        assert!(csv("", &wanted).is_err());
    }

    #[test]
    fn rows_without_text_are_counted() {
        let wanted = ["title".to_string(), "text".to_string()];
        let rows = "{\"text\": \"a\", \"title\": 1}\n{\"title\": null, \"text\": \" \"}\n[]\n{\"a\": 2}\n";
        assert_eq!(
            json(rows, &wanted).unwrap().notes,
            ["3 rows without text in `title` or `text` passed over"]
        );
        assert_eq!(
            csv("n,text\n1,a\n2,\n3\n4,b\n", &[]).unwrap().notes,
            ["2 rows without text in `text` passed over"]
        );
        assert!(csv("n,text\n1,a\n", &[]).unwrap().notes.is_empty());
    }

    #[test]
    fn json_is_lines_or_a_list() {
        let wanted = ["body".to_string()];
        let lines = "{\"body\": \"one\"}\n{\"body\": null}\n{\"body\": 3}\n";
        assert_eq!(json(lines, &wanted).unwrap().text(), "one\n\n3");
        assert_eq!(json("[{\"body\": \"one\"}]", &[]).unwrap().text(), "one");
        assert_eq!(
            json("{\"body\": \"one\"}\n{\"bo", &[]).unwrap_err().kind,
            FaultKind::Damaged
        );
        assert_eq!(
            json("{\"a\": 1, \"b\": 2}", &[]).unwrap_err().kind,
            FaultKind::NoColumn
        );
        assert_eq!(json("[1]", &[]).unwrap_err().kind, FaultKind::Damaged);
        assert!(json("", &[]).unwrap().blocks.is_empty());
    }
}
