//! Whole files into the store.

use std::{collections::BTreeSet, path::Path};

use super::{
    Format,
    read::{self, Incoming, Reading},
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
/// [`read::ReadError`] for the file, [`crate::store::Error`] for the store.
pub async fn import(store: &Store, path: &Path, format: Option<Format>) -> anyhow::Result<Imported> {
    let file = path.display().to_string();
    let reading = Reading {
        format,
        ..Reading::default()
    };
    let mut reader = read::open(path, &reading)?;
    // The first row comes before the write lock: a file that cannot be read disturbs nobody.
    let first = reader.next_row().transpose()?;
    let parser = reader.parser().cloned();
    let format = parser.as_ref().map(|parser| parser.format().as_str());
    let config = serde_json::json!({ "file": file, "format": format });
    let mut batch = store.begin_batch("import", &config).await?;
    let mut unused_fields = BTreeSet::new();
    if let Some(parser) = parser {
        let mut next = first.map(Ok);
        while let Some(row) = next.take().or_else(|| reader.next_row()) {
            let Incoming {
                task,
                source_id,
                extra,
                ..
            } = parser.parse(&row?)?;
            unused_fields.extend(extra.names().map(str::to_owned));
            batch
                .add(NewTask {
                    source_id,
                    ..NewTask::new(task, Origin::Import)
                })
                .await?;
        }
    }
    let tasks = batch.commit().await?;
    Ok(Imported {
        tasks,
        format,
        unused_fields: unused_fields.into_iter().collect(),
    })
}
