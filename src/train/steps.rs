//! The steps of a run: training, evaluation, metrics and checkpoints.

use super::fit::free;
use super::guard::Guard;
use super::interrupt::Interrupt;
use super::prepare::Run;
use super::shards::step::StepPlan;
use super::speed::{FlopCounter, PeakRate, wait_for};
use super::step_log::{StepLog, Written};
use super::trainer::StepOutcome;
use crate::shim::memory;
use crate::train::data::dataset::Example;
use crate::train::data::deal;
use crate::train::data::micro_batch::{self, MicroBatch};
use crate::train::out::checkpoint::{Best, State};
use crate::train::out::files;
use crate::train::out::metrics::StepMetrics;
use crate::train::out::snapshot::Snapshot;
use crate::train::out::writer::writes_behind;
use anyhow::{Result, bail};
use ewe::finetune::Method;
use ewe::job::train::TrainJob;
use ewe::text::format_size;
use std::time::Instant;
use tch::Device;

/// Skipped steps in a row that end a run.
const MOST_SKIPPED: u32 = 3;
/// Micro-batches of a rank that are evaluated while a block is whole.
const AT_ONCE: usize = 4;

/// How the steps ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// After this many steps there were no more, or early stopping ended the run.
    Done(u64),
    /// A signal asked to stop after this many steps; they are in a checkpoint.
    Stopped(u64),
}

impl Run {
    /// Runs the steps that are left. `peak` is the rate of the device's products.
    pub fn steps(&mut self, job: &TrainJob, quiet: bool, mut peak: PeakRate) -> Result<End> {
        let kept = "a checkpoint is saved, from which --resume goes on";
        let interrupt = Interrupt::listen(self.ranks.is_first().then_some(kept))?;
        let total = self.settings.schedule.total;
        let flops = FlopCounter::of(self.trainer.model.as_mut(), self.settings.method == Method::Full);
        let mut log = StepLog::begin(self, job, quiet)?;
        let mut eval_before = match self.done {
            0 => self.evaluate()?,
            _ => None,
        };
        let mut done = self.done;
        for step in self.done..total {
            let Some(mut line) = self.measured_step(step, (&flops, &mut peak), &mut log, &interrupt)? else {
                log.progress.finish();
                self.checkpoint(step, log.written.as_mut())?;
                if let Some(written) = &mut log.written {
                    self.ranks.alone_with(|| written.writer.wait())?;
                }
                return Ok(End::Stopped(step));
            };
            let is_best = self.evaluated(&mut line)?;
            line.eval_loss_before = eval_before.take();
            log.curve.add(&line);
            done = step + 1;
            log.progress.set(done, &line.message());
            if let Some(written) = &mut log.written {
                written.append(&line)?;
            }
            if log.skipped_in_a_row == MOST_SKIPPED {
                log.progress.finish();
                return Err(self.refused(step, log.written.as_mut()));
            }
            let is_kept = self.checkpoints.keep(done);
            let is_due = |written: &Written| done < total && written.is_save_due(done);
            if is_best || is_kept || self.any_says(log.written.as_ref().is_some_and(is_due))? {
                self.checkpoint(done, log.written.as_mut())?;
            }
            if self.settings.early_stop > 0 && self.state.evaluations_since >= self.settings.early_stop {
                let best = self.state.best.as_ref().map_or(0, |best| best.step);
                super::say(
                    quiet,
                    &format!("stopped early: nothing has been better than step {best}"),
                );
                break;
            }
        }
        log.progress.finish();
        if let Some(written) = &mut log.written {
            self.ranks.alone_with(|| written.finish())?;
        }
        self.curve = log.curve;
        Ok(End::Done(done))
    }

    /// Runs one optimizer step and measures it, by the operations that it needs and the device's
    /// rate of them. Returns its metrics, none if a signal asked to stop.
    fn measured_step(
        &mut self,
        step: u64,
        (flops, peak_rate): (&FlopCounter, &mut PeakRate),
        log: &mut StepLog,
        interrupt: &Interrupt,
    ) -> Result<Option<StepMetrics>> {
        let begun = Instant::now();
        let members = self.settings.sampler().step(step, self.encoded.train.len());
        let (examples, ranks) = (&self.encoded.train, &self.ranks);
        let own = deal::deal(examples, &members, ranks.size).swap_remove(ranks.rank);
        let micro_batches = micro_batch::pack(examples, &own, self.settings.limits());
        let (before, update_time) = (log.memory.allocated(self.device), self.trainer.update_time);
        let (ended, peak) = log.surplus.during(|| {
            memory::peak_of(self.device, || {
                self.step(step, &members, &micro_batches, &log.guard, interrupt)
            })
        });
        let Some((loss, update)) = ended? else {
            return Ok(None);
        };
        let mut line = self.line(step, &members, begun.elapsed().as_secs_f64());
        // Of this rank: its part of the step, by the rate of its device.
        let work: f64 = micro_batches
            .iter()
            .map(|micro_batch| flops.count(micro_batch))
            .sum();
        line.mfu = peak_rate.share(work * line.tokens_per_s / line.tokens as f64);
        line.loss = loss.is_finite().then_some(loss);
        line.update_s = (self.trainer.update_time - update_time).as_secs_f64();
        line.memory = before.zip(peak).map(|(before, peak)| before + peak);
        if let Some(gpu) = &log.gpu {
            let peak = line.memory;
            gpu.fill(&mut line, peak);
        }
        line.resident = log.surplus.give_back();
        if let Some(rank) = &mut log.rank {
            rank.step(&line, begun.elapsed().as_secs_f64())?;
        }
        self.note(&mut line, loss, update, &members, log)?;
        Ok(Some(line))
    }

    /// Runs one optimizer step over `members`, of which this rank computes `micro_batches`. Returns
    /// its mean loss and its result, none if a signal asked any rank to stop.
    fn step(
        &mut self,
        step: u64,
        members: &[usize],
        micro_batches: &[MicroBatch],
        guard: &Guard,
        interrupt: &Interrupt,
    ) -> Result<Option<(f64, StepOutcome)>> {
        let examples = members.iter().map(|&index| &self.encoded.train[index]);
        let targets: usize = examples.map(Example::target_count).sum();
        let (rate, clip) = (self.settings.schedule.rate(step), self.settings.clip);
        let seed = super::draw(self.settings.seed, "dropout", step);
        let seeded: Vec<(&MicroBatch, i64)> = micro_batches
            .iter()
            .map(|micro_batch| (micro_batch, seed))
            .collect();
        if self.settings.neftune.is_some() {
            self.trainer.step_lengths = micro_batch::longest(&self.encoded.train, members);
        }
        let refuses = |nll: f64, norm: Option<f64>| guard.refuses(targets, nll / targets as f64, norm);
        if self.ranks.division().is_some() {
            // It cannot be stopped halfway.
            if self.any_says(interrupt.asked())? {
                return Ok(None);
            }
            return match self.trainer.lora {
                Some(_) => self.divided_adapter_step(step, (targets, &seeded), &refuses),
                None => self.divided_step(step, (targets, &seeded), &refuses),
            };
        }
        if self.settings.formats.update_in_backward {
            // Such a step cannot be stopped halfway.
            if interrupt.asked() {
                return Ok(None);
            }
            let (nll, update) = self
                .trainer
                .update_in_backward_pass(&seeded, targets, rate, clip, &refuses);
            // Updates lie between backward passes, so their own time stays that of launching.
            wait_for(self.device);
            return Ok(Some((nll / targets as f64, update)));
        }
        let (mut nll, mut stopped) = (0.0, interrupt.asked());
        for (index, (micro_batch, seed)) in seeded.into_iter().enumerate() {
            if stopped || !f64::is_finite(nll) {
                break;
            }
            nll +=
                self.trainer
                    .forward_backward(micro_batch, targets, index + 1 == micro_batches.len(), seed);
            stopped = interrupt.asked() && index + 1 < micro_batches.len();
        }
        let Some(nll) = self.added_up(nll, stopped)? else {
            self.trainer.forget();
            return Ok(None);
        };
        let update = self.trainer.update(rate, clip, &|norm| refuses(nll, Some(norm)));
        // Reading the norms waited for the backward pass, so what a GPU has left to do is the
        // update. One wait a step costs the time in which the host packs and launches the next one,
        // about a millisecond.
        self.trainer.update_time += wait_for(self.device);
        Ok(Some((nll / targets as f64, update)))
    }

    /// As [`Run::step`], if ranks divide the parameters.
    fn divided_step(
        &mut self,
        step: u64,
        (targets, micro_batches): (usize, &[(&MicroBatch, i64)]),
        refuses: &dyn Fn(f64, Option<f64>) -> Option<String>,
    ) -> Result<Option<(f64, StepOutcome)>> {
        let plan = StepPlan {
            targets,
            rate: self.settings.schedule.rate(step),
            clip: self.settings.clip,
            in_backward: self.settings.formats.update_in_backward,
            refuses,
        };
        let (nll, update) = self.trainer.divided_step(&self.ranks, micro_batches, &plan)?;
        self.trainer.update_time += wait_for(self.device);
        Ok(Some((nll / targets as f64, update)))
    }

    /// As [`Run::divided_step`], if ranks divide the model below an adapter.
    fn divided_adapter_step(
        &mut self,
        step: u64,
        (targets, micro_batches): (usize, &[(&MicroBatch, i64)]),
        refuses: &dyn Fn(f64, Option<f64>) -> Option<String>,
    ) -> Result<Option<(f64, StepOutcome)>> {
        let own = self
            .trainer
            .divided_adapter_pass(&self.ranks, micro_batches, targets)?;
        let Some(nll) = self.added_up(own, false)? else {
            return Ok(None);
        };
        let (rate, clip) = (self.settings.schedule.rate(step), self.settings.clip);
        let update = self.trainer.update(rate, clip, &|norm| refuses(nll, Some(norm)));
        self.trainer.update_time += wait_for(self.device);
        Ok(Some((nll / targets as f64, update)))
    }

    /// Whether ranks divide what is trained: an adapter they do not.
    pub(super) fn divides_trained(&self) -> bool {
        self.ranks.division().is_some() && self.trainer.lora.is_none()
    }

    /// Returns the negative log-likelihood of the whole step, summed over all ranks, and leaves the
    /// summed gradients in the trainer; none if any rank was stopped.
    fn added_up(&mut self, nll: f64, stopped: bool) -> Result<Option<f64>> {
        let ranks = &self.ranks;
        let mut numbers = vec![0.0; ranks.size + 1];
        (numbers[0], numbers[1 + ranks.rank]) = (f64::from(u8::from(stopped)), nll);
        let sums = ranks.sums(&numbers)?;
        if sums[0] > 0.0 {
            return Ok(None);
        }
        let nll: f64 = sums[1..].iter().sum();
        if nll.is_finite() {
            self.trainer.add_up(ranks)?;
        }
        Ok(Some(nll))
    }

    /// Returns the metrics of a step, without its result.
    fn line(&self, step: u64, members: &[usize], seconds: f64) -> StepMetrics {
        let examples = members.iter().map(|&index| &self.encoded.train[index]);
        let tokens = examples.clone().map(|example| example.ids.len()).sum();
        StepMetrics {
            step: step + 1,
            lr: self.settings.schedule.rate(step),
            target_tokens: examples.map(Example::target_count).sum(),
            tokens,
            tokens_per_s: tokens as f64 / seconds,
            ..Default::default()
        }
    }

    /// Records the result of a step.
    fn note(
        &self,
        line: &mut StepMetrics,
        loss: f64,
        update: StepOutcome,
        members: &[usize],
        log: &mut StepLog,
    ) -> Result<()> {
        match update {
            StepOutcome::Updated(norm) => {
                line.grad_norm = Some(norm);
                log.guard.accept(line.target_tokens, loss, norm);
                log.skipped_in_a_row = 0;
            }
            StepOutcome::Partial => bail!(
                "a gradient of step {} is not finite, and with --update-in-backward and no --clip other weights had been \
                 updated already{}\nhint: go on from the last checkpoint with --resume; --clip measures before any update",
                line.step,
                self.last_checkpoint(log.written.as_mut())
            ),
            StepOutcome::Refused(why) => {
                let row = |&index: &usize| self.encoded.train[index].id.clone();
                line.rows = members.iter().map(row).collect();
                log.progress.say(&format!("step {} skipped: {why}", line.step));
                line.skipped = Some(why);
                log.skipped_in_a_row += 1;
            }
        }
        Ok(())
    }

    /// Evaluates if it is due after the step of `line`. Returns whether it is the best so far and
    /// its checkpoint is to be kept.
    fn evaluated(&mut self, line: &mut StepMetrics) -> Result<bool> {
        let every = match self.settings.eval_every {
            0 => self.settings.sampler().steps_per_epoch(self.encoded.train.len()),
            every => every,
        };
        if line.step != self.settings.schedule.total && !line.step.is_multiple_of(every) {
            return Ok(false);
        }
        line.eval_loss = self.evaluate()?;
        line.eval_perplexity = line.eval_loss.map(f64::exp);
        let Some(loss) = line.eval_loss else {
            return Ok(false);
        };
        if self.state.best.as_ref().is_some_and(|best| loss >= best.loss) {
            self.state.evaluations_since += 1;
            return Ok(false);
        }
        self.state.evaluations_since = 0;
        self.state.best = Some(Best {
            step: line.step,
            loss,
        });
        Ok(self.settings.keep_best)
    }

    /// Returns the mean negative log-likelihood of the held-out targets; none if nothing is held
    /// out. Every rank computes some of the micro-batches, and the sum goes over all in order: it
    /// does not depend on the number of ranks.
    fn evaluate(&mut self) -> Result<Option<f64>> {
        let members: Vec<usize> = (0..self.encoded.eval.len()).collect();
        let micro_batches = micro_batch::pack(&self.encoded.eval, &members, self.settings.limits());
        let targets: usize = micro_batches
            .iter()
            .map(|micro_batch| micro_batch.target_n.len())
            .sum();
        if targets == 0 {
            return Ok(None);
        }
        let (rank, ranks) = (self.ranks.rank, self.ranks.size);
        if self.ranks.division().is_some() {
            return Ok(Some(self.evaluate_divided(&micro_batches)? / targets as f64));
        }
        let own = |number: usize| number % ranks == rank;
        let each = micro_batches.iter().enumerate().map(|(number, micro_batch)| {
            if own(number) {
                self.trainer.evaluate(micro_batch)
            } else {
                0.0
            }
        });
        let each: Vec<f64> = each.collect();
        let nll: f64 = self.ranks.sums(&each)?.into_iter().sum();
        Ok(Some(nll / targets as f64))
    }

    /// Returns the negative log-likelihood of all `micro_batches`, of which each rank computes
    /// some, a few in each round: all ranks gather as often.
    fn evaluate_divided(&mut self, micro_batches: &[MicroBatch]) -> Result<f64> {
        let (rank, ranks) = (self.ranks.rank, self.ranks.size);
        let mut each = vec![0.0; micro_batches.len()];
        for (round, some) in micro_batches.chunks(AT_ONCE * ranks).enumerate() {
            let own: Vec<usize> = (rank..some.len()).step_by(ranks).collect();
            let list: Vec<&MicroBatch> = own.iter().map(|&at| &some[at]).collect();
            let nll = self.trainer.evaluate_divided(&self.ranks, &list)?;
            for (at, nll) in own.into_iter().zip(nll) {
                each[round * AT_ONCE * ranks + at] = nll;
            }
        }
        Ok(self.ranks.sums(&each)?.into_iter().sum())
    }

    /// Returns whether any rank says so, if all have a part in what follows; otherwise whether this
    /// one does.
    fn any_says(&self, so: bool) -> Result<bool> {
        match self.ranks.division() {
            None => Ok(so),
            Some(_) => Ok(self.ranks.sums(&[f64::from(u8::from(so))])?[0] > 0.0),
        }
    }

    /// Saves a checkpoint: the first rank, or all together if they divide the state.
    fn checkpoint(&self, done: u64, written: Option<&mut Written>) -> Result<()> {
        let state = State {
            step: done,
            ..self.state.clone()
        };
        if let Some(written) = &written {
            written.metrics.sync()?;
        }
        if self.divides_trained() {
            let own = self.trainer.own_state();
            let shapes = || self.trainer.state_shapes();
            self.checkpoints.save_divided(&self.ranks, &state, &own, shapes)?;
        }
        let Some(written) = written else { return Ok(()) };
        if !self.divides_trained() {
            self.ranks
                .alone_with(|| written.writer.save(state, &self.trainer.state()))?;
        }
        written.interval.saved(written.begun.elapsed());
        Ok(())
    }

    /// Returns an empty snapshot if checkpoints are to be written while training goes on. Says so
    /// if the host of a GPU has no memory for that.
    pub(super) fn snapshot(&self, quiet: bool) -> Option<Snapshot> {
        if !self.device.is_cuda() || self.divides_trained() {
            return None;
        }
        let state = self.trainer.state();
        let bytes = files::bytes(&state);
        let largest = state.chunks(1).map(files::bytes).max().unwrap_or(0);
        if writes_behind(self.device, bytes, largest, free(Device::Cpu)) {
            return Some(Snapshot::new(self.device));
        }
        super::say(
            quiet,
            &format!(
                "this machine has too little memory for a copy of {}: each checkpoint stops training until it is written",
                format_size(bytes)
            ),
        );
        None
    }

    /// Returns the error of a run whose steps were skipped too often in a row.
    fn refused(&self, step: u64, written: Option<&mut Written>) -> anyhow::Error {
        anyhow::anyhow!(
            "{MOST_SKIPPED} steps in a row were refused, up to step {}{}\nhint: metrics.jsonl says why and names the rows; take them \
             out, or go on with --resume --allow-changes and a lower --lr or --precision fp32",
            step + 1,
            self.last_checkpoint(written)
        )
    }

    /// Returns where to continue from, as the end of a sentence.
    fn last_checkpoint(&self, written: Option<&mut Written>) -> String {
        if let Some(Err(error)) = written.map(|written| written.writer.wait()) {
            tracing::warn!("{error:#}");
        }
        match self.checkpoints.last() {
            Ok(Some((_, state))) => format!("; the last checkpoint is the one after step {}", state.step),
            _ => "; there is no checkpoint yet".to_owned(),
        }
    }
}
