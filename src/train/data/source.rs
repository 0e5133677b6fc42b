//! Where rows come from: a dataset's view, or a file. A dataset also notes the run.

use super::dataset::{Row, Rows};
use anyhow::{Context, Result};
use ewe::cli::args::reading::ReadingArgs;
use ewe::cli::models::train::Args;
use ewe::interchange::left_out::LeftOut;
use ewe::interchange::notes::Notes;
use ewe::interchange::read::{self, Incoming, Need, Place};
use ewe::store::{RunStatus, Store};
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

/// The rows, and the dataset that the run is noted in, if they came from one.
pub struct Source {
    /// What was read.
    pub rows: Rows,
    ledger: Option<Ledger>,
}

struct Ledger {
    runtime: Runtime,
    store: Store,
    run: Option<i64>,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.clone().close());
    }
}

impl Source {
    /// Reads `--data`, or the view `dataset` of `--db`: every row whose task nobody rejected.
    pub fn open(args: &Args, quiet: bool) -> Result<Source> {
        if let Some(path) = &args.data {
            return Ok(Source {
                rows: read_file(path, &args.reading, quiet)?,
                ledger: None,
            });
        }
        let path = args.db.as_deref().context("neither --db nor --data was given")?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        let (store, dataset) = runtime.block_on(async {
            let store = Store::open_to_read(path).await?;
            let dataset = store.dataset(None).await?;
            Ok::<_, anyhow::Error>((store, dataset))
        })?;
        let row = |row: ewe::store::DatasetRow| Row {
            id: format!("task {} instance {}", row.task_id, row.instance_id),
            group: format!("task {}", row.task_id),
            system: row.system.unwrap_or_default(),
            instruction: row.instruction,
            input: row.input,
            output: row.output,
        };
        let rows = Rows {
            rows: dataset.into_iter().map(row).collect(),
            are_completions: false,
        };
        Ok(Source {
            rows,
            ledger: Some(Ledger {
                runtime,
                store,
                run: None,
            }),
        })
    }

    /// Notes in the dataset's table `run` that training into `out` starts, and that runs which were
    /// killed there do not go on; nothing where that cannot be written to.
    pub fn begin(&mut self, config: &serde_json::Value, seed: u64, model: &str, out: &Path) -> Result<()> {
        if let Some(Ledger { runtime, store, run }) = &mut self.ledger
            && !store.is_read_only()
        {
            let out = std::path::absolute(out)?.display().to_string();
            let mut config = config.clone();
            config["out"] = out.as_str().into();
            *run = Some(runtime.block_on(async {
                store.note_killed("train", Some(&out)).await?;
                store
                    .begin_run("train", &config, Some(seed as i64), Some(model))
                    .await
            })?);
        }
        Ok(())
    }

    /// Notes how it ended.
    pub fn finish(&self, status: RunStatus) -> Result<()> {
        if let Some(Ledger {
            runtime,
            store,
            run: Some(run),
        }) = &self.ledger
        {
            runtime.block_on(store.finish_run(*run, status))?;
        }
        Ok(())
    }
}

/// Reads the rows of a file.
fn read_file(path: &Path, args: &ReadingArgs, quiet: bool) -> Result<Rows> {
    let mut reader = read::open(path, &args.reading(Need::Pair)?)?;
    let mut left_out = LeftOut::begin(&args.policy(), quiet)?;
    let (mut rows, mut notes, mut are_completions) = (Vec::new(), Notes::default(), false);
    while let Some((row, incoming)) = left_out.next_row(&mut reader)? {
        notes.add(&incoming);
        are_completions |= incoming.is_finished;
        rows.extend(examples(incoming, row.place));
    }
    left_out.end()?;
    for line in notes.lines(false) {
        crate::train::run::say(quiet, &line);
    }
    Ok(Rows {
        rows,
        are_completions,
    })
}

/// The examples of a row, one for each instance.
fn examples(incoming: Incoming, place: Place) -> impl Iterator<Item = Row> {
    let name = match place {
        Place::Text { line, .. } => format!("line {line}"),
        Place::Row(row) => format!("row {row}"),
    };
    let group = match &incoming.group {
        Some(group) => format!("group {group}"),
        None => name.clone(),
    };
    let (system, instruction) = (incoming.system.unwrap_or_default(), incoming.task.instruction);
    let several = incoming.task.instances.len() > 1;
    let instances = incoming.task.instances.into_iter().zip(1..);
    instances.map(move |(instance, number)| Row {
        id: match several {
            true => format!("{name} instance {number}"),
            false => name.clone(),
        },
        group: group.clone(),
        system: system.clone(),
        instruction: instruction.clone(),
        input: instance.input,
        output: instance.output,
    })
}
