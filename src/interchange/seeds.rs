//! Seed tasks: those that come with `ewe`, those of a file, and a dataset that begins with them.

use std::path::Path;

use super::{
    Format,
    read::{self, Incoming, Parser, ReadError, Reading, RowReader},
};
use crate::{
    store::{Draft, NewTask, Store},
    task::Origin,
};

/// The seed tasks that come with `ewe`.
const EMBEDDED: &str = include_str!("../../seeds/seed_tasks.jsonl");

/// What messages call them.
const EMBEDDED_NAME: &str = "seeds/seed_tasks.jsonl";

/// Reads the seed file at `path`, or the seeds that come with `ewe`.
///
/// # Errors
///
/// [`ReadError`] names file, line and column. A seed is what a model is to imitate, so more is asked of it than of an
/// imported row: every output says something, and there is at least one seed.
pub fn read(path: Option<&Path>) -> Result<Vec<Incoming>, ReadError> {
    let reading = &Reading {
        format: Some(Format::SelfInstruct),
        ..Reading::default()
    };
    let (name, mut reader) = match path {
        None => (
            EMBEDDED_NAME.to_owned(),
            RowReader::new(EMBEDDED.as_bytes(), EMBEDDED_NAME, reading)?,
        ),
        Some(path) => (path.display().to_string(), read::open(path, reading)?),
    };
    let parser = Parser::new(&name, Format::SelfInstruct, reading);
    let mut seeds = Vec::new();
    while let Some(row) = reader.next_row() {
        let row = row?;
        let seed = parser.parse(&row)?;
        let fault = |what: String| ReadError::Row {
            file: name.clone(),
            place: row.place,
            what,
        };
        if let Some(index) = seed
            .task
            .instances
            .iter()
            .position(|instance| instance.output.trim().is_empty())
        {
            return Err(fault(format!("`instances[{index}]`: the output is empty")));
        }
        if let Some(field) = seed.extra.names().min() {
            return Err(fault(format!(
                "unknown field `{field}`: a seed has id, name, instruction, instances and is_classification"
            )));
        }
        seeds.push(seed);
    }
    if seeds.is_empty() {
        return Err(ReadError::NoRows { file: name });
    }
    Ok(seeds)
}

/// Makes a dataset at `path` that begins with `seeds`; returns it and their number.
///
/// # Errors
///
/// [`crate::store::Error`]; then there is no file at `path`.
pub async fn init(
    path: &Path,
    seeds: Vec<Incoming>,
    file: Option<&Path>,
) -> crate::store::Result<(Store, usize)> {
    let draft = Draft::begin(path).await?;
    let name = file.map_or(EMBEDDED_NAME.to_owned(), |file| file.display().to_string());
    let mut batch = draft
        .store()
        .begin_batch("init", &serde_json::json!({ "seeds": name }))
        .await?;
    for seed in seeds {
        let Incoming { task, source_id, .. } = seed;
        batch
            .add(NewTask {
                source_id,
                system: seed.system,
                source_row: Some(seed.place.row as i64),
                extra: seed.extra.to_column(),
                ..NewTask::new(task, Origin::Seed)
            })
            .await?;
    }
    let tasks = batch.commit().await?;
    Ok((draft.publish().await?, tasks))
}
