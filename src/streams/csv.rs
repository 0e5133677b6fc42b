//! Tables in CSV (RFC 4180) for standard output.

use std::io::Write;

use anyhow::Context;
use serde::Serialize;

/// Writes a table: its header, also if there are no rows, and a line for each row, whose fields are
/// in the order of the header. A value that is missing is an empty field.
///
/// # Errors
///
/// If a row is no flat record, or `out` fails.
pub fn write<T: Serialize>(out: &mut impl Write, header: &[&str], rows: &[T]) -> anyhow::Result<()> {
    let mut table = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    table.write_record(header)?;
    for row in rows {
        table.serialize(row)?;
    }
    let text = table.into_inner().context("the table in CSV is not complete")?;
    out.write_all(&text)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_commas_quotes_and_line_breaks_are_quoted() {
        let mut out = Vec::new();
        let rows = [("a, \"b\"\nc", None), ("d", Some(0.5))];
        write(&mut out, &["text", "score"], &rows).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "text,score\n\"a, \"\"b\"\"\nc\",\nd,0.5\n");
    }
}
