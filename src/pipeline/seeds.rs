//! Seed tasks, from a file or those that come with ewe, and new datasets that begin with them.

use std::path::Path;

use crate::{
    interchange::{
        ParsedRow, ReadError, Reading,
        left_out::LeftOut,
        notes::Notes,
        read::{self, RowReader},
    },
    store::{self, Draft, NewTask, Store},
    task::Origin,
};

/// The seed tasks that come with ewe.
const EMBEDDED: &str = include_str!("../../seeds/seed_tasks.jsonl");

/// The name of these seeds in messages.
const EMBEDDED_NAME: &str = "seeds/seed_tasks.jsonl";

/// Reads the seeds in the file at `path`, or those that come with ewe. Other fields of the rows are
/// counted in `notes`.
///
/// # Errors
///
/// [`ReadError`], with file, line and column. Models imitate seeds, so seeds must be better than
/// imported rows: no output may be blank, and there must be at least one seed.
pub fn read(
    path: Option<&Path>,
    reading: &Reading,
    left_out: &mut LeftOut,
    notes: &mut Notes,
) -> anyhow::Result<Vec<ParsedRow>> {
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

/// Creates a dataset at `path` that begins with `seeds`. Returns the dataset and the number of
/// seeds.
///
/// # Errors
///
/// [`store::Error`]; then there is no file at `path`.
pub async fn init(path: &Path, seeds: Vec<ParsedRow>, file: Option<&Path>) -> store::Result<(Store, usize)> {
    let draft = Draft::begin(path).await?;
    let name = file.map_or(EMBEDDED_NAME.to_owned(), |file| file.display().to_string());
    let mut batch = draft
        .store()
        .begin_batch("init", &serde_json::json!({ "seeds": name }))
        .await?;
    for seed in seeds {
        let ParsedRow { task, source_id, .. } = seed;
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
