//! Exports: rows of the dataset to a file.

use std::path::Path;

use anyhow::Context;

use crate::{
    atomic_file::{AtomicFile, cannot_write},
    interchange::write::{self, ExportFormat, ExportOptions, packing::Packed},
    store::{Filter, Store},
};

/// Writes the rows of the dataset that pass `filter` to `path`, which appears whole or stays as it
/// was. `-` is standard output. The name of the file decides its shape: lines, one array or
/// Parquet, compressed or not. Without such an ending, `alpaca` is an array, and other formats are
/// lines. With `min_score`, only rows with at least that score are written. Returns the number of
/// rows: tasks in format `self-instruct`, examples in all others.
///
/// # Errors
///
/// If `path` cannot be written, or its ending does not fit `format`, or the dataset cannot be read.
pub async fn export(
    store: &Store,
    format: ExportFormat,
    path: &Path,
    filter: &Filter,
    min_score: Option<f64>,
    options: ExportOptions,
) -> anyhow::Result<usize> {
    let (shape, packing) = write::shape(path, format)?;
    let optional = store.export_needs().await?;
    let rows = store.export_rows(filter, min_score).await?;
    let file = Packed::<AtomicFile>::begin(path, packing)?;
    let (file, rows) = write::write(format, shape, optional, options, rows, file)
        .await
        .with_context(|| cannot_write(path))?;
    store.check_unchanged()?;
    file.end().with_context(|| cannot_write(path))?.commit()?;
    Ok(rows)
}
