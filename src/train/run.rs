//! `ewe train`, from its job to its result.

use super::conclusion::{self, next_commands};
use super::fit::Heaviest;
use super::guard::Guard;
use super::plan::estimate::MemoryEstimate;
use super::plan::heaviest::Demand;
use super::prepare::{Run, only_rows, prepare};
use super::say;
use super::settings::Settings;
use super::shards;
use super::speed::{self, PeakRate};
use super::steps::End;
use super::trainer::StepOutcome;
use crate::distributed::group::{self, Ranks};
use crate::model::device;
use crate::model::fault;
use crate::model::out_of_memory::{Stage, explained};
use crate::shim::memory;
use crate::train::data::shown::Shown;
use crate::train::out::checkpoint::Checkpoints;
use crate::train::out::finished;
use crate::train::out::{OutFolder, RECORD, files, is_run, repeat, save};
use anyhow::{Context, Result, bail};
use ewe::atomic_file::scratch::ScratchFolder;
use ewe::finetune::{LoraSettings, Quantize};
use ewe::job::train::{Shard, TrainJob};
use ewe::leave::INTERRUPTED;
use ewe::progress::clock;
use ewe::ranks::place::Place;
use ewe::store::RunStatus;
use ewe::text::{counted, format_size};
use std::time::{Duration, Instant};

/// Runs `ewe train`, as one of several processes if there is a `place` for it. Returns the exit
/// code. Must not be called from within an async runtime.
pub fn run(job: &TrainJob, place: Option<&Place>, quiet: bool) -> Result<u8> {
    Settings::check_master(job.formats.master)?;
    let (job, ranks) = joined(job, place)?;
    let job = &job;
    if let Some(count) = job.show_rows {
        return if ranks.is_first() {
            show_rows(job, count, quiet)
        } else {
            Ok(0)
        };
    }
    if job.resume && save::is_finished(&job.out) && is_run(&job.out) {
        finished::check(job)?;
        say(
            quiet,
            &format!("{} is finished: nothing is left to resume", job.out.display()),
        );
        if ranks.is_first() {
            print_result(job);
        }
        return Ok(0);
    }
    let _out = match (ranks.is_first(), job.resume) {
        (false, _) => None,
        (true, true) => Some(OutFolder::of_resumed(&job.out)?),
        (true, false) => Some(OutFolder::of_run(&job.out)?),
    };
    fault::caught(|| prepare(job, ranks, quiet))
        .map_err(|error| {
            explained(error, Stage::Loading, || {
                Some("`ewe plan` with the run's options says what takes less".to_owned())
            })
        })
        .and_then(|run| run.go(job, quiet))
}

/// Joins the other processes, if there are any, and returns the job as this one has it.
fn joined(job: &TrainJob, place: Option<&Place>) -> Result<(TrainJob, Ranks)> {
    let mut job = job.clone();
    let Some(place) = place else {
        parts(&job, 1)?;
        return Ok((job, Ranks::alone()));
    };
    group::end_with_launcher(place)?;
    job.device = device::of_rank(&job.device, place.local)?;
    let parts = parts(&job, place.size)?;
    if place.size > 1 && parts.is_none() && job.formats.update_in_backward {
        bail!(
            "--update-in-backward updates a block before the gradients of other ranks are there\nhint: --recompute, --shard all, or \
             one rank"
        );
    }
    if place.rank > 0 {
        job.write_nothing_left_out();
    }
    let mut ranks = match place.size {
        1 => Ranks::alone(),
        _ => Ranks::join(place, job.ranks.timeout)?,
    };
    if let Some(parts) = parts {
        ranks.divide(parts)?;
    }
    if place.restarts > 0 && is_run(&job.out) {
        job.resume = true;
    }
    // What rank 0 writes from here on must not be taken for what was there before.
    ranks.meet()?;
    Ok((job, ranks))
}

/// Returns into how many parts the model is divided, with `size` ranks; none if each has all of it.
fn parts(job: &TrainJob, size: usize) -> Result<Option<usize>> {
    let parts = match job.ranks.shard {
        None => return Ok(None),
        Some(Shard::All) => size,
        Some(Shard::Ranks(parts)) => parts,
    };
    if !size.is_multiple_of(parts) {
        bail!(
            "--shard {parts} cannot divide {} into replicas of {parts}\nhint: a divisor of the number of ranks, or --shard all",
            counted(size, "rank")
        );
    }
    Ok((parts > 1).then_some(parts))
}

impl Run {
    fn go(mut self, job: &TrainJob, quiet: bool) -> Result<u8> {
        if job.dry_run {
            if !self.ranks.is_first() {
                return Ok(0);
            }
            let tried = fault::caught(|| self.dry_run(job, quiet));
            return tried.map_err(|error| self.with_way_out(error, ""));
        }
        if self.ranks.is_first() {
            self.begin(job)?;
        }
        let resume = ", and with --resume --allow-changes the run goes on after its last checkpoint";
        let trained = fault::caught(|| self.train(job, quiet));
        let ending = trained.map_err(|error| self.with_way_out(error, resume));
        let status = match &ending {
            Ok(INTERRUPTED) => RunStatus::Interrupted,
            Ok(_) => RunStatus::Done,
            Err(_) => RunStatus::Failed,
        };
        // The error of the training matters more than one of recording its end.
        let noted = self.source.finish(status);
        let code = ending?;
        noted?;
        if code == 0 && self.ranks.is_first() {
            print_result(job);
        }
        Ok(code)
    }

    /// Writes the record of the run, the rows that were left out, and an entry in the dataset.
    fn begin(&mut self, job: &TrainJob) -> Result<()> {
        let model = job.model.display().to_string();
        let paths: Vec<String> = job
            .rows
            .paths()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        let rows = match &paths[..] {
            [path] => serde_json::json!(path),
            paths => serde_json::json!(paths),
        };
        let options = repeat::options(&self.settings, job);
        let record = serde_json::json!({
            "model": model,
            "rows": rows,
            "select": job.rows.selection(),
            "taken": self.source.taken,
            "took": self.source.taken.map(|taken| taken.to_string()),
            "evaluated_on": self.evaluated_on(job),
            "dataset": self.state.dataset,
            "examples": self.encoded.train.len(),
            "held_out": self.encoded.eval.len(),
            "left_out": self.encoded.left_out.len(),
            "settings": self.settings,
            "options": options.to_json(),
        });
        files::write_json(&job.out.join(RECORD), &record)?;
        repeat::write(&options, &job.out)?;
        let lines: Result<String, _> = self
            .encoded
            .left_out
            .iter()
            .map(|row| serde_json::to_string(row).map(|line| line + "\n"))
            .collect();
        files::write(&job.out.join("left_out.jsonl"), lines?.as_bytes())?;
        self.source.begin(&record, job.seed, &model, &job.out)
    }

    /// Returns what the evaluations are of, for the record: `held-out tasks`, a file, or a share of
    /// the rows; none if there are none.
    fn evaluated_on(&self, job: &TrainJob) -> Option<String> {
        (!self.encoded.eval.is_empty()).then(|| match (&job.eval_data, &self.source.rows.eval) {
            (Some(file), _) => file.path.display().to_string(),
            (None, Some(_)) => "held-out tasks".to_owned(),
            (None, None) => "a share of the rows".to_owned(),
        })
    }

    /// Adds to an error of memory that ran out which options take less, and how to resume.
    fn with_way_out(&self, error: anyhow::Error, resume: &str) -> anyhow::Error {
        explained(error, Stage::Training, || {
            let half = self.settings.micro_tokens / 2;
            let less = match self.settings.formats.recompute {
                false => format!("--micro-tokens {half} or --recompute takes"),
                true => format!("--micro-tokens {half} takes"),
            };
            Some(format!("{less} less{resume}; `ewe plan` says what else does"))
        })
    }

    fn train(&mut self, job: &TrainJob, quiet: bool) -> Result<u8> {
        let peak = PeakRate::measure(self.kind, self.device);
        let total = self.settings.schedule.total;
        say(quiet, &self.introduction(job, total, peak.get()));
        if self.ranks.is_first() {
            self.warn_of_space(job, quiet)?;
        }
        let begun = Instant::now();
        let done = match self.steps(job, quiet, peak)? {
            End::Done(done) => done,
            End::Stopped(done) => {
                say(
                    quiet,
                    &format!(
                        "stopped after step {done}; continue with the same command and --resume ({})",
                        job.out.display()
                    ),
                );
                self.ranks.meet()?;
                return Ok(INTERRUPTED);
            }
        };
        if self.divides_trained() {
            self.take_best(quiet)?;
            shards::saved::write(
                &mut self.trainer,
                &self.ranks,
                &self.base,
                &self.saved_template,
                &job.out,
            )?;
        } else if self.ranks.is_first() {
            self.save(job, quiet)?;
        }
        if self.ranks.is_first() {
            self.conclude(job, quiet, done - self.done, begun.elapsed());
        }
        self.ranks.meet()?;
        Ok(0)
    }

    /// Saves the result, for which other ranks wait.
    fn save(&mut self, job: &TrainJob, quiet: bool) -> Result<()> {
        let ranks = std::mem::replace(&mut self.ranks, Ranks::alone());
        let saved = ranks.alone_with(|| {
            self.take_best(quiet)?;
            save::write(&mut self.trainer, &self.base, &self.saved_template, &job.out)
        });
        self.ranks = ranks;
        saved
    }

    /// Restores the weights of the best checkpoint, if that is to be the result.
    fn take_best(&mut self, quiet: bool) -> Result<()> {
        let Some(best) = self.state.best.clone().filter(|_| self.settings.keep_best) else {
            return Ok(());
        };
        let place = self.checkpoints.place(best.step);
        Checkpoints::restore(&place, |take| self.trainer.restore(take))?;
        say(
            quiet,
            &format!(
                "the best was step {}, held out {:.3}: it is the result",
                best.step, best.loss
            ),
        );
        Ok(())
    }

    /// Warns before the first step if the disk will be full at the first checkpoint.
    fn warn_of_space(&self, job: &TrainJob, quiet: bool) -> Result<()> {
        // About: parts are equal, but for the gaps between parameters.
        let division = self.ranks.division().filter(|_| self.divides_trained());
        let parts = division.map_or(1, |of| of.parts as u64);
        let need = parts * files::bytes(&self.trainer.state()) + save::bytes(&self.trainer);
        let free = ewe::atomic_file::free(&job.out)?;
        if need > free {
            say(
                quiet,
                &format!(
                    "warning: a checkpoint and the result take {}, and {} are free at {}",
                    format_size(need),
                    format_size(free),
                    job.out.display()
                ),
            );
        }
        Ok(())
    }

    /// Runs a step with the heaviest micro-batch. Returns its summed negative log-likelihood and
    /// its result.
    fn run_heaviest(&mut self, heaviest: &Heaviest) -> (f64, StepOutcome) {
        let (rate, clip) = (self.settings.schedule.peak, self.settings.clip);
        let Demand { micro_batch, beside } = &heaviest.demand;
        let guard = Guard::new(0.0, &[]);
        if self.settings.formats.update_in_backward {
            let micro_batches: Vec<_> = [micro_batch]
                .into_iter()
                .chain(beside)
                .map(|micro_batch| (micro_batch, 0))
                .collect();
            let targets = micro_batches
                .iter()
                .map(|(micro_batch, _)| micro_batch.target_n.len())
                .sum();
            let refuses = |nll: f64, norm: Option<f64>| guard.refuses(targets, nll, norm);
            return self
                .trainer
                .update_in_backward_pass(&micro_batches, targets, rate, clip, &refuses);
        }
        let targets = micro_batch.target_n.len();
        if heaviest.cut {
            self.trainer.forward_backward(micro_batch, targets, false, 0);
        }
        let nll = self.trainer.forward_backward(micro_batch, targets, true, 0);
        let update = self
            .trainer
            .update(rate, clip, &|norm| guard.refuses(targets, nll, Some(norm)));
        (nll, update)
    }

    /// Runs the heaviest step and a save, in a folder that is removed afterwards.
    fn dry_run(&mut self, job: &TrainJob, quiet: bool) -> Result<u8> {
        let Some(heaviest) = self.heaviest.take() else {
            bail!("there are no rows");
        };
        let begun = Instant::now();
        let before = memory::allocated(self.device);
        let ((nll, update), peak) = memory::peak_of(self.device, || self.run_heaviest(&heaviest));
        if let StepOutcome::Refused(why) = update {
            bail!(
                "the largest micro-batch, with a loss of {nll:.3}, cannot be trained on: {why}\nhint: --precision fp32"
            );
        }
        speed::wait_for(self.device);
        let stepped = begun.elapsed();
        let dir = ScratchFolder::within(&job.out)
            .with_context(|| format!("cannot write into {}", job.out.display()))?;
        self.checkpoints = Checkpoints::of(dir.path());
        self.checkpoints.save(&self.state, &self.trainer.state())?;
        save::write(&mut self.trainer, &self.base, &self.saved_template, dir.path())?;
        drop(dir);
        let micro_batch = &heaviest.demand.micro_batch;
        say(
            quiet,
            &format!(
                "dry run: {}, {}; the largest micro-batch ({}, {}) took {:.1} s{}, a checkpoint and a save {:.1} s; nothing is kept",
                counted(self.encoded.train.len(), "example"),
                counted(self.settings.schedule.total, "step"),
                counted(micro_batch.members.len(), "example"),
                counted(micro_batch.id_t.len(), "token"),
                stepped.as_secs_f64(),
                before.zip(peak).map_or(String::new(), |(before, peak)| self
                    .compared(before + peak, heaviest.estimate.as_ref())),
                (begun.elapsed() - stepped).as_secs_f64()
            ),
        );
        if job.json {
            let tried = serde_json::json!({
                "out": job.out.to_string_lossy(),
                "dry_run": true,
                "examples": self.encoded.train.len(),
                "steps": self.settings.schedule.total,
            });
            println!("{}", ewe::streams::json::value(&tried));
        }
        Ok(0)
    }

    /// Returns ` and … of memory, … of the process`: allocated memory and, if it is the same
    /// memory, resident memory, each measured and as planned.
    fn compared(&self, peak: u64, estimate: Option<&MemoryEstimate>) -> String {
        let told = |bytes: u64, planned: Option<u64>| {
            let planned = planned.map_or(String::new(), |planned| {
                format!(" ({} were planned)", megabytes(planned))
            });
            (megabytes(bytes), planned)
        };
        let allocated = estimate.map(MemoryEstimate::allocated);
        let (taken, planned) = told(peak - self.before_weights.min(peak), allocated);
        let mut text = format!(" and {taken} of memory{planned}");
        if let Some(resident) = memory::resident().filter(|_| !self.device.is_cuda()) {
            let (taken, planned) = told(resident, estimate.map(|of| of.total));
            text += &format!(", {taken} of the process{planned}");
        }
        text
    }

    fn introduction(&self, job: &TrainJob, total: u64, ceiling: f64) -> String {
        let count: usize = self.trainer.trained.iter().map(|of| of.leaf.numel()).sum();
        let method = match &self.settings.lora {
            Some(LoraSettings {
                rank, alpha, dora, ..
            }) => {
                let kind = if *dora { "DoRA" } else { "LoRA" };
                let base = match self.settings.formats.quantize {
                    Some(Quantize::Nf4) => " on a base in 4 bits",
                    None => "",
                };
                format!("a {kind} of rank {rank}, alpha {alpha}{base}")
            }
            None => "every weight".to_owned(),
        };
        let tokens: usize = self.encoded.train.iter().map(|example| example.ids.len()).sum();
        format!(
            "{}: training {method} ({:.1}M numbers) on {}, {} each on average, {} held out; {} on {}{}, \
             whose matrix products reach {:.0} GFLOP/s",
            job.model.display(),
            count as f64 / 1e6,
            counted(self.encoded.train.len(), "example"),
            counted(tokens / self.encoded.train.len(), "token"),
            self.encoded.eval.len(),
            counted(total, "step"),
            match self.ranks.size {
                1 => String::new(),
                size => match self.ranks.division() {
                    None => format!("{}, this one on ", counted(size, "rank")),
                    Some(of) => format!(
                        "{}, {} of them for each replica, this one on ",
                        counted(size, "rank"),
                        of.parts
                    ),
                },
            },
            device::name(self.device),
            ceiling / 1e9
        )
    }

    fn conclude(&self, job: &TrainJob, quiet: bool, steps: u64, elapsed: Duration) {
        let what = if self.trainer.lora.is_some() {
            "adapter"
        } else {
            "model"
        };
        say(
            quiet,
            &format!(
                "{}: {what} saved after {} in {}",
                job.out.display(),
                counted(steps, "step"),
                clock(elapsed)
            ),
        );
        let best = self.state.best.as_ref().filter(|_| self.settings.keep_best);
        let lines = self.curve.conclusion(best.map(|best| best.step), |step| {
            Some(self.checkpoints.place(step)).filter(|place| place.is_dir())
        });
        let next = next_commands(job, self.settings.method, self.source.rows.eval.is_some());
        lines.iter().for_each(|line| say(quiet, line));
        if let Some(curve) = conclusion::draw_losses(&job.out) {
            say(quiet, &format!("losses: {}", curve.display()));
        }
        next.say(quiet);
    }
}

/// Prints the first `count` rows as the model gets them. Returns the exit code.
fn show_rows(job: &TrainJob, count: u32, quiet: bool) -> Result<u8> {
    let (encoded, bytes) = only_rows(job, quiet)?;
    for example in encoded.train.iter().take(count as usize) {
        let shown = Shown::of(example, &bytes);
        let said = if job.json { shown.json()? } else { shown.text() };
        println!("{said}");
    }
    Ok(0)
}

/// Prints the result of a finished run for programs, if that is wanted.
fn print_result(job: &TrainJob) {
    if job.json {
        println!("{}", ewe::streams::json::value(&conclusion::result(&job.out)));
    }
}

/// Formats bytes as `1234 MB`: memory is compared to the megabyte.
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}
