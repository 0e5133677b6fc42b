//! Rows that cannot be read: what stops a command, or is left out, counted and said.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::read::{Incoming, Place, ReadError, Row, RowReader};
use crate::replace::Replacement;

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
    file: Option<BufWriter<Replacement>>,
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
    /// As it stands in the file, if it could be told from the next one.
    row: Option<String>,
}

impl LeftOut {
    /// Begins to read something. Fails when the file of what is left out cannot be written.
    pub fn begin(policy: &Policy, quiet: bool) -> anyhow::Result<LeftOut> {
        Ok(LeftOut {
            file: policy
                .file
                .as_deref()
                .map(|path| Replacement::begin(path).map(BufWriter::new))
                .transpose()?,
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
        let ReadError::Row { file, place, what } = error else {
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
                row: row.map(|row| String::from_utf8_lossy(&row.text).into_owned()),
            };
            serde_json::to_writer(&mut *out, &line)
                .map_err(std::io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .with_context(|| cannot_write(self.policy.file.as_deref()))?;
        }
        if self.count <= SAID && !self.quiet {
            self.lines.push(format!("left out: {error}"));
        }
        Ok(())
    }

    /// Ends: how many were left out is said, and their file put in place. Returns the number.
    ///
    /// # Errors
    ///
    /// When the file cannot be written, or no row is left.
    pub fn end(&mut self) -> anyhow::Result<u64> {
        if let Some(out) = self.file.take() {
            let context = || cannot_write(self.policy.file.as_deref());
            let out = out
                .into_inner()
                .map_err(|error| error.into_error())
                .with_context(context)?;
            out.commit()?;
        }
        let (count, rows) = (self.count, self.rows);
        if count == 0 {
            return Ok(0);
        }
        if count == rows {
            let first = self.first.as_deref().unwrap_or_default();
            return Err(anyhow!("none of {rows} rows can be read; the first: {first}"));
        }
        let to = match &self.policy.file {
            Some(path) => format!("; they are in `{}`", path.display()),
            None => String::new(),
        };
        let more = match count > SAID {
            true => format!(", {} of them not named here", count - SAID),
            false => String::new(),
        };
        if !self.quiet {
            eprintln!("left out: {count} of {rows} rows{more}{to}");
        }
        Ok(count)
    }
}

fn cannot_write(path: Option<&Path>) -> String {
    format!("cannot write `{}`", path.unwrap_or(Path::new("-")).display())
}
