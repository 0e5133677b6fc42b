//! The steps of a run: what is learnt, refused, evaluated, noted and saved on the way.

use super::guard::Guard;
use super::interrupt::Interrupt;
use super::prepare::Run;
use super::speed::Work;
use super::trainer::Update;
use crate::shim::memory;
use crate::train::data::dataset::Example;
use crate::train::data::micro_batch::{self, MicroBatch};
use crate::train::out::checkpoint::{Best, State};
use crate::train::out::events::EventFile;
use crate::train::out::metrics::{MetricsFile, StepMetrics};
use anyhow::{Result, bail};
use ewe::cli::models::train::{Args, Method};
use ewe::progress::Progress;
use std::time::Instant;

/// Steps in a row that may be refused.
const MOST_SKIPPED: u32 = 3;

/// How the steps ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// So many had been done when there were no more, or no more worth it.
    Done(u64),
    /// Somebody asked to stop after so many; they are in a checkpoint.
    Stopped(u64),
}

/// What a run writes to while it goes on.
struct Notes {
    metrics: MetricsFile,
    events: EventFile,
    progress: Progress,
    guard: Guard,
    skipped_in_a_row: u32,
    surplus: memory::Surplus,
}

impl Run {
    /// Does the steps that are left.
    pub fn steps(&mut self, args: &Args, quiet: bool, ceiling: f64) -> Result<End> {
        let interrupt = Interrupt::listen()?;
        let total = self.settings.schedule.total;
        let work = Work::of(self.trainer.model.as_mut(), self.settings.method == Method::Full);
        let (metrics, past) = MetricsFile::open(&args.out, self.done)?;
        let mut notes = Notes {
            metrics,
            events: EventFile::begin(&args.out, self.done)?,
            guard: Guard::new(self.settings.guard, &past),
            skipped_in_a_row: past.iter().rev().take_while(|of| of.skipped.is_some()).count() as u32,
            progress: Progress::new("train", "step", self.done, total, quiet),
            surplus: memory::Surplus::watch(),
        };
        let mut eval_before = if self.done == 0 { self.evaluate() } else { None };
        let save_every = args.save_every.unwrap_or(match self.settings.method {
            Method::Lora => (total / 10).clamp(1, 100),
            Method::Full => 100,
        });
        let mut done = self.done;
        for step in self.done..total {
            let begun = Instant::now();
            let members = self.settings.dealing().step(step, self.encoded.train.len());
            let pieces = micro_batch::pack(&self.encoded.train, &members, self.settings.limits());
            let (before, updating) = (memory::allocated(self.device), self.trainer.updating);
            let (ended, peak) = notes.surplus.during(|| {
                memory::peak_of(self.device, || self.step(step, &pieces, &notes.guard, &interrupt))
            });
            let Some((loss, update)) = ended else {
                notes.progress.finish();
                self.checkpoint(step, &notes.metrics)?;
                return Ok(End::Stopped(step));
            };
            let mut line = self.line(step, &members, begun.elapsed().as_secs_f64());
            line.mfu = line.tokens_per_s / line.tokens as f64
                * pieces.iter().map(|piece| work.flops(piece)).sum::<f64>()
                / ceiling;
            line.loss = loss.is_finite().then_some(loss);
            line.update_s = (self.trainer.updating - updating).as_secs_f64();
            line.memory = before.zip(peak).map(|(before, peak)| before + peak);
            line.resident = notes.surplus.give_back();
            self.note(&mut line, loss, update, &members, &mut notes)?;
            let is_best = self.evaluated(&mut line);
            line.eval_loss_before = eval_before.take();
            notes.metrics.append(&line)?;
            notes.events.append(&line)?;
            done = step + 1;
            notes.progress.set(done, &line.message());
            if notes.skipped_in_a_row == MOST_SKIPPED {
                notes.progress.finish();
                return Err(self.refused(step));
            }
            let last = step + 1 == total;
            if is_best || (save_every > 0 && (step + 1).is_multiple_of(save_every) && !last) {
                self.checkpoint(step + 1, &notes.metrics)?;
            }
            if self.settings.early_stop > 0 && self.state.evaluations_since >= self.settings.early_stop {
                let best = self.state.best.as_ref().map_or(0, |best| best.step);
                super::run::say(
                    quiet,
                    &format!("stopped early: nothing has been better than step {best}"),
                );
                break;
            }
        }
        notes.progress.finish();
        notes.metrics.sync()?;
        Ok(End::Done(done))
    }

    /// One optimizer step: its mean loss and what became of it. None when somebody asked to stop meanwhile.
    fn step(
        &mut self,
        step: u64,
        pieces: &[MicroBatch],
        guard: &Guard,
        interrupt: &Interrupt,
    ) -> Option<(f64, Update)> {
        // Where weights move within the step, there is no other clean place.
        if interrupt.asked() {
            return None;
        }
        let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
        let (rate, clip) = (self.settings.schedule.rate(step), self.settings.clip);
        let seed = |index: usize| super::draw(self.settings.seed, "dropout", (step << 20) + index as u64);
        let seeded: Vec<(&MicroBatch, i64)> = pieces
            .iter()
            .enumerate()
            .map(|(index, piece)| (piece, seed(index)))
            .collect();
        let refuses = |nll: f64, norm: Option<f64>| guard.refuses(nll / targets as f64, norm);
        if self.settings.update_in_backward {
            let (nll, update) = self
                .trainer
                .learn_and_update(&seeded, targets, rate, clip, &refuses);
            return Some((nll / targets as f64, update));
        }
        let mut nll = 0.0;
        for (index, (piece, seed)) in seeded.into_iter().enumerate() {
            if interrupt.asked() {
                self.trainer.forget();
                return None;
            }
            nll += self
                .trainer
                .learn(piece, targets, index + 1 == pieces.len(), seed);
            if !nll.is_finite() {
                break;
            }
        }
        let update = self.trainer.update(rate, clip, &|norm| refuses(nll, Some(norm)));
        Some((nll / targets as f64, update))
    }

    /// The line of a step, but for what became of it.
    fn line(&self, step: u64, members: &[usize], seconds: f64) -> StepMetrics {
        let examples = members.iter().map(|&index| &self.encoded.train[index]);
        let tokens = examples.clone().map(|example| example.ids.len()).sum();
        StepMetrics {
            step: step + 1,
            lr: self.settings.schedule.rate(step),
            target_tokens: examples.map(Example::targets).sum(),
            tokens,
            tokens_per_s: tokens as f64 / seconds,
            ..Default::default()
        }
    }

    /// Notes what became of a step.
    fn note(
        &self,
        line: &mut StepMetrics,
        loss: f64,
        update: Update,
        members: &[usize],
        notes: &mut Notes,
    ) -> Result<()> {
        match update {
            Update::Done(norm) => {
                line.grad_norm = Some(norm);
                notes.guard.accept(loss, norm);
                notes.skipped_in_a_row = 0;
            }
            Update::Torn => bail!(
                "a gradient of step {} is not finite, and with --update-in-backward and no --clip other weights had moved \
                 already{}\nhint: go on from the last checkpoint with --resume; --clip measures before anything moves",
                line.step,
                self.last_checkpoint()
            ),
            Update::Refused(why) => {
                let row = |&index: &usize| self.encoded.train[index].id.clone();
                line.rows = members.iter().map(row).collect();
                notes.progress.say(&format!("step {} skipped: {why}", line.step));
                line.skipped = Some(why);
                notes.skipped_in_a_row += 1;
            }
        }
        Ok(())
    }

    /// Evaluates where it is due after the step of `line`; whether nothing was better yet and its checkpoint is to be kept.
    fn evaluated(&mut self, line: &mut StepMetrics) -> bool {
        let every = match self.settings.eval_every {
            0 => self.settings.dealing().steps_per_epoch(self.encoded.train.len()),
            every => every,
        };
        if line.step != self.settings.schedule.total && !line.step.is_multiple_of(every) {
            return false;
        }
        line.eval_loss = self.evaluate();
        line.eval_perplexity = line.eval_loss.map(f64::exp);
        let Some(loss) = line.eval_loss else { return false };
        if self.state.best.as_ref().is_some_and(|best| loss >= best.loss) {
            self.state.evaluations_since += 1;
            return false;
        }
        self.state.evaluations_since = 0;
        self.state.best = Some(Best {
            step: line.step,
            loss,
        });
        self.settings.keep_best
    }

    /// Mean negative log-likelihood over the held-out targets; none when nothing is held out.
    fn evaluate(&mut self) -> Option<f64> {
        let members: Vec<usize> = (0..self.encoded.eval.len()).collect();
        let pieces = micro_batch::pack(&self.encoded.eval, &members, self.settings.limits());
        let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
        let nll: f64 = pieces.iter().map(|piece| self.trainer.evaluate(piece)).sum();
        (targets > 0).then(|| nll / targets as f64)
    }

    fn checkpoint(&self, done: u64, metrics: &MetricsFile) -> Result<()> {
        metrics.sync()?;
        let state = State {
            step: done,
            ..self.state.clone()
        };
        self.checkpoints.save(&state, &self.trainer.state())?;
        Ok(())
    }

    /// The end of a run whose steps are refused one after the other.
    fn refused(&self, step: u64) -> anyhow::Error {
        anyhow::anyhow!(
            "{MOST_SKIPPED} steps in a row were refused, up to step {}{}\nhint: metrics.jsonl says why and names the rows; take them \
             out, or go on with --resume --allow-changes and a lower --lr or --precision fp32",
            step + 1,
            self.last_checkpoint()
        )
    }

    /// `; …` where to go on from.
    fn last_checkpoint(&self) -> String {
        match self.checkpoints.last() {
            Ok(Some((_, state))) => format!("; the last checkpoint is the one after step {}", state.step),
            _ => "; there is no checkpoint yet".to_owned(),
        }
    }
}
