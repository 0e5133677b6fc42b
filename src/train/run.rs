//! `ewe train` from its arguments to its result.

use super::guard::Guard;
use super::out::OutFolder;
use super::plan::choice::{MemoryEstimate, SCRATCH};
use super::prepare::{Heaviest, Run, prepare};
use super::settings::Settings;
use super::speed;
use super::steps::End;
use super::trainer::Update;
use crate::model::fault;
use crate::shim::memory;
use crate::train::optim::lora;
use crate::train::out::checkpoint::Checkpoints;
use crate::train::out::finished;
use crate::train::out::{files, save};
use crate::train::plan::heaviest::Demand;
use anyhow::{Context, Result, anyhow, bail};
use ewe::atomic_file::scratch::Scratch;
use ewe::cli::args::size::shown;
use ewe::cli::models::train::{Args, Quantize};
use ewe::leave::INTERRUPTED;
use ewe::progress::clock;
use ewe::store::RunStatus;
use ewe::text::counted;
use std::time::{Duration, Instant};

/// Runs `ewe train`; gives the exit code. Must not be called from within an async runtime.
pub fn run(args: &Args, quiet: bool) -> Result<u8> {
    Settings::check(&args.formats)?;
    if args.resume && save::is_finished(&args.out) && finished::is_run(&args.out) {
        finished::check(args)?;
        say(
            quiet,
            &format!("{} is finished: nothing is left to resume", args.out.display()),
        );
        return Ok(0);
    }
    let _out = match args.resume {
        true => OutFolder::of_resumed(&args.out)?,
        false => OutFolder::of_run(&args.out)?,
    };
    fault::caught(|| prepare(args, quiet))
        .map_err(|error| match fault::is_out_of_memory(&error) {
            true => anyhow!("{error:#}\nhint: `ewe plan` with the run's options says what takes less"),
            false => error,
        })
        .and_then(|run| run.go(args, quiet))
}

pub(super) fn say(quiet: bool, text: &str) {
    if !quiet {
        eprintln!("{text}");
    }
}

impl Run {
    fn go(mut self, args: &Args, quiet: bool) -> Result<u8> {
        if args.dry_run {
            let rehearsed = fault::caught(|| self.rehearse(args, quiet));
            return rehearsed.map_err(|error| self.with_way_out(error, ""));
        }
        let settings = serde_json::to_value(&self.settings)?;
        let model = args.model.display().to_string();
        let rows = args.data.as_ref().or(args.db.as_ref());
        let rows = rows.map(|path| path.display().to_string());
        let record = serde_json::json!({
            "model": model, "rows": rows, "dataset": self.state.dataset, "examples": self.encoded.train.len(),
            "held_out": self.encoded.eval.len(), "left_out": self.encoded.left_out.len(), "settings": settings,
        });
        files::write_json(&args.out.join(finished::RECORD), &record)?;
        let lines: Result<String, _> = self
            .encoded
            .left_out
            .iter()
            .map(|row| serde_json::to_string(row).map(|line| line + "\n"))
            .collect();
        files::write(&args.out.join("left_out.jsonl"), lines?.as_bytes())?;
        self.source.begin(&record, args.seed, &model, &args.out)?;
        let resume = ", and with --resume --allow-changes the run goes on after its last checkpoint";
        let trained = fault::caught(|| self.train(args, quiet));
        let ending = trained.map_err(|error| self.with_way_out(error, resume));
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

    /// What takes less, and how to go on, said where memory ran out.
    fn with_way_out(&self, error: anyhow::Error, resume: &str) -> anyhow::Error {
        if !fault::is_out_of_memory(&error) {
            return error;
        }
        let half = self.settings.micro_tokens / 2;
        let less = match self.settings.recompute {
            false => format!("--micro-tokens {half} or --recompute takes"),
            true => format!("--micro-tokens {half} takes"),
        };
        anyhow!("{error:#}\nhint: {less} less{resume}; `ewe plan` says what else does")
    }

    fn train(&mut self, args: &Args, quiet: bool) -> Result<u8> {
        let ceiling = speed::matmul_rate(self.kind, self.device);
        let total = self.settings.schedule.total;
        say(quiet, &self.introduction(args, total, ceiling));
        self.warn_of_space(args, quiet)?;
        let begun = Instant::now();
        let done = match self.steps(args, quiet, ceiling)? {
            End::Done(done) => done,
            End::Stopped(done) => {
                say(
                    quiet,
                    &format!(
                        "stopped after step {done}; continue with the same command and --resume ({})",
                        args.out.display()
                    ),
                );
                return Ok(INTERRUPTED);
            }
        };
        self.take_best(quiet)?;
        save::write(&mut self.trainer, &self.base, &self.saved_form, &args.out)?;
        self.conclude(args, quiet, done - self.done, begun.elapsed());
        Ok(0)
    }

    /// Goes back to the weights of the best checkpoint, where that is what is wanted and it is not the last step's.
    fn take_best(&mut self, quiet: bool) -> Result<()> {
        let Some(best) = self.state.best.clone().filter(|_| self.settings.keep_best) else {
            return Ok(());
        };
        let place = self.checkpoints.place(best.step);
        let mut tensors = Checkpoints::tensors(&place)?;
        self.trainer
            .restore(&mut |name| tensors.remove(name))
            .with_context(|| format!("{} is damaged", place.display()))?;
        say(
            quiet,
            &format!(
                "the best was step {}, held out {:.3}: it is the result",
                best.step, best.loss
            ),
        );
        Ok(())
    }

    /// A disk that will be full at the first checkpoint is said before the first step.
    fn warn_of_space(&self, args: &Args, quiet: bool) -> Result<()> {
        let need = files::bytes(&self.trainer.state()) + save::bytes(&self.trainer);
        let free = ewe::atomic_file::free(&args.out)?;
        if need > free {
            say(
                quiet,
                &format!(
                    "warning: a checkpoint and the result take {}, and {} are free at {}",
                    shown(need),
                    shown(free),
                    args.out.display()
                ),
            );
        }
        Ok(())
    }

    /// A step with the piece that takes most memory: its loss, and what became of it.
    fn learn_once(&mut self, heaviest: &Heaviest) -> (f64, Update) {
        let (rate, clip) = (self.settings.schedule.peak, self.settings.clip);
        let Demand { piece, beside } = &heaviest.demand;
        let guard = Guard::new(0.0, &[]);
        if self.settings.update_in_backward {
            let pieces: Vec<_> = [piece]
                .into_iter()
                .chain(beside)
                .map(|piece| (piece, 0))
                .collect();
            let targets = pieces.iter().map(|(piece, _)| piece.target_n.len()).sum();
            let refuses = |nll: f64, norm: Option<f64>| guard.refuses(nll, norm);
            return self
                .trainer
                .learn_and_update(&pieces, targets, rate, clip, &refuses);
        }
        let targets = piece.target_n.len();
        if heaviest.cut {
            self.trainer.learn(piece, targets, false, 0);
        }
        let nll = self.trainer.learn(piece, targets, true, 0);
        let update = self
            .trainer
            .update(rate, clip, &|norm| guard.refuses(nll, Some(norm)));
        (nll, update)
    }

    /// The step that takes most memory, and a save, in a folder that is gone afterwards.
    fn rehearse(&mut self, args: &Args, quiet: bool) -> Result<u8> {
        let Some(heaviest) = self.heaviest.take() else {
            bail!("there are no rows");
        };
        let begun = Instant::now();
        let before = memory::allocated(self.device);
        let ((nll, update), peak) = memory::peak_of(self.device, || self.learn_once(&heaviest));
        if let Update::Refused(why) = update {
            bail!(
                "the largest piece, with a loss of {nll:.3}, cannot be learnt: {why}\nhint: --precision fp32"
            );
        }
        let learnt = begun.elapsed();
        let dir = Scratch::within(&args.out)
            .with_context(|| format!("cannot write into {}", args.out.display()))?;
        self.checkpoints = Checkpoints::of(dir.path());
        self.checkpoints.save(&self.state, &self.trainer.state())?;
        save::write(&mut self.trainer, &self.base, &self.saved_form, dir.path())?;
        drop(dir);
        let piece = &heaviest.demand.piece;
        say(
            quiet,
            &format!(
                "dry run: {}, {}; the largest piece ({}, {}) took {:.1} s{}, a checkpoint and a save {:.1} s; nothing is kept",
                counted(self.encoded.train.len(), "example"),
                counted(self.settings.schedule.total, "step"),
                counted(piece.members.len(), "example"),
                counted(piece.id_t.len(), "token"),
                learnt.as_secs_f64(),
                before.zip(peak).map_or(String::new(), |(before, peak)| self
                    .compared(before + peak, heaviest.need.as_ref())),
                (begun.elapsed() - learnt).as_secs_f64()
            ),
        );
        Ok(0)
    }

    /// ` and … of memory, … of the process`: what was allocated and, where that is the same memory, what is resident, as measured and as
    /// planned.
    fn compared(&self, peak: u64, need: Option<&MemoryEstimate>) -> String {
        let told = |bytes: u64, planned: Option<u64>| {
            let planned = planned.map_or(String::new(), |planned| {
                format!(" ({} were planned)", megabytes(planned))
            });
            (megabytes(bytes), planned)
        };
        let allocated = need.map(|need| need.total - need.bytes.workspace + SCRATCH);
        let (taken, planned) = told(peak - self.before_weights.min(peak), allocated);
        let mut text = format!(" and {taken} of memory{planned}");
        if let Some(resident) = memory::resident().filter(|_| !self.device.is_cuda()) {
            let (taken, planned) = told(resident, need.map(|need| need.total));
            text += &format!(", {taken} of the process{planned}");
        }
        text
    }

    fn introduction(&self, args: &Args, total: u64, ceiling: f64) -> String {
        let count: usize = self.trainer.trained.iter().map(|of| of.leaf.numel()).sum();
        let method = match &self.settings.lora {
            Some(lora::LoraSettings {
                rank, alpha, dora, ..
            }) => {
                let kind = if *dora { "DoRA" } else { "LoRA" };
                let base = match self.settings.quantize {
                    Some(Quantize::Nf4) => " on a base in 4 bits",
                    None => "",
                };
                format!("a {kind} of rank {rank}, alpha {alpha}{base}")
            }
            None => "every weight".to_owned(),
        };
        let tokens: usize = self.encoded.train.iter().map(|example| example.ids.len()).sum();
        format!(
            "{}: training {method} ({:.1}M numbers) on {} of {}, {} held out; {} on {:?}, \
             whose matrix products reach {:.0} GFLOP/s",
            args.model.display(),
            count as f64 / 1e6,
            counted(self.encoded.train.len(), "example"),
            counted(tokens / self.encoded.train.len(), "token"),
            self.encoded.eval.len(),
            counted(total, "step"),
            self.device,
            ceiling / 1e9
        )
    }

    fn conclude(&self, args: &Args, quiet: bool, steps: u64, elapsed: Duration) {
        let what = if self.trainer.lora.is_some() {
            "adapter"
        } else {
            "model"
        };
        say(
            quiet,
            &format!(
                "{}: {what} saved after {} in {}",
                args.out.display(),
                counted(steps, "step"),
                clock(elapsed)
            ),
        );
    }
}

/// `1,234 MB` without the comma: memory is compared to the megabyte.
fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}
