//! Parquet files out: how they are written, and the dataset as one. The same rows give the same bytes.

use std::{io::Write, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, Int64Builder, StringBuilder},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use crate::store::ExportRow;

/// How many bytes of encoded rows are held until they are written out as a group.
const GROUP_BYTES: usize = 32 << 20;

/// So many rows of the dataset become columns at a time …
const BATCH_ROWS: usize = 1024;

/// … or fewer, of so many bytes.
const BATCH_BYTES: usize = 16 << 20;

/// Starts a Parquet file with these columns.
pub(super) fn begin<W: Write + Send>(out: W, schema: SchemaRef) -> anyhow::Result<ArrowWriter<W>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .build();
    ArrowWriter::try_new(out, schema, Some(properties)).map_err(unwrapped)
}

/// Writes rows.
pub(super) fn write<W: Write + Send>(out: &mut ArrowWriter<W>, batch: &RecordBatch) -> anyhow::Result<()> {
    out.write(batch).map_err(unwrapped)
}

/// Writes what a Parquet file ends with.
pub(super) fn end<W: Write + Send>(out: ArrowWriter<W>) -> anyhow::Result<W> {
    out.into_inner().map_err(unwrapped)
}

/// What the system said, where the error is the system's.
fn unwrapped(error: ParquetError) -> anyhow::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => (*error).into(),
            Err(other) => anyhow::Error::from_boxed(other),
        },
        other => other.into(),
    }
}

/// The dataset as a Parquet file: the columns of Alpaca's format, then what else the dataset knows of an example.
pub(super) struct Table<W: Write + Send> {
    out: ArrowWriter<W>,
    schema: SchemaRef,
    instruction: StringBuilder,
    input: StringBuilder,
    output: StringBuilder,
    name: StringBuilder,
    is_classification: BooleanBuilder,
    task_id: Int64Builder,
    /// Rows at hand, and bytes of their texts.
    pending: (usize, usize),
    rows: usize,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn begin(out: W) -> anyhow::Result<Table<W>> {
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            Field::new("instruction", DataType::Utf8, false),
            Field::new("input", DataType::Utf8, false),
            Field::new("output", DataType::Utf8, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("is_classification", DataType::Boolean, false),
            Field::new("task_id", DataType::Int64, false),
        ]));
        Ok(Table {
            out: begin(out, Arc::clone(&schema))?,
            schema,
            instruction: StringBuilder::new(),
            input: StringBuilder::new(),
            output: StringBuilder::new(),
            name: StringBuilder::new(),
            is_classification: BooleanBuilder::new(),
            task_id: Int64Builder::new(),
            pending: (0, 0),
            rows: 0,
        })
    }

    pub(super) fn row(&mut self, row: &ExportRow) -> anyhow::Result<()> {
        self.instruction.append_value(&row.instruction);
        self.input.append_value(&row.input);
        self.output.append_value(&row.output);
        self.name.append_option(row.name.as_deref());
        self.is_classification.append_value(row.is_classification);
        self.task_id.append_value(row.task_id);
        self.rows += 1;
        self.pending.0 += 1;
        self.pending.1 += row.instruction.len() + row.input.len() + row.output.len();
        if self.pending.0 == BATCH_ROWS || self.pending.1 > BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.instruction.finish()),
            Arc::new(self.input.finish()),
            Arc::new(self.output.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.is_classification.finish()),
            Arc::new(self.task_id.finish()),
        ];
        self.pending = (0, 0);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        write(&mut self.out, &batch)
    }

    /// Ends the file; returns it and its number of rows.
    pub(super) fn end(mut self) -> anyhow::Result<(W, usize)> {
        self.flush()?;
        Ok((end(self.out)?, self.rows))
    }
}
