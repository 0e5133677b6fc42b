//! Rows that cannot be read: an error, or with `--keep-going` left out, counted and reported.

use std::path::PathBuf;

use anyhow::anyhow;
use serde::Serialize;

use super::{Excerpt, Location, ParsedRow, ReadError, Row, read::RowReader};
use crate::atomic_file::{Lines, is_stdout};
use crate::text::counted;

/// How many rows are reported one by one. Of the others, only the number is.
const REPORTED: u64 = 20;

/// What happens to rows that cannot be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Whether they are left out. Otherwise the first one is an error.
    pub keep_going: bool,
    /// The file to write them to.
    pub file: Option<PathBuf>,
}

/// Leaves rows out, or fails on the first one, as the policy says.
pub struct LeftOut {
    policy: Policy,
    file: Option<Lines>,
    /// The number of rows read, and how many of them were left out.
    rows: u64,
    count: u64,
    /// Trees of OpenAssistant that nobody answers. They are none of the rows.
    unanswered: u64,
    first: Option<String>,
    quiet: bool,
    /// Messages that were not printed yet.
    lines: Vec<String>,
}

/// A line of the file with the rows that were left out.
#[derive(Serialize)]
struct LeftOutRow<'a> {
    file: &'a str,
    /// As messages name it.
    place: String,
    reason: &'a str,
    /// The row as the file has it; for CSV with a wrong number of cells, the cells.
    row: Excerpt,
}

impl LeftOut {
    /// Starts to read rows under this policy.
    ///
    /// # Errors
    ///
    /// If the file for the rows left out cannot be written.
    pub fn begin(policy: &Policy, quiet: bool) -> anyhow::Result<LeftOut> {
        Ok(LeftOut {
            file: policy.file.as_deref().map(Lines::begin).transpose()?,
            policy: policy.clone(),
            rows: 0,
            count: 0,
            unanswered: 0,
            first: None,
            quiet,
            lines: Vec::new(),
        })
    }

    /// Returns the next row of `reader` that can be read, and the same row parsed. Rows before it
    /// that cannot be read are left out, or an error; trees that nobody answers are passed over.
    ///
    /// # Errors
    ///
    /// Like [`LeftOut::leave`].
    pub fn next_row(&mut self, reader: &mut RowReader) -> anyhow::Result<Option<(Row, ParsedRow)>> {
        while let Some(row) = reader.next_row() {
            self.rows += 1;
            let (error, row) = match row {
                Ok(row) => {
                    let parser = reader
                        .parser()
                        .expect("a file with rows has a format, or is not opened");
                    match parser.parse(&row) {
                        Ok(parsed) => return Ok(Some((row, parsed))),
                        Err(_) if parser.is_unanswered_tree(&row) => {
                            self.rows -= 1;
                            self.unanswered += 1;
                            continue;
                        }
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

    /// Counts rows that were not read by [`LeftOut::next_row`].
    pub fn looked_at(&mut self, rows: u64) {
        self.rows += rows;
    }

    /// Takes the messages that were not printed yet.
    pub fn lines(&mut self) -> impl Iterator<Item = String> + '_ {
        self.lines.drain(..)
    }

    /// Returns how many rows were left out.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Leaves a row out. Its message is in [`LeftOut::lines`].
    ///
    /// # Errors
    ///
    /// The error itself, if it is not about one row, or rows are not to be left out.
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
            let line = LeftOutRow {
                file,
                place: match place {
                    Location::Text { line, column } => format!("{line}:{column}"),
                    Location::Row(row) => format!("row {row}"),
                },
                reason: what,
                row: match row {
                    Some(row) => Excerpt::text(&row.text),
                    None => found.clone().unwrap_or(Excerpt::Text(String::new())),
                },
            };
            out.row(&line)?;
        }
        if self.count <= REPORTED && !self.quiet {
            self.lines.push(format!("left out: {error}"));
        }
        Ok(())
    }

    /// Checks, after the last row, that some rows are left, and that the file with the rows left
    /// out can be moved to its place by [`LeftOut::end`].
    ///
    /// # Errors
    ///
    /// If the file cannot be written, or no row is left.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(out) = &mut self.file {
            out.flush()?;
        }
        let (count, rows) = (self.count, self.rows);
        if rows == 0 && self.unanswered > 0 {
            let trees = counted(self.unanswered, "tree");
            return Err(anyhow!("nothing to read: nobody answers the prompt of {trees}"));
        }
        if count == 0 || count < rows {
            return Ok(());
        }
        let first = self.first.as_deref().unwrap_or_default();
        Err(match rows {
            1 => anyhow!("the only row cannot be read: {first}"),
            _ => anyhow!("none of {} can be read; the first: {first}", counted(rows, "row")),
        })
    }

    /// Reports how many rows were left out, and moves their file to its place. Returns the number.
    ///
    /// # Errors
    ///
    /// Like [`LeftOut::check`].
    pub fn end(&mut self) -> anyhow::Result<u64> {
        self.check()?;
        if let Some(out) = self.file.take() {
            out.commit()?;
        }
        let (count, rows) = (self.count, self.rows);
        if self.unanswered > 0 && !self.quiet {
            eprintln!(
                "not read: {} that nobody answers",
                counted(self.unanswered, "tree")
            );
        }
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
        let more = match count > REPORTED {
            true => format!(", {} of them not named here", count - REPORTED),
            false => String::new(),
        };
        if !self.quiet {
            eprintln!("left out: {count} of {}{more}{to}", counted(rows, "row"));
        }
        Ok(count)
    }
}
