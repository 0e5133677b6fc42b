//! The dataset as a file in one of the field's formats. The same rows give the same bytes.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::{Context, bail};
use futures::{Stream, StreamExt};

use super::{
    Format,
    packed::{self, Packed, Shape},
    record::{Given, Record},
    table::{Rows, Table},
};
use crate::{
    atomic_file::{AtomicFile, cannot_write},
    store::{ExportRow, Filter, Needs, Store},
};

/// Puts records down.
enum Out<W: Write + Send> {
    Lines(BufWriter<W>),
    Array { out: BufWriter<W>, rows: usize },
    Parquet(Box<Rows<W>>),
}

impl<W: Write + Send> Out<W> {
    fn record(&mut self, record: Record) -> anyhow::Result<()> {
        match self {
            Out::Lines(out) => {
                out.write_all(record.line().as_bytes())?;
                out.write_all(b"\n")?;
            }
            Out::Array { out, rows } => {
                out.write_all(if *rows == 0 { b"[\n" } else { b",\n" })?;
                out.write_all(record.indented().as_bytes())?;
                *rows += 1;
            }
            Out::Parquet(out) => out.record(record)?,
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<W> {
        let mut out = match self {
            Out::Lines(out) => out,
            Out::Array { mut out, rows } => {
                out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                out
            }
            Out::Parquet(out) => return out.end(),
        };
        out.flush()?;
        Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?)
    }
}

/// Makes records of rows that come one after another. One row is held back: whether a task has several is known with the next.
struct Writer<W: Write + Send> {
    out: Out<W>,
    format: Format,
    given: Given,
    /// The rows of the task at hand.
    task: Vec<ExportRow>,
    /// Tasks so far, and records.
    tasks: u64,
    records: usize,
}

impl<W: Write + Send> Writer<W> {
    fn row(&mut self, row: ExportRow) -> anyhow::Result<()> {
        if self
            .task
            .first()
            .is_some_and(|first| first.task_id != row.task_id)
        {
            self.end_task()?;
        }
        self.task.push(row);
        Ok(())
    }

    fn end_task(&mut self) -> anyhow::Result<()> {
        let rows = std::mem::take(&mut self.task);
        if rows.is_empty() {
            return Ok(());
        }
        self.tasks += 1;
        if self.format == Format::SelfInstruct {
            self.records += 1;
            return self.out.record(Record::of_task(&rows, &self.given));
        }
        let group = (rows.len() > 1).then_some(self.tasks);
        for row in &rows {
            self.records += 1;
            self.out
                .record(Record::of_row(row, self.format, group, &self.given))?;
        }
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<(W, usize)> {
        self.end_task()?;
        Ok((self.out.end()?, self.records))
    }
}

/// What the dataset can be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// JSON in one of the formats.
    Json(Format),
    /// Parquet with the columns of Alpaca's format, then the task's name, its number, and whether it is a
    /// classification.
    Parquet,
}

impl Target {
    /// The target of that name.
    pub fn named(word: &str) -> Option<Target> {
        match word {
            "parquet" => Some(Target::Parquet),
            _ => Format::WRITTEN
                .into_iter()
                .find(|format| format.as_str() == word)
                .map(Target::Json),
        }
    }

    /// What a file of it is usually called.
    pub fn file_name(self) -> String {
        let ending = match self {
            Target::Json(Format::Alpaca) => "json",
            Target::Json(_) => "jsonl",
            Target::Parquet => "parquet",
        };
        match self {
            Target::Json(format) => format!("{}.{ending}", format.as_str()),
            Target::Parquet => format!("dataset.{ending}"),
        }
    }

    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Target::Json(format) => format.as_str(),
            Target::Parquet => "parquet",
        }
    }
}

/// What is left out of what the dataset knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Only the fields of the format: no groups, and no fields that rows had in the files they came from.
    pub plain: bool,
}

/// Writes what `filter` lets through of the dataset to `path`, which appears whole or stays as it was; `-` is standard
/// output. The name says the shape: lines, one array or Parquet, packed or not; without an ending of these Alpaca's format is an
/// array, the others are lines. With `min_score`, only rows with at least that score. Returns the number of rows: tasks in the
/// Self-Instruct format, examples in all others.
///
/// # Errors
///
/// When `path` cannot be written or asks for what `target` is not, or the store cannot be read.
pub async fn export(
    store: &Store,
    target: Target,
    path: &Path,
    filter: &Filter,
    min_score: Option<f64>,
    options: Options,
) -> anyhow::Result<usize> {
    let (shape, packing) = packed::named(path)?;
    if let Some(Shape::Cells(_)) = shape {
        bail!(
            "cannot write `{}`: rows are written as JSON or Parquet\nhint: a name that ends in .jsonl, .json or .parquet",
            path.display()
        );
    }
    if target == Target::Parquet && shape.is_some_and(|shape| shape != Shape::Parquet) {
        bail!(
            "`{}` is no name of a Parquet file\nhint: a name that ends in .parquet, or --format alpaca for the same texts as JSON",
            path.display()
        );
    }
    let needs = store.export_needs().await?;
    let rows = store.export_rows(filter, min_score).await?;
    let file = Packed::<AtomicFile>::begin(path, packing)?;
    let (file, rows) = write(target, shape, needs, options, rows, file)
        .await
        .with_context(|| cannot_write(path))?;
    store.check_unchanged()?;
    file.end().with_context(|| cannot_write(path))?.commit()?;
    Ok(rows)
}

/// Writes rows to `out`; returns it with their number. Without a shape it is that of the format.
///
/// # Errors
///
/// When a row or `out` fails.
pub async fn write<W: Write + Send>(
    target: Target,
    shape: Option<Shape>,
    needs: Needs,
    options: Options,
    mut rows: impl Stream<Item = crate::store::Result<ExportRow>> + Unpin,
    out: W,
) -> anyhow::Result<(W, usize)> {
    let format = match target {
        Target::Json(format) => format,
        Target::Parquet => {
            let mut table = Table::begin(out)?;
            let (mut task, mut tasks) = (Vec::<ExportRow>::new(), 0);
            while let Some(row) = rows.next().await {
                let row = row?;
                if task.first().is_some_and(|first| first.task_id != row.task_id) {
                    tasks += 1;
                    table.task(&std::mem::take(&mut task), tasks)?;
                }
                task.push(row);
            }
            table.task(&task, tasks + 1)?;
            return table.end();
        }
    };
    let given = Given {
        group: needs.groups && !options.plain && matches!(format, Format::Alpaca | Format::Dolly),
        system: needs.systems,
        extra: !options.plain,
        apart: shape == Some(Shape::Parquet),
    };
    let by_format = match format {
        Format::Alpaca => Shape::Array,
        _ => Shape::Lines,
    };
    let buffered = |out| BufWriter::with_capacity(1 << 16, out);
    let mut writer = Writer {
        out: match shape.unwrap_or(by_format) {
            Shape::Array => Out::Array {
                out: buffered(out),
                rows: 0,
            },
            Shape::Parquet => Out::Parquet(Box::new(Rows::begin(out, format, given)?)),
            Shape::Lines | Shape::Cells(_) => Out::Lines(buffered(out)),
        },
        format,
        given,
        task: Vec::new(),
        tasks: 0,
        records: 0,
    };
    while let Some(row) = rows.next().await {
        writer.row(row?)?;
    }
    writer.end()
}
