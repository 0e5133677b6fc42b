//! Seed tasks: those that come with `ewe`, those of a file, and a dataset that begins with them.

use std::path::Path;

use super::{
    left_out::LeftOut,
    notes::Notes,
    read::{self, Incoming, ReadError, Reading, RowReader},
};
use crate::{
    store::{Draft, NewTask, Store},
    task::Origin,
};

/// The seed tasks that come with `ewe`.
const EMBEDDED: &str = include_str!("../../seeds/seed_tasks.jsonl");

/// What messages call them.
const EMBEDDED_NAME: &str = "seeds/seed_tasks.jsonl";

/// Reads the seed file at `path`, or the seeds that come with `ewe`. What the rows say besides is counted in `notes`.
///
/// # Errors
///
/// [`ReadError`] names file, line and column. A seed is what a model is to imitate, so more is asked of it than of an
/// imported row: every output says something, and there is at least one seed.
pub fn read(
    path: Option<&Path>,
    reading: &Reading,
    left_out: &mut LeftOut,
    notes: &mut Notes,
) -> anyhow::Result<Vec<Incoming>> {
    let mut reader = match path {
        None => RowReader::new(EMBEDDED.as_bytes(), EMBEDDED_NAME, reading)?,
        Some(path) => read::open(path, reading)?,
    };
    let mut seeds = Vec::new();
    while let Some((row, seed)) = left_out.next_row(&mut reader)? {
        let instances = &seed.task.instances;
        match instances
            .iter()
            .position(|instance| instance.output.trim().is_empty())
        {
            Some(index) => {
                let what = match instances.len() {
                    1 => "the output is empty".to_owned(),
                    _ => format!("`instances[{index}]`: the output is empty"),
                };
                let error = ReadError::Row {
                    file: seed.place.file.to_string(),
                    place: row.place,
                    what,
                    found: None,
                };
                left_out.leave(&error, Some(&row))?;
                left_out.lines().for_each(|line| eprintln!("{line}"));
            }
            None => {
                notes.add(&seed);
                seeds.push(seed);
            }
        }
    }
    if seeds.is_empty() && left_out.count() == 0 {
        let file = path.map_or(EMBEDDED_NAME.into(), |path| path.display().to_string());
        return Err(ReadError::NoRows { file }.into());
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
