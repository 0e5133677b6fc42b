//! Files of JSON lines.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::Context;
use serde::Serialize;

use super::AtomicFile;

/// A file of JSON lines that appears whole or not at all. Every error names the path.
#[derive(Debug)]
pub struct Lines {
    out: BufWriter<AtomicFile>,
}

impl Lines {
    /// Starts writing the file at `path`.
    ///
    /// # Errors
    ///
    /// As [`AtomicFile::begin`].
    pub fn begin(path: &Path) -> anyhow::Result<Lines> {
        let out = BufWriter::new(AtomicFile::begin(path)?);
        Ok(Lines { out })
    }

    /// Writes a value as one line.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn row(&mut self, row: &impl Serialize) -> anyhow::Result<()> {
        let written = serde_json::to_writer(&mut self.out, row)
            .map_err(io::Error::from)
            .and_then(|()| self.out.write_all(b"\n"));
        written.with_context(|| self.cannot_write())
    }

    /// Writes a line that is JSON already.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn line(&mut self, line: &str) -> anyhow::Result<()> {
        let written = self
            .out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.write_all(b"\n"));
        written.with_context(|| self.cannot_write())
    }

    /// Writes out the buffer, so that a full disk is noticed before the end.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn flush(&mut self) -> anyhow::Result<()> {
        let flushed = self.out.flush();
        flushed.with_context(|| self.cannot_write())
    }

    /// Moves the file into place.
    ///
    /// # Errors
    ///
    /// As [`AtomicFile::commit`].
    pub fn commit(mut self) -> anyhow::Result<()> {
        self.flush()?;
        let context = self.cannot_write();
        let out = self.out.into_inner().map_err(io::IntoInnerError::into_error);
        out.context(context)?.commit()
    }

    fn cannot_write(&self) -> String {
        super::cannot_write(&self.out.get_ref().path)
    }
}
