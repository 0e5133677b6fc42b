//! Copies rows of a file to another file, unchanged as far as the type of that file allows.

use std::{
    collections::HashMap,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, anyhow};
use arrow_array::{RecordBatch, UInt64Array};
use arrow_json::{ReaderBuilder, reader::Decoder};
use arrow_schema::SchemaRef;
use arrow_select::take::take_record_batch;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::{
    packing::{self, FileShape, Packed},
    parquet_file, schema,
};
use crate::atomic_file::{AtomicFile, cannot_write};
use crate::interchange::{Row, read::RowReader};

/// How many JSON rows become a batch of columns at most. The first batch decides which columns
/// there are.
const BATCH_ROWS: usize = 1024;

/// About how many bytes of JSON become a batch at most.
const BATCH_BYTES: usize = 16 << 20;

/// A file of rows that is being written. The ending of its path decides its type. It appears whole,
/// or not at all.
pub struct RowWriter {
    out: RowSink,
    path: PathBuf,
}

type Text = BufWriter<Packed<AtomicFile>>;

/// Where rows go, by the type of the file.
enum RowSink {
    Lines(Text),
    Array { out: Text, rows: usize },
    Csv(Box<CsvRows>),
    Columns(Box<CopiedColumns>),
    Inferred(Box<InferredColumns>),
}

impl RowWriter {
    /// Starts a file at `path` for rows of `source`, by the ending of the path: `.parquet`, with
    /// the columns of `source` if that is columnar, too; `.json`, one array; `.csv` or `.tsv`, the
    /// cells of `source`; anything else, JSON lines. A further `.gz` or `.zst` compresses it.
    ///
    /// # Errors
    ///
    /// If nothing can be written there, or `.csv` is asked for and `source` is not CSV; the message
    /// names the path.
    pub fn begin(path: &Path, source: &RowReader) -> anyhow::Result<RowWriter> {
        let (shape, packing) = packing::named(path)?;
        let text = || Packed::begin(path, packing).map(BufWriter::new);
        let out = match shape.unwrap_or(FileShape::Lines) {
            FileShape::Lines => RowSink::Lines(text()?),
            FileShape::Array => RowSink::Array {
                out: text()?,
                rows: 0,
            },
            FileShape::Cells(delimiter) => {
                let layout = source
                    .cells()
                    .map(|cells| cells.layout())
                    .with_context(|| format!("{}: the rows are no cells\n{HINT}", cannot_write(path)))?;
                RowSink::Csv(Box::new(CsvRows::begin(text()?, delimiter, &layout.columns)?))
            }
            FileShape::Parquet => columns(path, source)?,
        };
        Ok(RowWriter {
            out,
            path: path.into(),
        })
    }

    /// Starts another file at `path` for rows of the same kind, with the columns of this one. The
    /// endings of both paths are the same.
    ///
    /// # Errors
    ///
    /// As [`RowWriter::begin`].
    pub fn another(&self, path: &Path) -> anyhow::Result<RowWriter> {
        let (_, packing) = packing::named(path)?;
        let text = || Packed::begin(path, packing).map(BufWriter::new);
        let out = match &self.out {
            RowSink::Lines(_) => RowSink::Lines(text()?),
            RowSink::Array { .. } => RowSink::Array {
                out: text()?,
                rows: 0,
            },
            RowSink::Csv(cells) => RowSink::Csv(Box::new(CsvRows::begin(
                text()?,
                cells.delimiter,
                &cells.columns,
            )?)),
            RowSink::Columns(cells) => RowSink::Columns(Box::new(CopiedColumns::begin(path, &cells.schema)?)),
            RowSink::Inferred(parsed) => {
                RowSink::Inferred(Box::new(InferredColumns::begin(path, parsed.fields)?))
            }
        };
        Ok(RowWriter {
            out,
            path: path.into(),
        })
    }

    /// Fails unless rows of `source`, the file at `from`, have the columns of the file.
    ///
    /// # Errors
    ///
    /// Names both files.
    pub fn check(&self, source: &RowReader, from: &Path) -> anyhow::Result<()> {
        let has_columns = match &self.out {
            RowSink::Lines(_) | RowSink::Array { .. } | RowSink::Inferred(_) => true,
            RowSink::Csv(cells) => source
                .cells()
                .is_some_and(|other| other.layout().columns == cells.columns),
            RowSink::Columns(cells) => source
                .columns()
                .is_some_and(|other| other.schema().fields() == cells.schema.fields()),
        };
        if has_columns {
            return Ok(());
        }
        Err(anyhow!(
            "{}: the columns of `{}` are not those of the first file\n{HINT}",
            cannot_write(&self.path),
            from.display()
        ))
    }

    /// Writes one row of the source.
    ///
    /// # Errors
    ///
    /// If the disk fails, or a JSON row does not fit into the columns of the first rows.
    pub fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        self.out.write(row).with_context(|| cannot_write(&self.path))
    }

    /// Moves the file to its place.
    ///
    /// # Errors
    ///
    /// If the disk fails, or like [`RowWriter::write`]. Then the file at the path is as it was.
    pub fn commit(self) -> anyhow::Result<()> {
        self.out.end().with_context(|| cannot_write(&self.path))?.commit()
    }
}

/// Starts a Parquet file at `path`.
fn columns(path: &Path, source: &RowReader) -> anyhow::Result<RowSink> {
    let Some(columns) = source.columns() else {
        let fields = source.parser().map_or(&[][..], |parser| parser.format().fields());
        return Ok(RowSink::Inferred(Box::new(InferredColumns::begin(path, fields)?)));
    };
    Ok(RowSink::Columns(Box::new(CopiedColumns::begin(
        path,
        columns.schema(),
    )?)))
}

impl RowSink {
    fn write(&mut self, row: &Row) -> anyhow::Result<()> {
        match self {
            RowSink::Lines(out) => {
                write_line(out, &row.text)?;
                out.write_all(b"\n")?;
            }
            RowSink::Array { out, rows } => {
                out.write_all(if *rows == 0 { b"[\n" } else { b",\n" })?;
                write_line(out, &row.text)?;
                *rows += 1;
            }
            RowSink::Csv(cells) => cells.write(row)?,
            RowSink::Columns(cells) => cells.write(row)?,
            RowSink::Inferred(parsed) => parsed.write(row)?,
        }
        Ok(())
    }

    fn end(self) -> anyhow::Result<AtomicFile> {
        match self {
            RowSink::Lines(out) => flushed(out),
            RowSink::Array { mut out, rows } => {
                out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                flushed(out)
            }
            RowSink::Csv(cells) => flushed(cells.out.into_inner().map_err(|error| error.into_error())?),
            RowSink::Columns(mut cells) => {
                cells.flush()?;
                parquet_file::end(cells.out)
            }
            RowSink::Inferred(parsed) => parsed.end(),
        }
    }
}

const HINT: &str = "hint: JSON lines hold rows of any kind: give a path that ends in `.jsonl`";

fn flushed(out: Text) -> anyhow::Result<AtomicFile> {
    Ok(out.into_inner().map_err(io::IntoInnerError::into_error)?.end()?)
}

/// Writes rows of a CSV file to another CSV file.
struct CsvRows {
    out: csv::Writer<Text>,
    delimiter: u8,
    columns: Vec<String>,
}

impl CsvRows {
    fn begin(out: Text, delimiter: u8, columns: &[String]) -> anyhow::Result<CsvRows> {
        let mut out = csv::WriterBuilder::new().delimiter(delimiter).from_writer(out);
        out.write_record(columns)?;
        Ok(CsvRows {
            out,
            delimiter,
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

/// Writes a row on one line. A row that is on one line already is copied byte for byte; in any
/// other, the white space between values is left out, since JSON has line breaks nowhere else.
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

/// Writes rows of a columnar file to a Parquet file. They are copied, not turned into JSON,
/// whatever the types of their columns.
struct CopiedColumns {
    out: ArrowWriter<AtomicFile>,
    schema: SchemaRef,
    /// The batch that `indices` refers to.
    batch: Arc<RecordBatch>,
    indices: Vec<u64>,
}

impl CopiedColumns {
    fn begin(path: &Path, schema: &SchemaRef) -> anyhow::Result<CopiedColumns> {
        let out = AtomicFile::begin(path)?;
        let context = || format!("{}: Parquet cannot hold all columns\n{HINT}", cannot_write(path));
        Ok(CopiedColumns {
            out: parquet_file::begin(out, Arc::clone(schema)).with_context(context)?,
            schema: Arc::clone(schema),
            batch: Arc::new(RecordBatch::new_empty(Arc::clone(schema))),
            indices: Vec::new(),
        })
    }

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
            parquet_file::write(&mut self.out, &take_record_batch(&self.batch, &indices)?)?;
        }
        Ok(())
    }
}

/// Returns the first number of a row that 64 bits cannot hold exactly, if there is one.
fn inexact(text: &[u8]) -> Option<String> {
    /// How many decimal digits a double always keeps.
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

/// Writes JSON rows to a Parquet file. Its columns are the fields of the first rows.
struct InferredColumns {
    /// The file, until the columns are known.
    out: Option<AtomicFile>,
    begun: Option<(ArrowWriter<AtomicFile>, Decoder)>,
    /// The columns if there are no rows: those that tell the format.
    fields: &'static [&'static str],
    values: Vec<Value>,
    /// How many bytes of JSON the values were.
    bytes: usize,
}

impl InferredColumns {
    fn begin(path: &Path, fields: &'static [&'static str]) -> anyhow::Result<InferredColumns> {
        Ok(InferredColumns {
            out: Some(AtomicFile::begin(path)?),
            begun: None,
            fields,
            values: Vec::new(),
            bytes: 0,
        })
    }

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
                // A field that the first rows do not have is an error; otherwise it would be lost.
                .with_strict_mode(true)
                .build_decoder()?;
            self.begun = Some((parquet_file::begin(out, schema)?, decoder));
        }
        if let Some((out, decoder)) = &mut self.begun {
            let batch = decoder
                .serialize(&self.values)
                .and_then(|()| decoder.flush())
                .map_err(|error| {
                    anyhow!("a row does not fit into the columns of those before: {error}\n{HINT}")
                })?;
            if let Some(batch) = batch {
                parquet_file::write(out, &batch)?;
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
        parquet_file::end(out)
    }
}
