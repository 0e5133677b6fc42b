//! Rows of a list as other programs read them.

use std::io::{BufWriter, Write};

use serde::Serialize;

use crate::streams::{csv, json, stdout};

/// Prints rows as CSV below `header`, or as a JSON array.
///
/// # Errors
///
/// When standard output cannot be written.
pub fn print<T: Serialize>(rows: &[T], header: &[&str], is_csv: bool) -> anyhow::Result<()> {
    let mut out = BufWriter::new(stdout());
    match is_csv {
        true => csv::write(&mut out, header, rows)?,
        false => json::write_array(&mut out, rows)?,
    }
    out.flush()?;
    Ok(())
}
