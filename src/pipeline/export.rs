//! Exports: rows of the dataset to a file.

use std::cell::Cell;
use std::path::Path;

use anyhow::Context;
use futures::StreamExt;

use crate::{
    atomic_file::{AtomicFile, cannot_write},
    interchange::write::{self, ExportFormat, ExportOptions, packing::Packed},
    store::{Filter, Store},
};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// The number of rows: tasks in format `self-instruct`, examples in all others.
    pub rows: usize,
    /// The number of examples without an output.
    pub without_output: usize,
}

/// Writes the rows of the dataset that pass `filter` to `path`, which appears whole or stays as it
/// was. `-` is standard output. The name of the file decides its shape: lines, one array or
/// Parquet, compressed or not. Without such an ending, `alpaca` is an array, and other formats are
/// lines. With `min_score`, only rows with at least that score are written.
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
) -> anyhow::Result<Exported> {
    let (shape, packing) = write::shape(path, format)?;
    let optional = store.export_needs().await?;
    let without_output = Cell::new(0);
    let rows = store.export_rows(filter, min_score).await?.inspect(|row| {
        if row.as_ref().is_ok_and(|row| row.output.trim().is_empty()) {
            without_output.set(without_output.get() + 1);
        }
    });
    let file = Packed::<AtomicFile>::begin(path, packing)?;
    let (file, rows) = write::write(format, shape, optional, options, rows, file)
        .await
        .with_context(|| cannot_write(path))?;
    store.check_unchanged()?;
    file.end().with_context(|| cannot_write(path))?.commit()?;
    Ok(Exported {
        rows,
        without_output: without_output.get(),
    })
}
