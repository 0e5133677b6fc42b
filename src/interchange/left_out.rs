//! Rows that cannot be read: what stops a command, or is left out, counted and said.

use std::path::PathBuf;

use anyhow::anyhow;
use serde::Serialize;

use super::read::{Found, Incoming, Place, ReadError, Row, RowReader};
use crate::atomic_file::{Lines, is_stdout};
use crate::text::counted;

/// So many rows are said each; of the others it is said how many there are.
const SAID: u64 = 20;

/// What happens to rows that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// They are left out; else the first one is an error.
    pub keep_going: bool,
    /// Where they go.
    pub file: Option<PathBuf>,
}

/// Leaves rows out, or does not.
pub struct LeftOut {
    policy: Policy,
    file: Option<Lines>,
    /// Rows that were looked at, and how many of them were left out.
    rows: u64,
    count: u64,
    first: Option<String>,
    quiet: bool,
    /// What there is to say.
    lines: Vec<String>,
}

/// A row of the file of those that were left out.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    /// As messages name it.
    place: String,
    reason: &'a str,
    /// As it stands in the file; of a table that has other columns, the cells.
    row: Found,
}

impl LeftOut {
    /// Begins to read something. Fails when the file of what is left out cannot be written.
    pub fn begin(policy: &Policy, quiet: bool) -> anyhow::Result<LeftOut> {
        Ok(LeftOut {
            file: policy.file.as_deref().map(Lines::begin).transpose()?,
            policy: policy.clone(),
            rows: 0,
            count: 0,
            first: None,
            quiet,
            lines: Vec::new(),
        })
    }

    /// The next row of `reader` that can be read, with what it says. What cannot is left out, or an error.
    ///
    /// # Errors
    ///
    /// Like [`LeftOut::leave`].
    pub fn next_row(&mut self, reader: &mut RowReader) -> anyhow::Result<Option<(Row, Incoming)>> {
        while let Some(row) = reader.next_row() {
            self.rows += 1;
            let (error, row) = match row {
                Ok(row) => {
                    let parser = reader
                        .parser()
                        .expect("a file with rows has a format, or is not opened");
                    match parser.parse(&row) {
                        Ok(incoming) => return Ok(Some((row, incoming))),
                        Err(error) => (error, Some(row)),
                    }
                }
                Err(error) => (error, None),
            };
            self.leave(&error, row.as_ref())?;
            self.lines().for_each(|line| eprintln!("{line}"));
        }
        Ok(None)
    }

    /// Counts rows that [`LeftOut::next_row`] did not bring.
    pub fn looked_at(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Lines for people, each taken once.
    pub fn lines(&mut self) -> impl Iterator<Item = String> + '_ {
        self.lines.drain(..)
    }

    /// How many rows were left out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Leaves a row out. What there is to say of it is in [`LeftOut::lines`].
    ///
    /// # Errors
    ///
    /// With what is wrong, if it is not only with this row or nothing is to be left out.
    pub fn leave(&mut self, error: &ReadError, row: Option<&Row>) -> anyhow::Result<()> {
        let ReadError::Row {
            file,
            place,
            what,
            found,
        } = error
        else {
            return Err(anyhow!("{error}"));
        };
        if !self.policy.keep_going {
            return Err(anyhow!(
                "{error}\nhint: --keep-going leaves out rows that cannot be read, and says which"
            ));
        }
        self.count += 1;
        self.first.get_or_insert_with(|| error.to_string());
        if let Some(out) = &mut self.file {
            let line = Line {
                file,
                place: match place {
                    Place::Text { line, column } => format!("{line}:{column}"),
                    Place::Row(row) => format!("row {row}"),
                },
                reason: what,
                row: match row {
                    Some(row) => Found::text(&row.text),
                    None => found.clone().unwrap_or(Found::Text(String::new())),
                },
            };
            out.row(&line)?;
        }
        if self.count <= SAID && !self.quiet {
            self.lines.push(format!("left out: {error}"));
        }
        Ok(())
    }

    /// Makes sure, when all rows were read, that something can come of them, and that the file of those that were left out can be
    /// put in place by [`LeftOut::end`].
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or no row is left.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(out) = &mut self.file {
            out.flush()?;
        }
        let (count, rows) = (self.count, self.rows);
        if count == 0 || count < rows {
            return Ok(());
        }
        let first = self.first.as_deref().unwrap_or_default();
        Err(match rows {
            1 => anyhow!("the only row cannot be read: {first}"),
            _ => anyhow!("none of {} can be read; the first: {first}", counted(rows, "row")),
        })
    }

    /// Ends: how many were left out is said, and their file put in place. Returns the number.
    ///
    /// # Errors
    ///
    /// As [`LeftOut::check`].
    pub fn end(&mut self) -> anyhow::Result<u64> {
        self.check()?;
        if let Some(out) = self.file.take() {
            out.commit()?;
        }
        let (count, rows) = (self.count, self.rows);
        if count == 0 {
            return Ok(0);
        }
        let to = match &self.policy.file {
            Some(path) if is_stdout(path) => String::new(),
            Some(path) => format!(
                "; {} in `{}`",
                if count == 1 { "it is" } else { "they are" },
                path.display()
            ),
            None => String::new(),
        };
        let more = match count > SAID {
            true => format!(", {} of them not named here", count - SAID),
            false => String::new(),
        };
        if !self.quiet {
            eprintln!("left out: {count} of {}{more}{to}", counted(rows, "row"));
        }
        Ok(count)
    }
}
