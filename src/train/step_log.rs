//! What a run knows and writes while its steps proceed.

use super::conclusion::HeldOutCurve;
use super::guard::Guard;
use super::prepare::Run;
use super::speed::GpuFigures;
use crate::shim::memory;
use crate::train::out::events::EventFile;
use crate::train::out::metrics::{MetricsFile, StepMetrics};
use crate::train::out::rank_log::RankLog;
use crate::train::out::save_interval::SaveInterval;
use crate::train::out::writer::CheckpointWriter;
use anyhow::Result;
use ewe::job::train::TrainJob;
use ewe::progress::ProgressMeter;
use std::time::Instant;

/// What a run knows of its steps.
pub(super) struct StepLog {
    /// None except on the first of several ranks.
    pub(super) written: Option<Written>,
    /// None if there is one rank.
    pub(super) rank: Option<RankLog>,
    pub(super) progress: ProgressMeter,
    pub(super) curve: HeldOutCurve,
    pub(super) guard: Guard,
    pub(super) skipped_in_a_row: u32,
    pub(super) surplus: memory::Surplus,
    pub(super) memory: memory::Baseline,
    pub(super) gpu: Option<GpuFigures>,
}

/// What a run writes while it proceeds: metrics, and checkpoints when they are due.
pub(super) struct Written {
    pub(super) metrics: MetricsFile,
    events: EventFile,
    pub(super) writer: CheckpointWriter,
    pub(super) interval: SaveInterval,
    /// When the first step of this process began.
    pub(super) begun: Instant,
}

impl Written {
    fn begin(run: &Run, job: &TrainJob, metrics: MetricsFile, quiet: bool) -> Result<Written> {
        let settings = &run.settings;
        let epoch = settings.sampler().steps_per_epoch(run.encoded.train.len());
        Ok(Written {
            metrics,
            events: EventFile::begin(&job.out, run.done)?,
            writer: CheckpointWriter::new(run.checkpoints.clone(), run.snapshot(quiet)),
            interval: SaveInterval::resolve(
                job.save_every,
                settings.method,
                settings.schedule.total,
                epoch,
                run.device.is_cuda(),
            ),
            begun: Instant::now(),
        })
    }

    /// Adds the metrics of a step. Fails if the last checkpoint could not be written.
    pub(super) fn append(&mut self, line: &StepMetrics) -> Result<()> {
        self.metrics.append(line)?;
        self.events.append(line)?;
        self.writer.check()
    }

    /// Whether a checkpoint is due after `done` steps.
    pub(super) fn is_save_due(&self, done: u64) -> bool {
        self.interval.is_due(done, self.begun.elapsed())
    }

    /// Waits until everything is on the disk.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.metrics.sync()?;
        self.writer.wait()
    }
}

impl StepLog {
    /// Opens what a run writes, after the steps that it did already.
    pub(super) fn begin(run: &Run, job: &TrainJob, quiet: bool) -> Result<StepLog> {
        let (settings, total) = (&run.settings, run.settings.schedule.total);
        let (written, past) = match run.ranks.is_first() {
            true => {
                let (metrics, past) = MetricsFile::open(&job.out, run.done)?;
                (Some(Written::begin(run, job, metrics, quiet)?), past)
            }
            false => (None, MetricsFile::past(&job.out, run.done)),
        };
        let estimate = run.heaviest.as_ref().and_then(|of| of.estimate.as_ref());
        let planned = estimate.map(|of| [run.before_weights + of.allocated(), of.total]);
        Ok(StepLog {
            written,
            rank: RankLog::begin(&job.out, &run.ranks, run.done, planned)?,
            curve: match run.has_same_rows {
                true => HeldOutCurve::of(&past),
                false => HeldOutCurve::default(),
            },
            guard: Guard::new(settings.guard, &past),
            skipped_in_a_row: past.iter().rev().take_while(|of| of.skipped.is_some()).count() as u32,
            progress: ProgressMeter::new("train", "step", run.done, total, quiet),
            surplus: memory::Surplus::watch(),
            memory: memory::Baseline::now(),
            gpu: GpuFigures::of(run.device),
        })
    }
}
