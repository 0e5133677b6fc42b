//! The dataset as a file in one of the field's formats. The same rows give the same bytes.

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use anyhow::Context;
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, PrettyFormatter, Serializer};

use super::{Format, format::DOLLY_CATEGORIES, table::Table};
use crate::{
    replace::Replacement,
    store::{ExportRow, Filter, Store},
    task::Instance,
};

#[derive(Serialize)]
struct Alpaca<'a> {
    instruction: &'a str,
    input: &'a str,
    output: &'a str,
}

#[derive(Serialize)]
struct Dolly<'a> {
    instruction: &'a str,
    context: &'a str,
    response: &'a str,
    category: &'a str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct Chat<'a> {
    messages: [Message<'a>; 2],
}

#[derive(Serialize)]
struct Completion<'a> {
    prompt: &'a str,
    completion: &'a str,
}

#[derive(Serialize)]
struct SelfInstruct<'a> {
    id: &'a str,
    name: Option<&'a str>,
    instruction: &'a str,
    instances: &'a [Instance],
    is_classification: bool,
}

/// Writes the rows of one format.
struct Writer<W> {
    out: W,
    format: Format,
    rows: usize,
    /// Of the Self-Instruct format, whose rows are tasks: the task that more instances may follow for.
    open: Option<(ExportRow, Vec<Instance>)>,
}

impl<W: Write> Writer<W> {
    fn row(&mut self, row: ExportRow) -> io::Result<()> {
        match self.format {
            Format::Alpaca => {
                self.out.write_all(if self.rows == 0 { b"[\n" } else { b",\n" })?;
                let (instruction, input, output) = (&row.instruction, &row.input, &row.output);
                indented(
                    &mut self.out,
                    &Alpaca {
                        instruction,
                        input,
                        output,
                    },
                )?;
                self.rows += 1;
                Ok(())
            }
            Format::Dolly => self.line(&Dolly {
                instruction: &row.instruction,
                context: &row.input,
                response: &row.output,
                category: category(&row),
            }),
            Format::Chat => self.line(&Chat {
                messages: [
                    Message {
                        role: "user",
                        content: &question(&row),
                    },
                    Message {
                        role: "assistant",
                        content: &row.output,
                    },
                ],
            }),
            Format::Completion => self.line(&Completion {
                prompt: &question(&row),
                completion: &row.output,
            }),
            Format::SelfInstruct => {
                let instance = Instance {
                    input: row.input.clone(),
                    output: row.output.clone(),
                };
                match &mut self.open {
                    Some((open, instances)) if open.task_id == row.task_id => instances.push(instance),
                    _ => {
                        self.task()?;
                        self.open = Some((row, vec![instance]));
                    }
                }
                Ok(())
            }
            Format::ShareGpt | Format::QuestionAnswer | Format::Instructions => {
                unreachable!("no target has this format")
            }
        }
    }

    fn line(&mut self, row: &impl Serialize) -> io::Result<()> {
        row.serialize(&mut Serializer::with_formatter(&mut self.out, CompactFormatter))?;
        self.rows += 1;
        self.out.write_all(b"\n")
    }

    /// Writes the open task.
    fn task(&mut self) -> io::Result<()> {
        let Some((row, instances)) = self.open.take() else {
            return Ok(());
        };
        let id = row.source_id.unwrap_or_else(|| format!("ewe_{}", row.task_id));
        self.line(&SelfInstruct {
            id: &id,
            name: row.name.as_deref(),
            instruction: &row.instruction,
            instances: &instances,
            is_classification: row.is_classification,
        })
    }

    fn end(mut self) -> io::Result<(W, usize)> {
        self.task()?;
        if self.format == Format::Alpaca {
            self.out
                .write_all(if self.rows == 0 { b"[]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()?;
        Ok((self.out, self.rows))
    }
}

/// An object of a JSON array, with the indentation of `alpaca_data.json`.
fn indented(out: &mut impl Write, row: &impl Serialize) -> io::Result<()> {
    let mut text = Vec::new();
    row.serialize(&mut Serializer::with_formatter(
        &mut text,
        PrettyFormatter::with_indent(b"    "),
    ))?;
    for (index, line) in text.split(|&byte| byte == b'\n').enumerate() {
        out.write_all(if index == 0 { b"    " } else { b"\n    " })?;
        out.write_all(line)?;
    }
    Ok(())
}

/// What somebody would ask: the instruction, and after an empty line the input.
fn question(row: &ExportRow) -> String {
    match row.input.as_str() {
        "" => row.instruction.clone(),
        input => format!("{}\n\n{input}", row.instruction),
    }
}

/// The task's name where it is a category of Dolly's, else what the row looks like.
fn category(row: &ExportRow) -> &str {
    match row.name.as_deref() {
        Some(name) if DOLLY_CATEGORIES.contains(&name) => name,
        _ if row.is_classification => "classification",
        _ if row.input.is_empty() => "general_qa",
        _ => "closed_qa",
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

/// Writes what `filter` lets through of the dataset to `path`, which appears whole or stays as it was; `-` is standard
/// output. With `min_score`, only rows with at least that score. Returns the number of rows: tasks in the Self-Instruct
/// format, examples in all others.
///
/// # Errors
///
/// When `path` cannot be written, or the store not read.
pub async fn export(
    store: &Store,
    target: Target,
    path: &Path,
    filter: &Filter,
    min_score: Option<f64>,
) -> anyhow::Result<usize> {
    let rows = store.export_rows(filter, min_score).await?;
    if path == Path::new("-") {
        return Ok(write(target, rows, io::stdout()).await?.1);
    }
    let file = Replacement::begin(path)?;
    let (file, rows) = write(target, rows, file)
        .await
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    store.check_unchanged()?;
    file.commit()?;
    Ok(rows)
}

/// Writes rows to `out`; returns it with their number.
///
/// # Errors
///
/// When a row or `out` fails.
pub async fn write<W: Write + Send>(
    target: Target,
    mut rows: impl Stream<Item = crate::store::Result<ExportRow>> + Unpin,
    out: W,
) -> anyhow::Result<(W, usize)> {
    let format = match target {
        Target::Json(format) => format,
        Target::Parquet => {
            let mut table = Table::begin(out)?;
            while let Some(row) = rows.next().await {
                table.row(&row?)?;
            }
            return table.end();
        }
    };
    let mut writer = Writer {
        out: BufWriter::with_capacity(1 << 16, out),
        format,
        rows: 0,
        open: None,
    };
    while let Some(row) = rows.next().await {
        writer.row(row?)?;
    }
    let (out, rows) = writer.end()?;
    Ok((out.into_inner().map_err(io::IntoInnerError::into_error)?, rows))
}
