//! `ewe train` from its arguments to its result.

use super::batch::{self, Piece};
use super::checkpoint::{Checkpoints, State};
use super::interrupt::Interrupt;
use super::learner::Update;
use super::metrics::{MetricsFile, StepMetrics};
use super::prepare::{Run, prepare};
use super::settings::Settings;
use super::speed::{self, Work};
use super::{files, lora, save};
use anyhow::{Context, Result, bail};
use ewe::cli::train::{Args, Method};
use ewe::progress::{Progress, clock};
use ewe::store::RunStatus;
use std::path::Path;
use std::time::{Duration, Instant};

/// Exit code after a clean stop.
const INTERRUPTED: u8 = 130;
/// Steps in a row that may be skipped because something was not finite.
const MOST_SKIPPED: u32 = 3;

/// Runs `ewe train`; gives the exit code. Must not be called from within an async runtime.
pub fn run(args: &Args, quiet: bool) -> Result<u8> {
    Settings::check(args)?;
    let made_out = claim(&args.out, args.resume)?;
    if args.resume && save::is_finished(&args.out) {
        say(
            quiet,
            &format!("{} is finished: nothing is left to resume", args.out.display()),
        );
        return Ok(0);
    }
    let result = prepare(args, quiet).and_then(|run| run.go(args, quiet));
    if made_out && (result.is_err() || args.dry_run) {
        // Removes it only if nothing was written, which is what should be left of a run that never began.
        let _ = std::fs::remove_dir(&args.out);
    }
    result
}

/// Makes `out`, or makes sure that it is empty or the run to resume. Whether it was made.
fn claim(out: &Path, resume: bool) -> Result<bool> {
    match std::fs::read_dir(out) {
        Ok(mut entries) => {
            let empty = entries.next().is_none();
            if !resume && !empty {
                bail!(
                    "{} is not empty\nhint: another --out, or --resume to continue the run in it",
                    out.display()
                );
            }
            if resume && !empty && !out.join("run.json").is_file() {
                bail!(
                    "{} is not the result of a run\nhint: another --out",
                    out.display()
                );
            }
            Ok(false)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if resume {
                bail!(
                    "there is nothing to resume: {} does not exist\nhint: leave --resume away",
                    out.display()
                );
            }
            std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
            Ok(true)
        }
        Err(error) => Err(error).with_context(|| format!("cannot use {} as --out", out.display())),
    }
}

pub(super) fn say(quiet: bool, text: &str) {
    if !quiet {
        eprintln!("{text}");
    }
}

impl Run {
    fn go(mut self, args: &Args, quiet: bool) -> Result<u8> {
        if args.dry_run {
            return self.rehearse(args, quiet);
        }
        let settings = serde_json::to_value(&self.settings)?;
        let model = args.model.display().to_string();
        let record = serde_json::json!({
            "model": model, "dataset": self.state.dataset, "examples": self.encoded.train.len(),
            "held_out": self.encoded.eval.len(), "left_out": self.encoded.left_out.len(), "settings": settings,
        });
        files::write_json(&args.out.join("run.json"), &record)?;
        let lines: Result<String, _> = self
            .encoded
            .left_out
            .iter()
            .map(|row| serde_json::to_string(row).map(|line| line + "\n"))
            .collect();
        files::write(&args.out.join("left_out.jsonl"), lines?.as_bytes())?;
        self.source.begin(&record, args.seed, &model)?;
        let ending = self.train(args, quiet);
        let status = match &ending {
            Ok(INTERRUPTED) => RunStatus::Interrupted,
            Ok(_) => RunStatus::Done,
            Err(_) => RunStatus::Failed,
        };
        // An error of the training itself matters more than one of noting it.
        let noted = self.source.finish(status);
        let code = ending?;
        noted?;
        Ok(code)
    }

    fn train(&mut self, args: &Args, quiet: bool) -> Result<u8> {
        let interrupt = Interrupt::listen()?;
        let total = self.settings.schedule.total;
        let dealing = self.settings.dealing();
        let per_epoch = dealing.steps_per_epoch(self.encoded.train.len());
        let work = Work::of(self.learner.model.as_mut(), self.settings.method == Method::Full);
        let ceiling = speed::matmul_rate(self.kind, self.device);
        say(quiet, &self.introduction(args, total, ceiling));
        let mut metrics_file = MetricsFile::open(&args.out, self.done)?;
        let mut eval_before = if self.done == 0 { self.evaluate() } else { None };
        let begun = Instant::now();
        let mut progress = Progress::new("train", "steps", self.done, total, quiet);
        let save_every = args.save_every.unwrap_or(match self.settings.method {
            Method::Lora => (total / 10).clamp(1, 100),
            Method::Full => 100,
        });
        let mut skipped_in_a_row = 0;
        for step in self.done..total {
            let step_begun = Instant::now();
            let members = dealing.step(step, self.encoded.train.len());
            let pieces = batch::pack(&self.encoded.train, &members, self.settings.limits());
            let Some((loss, update)) = self.step(step, &pieces, &interrupt) else {
                progress.finish();
                return self.stop(args, quiet, &metrics_file, step);
            };
            let seconds = step_begun.elapsed().as_secs_f64();
            let examples = members.iter().map(|&index| &self.encoded.train[index]);
            let tokens = examples.clone().map(|example| example.ids.len()).sum();
            let mut metrics = StepMetrics {
                step: step + 1,
                loss: loss.is_finite().then_some(loss),
                lr: self.settings.schedule.rate(step),
                target_tokens: pieces.iter().map(|piece| piece.target_n.len()).sum(),
                tokens,
                tokens_per_s: tokens as f64 / seconds,
                mfu: examples.map(|example| work.flops(example)).sum::<f64>() / seconds / ceiling,
                ..Default::default()
            };
            match update {
                Update::Done(norm) => {
                    metrics.grad_norm = Some(norm);
                    skipped_in_a_row = 0;
                }
                Update::Torn => bail!(
                    "a gradient of step {} is not finite, and with --update-in-backward and no --clip other weights had moved \
                     already\nhint: go on from the last checkpoint with --resume; --clip measures before anything moves",
                    step + 1
                ),
                Update::NotFinite => {
                    let what = if loss.is_finite() { "gradient" } else { "loss" };
                    metrics.skipped = Some(format!("the {what} is not finite"));
                    metrics.rows = members
                        .iter()
                        .map(|&index| self.encoded.train[index].id.clone())
                        .collect();
                    progress.say(&format!("step {} skipped: the {what} is not finite", step + 1));
                    skipped_in_a_row += 1;
                }
            }
            let last = step + 1 == total;
            if last || (step + 1) % per_epoch == 0 {
                metrics.eval_loss = self.evaluate();
                metrics.eval_perplexity = metrics.eval_loss.map(f64::exp);
            }
            metrics.eval_loss_before = eval_before.take();
            metrics_file.append(&metrics)?;
            progress.set(step + 1, &message(&metrics));
            if skipped_in_a_row == MOST_SKIPPED {
                progress.finish();
                bail!(
                    "{MOST_SKIPPED} steps in a row were not finite, up to step {}; the weights are those before them\n\
                     hint: a lower --lr, a longer --warmup-steps, or --precision fp32; metrics.jsonl names the rows",
                    step + 1
                );
            }
            if save_every > 0 && (step + 1).is_multiple_of(save_every) && !last {
                self.checkpoint(step + 1, &metrics_file)?;
            }
        }
        progress.finish();
        metrics_file.sync()?;
        save::write(&mut self.learner, &self.base, &args.out)?;
        self.conclude(args, quiet, begun.elapsed());
        Ok(0)
    }

    /// One optimizer step: its mean loss and what became of it. None when somebody asked to stop meanwhile.
    fn step(&mut self, step: u64, pieces: &[Piece], interrupt: &Interrupt) -> Option<(f64, Update)> {
        let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
        let (rate, clip) = (self.settings.schedule.rate(step), self.settings.clip);
        let seed = |index: usize| super::draw(self.settings.seed, "dropout", (step << 20) + index as u64);
        let seeded: Vec<(&Piece, i64)> = pieces
            .iter()
            .enumerate()
            .map(|(index, piece)| (piece, seed(index)))
            .collect();
        if self.settings.update_in_backward {
            let (nll, update) = self.learner.learn_and_update(&seeded, targets, rate, clip);
            return Some((nll / targets as f64, update));
        }
        let mut nll = 0.0;
        for (index, (piece, seed)) in seeded.into_iter().enumerate() {
            if interrupt.asked() {
                self.learner.forget();
                return None;
            }
            nll += self
                .learner
                .learn(piece, targets, index + 1 == pieces.len(), seed);
            if !nll.is_finite() {
                self.learner.forget();
                return Some((nll, Update::NotFinite));
            }
        }
        Some((nll / targets as f64, self.learner.update(rate, clip)))
    }

    /// Mean negative log-likelihood over the held-out targets; none when nothing is held out.
    fn evaluate(&mut self) -> Option<f64> {
        let members: Vec<usize> = (0..self.encoded.eval.len()).collect();
        let pieces = batch::pack(&self.encoded.eval, &members, self.settings.limits());
        let targets: usize = pieces.iter().map(|piece| piece.target_n.len()).sum();
        let nll: f64 = pieces.iter().map(|piece| self.learner.evaluate(piece)).sum();
        (targets > 0).then(|| nll / targets as f64)
    }

    fn checkpoint(&self, done: u64, metrics: &MetricsFile) -> Result<()> {
        metrics.sync()?;
        let state = State {
            step: done,
            ..self.state.clone()
        };
        self.checkpoints.save(&state, &self.learner.state())?;
        Ok(())
    }

    fn stop(&self, args: &Args, quiet: bool, metrics: &MetricsFile, done: u64) -> Result<u8> {
        self.checkpoint(done, metrics)?;
        say(
            quiet,
            &format!(
                "stopped after step {done}; continue with the same command and --resume ({})",
                args.out.display()
            ),
        );
        Ok(INTERRUPTED)
    }

    /// The largest piece, an update and a save, in a folder that is gone afterwards.
    fn rehearse(&mut self, args: &Args, quiet: bool) -> Result<u8> {
        let dealing = self.settings.dealing();
        let examples = &self.encoded.train;
        let largest = (0..dealing.steps_per_epoch(examples.len()))
            .flat_map(|step| {
                batch::pack(
                    examples,
                    &dealing.step(step, examples.len()),
                    self.settings.limits(),
                )
            })
            .max_by_key(|piece| piece.id_t.len())
            .context("there are no rows")?;
        let begun = Instant::now();
        let nll = self.learner.learn(&largest, largest.target_n.len(), true, 0);
        let update = self
            .learner
            .update(self.settings.schedule.peak, self.settings.clip);
        if !nll.is_finite() || update == Update::NotFinite {
            bail!("the largest piece has a loss or a gradient that is not finite\nhint: --precision fp32");
        }
        let learnt = begun.elapsed();
        let dir = tempfile::tempdir_in(&args.out)
            .with_context(|| format!("cannot write into {}", args.out.display()))?;
        self.checkpoints = Checkpoints::of(dir.path());
        self.checkpoints.save(&self.state, &self.learner.state())?;
        save::write(&mut self.learner, &self.base, dir.path())?;
        dir.close().context("cannot remove what the dry run wrote")?;
        say(
            quiet,
            &format!(
                "dry run: {} examples, {} steps; the largest piece ({} examples, {} tokens) took {:.1} s, a checkpoint and a \
                 save {:.1} s; nothing is kept",
                examples.len(),
                self.settings.schedule.total,
                largest.members.len(),
                largest.id_t.len(),
                learnt.as_secs_f64(),
                (begun.elapsed() - learnt).as_secs_f64()
            ),
        );
        Ok(0)
    }

    fn introduction(&self, args: &Args, total: u64, ceiling: f64) -> String {
        let count: usize = self.learner.trained.iter().map(|of| of.leaf.numel()).sum();
        let method = match self.settings.lora {
            Some(lora::LoraSettings { rank, alpha, .. }) => format!("a LoRA of rank {rank}, alpha {alpha}"),
            None => "every weight".to_owned(),
        };
        let tokens: usize = self.encoded.train.iter().map(|example| example.ids.len()).sum();
        format!(
            "{}: training {method} ({:.1}M numbers) on {} examples of {} tokens, {} held out; {total} steps on {:?}, \
             whose matrix products reach {:.0} GFLOP/s",
            args.model.display(),
            count as f64 / 1e6,
            self.encoded.train.len(),
            tokens / self.encoded.train.len(),
            self.encoded.eval.len(),
            self.device,
            ceiling / 1e9
        )
    }

    fn conclude(&mut self, args: &Args, quiet: bool, elapsed: Duration) {
        let steps = self.settings.schedule.total - self.done;
        let what = if self.learner.lora.is_some() {
            "adapter"
        } else {
            "model"
        };
        say(
            quiet,
            &format!(
                "{}: {what} saved after {steps} steps in {}",
                args.out.display(),
                clock(elapsed)
            ),
        );
    }
}

fn message(metrics: &StepMetrics) -> String {
    let loss = metrics
        .loss
        .map_or("loss not finite".to_owned(), |loss| format!("loss {loss:.3}"));
    let held_out = metrics
        .eval_loss
        .map_or(String::new(), |loss| format!(", held out {loss:.3}"));
    format!(
        "{loss}{held_out}, {:.0} tokens/s, {:.0}% mfu",
        metrics.tokens_per_s,
        100.0 * metrics.mfu
    )
}
