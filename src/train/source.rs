//! Where rows come from: a dataset's view, or a file. A dataset also notes the run.

use super::dataset::{Row, Rows, read_jsonl};
use anyhow::{Context, Result};
use ewe::cli::train::Args;
use ewe::store::{RunStatus, Store};
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
    pub fn open(args: &Args) -> Result<Source> {
        if let Some(path) = &args.data {
            return Ok(Source {
                rows: read_jsonl(path)?,
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

    /// Notes in the dataset's table `run` that training starts; nothing where that cannot be written to.
    pub fn begin(&mut self, config: &serde_json::Value, seed: u64, model: &str) -> Result<()> {
        if let Some(Ledger { runtime, store, run }) = &mut self.ledger
            && !store.is_read_only()
        {
            *run =
                Some(runtime.block_on(store.begin_run("train", config, Some(seed as i64), Some(model)))?);
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
