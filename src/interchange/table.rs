//! Parquet files out: how they are written, and the dataset as one. The same rows give the same bytes.

use std::{collections::HashMap, io::Write, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{BooleanBuilder, Int64Builder, StringBuilder},
};
use arrow_json::{ReaderBuilder, reader::Decoder};
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use super::{
    Format,
    columns::{OWN, OWN_KEY},
    parse::GROUP,
    record::{self, Given, Record},
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

/// A schema that says that ewe wrote it, and what.
fn own(what: &str, fields: Vec<Field>) -> Schema {
    Schema::new(fields).with_metadata(HashMap::from([(OWN_KEY.to_owned(), what.to_owned())]))
}

/// Records of one of the formats as a Parquet file. What rows say besides is one column of JSON.
pub(super) struct Rows<W: Write + Send> {
    out: ArrowWriter<W>,
    decoder: Decoder,
    pending: Vec<serde_json::Value>,
    bytes: usize,
}

impl<W: Write + Send> Rows<W> {
    pub(super) fn begin(out: W, format: Format, given: Given) -> anyhow::Result<Rows<W>> {
        let schema: SchemaRef = Arc::new(own(format.as_str(), fields(format, given)));
        Ok(Rows {
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
            object.insert(name, record::value(&json));
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

/// The columns of a format.
fn fields(format: Format, given: Given) -> Vec<Field> {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let list = |name: &str, fields: Vec<Field>| {
        let element = Field::new_list_field(DataType::Struct(Fields::from(fields)), true);
        Field::new(name, DataType::List(Arc::new(element)), true)
    };
    let mut columns = match format {
        Format::Dolly => ["instruction", "context", "response", "category"]
            .map(text)
            .to_vec(),
        Format::Chat => vec![list("messages", vec![text("role"), text("content")])],
        Format::Completion => ["prompt", "completion"].map(text).to_vec(),
        Format::SelfInstruct => vec![
            text("id"),
            text("name"),
            text("instruction"),
            list("instances", vec![text("input"), text("output")]),
            Field::new("is_classification", DataType::Boolean, true),
        ],
        _ => ["instruction", "input", "output"].map(text).to_vec(),
    };
    if given.system && !matches!(format, Format::Chat | Format::Completion) {
        columns.push(text("system"));
    }
    if given.group {
        columns.push(Field::new(GROUP, DataType::Int64, true));
    }
    if given.extra {
        columns.push(text("extra"));
    }
    columns
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
    system: StringBuilder,
    extra: StringBuilder,
    group: Int64Builder,
    /// Rows at hand, and bytes of their texts.
    pending: (usize, usize),
    rows: usize,
}

impl<W: Write + Send> Table<W> {
    pub(super) fn begin(out: W) -> anyhow::Result<Table<W>> {
        let schema: SchemaRef = Arc::new(own(
            OWN,
            vec![
                Field::new("instruction", DataType::Utf8, false),
                Field::new("input", DataType::Utf8, false),
                Field::new("output", DataType::Utf8, false),
                Field::new("name", DataType::Utf8, true),
                Field::new("is_classification", DataType::Boolean, false),
                Field::new("task_id", DataType::Int64, false),
                Field::new("system", DataType::Utf8, true),
                Field::new("extra", DataType::Utf8, true),
                Field::new(GROUP, DataType::Int64, true),
            ],
        ));
        Ok(Table {
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
            pending: (0, 0),
            rows: 0,
        })
    }

    /// The rows of a task, the how-manieth of which it is.
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
        self.extra.append_option(row.extra.as_deref());
        self.group.append_option(group);
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
            Arc::new(self.system.finish()),
            Arc::new(self.extra.finish()),
            Arc::new(self.group.finish()),
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
