//! Rows of a dataset to a file in one of the formats. The same rows give the same bytes.
//!
//! - [`packing`]: the shape and the compression of a file, by its name.
//! - `record`: a row as a record of a format; `dialect`: its conversation; `tree`: conversations
//!   that begin alike; `table`: records as columns.
//! - `untaken`: names for what a row has besides. `reasoning`: rows without it.
//! - [`row_writer`]: rows of one file copied to another; `schema`, `parquet_file`: Parquet.

mod dialect;
mod field;
pub mod packing;
mod parquet_file;
mod reasoning;
mod record;
pub mod row_writer;
mod schema;
mod table;
mod tree;
mod untaken;

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::bail;
use futures::{Stream, StreamExt};

use super::Format;
use crate::reasoning::ReasoningChoice;
use crate::task::{ExportRow, FieldColumn, OptionalFields};
use packing::{FileShape, Packing};
use record::{ExtraFields, Record};
use table::{DatasetTable, RecordTable};

/// Where records go, by the shape of the file.
enum RecordSink<W: Write + Send> {
    Lines(BufWriter<W>),
    Array { out: BufWriter<W>, rows: usize },
    Parquet(Box<RecordTable<W>>),
}

impl<W: Write + Send> RecordSink<W> {
    fn record(&mut self, record: Record) -> anyhow::Result<()> {
        match self {
            RecordSink::Lines(out) => {
                out.write_all(record.line().as_bytes())?;
                out.write_all(b"\n")?;
            }
            RecordSink::Array { out, rows } => {
                out.write_all(if *rows == 0 { b"[\n" } else { b",\n" })?;
                out.write_all(record.indented().as_bytes())?;
                *rows += 1;
            }
            RecordSink::Parquet(out) => out.record(record)?,
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<W> {
        let mut out = match self {
            RecordSink::Lines(out) => out,
            RecordSink::Array { mut out, rows } => {
                out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                out
            }
            RecordSink::Parquet(out) => return out.end(),
        };
        out.flush()?;
        Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?)
    }
}

/// Makes records of rows that come one after another. The rows of a task are held back until the
/// next task begins: only then is it known how many there are.
struct RecordWriter<W: Write + Send> {
    out: RecordSink<W>,
    format: Format,
    extra_fields: ExtraFields,
    /// The rows of the current task.
    task: Vec<ExportRow>,
    /// The number of tasks so far, and of records.
    tasks: u64,
    records: usize,
}

impl<W: Write + Send> RecordWriter<W> {
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
            return self.out.record(Record::of_task(&rows, &self.extra_fields));
        }
        if self.format == Format::Oasst {
            for tree in Record::trees_of(&rows, self.records + 1, &self.extra_fields) {
                self.records += 1;
                self.out.record(tree)?;
            }
            return Ok(());
        }
        let group = (rows.len() > 1).then_some(self.tasks);
        for row in &rows {
            self.records += 1;
            self.out
                .record(Record::of_row(row, self.format, group, &self.extra_fields))?;
        }
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<(W, usize)> {
        self.end_task()?;
        Ok((self.out.end()?, self.records))
    }
}

/// What a dataset can be exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Records of a format, as JSON unless the name of the file says Parquet.
    Rows(Format),
    /// The whole dataset as Parquet: the columns of format `alpaca`, then the task's name, its
    /// number, whether it is a classification, and the rest.
    Parquet,
}

impl ExportFormat {
    /// Returns the format of this name.
    pub fn named(word: &str) -> Option<ExportFormat> {
        match word {
            "parquet" => Some(ExportFormat::Parquet),
            _ => Format::WRITTEN
                .into_iter()
                .find(|format| format.as_str() == word)
                .map(ExportFormat::Rows),
        }
    }

    /// Returns the usual name of a file of this format.
    pub fn file_name(self) -> String {
        let ending = match self {
            ExportFormat::Rows(Format::Alpaca) => "json",
            ExportFormat::Rows(_) => "jsonl",
            ExportFormat::Parquet => "parquet",
        };
        match self {
            ExportFormat::Rows(format) => format!("{}.{ending}", format.as_str()),
            ExportFormat::Parquet => format!("dataset.{ending}"),
        }
    }

    /// Returns the name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportFormat::Rows(format) => format.as_str(),
            ExportFormat::Parquet => "parquet",
        }
    }
}

/// What an export leaves out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOptions {
    /// Write only the fields of the format: no groups, and no other fields of the imported rows.
    pub plain: bool,
    /// Whether the reasoning of answers is written.
    pub reasoning: ReasoningChoice,
}

/// Returns the shape and the compression that the name of an output file asks for.
///
/// # Errors
///
/// If nothing is written so, or not in this format.
pub fn shape(path: &Path, format: ExportFormat) -> anyhow::Result<(Option<FileShape>, Packing)> {
    let (shape, packing) = packing::named(path)?;
    if let Some(FileShape::Cells(_)) = shape {
        bail!(
            "cannot write `{}`: rows are written as JSON or Parquet\nhint: a name that ends in .jsonl, .json or .parquet",
            path.display()
        );
    }
    if format == ExportFormat::Rows(Format::Oasst) && shape == Some(FileShape::Parquet) {
        bail!(
            "cannot write `{}`: trees are written as JSON\nhint: a name that ends in .jsonl or .json, or --format chat",
            path.display()
        );
    }
    if format == ExportFormat::Parquet && shape.is_some_and(|shape| shape != FileShape::Parquet) {
        bail!(
            "`{}` is no name of a Parquet file\nhint: a name that ends in .parquet, or --format alpaca for the same texts as JSON",
            path.display()
        );
    }
    Ok((shape, packing))
}

/// Writes rows to `out`, and returns `out` with their number. If no shape is given, `alpaca` is an
/// array, and all other formats are lines. The rows of a task follow one another.
///
/// # Errors
///
/// If a row or `out` fails.
pub async fn write<W: Write + Send, E: Into<anyhow::Error>>(
    format: ExportFormat,
    shape: Option<FileShape>,
    optional: OptionalFields,
    options: ExportOptions,
    rows: impl Stream<Item = Result<ExportRow, E>> + Unpin,
    out: W,
) -> anyhow::Result<(W, usize)> {
    let rows = rows.map(|row| match options.reasoning {
        ReasoningChoice::Keep => row,
        ReasoningChoice::Drop => row.map(reasoning::left_out),
    });
    match format {
        ExportFormat::Rows(format) => write_records(format, shape, optional, options, rows, out).await,
        ExportFormat::Parquet => write_dataset(optional.fields, rows, out).await,
    }
}

/// Writes the whole dataset as a table.
async fn write_dataset<W: Write + Send, E: Into<anyhow::Error>>(
    fields: Vec<FieldColumn>,
    mut rows: impl Stream<Item = Result<ExportRow, E>> + Unpin,
    out: W,
) -> anyhow::Result<(W, usize)> {
    let mut table = DatasetTable::begin(out, fields)?;
    let (mut task, mut tasks) = (Vec::<ExportRow>::new(), 0);
    while let Some(row) = rows.next().await {
        let row = row.map_err(Into::<anyhow::Error>::into)?;
        if task.first().is_some_and(|first| first.task_id != row.task_id) {
            tasks += 1;
            table.task(&std::mem::take(&mut task), tasks)?;
        }
        task.push(row);
    }
    table.task(&task, tasks + 1)?;
    table.end()
}

/// Writes records of a format.
async fn write_records<W: Write + Send, E: Into<anyhow::Error>>(
    format: Format,
    shape: Option<FileShape>,
    optional: OptionalFields,
    options: ExportOptions,
    mut rows: impl Stream<Item = Result<ExportRow, E>> + Unpin,
    out: W,
) -> anyhow::Result<(W, usize)> {
    let extra_fields = ExtraFields {
        group: optional.groups && !options.plain && matches!(format, Format::Alpaca | Format::Dolly),
        system: optional.systems,
        history: optional.turns,
        extra: !options.plain,
        apart: shape == Some(FileShape::Parquet),
        fields: optional.fields,
    };
    let by_format = match format {
        Format::Alpaca => FileShape::Array,
        _ => FileShape::Lines,
    };
    let buffered = |out| BufWriter::with_capacity(1 << 16, out);
    let mut writer = RecordWriter {
        out: match shape.unwrap_or(by_format) {
            FileShape::Array => RecordSink::Array {
                out: buffered(out),
                rows: 0,
            },
            FileShape::Parquet => {
                RecordSink::Parquet(Box::new(RecordTable::begin(out, format, &extra_fields)?))
            }
            FileShape::Lines | FileShape::Cells(_) => RecordSink::Lines(buffered(out)),
        },
        format,
        extra_fields,
        task: Vec::new(),
        tasks: 0,
        records: 0,
    };
    while let Some(row) = rows.next().await {
        writer.row(row.map_err(Into::<anyhow::Error>::into)?)?;
    }
    writer.end()
}
