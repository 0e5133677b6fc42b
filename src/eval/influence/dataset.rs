//! The dataset that rows are read from and influences are stored in.

use anyhow::{Context, Result};
use ewe::job::influence::ProjectionNoise;
use ewe::pipeline::split::training_rows::{self, TrainingRows};
use ewe::store::curation::influence::{InstanceInfluence, StrongInfluence};
use ewe::store::{Filter, RunStatus, Store};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

/// Command in the table `run`.
const COMMAND: &str = "influence";

/// An open dataset, for callers that are not asynchronous.
pub struct Dataset {
    runtime: Runtime,
    store: Store,
}

/// A run of `ewe influence` in the dataset.
#[derive(Debug)]
pub struct InfluenceRun {
    /// Its id.
    pub id: i64,
    /// Instances that it has stored already.
    pub stored: HashSet<i64>,
}

impl Drop for Dataset {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.clone().close());
    }
}

impl Dataset {
    /// Opens the dataset at `path` for writing.
    pub fn open(path: &Path) -> Result<Dataset> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        let store = runtime.block_on(Store::open(path))?;
        Ok(Dataset { runtime, store })
    }

    /// Returns the rows that `ewe train` would take without options, and those of held-out tasks.
    pub fn rows(&self) -> Result<TrainingRows> {
        let all = Filter::default();
        self.runtime.block_on(training_rows::load(&self.store, &all))
    }

    /// Takes up the run with this configuration if it was cut off, or begins one.
    pub fn begin(&self, config: &Value, seed: u64, model: &str) -> Result<InfluenceRun> {
        self.runtime.block_on(async {
            self.store.note_killed(COMMAND, None).await?;
            let id = match self.store.take_up_run(COMMAND, config).await? {
                Some(id) => id,
                None => {
                    self.store
                        .begin_run(COMMAND, config, Some(seed as i64), Some(model))
                        .await?
                }
            };
            let stored = self.store.influenced(id).await?.into_iter().collect();
            Ok(InfluenceRun { id, stored })
        })
    }

    /// Stores the influence of some instances.
    pub fn add(&self, run: &InfluenceRun, of: &[InstanceInfluence]) -> Result<()> {
        Ok(self.runtime.block_on(self.store.add_influence(run.id, of))?)
    }

    /// Sets `task.influence` to what the run has stored.
    pub fn settle(&self, run: &InfluenceRun) -> Result<()> {
        Ok(self.runtime.block_on(self.store.settle_influence(run.id))?)
    }

    /// Records how the run ended.
    pub fn finish(&self, run: &InfluenceRun, status: RunStatus) -> Result<()> {
        Ok(self.runtime.block_on(self.store.finish_run(run.id, status))?)
    }

    /// Notes what the projection does to the influences of a run that has ended.
    pub fn note(&self, run: &InfluenceRun, noise: &ProjectionNoise) -> Result<()> {
        let (name, value) = noise.noted();
        Ok(self
            .runtime
            .block_on(self.store.note_in_config(run.id, name, &value))?)
    }

    /// Returns the `count` rows of the run that helped most, and those that hurt most.
    pub fn strongest(&self, run: &InfluenceRun, count: i64) -> Result<[Vec<StrongInfluence>; 2]> {
        self.runtime.block_on(async {
            let of = |highest| self.store.strongest_influence(run.id, highest, count);
            Ok([of(true).await?, of(false).await?])
        })
    }

    /// Counts the rows of the run, and those of them that helped.
    pub fn counts(&self, run: &InfluenceRun) -> Result<(i64, i64)> {
        Ok(self.runtime.block_on(self.store.influence_counts(run.id))?)
    }
}
