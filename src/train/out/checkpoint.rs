//! Checkpoints: everything a killed run needs to continue as if nothing had happened.
//!
//! A checkpoint is a folder `OUT/checkpoints/step-00000120` with `state.safetensors` (weights and what the optimizer remembers)
//! and `state.json`. It is written under another name and renamed into place, then older ones but for the best are removed: at any
//! moment there is a whole one. Order and dropout are functions of (seed, step), so no generator's state is kept.

use super::files;
use crate::train::settings::Settings;
use anyhow::{Context, Result, bail};
use ewe::settings_file;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Raised when a checkpoint's meaning changes.
const VERSION: u32 = 2;

/// What a checkpoint knows besides tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Format.
    pub version: u32,
    /// Optimizer steps done.
    pub step: u64,
    /// Digest of the encoded dataset.
    pub dataset: String,
    /// Digest of the base model.
    pub model: String,
    /// The run's settings.
    pub settings: Settings,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations since that were no better.
    pub evaluations_since: u32,
}

/// An evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// After this step.
    pub step: u64,
    /// Mean negative log-likelihood over the held-out targets, in nats.
    pub loss: f64,
}

impl State {
    /// The state after `step` steps.
    pub fn new(step: u64, dataset: &str, model: &str, settings: &Settings) -> State {
        let (dataset, model, settings) = (dataset.to_owned(), model.to_owned(), settings.clone());
        State {
            version: VERSION,
            step,
            dataset,
            model,
            settings,
            best: None,
            evaluations_since: 0,
        }
    }

    /// Fails unless a run with this dataset, model and settings may continue from here; with `changes`, dataset and settings may be
    /// others, as long as the same is trained.
    pub fn admits(&self, dataset: &str, model: &str, settings: &Settings, changes: bool) -> Result<()> {
        if self.version != VERSION {
            bail!(
                "the checkpoint has format {}, this program reads {VERSION}",
                self.version
            );
        }
        if changes {
            settings.trains_as(&self.settings)?;
        } else {
            settings.same_as(&self.settings)?;
        }
        if self.model != model {
            bail!(
                "the base model is not the one the checkpoint was made with\nhint: give the same --model, or another --out"
            );
        }
        if self.dataset != dataset && !changes {
            bail!(
                "the dataset has changed since the checkpoint was made\nhint: bring the rows back to what they were, go on \
                 with those of now by --allow-changes, or start anew with another --out"
            );
        }
        Ok(())
    }
}

/// The folder of checkpoints of a run.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// Those of the run that writes to `out`.
    pub fn of(out: &Path) -> Checkpoints {
        Checkpoints {
            dir: out.join("checkpoints"),
        }
    }

    /// Where the one after `step` steps is, if it is kept.
    pub fn place(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step:08}"))
    }

    /// Saves a checkpoint and then removes older ones but for the best, and what killed runs left. Gives its path. Where the disk has
    /// no room for it, nothing is written.
    pub fn save(&self, state: &State, tensors: &[(String, Tensor)]) -> Result<PathBuf> {
        let place = self.place(state.step);
        if place.is_dir() {
            return Ok(place);
        }
        let partial = self.dir.join(format!(".step-{:08}.partial", state.step));
        let written = (|| {
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            fs::create_dir_all(&partial)?;
            files::make_sure_of_room(&partial, files::bytes(tensors))?;
            files::write_safetensors(&partial.join("state.safetensors"), tensors)?;
            files::write_json(&partial.join("state.json"), state)?;
            files::sync_dir(&partial)?;
            files::rename(&partial, &place)
        })();
        if let Err(error) = written {
            // Best effort: the disk may be full, and the reason of the failure matters more.
            let _ = fs::remove_dir_all(&partial);
            return Err(error).with_context(|| {
                format!(
                    "cannot save a checkpoint after step {}; the one before it is intact",
                    state.step
                )
            });
        }
        let best = state
            .best
            .as_ref()
            .filter(|_| state.settings.keep_best)
            .map(|best| self.place(best.step));
        for entry in fs::read_dir(&self.dir)?.flatten() {
            if entry.path() != place && Some(entry.path()) != best {
                fs::remove_dir_all(entry.path()).with_context(|| {
                    format!("cannot remove the old checkpoint {}", entry.path().display())
                })?;
            }
        }
        Ok(place)
    }

    /// The last whole checkpoint, if there is one.
    pub fn last(&self) -> Result<Option<(PathBuf, State)>> {
        let Ok(entries) = fs::read_dir(&self.dir) else {
            return Ok(None);
        };
        let is_whole = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("step-"))
        };
        // Names have the step in eight digits, so the greatest name is the last step.
        let Some(place) = entries.flatten().map(|entry| entry.path()).filter(is_whole).max() else {
            return Ok(None);
        };
        let path = place.join("state.json");
        let text = settings_file::read(&path, settings_file::LONGEST)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let state = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a checkpoint's", path.display()))?;
        Ok(Some((place, state)))
    }

    /// Its tensors.
    pub fn tensors(place: &Path) -> Result<std::collections::HashMap<String, Tensor>> {
        files::read_safetensors(&place.join("state.safetensors"))
    }
}
