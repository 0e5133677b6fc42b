//! CSV and JSONL: each row of the named columns is a passage by itself.

use serde_json::Value;

use super::fault::{Fault, FaultKind};
use super::{Block, BlockKind, Document};

/// Columns that are taken if none is named: the first of these that is there.
const USUAL: [&str; 6] = ["text", "content", "body", "document", "passage", "article"];

/// Reads CSV or, if its first line has more tabs than commas, tab-separated values.
///
/// # Errors
///
/// [`FaultKind::NoColumn`], [`FaultKind::Damaged`].
pub fn csv(text: &str, wanted: &[String]) -> Result<Document, Fault> {
    let first = text.lines().next().unwrap_or_default();
    let tab = first.matches('\t').count() > first.matches(',').count();
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if tab { b'\t' } else { b',' })
        .flexible(true)
        .from_reader(text.as_bytes());
    let damaged = |error: csv::Error| Fault::damaged(error.to_string());
    let header = reader.headers().map_err(damaged)?.clone();
    let names: Vec<&str> = header.iter().map(str::trim).collect();
    let chosen: Vec<usize> = chosen(&names, wanted)?
        .iter()
        .filter_map(|name| names.iter().position(|own| own == name))
        .collect();
    let mut document = Document::default();
    for row in reader.records() {
        let row = row.map_err(damaged)?;
        let cells = chosen.iter().filter_map(|&at| row.get(at)).map(str::to_string);
        add(&mut document, cells);
    }
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
    for row in &rows {
        let cells = chosen.iter().filter_map(|name| match row.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        });
        add(&mut document, cells);
    }
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

fn add(document: &mut Document, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells
        .map(|cell| cell.trim().to_string())
        .filter(|cell| !cell.is_empty())
        .collect();
    if !cells.is_empty() {
        document
            .blocks
            .push(Block::new(BlockKind::Whole, cells.join("\n\n")));
    }
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
