//! What a filter of files writes: the rows kept, in one file or in several of a folder, and the
//! verdicts.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::config::FilterConfig;
use super::rows::RowBatch;
use crate::atomic_file::{Lines, cannot_write, folder::Folder, is_stdout};
use crate::filter::screen::verdict_row;
use crate::interchange::Row;
use crate::interchange::read::{self, RowReader};
use crate::interchange::write::{packing, row_writer::RowWriter};
use crate::task::{TaskRef, Verdict};

/// The outputs. They appear together at the end, or not at all.
pub(super) struct FilterOutput {
    kept: Option<KeptRows>,
    verdicts: Option<Lines>,
    /// Whether there are several input files, so that a row is named by its file, too.
    names_files: bool,
}

impl FilterOutput {
    /// Starts the outputs; `first` reads the first file. The others are looked at now, so that one
    /// whose rows do not fit beside those of the first is found before the work.
    pub(super) fn begin(config: &FilterConfig, first: &RowReader) -> Result<FilterOutput> {
        let kept = match (&config.out, config.rows_per_file) {
            (Some(path), Some(most)) => Some(KeptRows::begin_folder(path, most, first)?),
            (Some(path), None) => Some(KeptRows::One(Box::new(RowWriter::begin(path, first)?))),
            (None, _) => None,
        };
        for file in &config.files[1..] {
            if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                let reader = read::open(file, &config.reading)?;
                kept.as_ref().map_or(Ok(()), |kept| kept.check(&reader, file))?;
            }
        }
        Ok(FilterOutput {
            kept,
            verdicts: config.verdicts.as_deref().map(Lines::begin).transpose()?,
            names_files: config.files.len() > 1,
        })
    }

    /// Writes a batch. Its first row has the number `first`; `source` names a row's file, and its
    /// number there.
    pub(super) fn write(
        &mut self,
        batch: &RowBatch,
        verdicts: &[Verdict],
        first: u64,
        source: impl Fn(TaskRef) -> (String, i64) + Sync,
    ) -> Result<()> {
        if let Some(kept) = &mut self.kept {
            for ((row, _), verdict) in batch.rows.iter().zip(verdicts) {
                if let Some(row) = row
                    && verdict.is_accepted()
                {
                    kept.write(row)?;
                }
            }
        }
        if let Some(out) = &mut self.verdicts {
            let names_files = self.names_files;
            let lines: Vec<String> = verdicts
                .par_iter()
                .enumerate()
                .map(|(i, verdict)| {
                    let row = first + i as u64;
                    if !names_files {
                        return verdict_row(verdict, row, &source).to_string();
                    }
                    let (file, number) = source(TaskRef::Row {
                        file: 0,
                        row: row as u32,
                    });
                    let mut line = json!({"source": file});
                    let rest = verdict_row(verdict, number as u64, &source);
                    if let (Some(line), Value::Object(rest)) = (line.as_object_mut(), rest) {
                        line.extend(rest);
                    }
                    line.to_string()
                })
                .collect();
            for line in lines {
                out.line(&line)?;
            }
        }
        Ok(())
    }

    /// Moves the outputs to their places. Returns how many files are in the folder of rows kept.
    pub(super) fn commit(self) -> Result<Option<usize>> {
        let files = self.kept.map_or(Ok(None), KeptRows::commit)?;
        if let Some(verdicts) = self.verdicts {
            verdicts.commit()?;
        }
        Ok(files)
    }
}

/// The rows kept.
enum KeptRows {
    One(Box<RowWriter>),
    Many(Box<KeptFiles>),
}

/// A folder of files with so many rows each.
struct KeptFiles {
    folder: Folder,
    /// What the name of each file ends in.
    ending: String,
    most: u64,
    /// The file that is being written, and how many rows it has.
    file: Option<RowWriter>,
    rows: u64,
    /// How many files were begun.
    files: usize,
}

impl KeptRows {
    fn begin_folder(path: &Path, most: u64, source: &RowReader) -> Result<KeptRows> {
        if is_stdout(path) {
            bail!("{}: a folder is needed\nhint: --out DIR", cannot_write(path));
        }
        let is_free = match path.is_dir() {
            true => std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none()),
            false => !path.exists(),
        };
        if !is_free {
            bail!(
                "{}: something is there\nhint: another name, or remove it",
                cannot_write(path)
            );
        }
        let folder = Folder::begin(path)?;
        let ending = packing::ending(path);
        let file =
            RowWriter::begin(&part(&folder, 0, &ending), source).map_err(|error| folder.told(&error))?;
        Ok(KeptRows::Many(Box::new(KeptFiles {
            folder,
            ending,
            most,
            file: Some(file),
            rows: 0,
            files: 1,
        })))
    }

    /// Fails if rows of another file cannot be written beside those of the first.
    fn check(&self, reader: &RowReader, file: &Path) -> Result<()> {
        match self {
            KeptRows::One(out) => out.check(reader, file),
            KeptRows::Many(files) => files.file.as_ref().map_or(Ok(()), |out| out.check(reader, file)),
        }
    }

    fn write(&mut self, row: &Row) -> Result<()> {
        match self {
            KeptRows::One(out) => out.write(row),
            KeptRows::Many(files) => {
                let written = files.write(row);
                written.map_err(|error| files.folder.told(&error))
            }
        }
    }

    fn commit(self) -> Result<Option<usize>> {
        match self {
            KeptRows::One(out) => out.commit().map(|()| None),
            KeptRows::Many(files) => files.commit().map(Some),
        }
    }
}

impl KeptFiles {
    fn write(&mut self, row: &Row) -> Result<()> {
        if self.rows == self.most
            && let Some(full) = self.file.take()
        {
            let next = full.another(&part(&self.folder, self.files, &self.ending))?;
            full.commit()?;
            self.file = Some(next);
            self.files += 1;
            self.rows = 0;
        }
        self.rows += 1;
        self.file.as_mut().map_or(Ok(()), |file| file.write(row))
    }

    fn commit(mut self) -> Result<usize> {
        if let Some(file) = self.file.take() {
            file.commit().map_err(|error| self.folder.told(&error))?;
        }
        self.folder.commit(|_| false)?;
        Ok(self.files)
    }
}

/// The path of a file of the folder while it is being made.
fn part(folder: &Folder, number: usize, ending: &str) -> PathBuf {
    folder.path().join(format!("part-{number:05}{ending}"))
}
