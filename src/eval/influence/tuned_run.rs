//! A training run's folder: its settings, its base model, and those of its checkpoints that stand
//! for the whole run.

use crate::model::files::fingerprint::fingerprint;
use crate::model::files::hub::{self, Fetch};
use crate::train::optim::schedule::Schedule;
use crate::train::out::RECORD;
use crate::train::out::checkpoint::{self, Checkpoints};
use crate::train::settings::{self, Settings};
use anyhow::{Context, Result, bail};
use ewe::finetune::{LoraSettings, Method, OptimizerKind};
use ewe::job::influence::{Direction, InfluenceJob};
use ewe::settings_file;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tch::Kind;

/// A training run with checkpoints.
#[derive(Debug)]
pub struct TunedRun {
    /// Directory of the base model.
    pub base: PathBuf,
    /// Digest of the base model.
    pub model: String,
    /// Settings of the run.
    pub settings: Settings,
    /// Settings of its adapter.
    pub lora: LoraSettings,
    /// The checkpoints to look at, by step.
    pub checkpoints: Vec<KeptCheckpoint>,
    /// Number of the checkpoints that there are.
    pub found: usize,
}

/// A checkpoint, and what it stands for.
#[derive(Debug, PartialEq)]
pub struct KeptCheckpoint {
    /// Steps done.
    pub step: u64,
    /// Its folder.
    pub place: PathBuf,
    /// Share of the learning rates of all steps up to the last checkpoint: those of the steps since
    /// the checkpoint before.
    pub share: f64,
}

/// What the record of a run says of its model.
#[derive(Deserialize)]
struct Record {
    model: PathBuf,
}

impl TunedRun {
    /// Reads the run in `job.run_dir`.
    ///
    /// # Errors
    ///
    /// If the folder is not a run's, has no checkpoints, trained every weight, if the base model is
    /// another one, or if the optimizer kept no moments that the direction needs.
    pub fn read(job: &InfluenceJob) -> Result<TunedRun> {
        let (dir, shown) = (&job.run_dir, job.run_dir.display());
        if !dir.join(RECORD).is_file() {
            bail!(
                "{shown} is not the folder of a training run: it has no {RECORD}\nhint: --run-dir names the folder that `ewe train --out` wrote"
            );
        }
        let places = Checkpoints::of(dir).places();
        let found = places.len();
        let Some((_, last)) = places.last() else {
            bail!(
                "{shown} has no checkpoints\nhint: train again with `ewe train --keep-checkpoints 2`, which keeps two of them"
            );
        };
        let state = checkpoint::state(last)?;
        let (settings, lora) = match (state.settings.method, state.settings.lora.clone()) {
            (Method::Lora, Some(lora)) => (state.settings, lora),
            _ => bail!(
                "the run in {shown} trained every weight, and gradients of all of them for each row take too much memory\nhint: \
                 train on the same rows with `ewe train --method lora`, and take that run"
            ),
        };
        let optimizer = settings.formats.optimizer;
        let has_moments = match optimizer {
            OptimizerKind::Adamw | OptimizerKind::Adamw8bit => true,
            OptimizerKind::Adafactor | OptimizerKind::Lion => false,
        };
        if !has_moments && job.direction != Direction::Sgd {
            bail!(
                "the run in {shown} was trained by {optimizer:?}, which keeps no second moment of each weight\nhint: --direction sgd needs none"
            );
        }
        let base = base(job, dir)?;
        let model = fingerprint(&base, None, settings::kind(settings.formats.precision))?;
        if model != state.model {
            bail!(
                "the run in {shown} trained another base model: {} then, {model} in {} now\nhint: --model DIR names the right one",
                state.model,
                base.display()
            );
        }
        Ok(TunedRun {
            checkpoints: shares(&settings.schedule, chosen(places, job.checkpoints)),
            base,
            model,
            settings,
            lora,
            found,
        })
    }

    /// Returns a digest of each checkpoint.
    pub fn digests(&self) -> Result<Vec<String>> {
        let digest = |of: &KeptCheckpoint| fingerprint(&of.place, None, Kind::Float);
        self.checkpoints.iter().map(digest).collect()
    }
}

/// Returns the directory of the base model: as given, or as the run recorded it.
fn base(job: &InfluenceJob, dir: &Path) -> Result<PathBuf> {
    let recorded = || -> Result<PathBuf> {
        let path = dir.join(RECORD);
        let text = settings_file::read(&path, settings_file::LONGEST)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not the record of a run", path.display()))?;
        Ok(record.model)
    };
    let model = job.model.clone().map_or_else(recorded, Ok)?;
    hub::resolve(&model, Fetch::Model).context("the base model of the run is missing: --model DIR names it")
}

/// Chooses `count` of the checkpoints: the last, and those closest to the ends of as many equal
/// parts of the run up to there.
fn chosen(mut places: Vec<(u64, PathBuf)>, count: usize) -> Vec<(u64, PathBuf)> {
    let last = places.last().map_or(0, |(step, _)| *step);
    let mut chosen = Vec::new();
    for part in (1..=count).rev() {
        let end = last as f64 * part as f64 / count as f64;
        let apart = |(step, _): &(u64, PathBuf)| (*step as f64 - end).abs();
        let closest = (0..places.len()).min_by(|&a, &b| apart(&places[a]).total_cmp(&apart(&places[b])));
        let Some(closest) = closest else { break };
        chosen.push(places.remove(closest));
    }
    chosen.sort();
    chosen
}

/// Gives each checkpoint its share of the learning rates.
fn shares(schedule: &Schedule, places: Vec<(u64, PathBuf)>) -> Vec<KeptCheckpoint> {
    let mut before = 0;
    let rates: Vec<f64> = places
        .iter()
        .map(|&(step, _)| {
            (std::mem::replace(&mut before, step)..step)
                .map(|at| schedule.rate(at))
                .sum()
        })
        .collect();
    let total: f64 = rates.iter().sum();
    let share = |rate: f64| {
        if total > 0.0 {
            rate / total
        } else {
            1.0 / rates.len() as f64
        }
    };
    let shares: Vec<f64> = rates.iter().map(|&rate| share(rate)).collect();
    let with = |((step, place), share)| KeptCheckpoint { step, place, share };
    places.into_iter().zip(shares).map(with).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ewe::finetune::ScheduleKind;

    fn places(steps: &[u64]) -> Vec<(u64, PathBuf)> {
        steps
            .iter()
            .map(|&step| (step, PathBuf::from(step.to_string())))
            .collect()
    }

    fn steps(places: &[(u64, PathBuf)]) -> Vec<u64> {
        places.iter().map(|(step, _)| *step).collect()
    }

    #[test]
    fn checkpoints_are_chosen_evenly_and_the_last_is_among_them() {
        let all = places(&[10, 20, 30, 40, 45]);
        assert_eq!(steps(&chosen(all.clone(), 1)), [45]);
        assert_eq!(steps(&chosen(all.clone(), 2)), [20, 45]);
        assert_eq!(steps(&chosen(all.clone(), 9)), [10, 20, 30, 40, 45]);
        assert!(chosen(Vec::new(), 2).is_empty());
    }

    #[test]
    fn shares_are_those_of_the_learning_rates_since_the_one_before() {
        let schedule = |kind, warmup| Schedule {
            kind,
            peak: 2e-4,
            warmup,
            total: 10,
        };
        let of = |schedule: Schedule, steps: &[u64]| -> Vec<f64> {
            shares(&schedule, places(steps))
                .into_iter()
                .map(|of| of.share)
                .collect()
        };
        let near = |got: Vec<f64>, want: &[f64]| {
            assert_eq!(got.len(), want.len());
            assert!(
                got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-9),
                "{got:?}"
            );
        };
        near(of(schedule(ScheduleKind::Constant, 0), &[3, 10]), &[0.3, 0.7]);
        // 10 + 9 + 8 + 7 + 6 of 55 tenths.
        near(
            of(schedule(ScheduleKind::Linear, 0), &[5, 10]),
            &[40.0 / 55.0, 15.0 / 55.0],
        );
        // Nothing but the first step of the warm-up, whose rate is zero.
        near(of(schedule(ScheduleKind::Linear, 5), &[1]), &[1.0]);
    }
}
