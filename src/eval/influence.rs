//! `ewe influence`: which rows lowered the loss on held-out tasks.
//!
//! At a few checkpoints of a run, the gradient of each held-out task's loss by the adapter's
//! parameters is compared with the direction in which each row of the dataset would move them
//! (TracIn, Pruthi et al. 2020, <https://arxiv.org/abs/2002.08484>; LESS, Xia et al. 2024,
//! <https://arxiv.org/abs/2402.04333>). In reading order:
//!
//! - [`tuned_run`], [`rows`], [`dataset`]: the run, the rows in tokens, the dataset.
//! - [`adapted`], [`packed`], [`gradients`]: gradients of each example, many in one pass.
//! - [`direction`], [`sketch`], [`features`]: from gradients to influences.
//! - [`summary`]: what people read at the end.

pub mod adapted;
mod dataset;
pub mod direction;
mod features;
pub mod gradients;
mod packed;
mod rows;
mod sketch;
mod summary;
#[cfg(test)]
mod tests;
mod tuned_run;

use crate::model::text::tokenizer::Tokenizer;
use crate::model::{self, fault};
use crate::train::data::dataset::Example;
use crate::train::interrupt::Interrupt;
use adapted::{AdaptedModel, AdapterState};
use anyhow::{Result, bail};
use dataset::{Dataset, InfluenceRun};
use ewe::job::influence::{InfluenceJob, ProjectionNoise};
use ewe::job::train::GpuNumerics;
use ewe::leave::INTERRUPTED;
use ewe::progress::ProgressMeter;
use ewe::store::RunStatus;
use ewe::store::curation::influence::InstanceInfluence;
use ewe::text::{counted, format_size};
use features::{Features, Targets};
use rows::{EncodedRows, RowLayout};
use serde_json::{Value, json};
use sketch::Sketch;
use std::time::Instant;
use summary::Summary;
use tuned_run::TunedRun;

/// Rows whose influence is stored at once. A command that is started again computes whole groups,
/// so that its passes, and all numbers, are those of one that was not cut off.
const GROUP: usize = 64;
/// Held-out tasks that are stored for each row, of those that it helps and of those that it hurts.
const STRONGEST: usize = 5;
/// Most bytes of the held-out tasks' gradients.
const MOST_BYTES: u64 = 8 << 30;

/// Runs the command. Returns the exit code. Must not be called from within an async runtime.
pub fn run(job: &InfluenceJob, quiet: bool) -> Result<u8> {
    let tuned = TunedRun::read(job)?;
    let dataset = Dataset::open(&job.db)?;
    let device = model::device::for_training(&job.device, GpuNumerics::default())?;
    let info = model::info(&model::fields(&tuned.base)?)?;
    let tokenizer = Tokenizer::read(&tuned.base)?.belongs_to(&info)?;
    let (template, tokenizer) = rows::template(&tuned, &job.run_dir, tokenizer)?;
    let layout = RowLayout {
        template: template.as_ref(),
        loss: tuned.settings.loss,
        reasoning: tuned.settings.reasoning,
        max_length: tuned.settings.max_length,
        tokenizer: &tokenizer,
    };
    let encoded = layout.read(job, &dataset, quiet)?;
    let model = fault::caught(|| AdaptedModel::open(&tuned, device))?;
    let numbers = match job.dimensions {
        0 => model.sizes().iter().sum::<i64>() as u64,
        dimensions => u64::from(dimensions),
    };
    check_memory(numbers, encoded.held_out.len() * tuned.checkpoints.len())?;
    let sketch = Sketch::new(&model.sizes(), i64::from(job.dimensions), job.seed, device);
    let mut progress = Progress::begin(job, &tuned, &encoded, quiet);
    let run = dataset.begin(&config(job, &tuned, &encoded)?, job.seed, &tuned.model)?;
    let interrupt = Interrupt::listen(Some("rows in work are computed to their end, and kept"))?;
    let features = Features {
        model: &model,
        sketch: &sketch,
        positions: tuned.settings.micro_tokens,
        interrupt: Some(&interrupt),
    };
    let ended = fault::caught(|| {
        let mut known = None;
        let to = (&dataset, &run);
        let done = compute(job, &tuned, &encoded, &features, to, &mut progress, &mut known)?;
        if !done {
            return Ok(None);
        }
        dataset.settle(&run)?;
        noise(job, &tuned, &encoded, &features, known).map(Some)
    });
    let status = match &ended {
        Ok(Some(_)) => RunStatus::Done,
        Ok(None) => RunStatus::Interrupted,
        Err(_) => RunStatus::Failed,
    };
    // The error of the computation matters more than one of recording its end.
    let noted = dataset.finish(&run, status);
    let done = ended?;
    noted?;
    progress.finish();
    let Some(noise) = done else {
        say(quiet, "stopped; the same command goes on from here");
        return Ok(INTERRUPTED);
    };
    if let Some(noise) = &noise {
        dataset.note(&run, noise)?;
    }
    let summary = Summary::read(&dataset, &run, &encoded, noise)?;
    summary.print(job.json)?;
    summary.next(&job.db, &tuned.base).say(quiet);
    Ok(0)
}

fn say(quiet: bool, text: &str) {
    crate::train::say(quiet, text);
}

/// Fails if the gradients of held-out tasks at all checkpoints, of `numbers` each, take too much
/// memory.
fn check_memory(numbers: u64, gradients: usize) -> Result<()> {
    let bytes = 4 * numbers * gradients as u64;
    if bytes > MOST_BYTES {
        bail!(
            "{} of {} each take {}\nhint: a smaller --dimensions: 4096 keep cosines to within 0.02; or fewer --checkpoints",
            counted(gradients, "gradient"),
            counted(numbers, "number"),
            format_size(bytes)
        );
    }
    Ok(())
}

/// Everything that the numbers depend on: a run with another configuration is another run.
fn config(job: &InfluenceJob, tuned: &TunedRun, encoded: &EncodedRows) -> Result<Value> {
    let steps: Vec<u64> = tuned.checkpoints.iter().map(|of| of.step).collect();
    Ok(json!({
        "run_dir": std::path::absolute(&job.run_dir)?.display().to_string(),
        "model": tuned.model,
        "checkpoints": steps,
        "digests": tuned.digests()?,
        "rows": encoded.rows.len(),
        "held_out": encoded.held_out.len(),
        "eval_data": job.eval.as_ref().map(|file| file.path.display().to_string()),
        "dataset": encoded.digest(),
        "dimensions": job.dimensions,
        "direction": job.direction,
        "seed": job.seed,
        "micro_tokens": tuned.settings.micro_tokens,
    }))
}

/// The progress bar, with what was said before it.
struct Progress {
    meter: ProgressMeter,
    begun: Instant,
    tokens: usize,
    done: usize,
}

impl Progress {
    fn begin(job: &InfluenceJob, tuned: &TunedRun, encoded: &EncodedRows, quiet: bool) -> Progress {
        let steps: Vec<String> = tuned.checkpoints.iter().map(|of| of.step.to_string()).collect();
        say(
            quiet,
            &format!(
                "{} on {}, at step {}",
                counted(encoded.rows.len(), "row"),
                counted(encoded.held_out.len(), "held-out task"),
                steps.join(" and ")
            ),
        );
        if tuned.found < job.checkpoints {
            say(
                quiet,
                &format!(
                    "there is no more than {}: `ewe train --keep-checkpoints {}` keeps more",
                    counted(tuned.found, "checkpoint"),
                    job.checkpoints
                ),
            );
        }
        if let Some(first) = encoded.left_out.first() {
            say(
                quiet,
                &format!(
                    "left out: {}, first {}: {}",
                    counted(encoded.left_out.len(), "row"),
                    first.id,
                    first.reason
                ),
            );
        }
        Progress {
            meter: ProgressMeter::new("influence", "row", 0, encoded.rows.len() as u64, quiet),
            begun: Instant::now(),
            tokens: 0,
            done: 0,
        }
    }

    fn pass(&mut self, rows: usize, tokens: usize) {
        self.done += rows;
        self.tokens += tokens;
        let rate = self.tokens as f64 / self.begun.elapsed().as_secs_f64();
        self.meter.set(self.done as u64, &format!("{rate:.0} tok/s"));
    }

    fn finish(self) {
        self.meter.finish();
    }
}

/// The checkpoints of a run, with the held-out tasks at each.
type Checkpoints = Vec<(AdapterState, Targets)>;

/// Computes and stores what is left. Returns whether all is done; a signal stops it before.
/// `checkpoints` receives what had to be known for it.
fn compute(
    job: &InfluenceJob,
    tuned: &TunedRun,
    encoded: &EncodedRows,
    features: &Features,
    (dataset, run): (&Dataset, &InfluenceRun),
    progress: &mut Progress,
    checkpoints: &mut Option<Checkpoints>,
) -> Result<bool> {
    for group in encoded.rows.chunks(GROUP) {
        if group.iter().all(|row| run.stored.contains(&row.instance_id)) {
            progress.pass(group.len(), 0);
            continue;
        }
        let examples: Vec<&Example> = group.iter().map(|row| &row.example).collect();
        let known = match checkpoints.take() {
            Some(known) => known,
            None => match targets(job, tuned, encoded, features)? {
                Some(known) => known,
                None => return Ok(false),
            },
        };
        let known = checkpoints.insert(known);
        let Some(values) = features.influence(&examples, known) else {
            return Ok(false);
        };
        let tokens: usize = examples.iter().map(|example| example.ids.len()).sum();
        let of = group.iter().zip(values);
        let of: Result<Vec<InstanceInfluence>> = of
            .map(|(row, values)| influence_of(row.instance_id, &row.example.id, &values, encoded))
            .collect();
        dataset.add(run, &of?)?;
        progress.pass(group.len(), tokens * known.len());
    }
    Ok(true)
}

/// Reads the checkpoints, and computes the held-out tasks at each. Returns none if a signal asked
/// to stop.
fn targets(
    job: &InfluenceJob,
    tuned: &TunedRun,
    encoded: &EncodedRows,
    features: &Features,
) -> Result<Option<Checkpoints>> {
    let mut known = Vec::new();
    for checkpoint in &tuned.checkpoints {
        let optimizer = tuned.settings.formats.optimizer;
        let state = features.model.read(checkpoint, optimizer, job.direction)?;
        features.model.set(&state);
        let Some(targets) = features.targets(&encoded.held_out) else {
            return Ok(None);
        };
        known.push((state, targets));
    }
    Ok(Some(known))
}

/// Returns what the projection does to the influences; none without a projection, or if a signal
/// asked to stop. `known` is what was computed of the held-out tasks, if anything was.
fn noise(
    job: &InfluenceJob,
    tuned: &TunedRun,
    encoded: &EncodedRows,
    features: &Features,
    known: Option<Checkpoints>,
) -> Result<Option<ProjectionNoise>> {
    if job.dimensions == 0 {
        return Ok(None);
    }
    let known = match known {
        Some(known) => Some(known),
        None => targets(job, tuned, encoded, features)?,
    };
    Ok(known.map(|known| {
        let deviation = features::deviation(&known, job.dimensions);
        ProjectionNoise::of(job.dimensions, deviation, encoded.rows.len())
    }))
}

/// Makes what is stored of a row, from its influence on each held-out task.
fn influence_of(
    instance_id: i64,
    name: &str,
    values: &[f32],
    encoded: &EncodedRows,
) -> Result<InstanceInfluence> {
    let value = values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64;
    if !value.is_finite() {
        bail!(
            "{name}: its influence is {value}: a gradient is no finite number\nhint: the weights of the run may be damaged, \
             or have diverged: metrics.jsonl in the run's folder shows its loss"
        );
    }
    let named = encoded.held_out.iter().zip(values);
    let mut on: Vec<(i64, f64)> = named
        .filter_map(|(task, &value)| Some((task.task_id?, f64::from(value))))
        .collect();
    // Of equal ones the first task.
    on.sort_by(|(a, x), (b, y)| y.total_cmp(x).then(a.cmp(b)));
    let helped = on.iter().take(STRONGEST).filter(|(_, value)| *value > 0.0);
    let hurt = on.iter().rev().take(STRONGEST).filter(|(_, value)| *value < 0.0);
    Ok(InstanceInfluence {
        instance_id,
        value,
        on: helped.chain(hurt).copied().collect(),
    })
}
