//! Some of a file's rows as a file of their own: as they stand in the one they come from, as far as the format allows.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use arrow_array::{RecordBatch, UInt64Array};
use arrow_json::{ReaderBuilder, reader::Decoder};
use arrow_select::take::take_record_batch;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::{
    packed::{self, Packed, Shape},
    read::RowReader,
    rows::Row,
    schema, table,
};
use crate::atomic_file::{AtomicFile, cannot_write};

/// At most so many rows of JSON become columns at a time; the first ones say which columns there are.
const BATCH_ROWS: usize = 1024;

/// With so many bytes of JSON the batch ends earlier.
const BATCH_BYTES: usize = 16 << 20;

/// A file of rows that is being written; what the path ends in says what it is. It appears whole, or not at all.
pub struct Kept {
    out: Out,
    path: PathBuf,
}

type Text = BufWriter<Packed<AtomicFile>>;

enum Out {
    Lines(Text),
    Array { out: Text, rows: usize },
    Delimited(Box<Delimited>),
    Cells(Box<Cells>),
    Parsed(Box<Parsed>),
}

impl Kept {
    /// Starts a file at `path` for rows of `source`: Parquet where the path ends in `.parquet`, with the columns of
    /// `source` if that is a file of columns, too; one JSON array where it ends in `.json`; the cells of `source` where it ends in
    /// `.csv` or `.tsv`; else JSON lines. With `.gz` or `.zst` behind that, packed.
    ///
    /// # Errors
    ///
    /// When nothing can be written there, or `source` has no cells; the message names the path.
    pub fn begin(path: &Path, source: &RowReader) -> anyhow::Result<Kept> {
        let (shape, packing) = packed::named(path)?;
        let text = || Packed::begin(path, packing).map(BufWriter::new);
        let out = match shape.unwrap_or(Shape::Lines) {
            Shape::Lines => Out::Lines(text()?),
            Shape::Array => Out::Array {
                out: text()?,
                rows: 0,
            },
            Shape::Cells(delimiter) => {
                let layout = source
                    .cells()
                    .map(|cells| cells.layout())
                    .with_context(|| format!("{}: the rows are no cells\n{HINT}", cannot_write(path)))?;
                Out::Delimited(Box::new(Delimited::begin(text()?, delimiter, &layout.columns)?))
            }
            Shape::Parquet => columns(path, source)?,
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

/// Starts a Parquet file at `path`.
fn columns(path: &Path, source: &RowReader) -> anyhow::Result<Out> {
    let out = AtomicFile::begin(path)?;
    let Some(columns) = source.columns() else {
        let fields = source.parser().map_or(&[][..], |parser| parser.format().fields());
        return Ok(Out::Parsed(Box::new(Parsed {
            out: Some(out),
            begun: None,
            fields,
            values: Vec::new(),
            bytes: 0,
        })));
    };
    let context = || format!("{}: Parquet cannot hold all columns\n{HINT}", cannot_write(path));
    Ok(Out::Cells(Box::new(Cells {
        out: table::begin(out, Arc::clone(columns.schema())).with_context(context)?,
        batch: Arc::new(RecordBatch::new_empty(columns.schema().clone())),
        indices: Vec::new(),
    })))
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
            Out::Delimited(cells) => cells.write(row)?,
            Out::Cells(cells) => cells.write(row)?,
            Out::Parsed(parsed) => parsed.write(row)?,
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<AtomicFile> {
        match self {
            Out::Lines(out) => flushed(out),
            Out::Array { mut out, rows } => {
                out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                flushed(out)
            }
            Out::Delimited(cells) => flushed(cells.out.into_inner().map_err(|error| error.into_error())?),
            Out::Cells(mut cells) => {
                cells.flush()?;
                table::end(cells.out)
            }
            Out::Parsed(parsed) => parsed.end(),
        }
    }
}

const HINT: &str = "hint: JSON lines hold rows of any kind: give a path that ends in `.jsonl`";

fn flushed(out: Text) -> anyhow::Result<AtomicFile> {
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?.end()?)
}

/// Rows of cells to another file of cells.
struct Delimited {
    out: csv::Writer<Text>,
    columns: Vec<String>,
}

impl Delimited {
    fn begin(out: Text, delimiter: u8, columns: &[String]) -> anyhow::Result<Delimited> {
        let mut out = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
        out.write_record(columns)?;
        Ok(Delimited {
            out,
            columns: columns.to_vec(),
        })
    }

    fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        let mut cells: HashMap<String, String> = serde_json::from_slice(&row.text)?;
        let cells = self
            .columns
            .iter()
            .map(|column| cells.remove(column).unwrap_or_default());
        Ok(self.out.write_record(cells)?)
    }
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
    out: ArrowWriter<AtomicFile>,
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

/// The first number of a row that is more exact than a number of 64 bits can be, if there is one.
fn inexact(text: &[u8]) -> Option<String> {
    /// So many digits any double has.
    const DIGITS: usize = 15;
    let (mut in_string, mut escaped, mut start) = (false, false, None);
    for (place, byte) in text.iter().copied().chain([b' ']).enumerate() {
        let is_number = !in_string && matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        match (start, is_number) {
            (None, true) if byte == b'-' || byte.is_ascii_digit() => start = Some(place),
            (Some(from), false) => {
                let number = std::str::from_utf8(&text[from..place]).unwrap_or_default();
                let digits = number.bytes().filter(u8::is_ascii_digit).count();
                let is_exact = digits <= DIGITS
                    || number.parse::<i64>().is_ok()
                    || number.parse::<u64>().is_ok()
                    || number
                        .parse::<f64>()
                        .is_ok_and(|value| value.to_string() == number);
                if !is_exact {
                    return Some(number.to_owned());
                }
                start = None;
            }
            _ => {}
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    None
}

/// Rows of JSON to a Parquet file, whose columns are the fields of the first rows.
struct Parsed {
    /// Taken when the columns are known.
    out: Option<AtomicFile>,
    begun: Option<(ArrowWriter<AtomicFile>, Decoder)>,
    /// The columns of a file without rows: those that tell its format.
    fields: &'static [&'static str],
    values: Vec<Value>,
    /// How much JSON the values were.
    bytes: usize,
}

impl Parsed {
    fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        if let Some(number) = inexact(&row.text) {
            return Err(anyhow!("no column holds all digits of {number}\n{HINT}"));
        }
        self.values.push(match serde_json::from_slice(&row.text)? {
            messages @ Value::Array(_) => json!({ "messages": messages }),
            row => row,
        });
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

    fn end(mut self) -> anyhow::Result<AtomicFile> {
        self.flush()?;
        let (out, _) = self
            .begun
            .context("the columns are known once rows were written")?;
        table::end(out)
    }
}
