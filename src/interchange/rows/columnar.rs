//! Rows of Parquet and Arrow IPC files as JSON objects. Holds one batch of rows in memory.

mod guard;

use std::{
    fs::File,
    io::{BufReader, Read},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use arrow_array::{ArrayRef, RecordBatch, make_array};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_json::{WriterBuilder, writer::LineDelimited};
use arrow_schema::{ArrowError, DataType, Field, FieldRef, SchemaRef};
use memchr::memchr_iter;
use parquet::{
    arrow::arrow_reader::ParquetRecordBatchReaderBuilder, errors::ParquetError,
    file::metadata::ParquetMetaData,
};

use super::{
    location::Location,
    row::{BatchRow, LONGEST, Row, RowError},
};
use crate::interchange::{Format, format::WRITTEN_AS};
use guard::guarded;

/// How many rows are read at a time at most …
const BATCH_ROWS: i64 = 1024;

/// … and about how many bytes.
const BATCH_BYTES: i64 = 16 << 20;

type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// Reads the rows of a columnar file. It ends after [`RowError::Damaged`].
pub struct ColumnarReader {
    batches: Batches,
    schema: SchemaRef,
    /// The rest of a batch that was longer than `rows`.
    waiting: Option<RecordBatch>,
    batch: Arc<RecordBatch>,
    /// The rows of `batch` as lines of JSON.
    text: Vec<u8>,
    /// The lines of `text` that were not returned yet, the next one last.
    lines: Vec<Range<usize>>,
    given: u64,
    /// How many rows the file has, if it says so.
    total: Option<u64>,
    /// The largest batch, in rows.
    rows: usize,
    kind: &'static str,
    damaged: bool,
}

impl ColumnarReader {
    /// Reads a Parquet file.
    ///
    /// # Errors
    ///
    /// [`RowError::Damaged`] if the file is damaged, or a column of one of the formats is bytes.
    pub fn parquet(file: File) -> Result<ColumnarReader, RowError> {
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new(file))
            .map_err(RowError::Damaged)?
            .map_err(damaged)?;
        let schema = builder.schema().clone();
        let total = builder.metadata().file_metadata().num_rows().max(0) as u64;
        let rows = batch_rows(builder.metadata());
        let batches = guarded(|| builder.with_batch_size(rows).build())
            .map_err(RowError::Damaged)?
            .map_err(damaged)?;
        ColumnarReader::new(Box::new(batches), schema, Some(total), rows)
    }

    /// Reads an Arrow IPC file, which lists its batches at the end.
    ///
    /// # Errors
    ///
    /// Like [`ColumnarReader::parquet`].
    pub fn arrow_file(file: File) -> Result<ColumnarReader, RowError> {
        let reader = guarded(|| FileReader::try_new(BufReader::new(file), None))
            .map_err(RowError::Damaged)?
            .map_err(unreadable)?;
        let schema = reader.schema();
        ColumnarReader::new(Box::new(reader), schema, None, BATCH_ROWS as usize)
    }

    /// Reads an Arrow IPC stream.
    ///
    /// # Errors
    ///
    /// Like [`ColumnarReader::parquet`].
    pub fn arrow_stream(input: impl Read + Send + 'static) -> Result<ColumnarReader, RowError> {
        let reader = stream(BufReader::with_capacity(1 << 17, input))?;
        let schema = reader.schema();
        ColumnarReader::new(Box::new(reader), schema, None, BATCH_ROWS as usize)
    }

    /// Reads several Arrow IPC streams, one after another. `counted` wraps each file.
    ///
    /// # Errors
    ///
    /// Like [`ColumnarReader::parquet`], for the first stream only.
    pub fn arrow_streams<R: Read + Send + 'static>(
        paths: Vec<PathBuf>,
        counted: impl Fn(File) -> R + Send + 'static,
    ) -> Result<ColumnarReader, RowError> {
        let open = move |path: PathBuf| {
            let named = |what: String| RowError::Damaged(format!("`{}`: {what}", path.display()));
            let file = File::open(&path).map_err(|error| named(error.to_string()))?;
            stream(BufReader::with_capacity(1 << 17, counted(file))).map_err(|error| named(error.to_string()))
        };
        let mut paths = paths.into_iter();
        let first = match paths.next() {
            Some(path) => open(path)?,
            None => return Err(RowError::Damaged("it lists no files of rows".into())),
        };
        let schema = first.schema();
        let rest = paths.flat_map(move |path| -> Batches {
            match open(path) {
                Ok(reader) => Box::new(reader),
                Err(error) => Box::new(std::iter::once(Err(ArrowError::IpcError(error.to_string())))),
            }
        });
        ColumnarReader::new(Box::new(first.chain(rest)), schema, None, BATCH_ROWS as usize)
    }

    fn new(
        batches: Batches,
        schema: SchemaRef,
        total: Option<u64>,
        rows: usize,
    ) -> Result<ColumnarReader, RowError> {
        // Bytes would become hexadecimal digits, and no instruction is that.
        for field in Format::ALL.iter().flat_map(|format| format.fields()) {
            if let Ok(column) = schema.field_with_name(field)
                && is_bytes(column.data_type())
            {
                return Err(RowError::Damaged(format!(
                    "the column `{field}` is bytes, not text\nhint: write it as a column of strings"
                )));
            }
        }
        Ok(ColumnarReader {
            batches,
            batch: Arc::new(RecordBatch::new_empty(schema.clone())),
            schema,
            waiting: None,
            text: Vec::new(),
            lines: Vec::new(),
            given: 0,
            total,
            rows,
            kind: if total.is_some() { "Parquet" } else { "Arrow" },
            damaged: false,
        })
    }

    /// The name of the file type.
    pub fn kind(&self) -> &'static str {
        self.kind
    }

    /// Returns what ewe wrote the file as, if it did; see [`WRITTEN_AS`].
    pub fn written_as(&self) -> Option<&str> {
        self.schema.metadata().get(WRITTEN_AS).map(String::as_str)
    }

    /// Returns names and types of the columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns which part of the rows was returned, from 0 to 1, if the file says how many there
    /// are.
    pub fn part_read(&self) -> Option<f64> {
        self.total.map(|total| match total {
            0 => 1.0,
            total => self.given as f64 / total as f64,
        })
    }

    /// Reads the next batch that has rows. Returns false at the end of the file.
    fn fill(&mut self) -> Result<bool, RowError> {
        while self.lines.is_empty() {
            match guarded(|| self.read()).map_err(RowError::Damaged)? {
                Some(read) => read.map_err(unreadable)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Takes the next rows of the waiting batch, or reads another batch.
    fn read(&mut self) -> Option<Result<(), ArrowError>> {
        let whole = match self.waiting.take() {
            Some(whole) => whole,
            None => match self.batches.next()? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        let rows = whole.num_rows().min(self.rows.max(1));
        if rows < whole.num_rows() {
            self.waiting = Some(whole.slice(rows, whole.num_rows() - rows));
        }
        self.batch = Arc::new(whole.slice(0, rows));
        Some(self.print())
    }

    /// Writes the batch as lines of JSON.
    fn print(&mut self) -> Result<(), ArrowError> {
        let columns = self
            .schema
            .fields()
            .iter()
            .zip(self.batch.columns())
            .map(|(field, column)| Ok((field.name(), in_utc(column)?, true)))
            .collect::<Result<Vec<_>, ArrowError>>()?;
        let batch = RecordBatch::try_from_iter_with_nullable(columns)?;
        self.text.clear();
        // Without explicit nulls, a row in which a field is null would look as if the file had no
        // such column.
        let mut writer = WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, LineDelimited>(&mut self.text);
        writer.write(&batch)?;
        writer.finish()?;
        drop(writer);
        let mut start = 0;
        self.lines.extend(memchr_iter(b'\n', &self.text).map(|end| {
            let line = start..end;
            start = end + 1;
            line
        }));
        self.lines.reverse();
        Ok(())
    }
}

impl Iterator for ColumnarReader {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.damaged {
            return None;
        }
        match self.fill() {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                self.damaged = true;
                return Some(Err(error));
            }
        }
        let line = self.lines.pop()?;
        self.given += 1;
        let place = Location::Row(self.given);
        Some(if line.len() > LONGEST {
            Err(RowError::too_long(place, &self.text[line]))
        } else {
            Ok(Row {
                text: self.text[line].to_vec(),
                place,
                number: self.given,
                cells: Some(BatchRow {
                    batch: Arc::clone(&self.batch),
                    index: self.batch.num_rows() - self.lines.len() - 1,
                }),
            })
        })
    }
}

fn stream<R: Read>(input: BufReader<R>) -> Result<StreamReader<BufReader<R>>, RowError> {
    guarded(|| StreamReader::try_new(input, None))
        .map_err(RowError::Damaged)?
        .map_err(unreadable)
}

/// Returns how many rows make a batch of about [`BATCH_BYTES`].
fn batch_rows(metadata: &ParquetMetaData) -> usize {
    let groups = metadata.row_groups();
    let bytes: i64 = groups.iter().map(|group| group.total_byte_size().max(0)).sum();
    let rows: i64 = groups.iter().map(|group| group.num_rows().max(0)).sum();
    let row_bytes = bytes / rows.max(1);
    (BATCH_BYTES / row_bytes.max(1)).clamp(1, BATCH_ROWS) as usize
}

fn is_bytes(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_)
    )
}

/// Converts timestamps with a time zone to UTC, since the database of time zones is not compiled
/// in. The numbers stay: they count from the same moment in every zone.
fn in_utc(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let kind = kind_in_utc(column.data_type());
    if kind == *column.data_type() {
        return Ok(Arc::clone(column));
    }
    let data = column.to_data();
    let children = data
        .child_data()
        .iter()
        .map(|child| Ok(in_utc(&make_array(child.clone()))?.to_data()))
        .collect::<Result<_, ArrowError>>()?;
    let data = data.into_builder().data_type(kind).child_data(children).build()?;
    Ok(make_array(data))
}

fn kind_in_utc(kind: &DataType) -> DataType {
    let field =
        |field: &FieldRef| Arc::new(Field::clone(field).with_data_type(kind_in_utc(field.data_type())));
    match kind {
        DataType::Timestamp(unit, Some(_)) => DataType::Timestamp(*unit, Some("+00:00".into())),
        DataType::List(element) => DataType::List(field(element)),
        DataType::LargeList(element) => DataType::LargeList(field(element)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

fn damaged(error: ParquetError) -> RowError {
    RowError::Damaged(error.to_string())
}

fn unreadable(error: ArrowError) -> RowError {
    RowError::Damaged(error.to_string())
}
