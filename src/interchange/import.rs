//! Whole files into the store.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use super::{
    Format,
    read::{Incoming, ReadError, Reader},
};
use crate::{
    store::{NewTask, Store},
    task::Origin,
};

/// What an import brought in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Imported {
    /// How many tasks.
    pub tasks: usize,
    /// The format, as it was given or told by looking.
    pub format: Option<&'static str>,
    /// Fields of the file that a task has no place for.
    pub unused_fields: Vec<String>,
}

/// Reads the file at `path` (`-` is standard input) into the store, all of it or, after an error, nothing.
///
/// # Errors
///
/// [`ReadError`] for the file, [`crate::store::Error`] for the store.
pub async fn import(store: &Store, path: &Path, format: Option<Format>) -> anyhow::Result<Imported> {
    let file = path.display().to_string();
    let input: Box<dyn BufRead> = if path == Path::new("-") {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = File::open(path).map_err(|error| ReadError::Io {
            file: file.clone(),
            error,
        })?;
        Box::new(BufReader::with_capacity(1 << 16, opened))
    };
    let mut reader = Reader::new(input, &file, format);
    // The first row comes before the write lock: a file that cannot be read disturbs nobody.
    let first = reader.next().transpose()?;
    let format = reader.format().map(Format::as_str);
    let config = serde_json::json!({ "file": file, "format": format });
    let mut batch = store.begin_batch("import", &config).await?;
    let mut incoming = first.map(Ok);
    while let Some(next) = incoming.take().or_else(|| reader.next()) {
        let Incoming { task, source_id } = next?;
        batch
            .add(NewTask {
                source_id,
                ..NewTask::new(task, Origin::Import)
            })
            .await?;
    }
    let tasks = batch.commit().await?;
    let unused_fields = reader.unused_fields().iter().cloned().collect();
    Ok(Imported {
        tasks,
        format,
        unused_fields,
    })
}
