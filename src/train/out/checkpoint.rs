//! Checkpoints: everything that a killed run needs to continue as if nothing had happened.
//!
//! A checkpoint is a folder `OUT/checkpoints/step-00000120` with `state.safetensors` (weights and
//! optimizer state) and `state.json`. Ranks that divide the state write a file each, and an index.
//!
//! It is written under another name and renamed into place; then older ones except the best, and
//! those that are kept for `ewe influence`, are removed. So there is a whole one at any moment.
//! Order and dropout are functions of (seed, step), so no state of a random number generator is
//! kept.

use super::files;
use super::snapshot::Snapshot;
use crate::distributed::group::Ranks;
use crate::train::settings::Settings;
use crate::train::shards::saved::Shapes;
use anyhow::{Context, Result, bail};
use ewe::settings_file;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use tch::Tensor;

/// Version of the format, raised when the meaning of a checkpoint changes.
const VERSION: u32 = 2;
/// File of a checkpoint with the weights and the optimizer state.
const TENSORS: &str = "state.safetensors";

/// File of a checkpoint that several ranks wrote, with the names of theirs.
const INDEX: &str = "state.index.json";
/// Longest index: a line or two for each tensor.
const LONGEST_INDEX: u64 = 64 << 20;

/// Where the tensors of a checkpoint are that several ranks wrote: each has its part of each, flat.
#[derive(Debug, Serialize, Deserialize)]
struct Index {
    /// The ranks' files, in their order.
    files: Vec<String>,
    /// Shapes of tensors that are not flat as a whole.
    shapes: Shapes,
}

/// Content of a checkpoint besides tensors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Version of the format.
    pub version: u32,
    /// Steps done.
    pub step: u64,
    /// Digest of the encoded dataset.
    pub dataset: String,
    /// Digest of the base model.
    pub model: String,
    /// Settings of the run.
    pub settings: Settings,
    /// Best evaluation so far.
    pub best: Option<Best>,
    /// Evaluations without improvement since then.
    pub evaluations_since: u32,
}

/// The result of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Step after which it was evaluated.
    pub step: u64,
    /// Mean negative log-likelihood of the held-out targets, in nats.
    pub loss: f64,
}

impl State {
    /// Makes the state after `step` steps.
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

    /// Fails unless a run with this dataset, model and settings may continue from here. With
    /// `changes`, dataset and settings may differ, as long as the same tensors are trained.
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
                "the dataset has changed since the checkpoint was made\nhint: restore the rows, continue with \
                 the current ones by --allow-changes, or start over with another --out"
            );
        }
        Ok(())
    }
}

/// The folder of a run's checkpoints.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    dir: PathBuf,
    kept: KeptSteps,
}

/// The steps whose checkpoints are never removed: the ends of equal parts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeptSteps {
    /// Number of parts; 0 keeps none.
    pub parts: u32,
    /// Steps of the run.
    pub total: u64,
}

impl KeptSteps {
    /// Returns whether the checkpoint after `step` steps is kept.
    pub fn has(self, step: u64) -> bool {
        let parts = u64::from(self.parts).min(self.total);
        // Widened, since a product of two numbers of the command line may not fit.
        let end = |part: u64| (u128::from(self.total) * u128::from(part)).div_ceil(u128::from(parts.max(1)));
        (1..=parts).any(|part| end(part) == u128::from(step))
    }
}

impl Checkpoints {
    /// Returns the checkpoints of the run that writes to `out`.
    pub fn of(out: &Path) -> Checkpoints {
        Checkpoints {
            dir: out.join("checkpoints"),
            kept: KeptSteps::default(),
        }
    }

    /// Keeps the checkpoints of these steps from now on.
    pub fn keeping(self, kept: KeptSteps) -> Checkpoints {
        Checkpoints { kept, ..self }
    }

    /// Returns whether a checkpoint is to be saved after `step` steps because it is kept.
    pub fn keep(&self, step: u64) -> bool {
        self.kept.has(step)
    }

    /// Returns the path of the checkpoint after `step` steps.
    pub fn place(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step:08}"))
    }

    /// Saves a checkpoint, then removes older ones except the best, and what killed runs left.
    /// Returns its path. Writes nothing if the disk lacks room for it.
    pub fn save(&self, state: &State, tensors: &[(String, Tensor)]) -> Result<PathBuf> {
        self.save_by(state, files::bytes(tensors), |path| {
            files::write_safetensors(path, tensors)
        })
    }

    /// Saves a checkpoint of tensors as they were, like [`Checkpoints::save`].
    pub fn save_snapshot(&self, state: &State, snapshot: &Snapshot) -> Result<PathBuf> {
        self.save_by(state, snapshot.bytes(), |path| {
            files::write_views(path, snapshot.views())
        })
    }

    /// Saves a checkpoint of which each rank has a part, like [`Checkpoints::save`]: every rank of
    /// the first replica writes its own file, and the first publishes all with an index.
    /// `shapes` are those of tensors that are not flat.
    pub fn save_divided(
        &self,
        ranks: &Ranks,
        state: &State,
        own: &[(String, Tensor)],
        shapes: impl FnOnce() -> Shapes,
    ) -> Result<()> {
        let Some(division) = ranks.division() else {
            return self.save(state, own).map(drop);
        };
        let (place, partial) = (self.place(state.step), self.partial(state.step));
        let bytes = [files::bytes(own) as f64, f64::from(u8::from(place.is_dir()))];
        let all = ranks.sums(&bytes)?;
        if all[1] > 0.0 {
            return Ok(());
        }
        let told = || told_of(state.step);
        if ranks.is_first() {
            make_new(&partial).with_context(told)?;
            let need = all[0] as u64 / division.replicas as u64;
            files::make_sure_of_room(&partial, need).with_context(told)?;
        }
        ranks.meet()?;
        let name = |part: usize| format!("state-{:05}-of-{:05}.safetensors", part + 1, division.parts);
        if division.replica == 0 {
            let path = partial.join(name(division.part));
            ranks
                .alone_with(|| files::write_safetensors(&path, own))
                .with_context(told)?;
        }
        ranks.meet()?;
        if ranks.is_first() {
            let index = Index {
                files: (0..division.parts).map(name).collect(),
                shapes: shapes(),
            };
            ranks.alone_with(|| {
                files::write_json(&partial.join(INDEX), &index)?;
                self.publish(state, &partial)
            })?;
        }
        ranks.meet()
    }

    fn partial(&self, step: u64) -> PathBuf {
        self.dir.join(format!(".step-{step:08}.partial"))
    }

    /// Renames a checkpoint whose tensors are all written into place, and removes older ones.
    fn publish(&self, state: &State, partial: &Path) -> Result<()> {
        let place = self.place(state.step);
        files::write_json(&partial.join("state.json"), state)?;
        files::sync_dir(partial)?;
        files::rename(partial, &place).with_context(|| told_of(state.step))?;
        self.remove_older(state, &place)
    }

    /// Saves a checkpoint whose tensors, of `bytes` bytes, `write` writes to the path that it is
    /// given.
    fn save_by(&self, state: &State, bytes: u64, write: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = self.place(state.step);
        if place.is_dir() {
            return Ok(place);
        }
        let partial = self.partial(state.step);
        let written = (|| {
            make_new(&partial)?;
            files::make_sure_of_room(&partial, bytes)?;
            write(&partial.join(TENSORS))?;
            files::write_json(&partial.join("state.json"), state)?;
            files::sync_dir(&partial)?;
            files::rename(&partial, &place)
        })();
        if let Err(error) = written {
            // Best effort: the disk may be full, and the cause of the failure matters more.
            let _ = fs::remove_dir_all(&partial);
            return Err(error).with_context(|| told_of(state.step));
        }
        self.remove_older(state, &place)?;
        Ok(place)
    }

    /// Removes older checkpoints than the one at `place`, except the best and those that are kept.
    fn remove_older(&self, state: &State, place: &Path) -> Result<()> {
        let best = state
            .best
            .as_ref()
            .filter(|_| state.settings.keep_best)
            .map(|best| self.place(best.step));
        for entry in fs::read_dir(&self.dir)?.flatten() {
            let is_kept = step_of(&entry.path()).is_some_and(|step| self.keep(step));
            if entry.path() != place && Some(entry.path()) != best && !is_kept {
                fs::remove_dir_all(entry.path()).with_context(|| {
                    format!("cannot remove the old checkpoint {}", entry.path().display())
                })?;
            }
        }
        Ok(())
    }

    /// Returns the last whole checkpoint, if there is one.
    pub fn last(&self) -> Result<Option<(PathBuf, State)>> {
        let Some((_, place)) = self.places().pop() else {
            return Ok(None);
        };
        let state = state(&place)?;
        Ok(Some((place, state)))
    }

    /// Returns the steps and paths of all whole checkpoints, by step.
    pub fn places(&self) -> Vec<(u64, PathBuf)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let whole = |path: PathBuf| Some((step_of(&path)?, path));
        let mut places: Vec<(u64, PathBuf)> = entries.filter_map(|entry| whole(entry.path())).collect();
        places.sort();
        places
    }

    /// Lets `restore` take the tensors of the checkpoint at `place` by name, each read when it is
    /// asked for.
    pub fn restore(
        place: &Path,
        restore: impl FnOnce(&mut dyn FnMut(&str) -> Option<Tensor>) -> Result<()>,
    ) -> Result<()> {
        let told = || format!("{} is damaged", place.display());
        if place.join(TENSORS).exists() || !place.join(INDEX).exists() {
            return files::restore(&place.join(TENSORS), restore).with_context(told);
        }
        let text = settings_file::read(&place.join(INDEX), LONGEST_INDEX).with_context(told)?;
        let index: Index = serde_json::from_slice(&text).with_context(told)?;
        let is_name = |name: &String| Path::new(name).file_name().is_some_and(|of| of == name.as_str());
        if !index.files.iter().all(is_name) {
            bail!("{}: its index names files that are not beside it", told());
        }
        let paths: Vec<PathBuf> = index.files.iter().map(|name| place.join(name)).collect();
        files::restore_parts(&paths, |name| index.shapes.get(name).cloned(), restore).with_context(told)
    }
}

/// Makes a new folder, in place of what a killed run left there.
fn make_new(partial: &Path) -> Result<()> {
    if partial.exists() {
        fs::remove_dir_all(partial)?;
    }
    Ok(fs::create_dir_all(partial)?)
}

fn told_of(step: u64) -> String {
    format!("cannot save a checkpoint after step {step}; the one before it is intact")
}

/// Returns the step of the whole checkpoint at `place`; none if it is something else.
fn step_of(place: &Path) -> Option<u64> {
    place.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok()
}

/// Reads what the checkpoint at `place` holds besides tensors.
pub fn state(place: &Path) -> Result<State> {
    let path = place.join("state.json");
    let text = settings_file::read(&path, settings_file::LONGEST)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a checkpoint's", path.display()))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::train::settings::tests::settings;

    #[test]
    fn kept_steps_are_the_ends_of_equal_parts() {
        let of = |parts, total| {
            let kept = KeptSteps { parts, total };
            (0..=total + 1).filter(|&step| kept.has(step)).collect::<Vec<_>>()
        };
        assert_eq!(of(0, 10), Vec::<u64>::new());
        assert_eq!(of(1, 10), [10]);
        assert_eq!(of(2, 9), [5, 9]);
        assert_eq!(of(4, 10), [3, 5, 8, 10]);
        assert_eq!(of(9, 2), [1, 2]);
    }

    #[test]
    fn kept_checkpoints_stay_and_others_go() {
        let out = tempfile::tempdir().unwrap();
        let kept = KeptSteps { parts: 2, total: 6 };
        let checkpoints = Checkpoints::of(out.path()).keeping(kept);
        for step in 1..=5 {
            checkpoints.save(&state(step), &[]).unwrap();
        }
        let steps: Vec<u64> = checkpoints.places().into_iter().map(|(step, _)| step).collect();
        assert_eq!(steps, [3, 5]);
    }

    /// Returns the state of a run with default settings after `step` steps.
    pub fn state(step: u64) -> State {
        State::new(step, "dataset", "model", &settings())
    }
}
