//! Exports: rows of the dataset to a file.

use std::cell::Cell;
use std::path::Path;

use anyhow::Context;
use futures::StreamExt;

use crate::{
    atomic_file::{AtomicFile, cannot_write},
    interchange::{
        turns,
        write::{self, ExportFormat, ExportOptions, packing::Packed},
    },
    store::{Filter, Store},
    task::{ExportRow, Turn},
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
        if row.as_ref().is_ok_and(says_nothing) {
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

/// Whether an example has no output. The first answer of a conversation may only call tools, and
/// what a tool says follows a call.
fn says_nothing(row: &ExportRow) -> bool {
    if !row.output.trim().is_empty() {
        return false;
    }
    let messages = turns::from_answer(&row.output, row.extra.as_deref(), row.turns.as_deref());
    let is_called = messages.get(1).is_some_and(|next| next.role != Turn::USER);
    messages.len() < 2 || !(is_called || messages[0].calls_tools())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_calls_tools_is_an_output() {
        let row = |extra: Option<&str>, turns: Option<&str>| ExportRow {
            task_id: 1,
            source_id: None,
            name: None,
            instruction: "q".into(),
            input: String::new(),
            output: String::new(),
            is_classification: false,
            system: None,
            extra: extra.map(str::to_owned),
            turns: turns.map(str::to_owned),
            fields: Vec::new(),
        };
        let calls = Some(r#"{"messages":[{},{"tool_calls":[1]}]}"#);
        let tool = Some(r#"[{"role":"tool","content":"1"},{"role":"assistant","content":"a"}]"#);
        let user = Some(r#"[{"role":"user","content":"r"},{"role":"assistant","content":"a"}]"#);
        assert!(!says_nothing(&row(calls, tool)) && !says_nothing(&row(calls, user)));
        assert!(!says_nothing(&row(None, tool)));
        assert!(says_nothing(&row(None, user)) && says_nothing(&row(None, None)));
        assert!(says_nothing(&row(calls, None)));
    }
}
