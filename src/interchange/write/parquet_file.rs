//! Parquet files as ewe writes them. The same rows give the same bytes.

use std::{collections::HashMap, io::Write};

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};

use crate::interchange::format::WRITTEN_AS;

/// The largest row group, in bytes of encoded rows. A group is held in memory until it is written.
const GROUP_BYTES: usize = 32 << 20;

/// Starts a Parquet file with these columns.
pub(super) fn begin<W: Write + Send>(out: W, schema: SchemaRef) -> anyhow::Result<ArrowWriter<W>> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(GROUP_BYTES))
        .build();
    ArrowWriter::try_new(out, schema, Some(properties)).map_err(unwrapped)
}

/// Writes a batch of rows.
pub(super) fn write<W: Write + Send>(out: &mut ArrowWriter<W>, batch: &RecordBatch) -> anyhow::Result<()> {
    out.write(batch).map_err(unwrapped)
}

/// Writes the end of the file. Returns the inner writer.
pub(super) fn end<W: Write + Send>(out: ArrowWriter<W>) -> anyhow::Result<W> {
    out.into_inner().map_err(unwrapped)
}

/// Returns the system's error, if that is the cause.
fn unwrapped(error: ParquetError) -> anyhow::Error {
    match error {
        ParquetError::External(inner) => match inner.downcast::<std::io::Error>() {
            Ok(error) => (*error).into(),
            Err(other) => anyhow::Error::from_boxed(other),
        },
        other => other.into(),
    }
}

/// Returns a schema with a note that ewe wrote the file, and as what; see [`WRITTEN_AS`].
pub(super) fn own_schema(what: &str, fields: Vec<Field>) -> Schema {
    Schema::new(fields).with_metadata(HashMap::from([(WRITTEN_AS.to_owned(), what.to_owned())]))
}
