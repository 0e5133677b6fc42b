//! Rows of a dataset as a Parquet file.

use std::{io::Write, sync::Arc};

use anyhow::Context;
use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, Int64Builder, StringBuilder},
};
use arrow_json::{ReaderBuilder, reader::Decoder};
use arrow_schema::{DataType, Field, SchemaRef};
use parquet::arrow::ArrowWriter;

use super::{
    field,
    parquet_file::{begin, end, own_schema, write},
    record::{self, ExtraFields, Record},
};
use crate::interchange::{
    Format,
    format::{DATASET_TABLE, GROUP},
};
use crate::task::{ExportRow, FieldColumn};

/// How many rows become a batch of columns at most …
const BATCH_ROWS: usize = 1024;

/// … and about how many bytes.
const BATCH_BYTES: usize = 16 << 20;

/// Writes records of a format as a Parquet file. The other fields of a row are one column of JSON.
pub(super) struct RecordTable<W: Write + Send> {
    out: ArrowWriter<W>,
    decoder: Decoder,
    pending: Vec<serde_json::Value>,
    bytes: usize,
}

impl<W: Write + Send> RecordTable<W> {
    pub(super) fn begin(
        out: W,
        format: Format,
        extra_fields: &ExtraFields,
    ) -> anyhow::Result<RecordTable<W>> {
        let schema: SchemaRef = Arc::new(own_schema(format.as_str(), record::columns(format, extra_fields)));
        Ok(RecordTable {
            decoder: ReaderBuilder::new(Arc::clone(&schema)).build_decoder()?,
            out: begin(out, schema)?,
            pending: Vec::new(),
            bytes: 0,
        })
    }

    pub(super) fn record(&mut self, record: Record) -> anyhow::Result<()> {
        let (fields, extra) = record.into_columns();
        let mut object = serde_json::Map::new();
        for (name, json) in fields {
            self.bytes += json.len();
            object.insert(name, field::parsed(&json));
        }
        object.insert("extra".into(), serde_json::Value::from(extra));
        self.pending.push(object.into());
        if self.pending.len() == BATCH_ROWS || self.bytes > BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.decoder.serialize(&self.pending)?;
        if let Some(batch) = self.decoder.flush()? {
            write(&mut self.out, &batch)?;
        }
        self.pending.clear();
        self.bytes = 0;
        Ok(())
    }

    pub(super) fn end(mut self) -> anyhow::Result<W> {
        self.flush()?;
        end(self.out)
    }
}

/// Writes the whole dataset as a Parquet file: the columns of format `alpaca`, then everything else
/// that the dataset has of an example.
pub(super) struct DatasetTable<W: Write + Send> {
    out: ArrowWriter<W>,
    schema: SchemaRef,
    instruction: StringBuilder,
    input: StringBuilder,
    output: StringBuilder,
    name: StringBuilder,
    is_classification: BooleanBuilder,
    task_id: Int64Builder,
    system: StringBuilder,
    extra: StringBuilder,
    group: Int64Builder,
    fields: Vec<FieldColumn>,
    /// The values of fields in the rows that were not written yet.
    values: Vec<serde_json::Value>,
    /// Rows that were not written yet, and bytes of their texts.
    pending: (usize, usize),
    rows: usize,
}

impl<W: Write + Send> DatasetTable<W> {
    pub(super) fn begin(out: W, fields: Vec<FieldColumn>) -> anyhow::Result<DatasetTable<W>> {
        let mut columns = vec![
            Field::new("instruction", DataType::Utf8, false),
            Field::new("input", DataType::Utf8, false),
            Field::new("output", DataType::Utf8, false),
            Field::new("name", DataType::Utf8, true),
            Field::new("is_classification", DataType::Boolean, false),
            Field::new("task_id", DataType::Int64, false),
            Field::new("system", DataType::Utf8, true),
            Field::new("extra", DataType::Utf8, true),
            Field::new(GROUP, DataType::Int64, true),
        ];
        columns.extend(field::columns(&fields, Format::Alpaca));
        let schema: SchemaRef = Arc::new(own_schema(DATASET_TABLE, columns));
        Ok(DatasetTable {
            out: begin(out, Arc::clone(&schema))?,
            schema,
            instruction: StringBuilder::new(),
            input: StringBuilder::new(),
            output: StringBuilder::new(),
            name: StringBuilder::new(),
            is_classification: BooleanBuilder::new(),
            task_id: Int64Builder::new(),
            system: StringBuilder::new(),
            extra: StringBuilder::new(),
            group: Int64Builder::new(),
            fields,
            values: Vec::new(),
            pending: (0, 0),
            rows: 0,
        })
    }

    /// Writes the rows of a task. `number` counts the tasks from 1.
    pub(super) fn task(&mut self, rows: &[ExportRow], number: i64) -> anyhow::Result<()> {
        let group = (rows.len() > 1).then_some(number);
        rows.iter().try_for_each(|row| self.row(row, group))
    }

    fn row(&mut self, row: &ExportRow, group: Option<i64>) -> anyhow::Result<()> {
        self.instruction.append_value(&row.instruction);
        self.input.append_value(&row.input);
        self.output.append_value(&row.output);
        self.name.append_option(row.name.as_deref());
        self.is_classification.append_value(row.is_classification);
        self.task_id.append_value(row.task_id);
        self.system.append_option(row.system.as_deref());
        self.extra.append_option(record::extra_with_turns(row));
        self.group.append_option(group);
        if !self.fields.is_empty() {
            let values = field::values(row, &self.fields, Format::Alpaca)
                .map(|(name, json)| (name, field::parsed(&json)));
            self.values.push(serde_json::Value::Object(values.collect()));
        }
        self.rows += 1;
        self.pending.0 += 1;
        self.pending.1 += row.instruction.len() + row.input.len() + row.output.len();
        if self.pending.0 == BATCH_ROWS || self.pending.1 > BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.instruction.finish()),
            Arc::new(self.input.finish()),
            Arc::new(self.output.finish()),
            Arc::new(self.name.finish()),
            Arc::new(self.is_classification.finish()),
            Arc::new(self.task_id.finish()),
            Arc::new(self.system.finish()),
            Arc::new(self.extra.finish()),
            Arc::new(self.group.finish()),
        ];
        if !self.fields.is_empty() {
            columns.extend(self.columns_of_fields()?);
        }
        self.pending = (0, 0);
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        write(&mut self.out, &batch)
    }

    /// Returns the columns of fields for the rows that were not written yet.
    fn columns_of_fields(&mut self) -> anyhow::Result<Vec<ArrayRef>> {
        let fields = field::columns(&self.fields, Format::Alpaca);
        let schema: SchemaRef = Arc::new(arrow_schema::Schema::new(fields));
        let values = std::mem::take(&mut self.values);
        if values.is_empty() {
            return Ok(RecordBatch::new_empty(schema).columns().to_vec());
        }
        let mut decoder = ReaderBuilder::new(schema)
            .with_batch_size(values.len())
            .build_decoder()?;
        decoder.serialize(&values)?;
        let batch = decoder.flush()?.context("the values of fields are a batch")?;
        Ok(batch.columns().to_vec())
    }

    /// Ends the file. Returns the inner writer and the number of rows.
    pub(super) fn end(mut self) -> anyhow::Result<(W, usize)> {
        self.flush()?;
        Ok((end(self.out)?, self.rows))
    }
}
