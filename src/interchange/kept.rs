//! Some of a file's rows as a file of their own: as they stand in the one they come from, as far as the format allows.

use std::{
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use arrow_array::{RecordBatch, UInt64Array};
use arrow_json::{ReaderBuilder, reader::Decoder};
use arrow_select::take::take_record_batch;
use parquet::arrow::ArrowWriter;
use serde_json::Value;

use super::{read::RowReader, rows::Row, schema, table};
use crate::replace::Replacement;

/// At most so many rows of JSON become columns at a time; the first ones say which columns there are.
const BATCH_ROWS: usize = 1024;

/// With so many bytes of JSON the batch ends earlier.
const BATCH_BYTES: usize = 16 << 20;

/// A file of rows that is being written; what the path ends in says what it is. It appears whole, or not at all.
pub struct Kept {
    out: Out,
    path: PathBuf,
}

enum Out {
    Lines(BufWriter<Replacement>),
    Array {
        out: BufWriter<Replacement>,
        rows: usize,
    },
    Cells(Box<Cells>),
    Parsed(Box<Parsed>),
}

impl Kept {
    /// Starts a file at `path` for rows of `source`: Parquet where the path ends in `.parquet`, with the columns of
    /// `source` if that is Parquet, too; one JSON array where it ends in `.json`; else JSON lines.
    ///
    /// # Errors
    ///
    /// When nothing can be written there; the message names the path.
    pub fn begin(path: &Path, source: &RowReader) -> anyhow::Result<Kept> {
        let out = Replacement::begin(path)?;
        let is = |ending| {
            path.extension()
                .is_some_and(|found| found.eq_ignore_ascii_case(ending))
        };
        let out = if is("json") {
            Out::Array {
                out: BufWriter::new(out),
                rows: 0,
            }
        } else if !is("parquet") {
            Out::Lines(BufWriter::new(out))
        } else if let Some(columns) = source.columns() {
            let context = || format!("{}: Parquet cannot hold all columns\n{HINT}", cannot_write(path));
            Out::Cells(Box::new(Cells {
                out: table::begin(out, Arc::clone(columns.schema())).with_context(context)?,
                batch: Arc::new(RecordBatch::new_empty(columns.schema().clone())),
                indices: Vec::new(),
            }))
        } else {
            let fields = source.parser().map_or(&[][..], |parser| parser.format().fields());
            Out::Parsed(Box::new(Parsed {
                out: Some(out),
                begun: None,
                fields,
                values: Vec::new(),
                bytes: 0,
            }))
        };
        Ok(Kept {
            out,
            path: path.into(),
        })
    }

    /// Writes one row of the source.
    ///
    /// # Errors
    ///
    /// When the disk refuses; or a row of JSON does not fit into the columns that the first rows asked for.
    pub fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        self.out.write(row).with_context(|| cannot_write(&self.path))
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    ///
    /// When the disk refuses, or like [`Kept::write`]; then what was at the path is as it was.
    pub fn commit(self) -> anyhow::Result<()> {
        self.out.end().with_context(|| cannot_write(&self.path))?.commit()
    }
}

impl Out {
    fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        match self {
            Out::Lines(out) => {
                write_line(out, &row.text)?;
                out.write_all(b"\n")?;
            }
            Out::Array { out, rows } => {
                out.write_all(if *rows == 0 { b"[\n" } else { b",\n" })?;
                write_line(out, &row.text)?;
                *rows += 1;
            }
            Out::Cells(cells) => cells.write(row)?,
            Out::Parsed(parsed) => parsed.write(row)?,
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<Replacement> {
        match self {
            Out::Lines(out) => flushed(out),
            Out::Array { mut out, rows } => {
                out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                flushed(out)
            }
            Out::Cells(mut cells) => {
                cells.flush()?;
                table::end(cells.out)
            }
            Out::Parsed(parsed) => parsed.end(),
        }
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write `{}`", path.display())
}

const HINT: &str = "hint: JSON lines hold rows of any kind: give a path that ends in `.jsonl`";

fn flushed(out: BufWriter<Replacement>) -> anyhow::Result<Replacement> {
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?)
}

/// Writes a row without a line break. One that stands on one line stays as it is, byte for byte; of one that does not,
/// the space between its values goes, for there is nowhere else in JSON that a line can break.
fn write_line(out: &mut impl Write, text: &[u8]) -> io::Result<()> {
    if !text.contains(&b'\n') {
        return out.write_all(text);
    }
    let (mut in_string, mut escaped) = (false, false);
    let line: Vec<u8> = text
        .iter()
        .copied()
        .filter(|&byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ => {}
            }
            in_string || !byte.is_ascii_whitespace()
        })
        .collect();
    out.write_all(&line)
}

/// Rows of a Parquet file to another one, whatever their columns hold: they are copied, never turned into JSON.
struct Cells {
    out: ArrowWriter<Replacement>,
    /// The batch that the rows at hand are of.
    batch: Arc<RecordBatch>,
    indices: Vec<u64>,
}

impl Cells {
    fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        let cells = row
            .cells
            .as_ref()
            .context("this row is not of the Parquet file")?;
        if !Arc::ptr_eq(&self.batch, &cells.batch) {
            self.flush()?;
            self.batch = Arc::clone(&cells.batch);
        }
        self.indices.push(cells.index as u64);
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.indices.is_empty() {
            let indices = UInt64Array::from(std::mem::take(&mut self.indices));
            table::write(&mut self.out, &take_record_batch(&self.batch, &indices)?)?;
        }
        Ok(())
    }
}

/// Rows of JSON to a Parquet file, whose columns are the fields of the first rows.
struct Parsed {
    /// Taken when the columns are known.
    out: Option<Replacement>,
    begun: Option<(ArrowWriter<Replacement>, Decoder)>,
    /// The columns of a file without rows: those that tell its format.
    fields: &'static [&'static str],
    values: Vec<Value>,
    /// How much JSON the values were.
    bytes: usize,
}

impl Parsed {
    fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        self.values.push(serde_json::from_slice(&row.text)?);
        self.bytes += row.text.len();
        if self.values.len() == BATCH_ROWS || self.bytes > BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if let Some(out) = self.out.take() {
            let schema = Arc::new(if self.values.is_empty() {
                schema::of_texts(self.fields)
            } else {
                schema::of_rows(&self.values).map_err(|what| anyhow!("{what}\n{HINT}"))?
            });
            let decoder = ReaderBuilder::new(Arc::clone(&schema))
                // A field that the first rows do not have is an error, not forgotten.
                .with_strict_mode(true)
                .build_decoder()?;
            self.begun = Some((table::begin(out, schema)?, decoder));
        }
        if let Some((out, decoder)) = &mut self.begun {
            let batch = decoder
                .serialize(&self.values)
                .and_then(|()| decoder.flush())
                .map_err(|error| {
                    anyhow!("a row does not fit into the columns of those before: {error}\n{HINT}")
                })?;
            if let Some(batch) = batch {
                table::write(out, &batch)?;
            }
        }
        self.values.clear();
        self.bytes = 0;
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<Replacement> {
        self.flush()?;
        let (out, _) = self
            .begun
            .context("the columns are known once rows were written")?;
        table::end(out)
    }
}
