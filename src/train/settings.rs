//! A run's settings, resolved once from the command line and checked before any work.

use super::batch::{Dealing, PieceLimits};
use super::lora::LoraSettings;
use super::optimizer::Rule;
use super::schedule::Schedule;
use crate::model::device::has_bf16;
use crate::model::weights::Form;
use anyhow::{Result, bail};
use ewe::cli::formats::Formats;
use ewe::cli::train::{Args, Master, Method, OptimizerKind, Order, Precision, Quantize};
use ewe::prompt::template::{Template, TemplateChoice};
use serde::{Deserialize, Serialize};
use tch::{Device, Kind};

/// Everything that decides what a run computes. It is stored with each checkpoint: a resumed run must have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// What is trained.
    pub method: Method,
    /// The adapter, for that method.
    pub lora: Option<LoraSettings>,
    /// How rows are laid out.
    pub template: Template,
    /// The text of the user's own template, which is then the chat template.
    pub template_text: Option<String>,
    /// Most tokens of an example.
    pub max_length: usize,
    /// Part of the tasks held out.
    pub eval_fraction: f64,
    /// Examples of an optimizer step.
    pub batch_size: usize,
    /// Order of the rows.
    pub order: Order,
    /// Of everything random.
    pub seed: u64,
    /// Most examples that go through the model at once.
    pub micro_batch: usize,
    /// Most tokens that go through the model at once.
    pub micro_tokens: usize,
    /// Whether blocks are computed again in the backward pass.
    #[serde(default)]
    pub recompute: bool,
    /// Whether each block's weights move as soon as their gradients are there.
    #[serde(default)]
    pub update_in_backward: bool,
    /// Whether masters and moments are in the machine's own memory.
    #[serde(default)]
    pub offload: bool,
    /// In what the base's linear layers are kept, unless as they are computed with.
    #[serde(default)]
    pub quantize: Option<Quantize>,
    /// What is computed with.
    pub precision: Precision,
    /// What is kept of a weight besides its bf16.
    pub master: Master,
    /// The update rule.
    pub optimizer: OptimizerKind,
    /// Of matrices.
    pub weight_decay: f64,
    /// Largest global norm of the gradients; 0 does not clip.
    pub clip: f64,
    /// Standard deviations above the last steps' mean at which a step is refused; 0 refuses only what is not finite.
    pub guard: f64,
    /// Steps between evaluations; 0 evaluates at the end of each epoch.
    pub eval_every: u64,
    /// Evaluations that may be no better than the best; 0 is any number.
    pub early_stop: u32,
    /// Whether the best checkpoint is kept and becomes the result.
    pub keep_best: bool,
    /// The learning rate of each step, and how many there are.
    pub schedule: Schedule,
}

/// Share of all steps that the warm-up takes unless told.
const WARMUP_SHARE: f64 = 0.03;
/// Rank of an adapter unless told.
const LORA_RANK: u32 = 16;
/// Longest example unless told: four times the longest answer of the published instruction sets.
const MAX_LENGTH: usize = 2048;
/// Tokens that go through the model at once unless told: what a step of eight examples has, so that most steps are one piece,
/// whose gradients need no sum in fp32. Half as many are 5 % slower on a CPU, and a 6B model on a GPU has room for these.
const MICRO_TOKENS: u32 = 2048;

/// The type that a precision computes in.
pub fn kind(precision: Precision) -> Kind {
    match precision {
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp32 => Kind::Float,
    }
}

impl Settings {
    /// Checks what can be checked before the data is read. Errors name the option.
    pub fn check(args: &Args) -> Result<()> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                bail!("{name} must be above 0, not {value}")
            }
        };
        let fraction = |name: &str, value: f64| {
            if (0.0..1.0).contains(&value) {
                Ok(())
            } else {
                bail!("{name} must be at least 0 and below 1, not {value}")
            }
        };
        let not_negative = |name: &str, value: f64| {
            if value.is_finite() && value >= 0.0 {
                Ok(())
            } else {
                bail!("{name} must not be negative, not {value}")
            }
        };
        positive("--lr", args.lr.unwrap_or(1.0))?;
        positive("--lora-alpha", args.lora_alpha.unwrap_or(1.0))?;
        fraction("--lora-dropout", args.lora_dropout)?;
        fraction("--eval-fraction", args.eval_fraction)?;
        not_negative("--weight-decay", args.weight_decay)?;
        not_negative("--clip", args.clip)?;
        not_negative("--guard", args.guard)?;
        if (args.early_stop.is_some() || args.keep_best) && args.eval_fraction == 0.0 {
            bail!(
                "nothing is held out to find the best by\nhint: --eval-fraction 0.05 with {}",
                if args.keep_best {
                    "--keep-best"
                } else {
                    "--early-stop"
                }
            );
        }
        if args.adapter.is_some() && args.method == Method::Full {
            bail!(
                "--adapter goes on with an adapter, so it is for --method lora\nhint: `ewe merge` makes a model of it, to be trained in full"
            );
        }
        if args.adapter.is_some()
            && (args.lora_rank.is_some()
                || args.lora_alpha.is_some()
                || args.lora_rank_stabilized
                || args.formats.dora
                || !args.formats.lora_targets.is_empty())
        {
            bail!(
                "an adapter that is gone on with has its own rank, alpha, targets and lengths\nhint: leave --lora-rank, --lora-alpha, \
                 --lora-targets and --dora away"
            );
        }
        Settings::check_formats(&args.formats, args.method)?;
        if args.epochs == Some(0) || args.steps == Some(0) {
            bail!(
                "there is nothing to train in 0 {}",
                if args.steps.is_some() { "steps" } else { "epochs" }
            );
        }
        Ok(())
    }

    /// Fails on formats that `method` cannot have.
    pub fn check_formats(formats: &Formats, method: Method) -> Result<()> {
        if formats.quantize.is_some() && method == Method::Full {
            bail!(
                "--quantize is for --method lora: in 4 bits a weight cannot move by an update\nhint: `ewe train \
                 --optimizer adafactor --master stochastic --update-in-backward --clip 0` is what a full fine-tune takes least with"
            );
        }
        if formats.dora && method == Method::Full {
            bail!("--dora is of an adapter\nhint: --method lora --dora");
        }
        if formats.master == Master::Bf16 {
            bail!(
                "--master bf16 is refused: bf16 has 8 bits, so that an update of less than 1/512 of a weight is rounded away, which at a \
                 rate of 1e-5 are most of them\nhint: --master stochastic takes as little memory and loses nothing on average; \
                 --master split loses nothing at all"
            );
        }
        if formats.update_in_backward && method == Method::Lora {
            bail!(
                "--update-in-backward is for --method full: the gradients of an adapter take next to nothing\nhint: \
                 --recompute saves activations with either"
            );
        }
        if formats.offload && method == Method::Lora {
            bail!(
                "--offload is for --method full: what the optimizer keeps of an adapter takes next to nothing\nhint: --recompute saves \
                 activations with either"
            );
        }
        Ok(())
    }

    /// Fails where prompts are finished already and a template would wrap them once more.
    pub fn check_template(args: &Args, rows_are_completions: bool) -> Result<()> {
        let told = match args.template_choice() {
            Some(TemplateChoice::Known(Template::Completion)) | None => return Ok(()),
            Some(TemplateChoice::Known(template)) => template.to_string(),
            Some(TemplateChoice::File(path)) => path.display().to_string(),
        };
        if rows_are_completions {
            bail!(
                "the rows hold finished prompts, which the template {told} would wrap once more\nhint: --template \
                 completion, or rows of instruction, input and output"
            );
        }
        Ok(())
    }

    /// The longest example: as told, but never beyond the model's context.
    pub fn max_length(args: &Args, context: usize) -> Result<usize> {
        match args.max_length.map(|length| length as usize) {
            Some(length) if length > context => {
                bail!("--max-length {length} is beyond the model's context of {context} tokens")
            }
            length => Ok(length.unwrap_or(MAX_LENGTH.min(context))),
        }
    }

    /// What is computed with: as told, or as `before` in a run that goes on, or bf16 where `device` has it. A master that only bf16
    /// has asks for that.
    pub fn precision(formats: &Formats, before: Option<Precision>, device: Device) -> Precision {
        let natural = if has_bf16(device) || formats.master != Master::Split {
            Precision::Bf16
        } else {
            Precision::Fp32
        };
        formats.precision.or(before).unwrap_or(natural)
    }

    /// Resolves the rest, now that the number of training examples is known.
    ///
    /// `lora` is that of the adapter that is gone on with, if there is one.
    pub fn resolve(
        args: &Args,
        precision: Precision,
        template: Template,
        max_length: usize,
        examples: usize,
        lora: Option<LoraSettings>,
    ) -> Settings {
        let rank = args.lora_rank.unwrap_or(LORA_RANK);
        let fresh = || LoraSettings {
            rank,
            // Twice the rank, a scale of 2: what Alpaca-LoRA made common, and what the default rate goes with.
            alpha: args.lora_alpha.unwrap_or(2.0 * f64::from(rank)),
            dropout: args.lora_dropout,
            rank_stabilized: args.lora_rank_stabilized,
            dora: args.formats.dora,
            targets: args.formats.lora_targets.clone(),
            from: None,
        };
        let lora = (args.method == Method::Lora).then(|| lora.unwrap_or_else(fresh));
        let dealing = Dealing {
            batch_size: args.batch_size as usize,
            order: args.order,
            seed: args.seed,
        };
        let epochs = u64::from(args.epochs.unwrap_or(1));
        let total = args.steps.unwrap_or(epochs * dealing.steps_per_epoch(examples));
        let peak = args.lr.unwrap_or(match args.method {
            Method::Lora => 2e-4,
            Method::Full => 2e-5,
        });
        let warmup = args.warmup_steps.unwrap_or((total as f64 * WARMUP_SHARE) as u64);
        Settings {
            method: args.method,
            lora,
            template,
            template_text: None,
            max_length,
            eval_fraction: args.eval_fraction,
            batch_size: dealing.batch_size,
            order: args.order,
            seed: args.seed,
            micro_batch: args.micro_batch.unwrap_or(args.batch_size) as usize,
            micro_tokens: args.micro_tokens.unwrap_or(MICRO_TOKENS) as usize,
            recompute: args.formats.recompute || args.formats.update_in_backward,
            update_in_backward: args.formats.update_in_backward,
            offload: args.formats.offload,
            quantize: args.formats.quantize,
            precision,
            master: args.formats.master,
            optimizer: args.formats.optimizer,
            weight_decay: args.weight_decay,
            clip: args.clip,
            guard: args.guard,
            eval_every: args.eval_every.unwrap_or(0),
            early_stop: args.early_stop.unwrap_or(0),
            keep_best: args.keep_best || args.early_stop.is_some(),
            schedule: Schedule {
                kind: args.schedule,
                peak,
                warmup,
                total,
            },
        }
    }

    /// How the base's linear layers are kept.
    pub fn form(&self) -> Form {
        match self.quantize {
            Some(Quantize::Nf4) => Form::Quantised,
            None => Form::Plain,
        }
    }

    /// How weights are moved.
    pub fn rule(&self) -> Rule {
        Rule {
            optimizer: self.optimizer,
            master: self.master,
            weight_decay: self.weight_decay,
            offload: self.offload,
            seed: self.seed,
        }
    }

    /// How examples are dealt out.
    pub fn dealing(&self) -> Dealing {
        Dealing {
            batch_size: self.batch_size,
            order: self.order,
            seed: self.seed,
        }
    }

    /// How steps are cut.
    pub fn limits(&self) -> PieceLimits {
        PieceLimits {
            examples: self.micro_batch,
            positions: self.micro_tokens,
        }
    }

    /// Fails, naming every setting that differs from those `saved` with a checkpoint.
    pub fn same_as(&self, saved: &Settings) -> Result<()> {
        self.agree(
            saved,
            |_| true,
            "give the same ones, go on with these by --allow-changes, or another --out",
        )
    }

    /// Fails where a checkpoint with `saved` settings is of other tensors than these train.
    pub fn trains_as(&self, saved: &Settings) -> Result<()> {
        let decisive = ["method", "lora", "quantize", "precision", "master", "optimizer"];
        self.agree(
            saved,
            |name| decisive.contains(&name),
            "--allow-changes cannot change these; start anew with another --out",
        )
    }

    fn agree(&self, saved: &Settings, matters: impl Fn(&str) -> bool, hint: &str) -> Result<()> {
        let (ours, theirs) = (serde_json::to_value(self)?, serde_json::to_value(saved)?);
        let mut differing = Vec::new();
        if let (Some(ours), Some(theirs)) = (ours.as_object(), theirs.as_object()) {
            for (name, value) in ours.iter().filter(|(name, _)| matters(name)) {
                if theirs.get(name) != Some(value) {
                    let before = theirs.get(name).unwrap_or(&serde_json::Value::Null);
                    differing.push(format!("\n  {name}: {before} then, {value} now"));
                }
            }
        }
        if !differing.is_empty() {
            bail!(
                "the run to resume was started with other settings:{}\nhint: {hint}",
                differing.concat()
            );
        }
        Ok(())
    }
}

/// Whether the rate of the first step is zero and so teaches nothing although there is only one.
pub fn warn_of_idle_schedule(schedule: &Schedule) -> Option<String> {
    (schedule.warmup >= schedule.total).then(|| {
        format!(
            "warm-up takes {} of {} steps: the peak rate is never reached",
            schedule.warmup, schedule.total
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn parsed(extra: &str) -> Result<Args, clap::Error> {
        let line = format!("ewe train --data d --model m --out o {extra}");
        match ewe::cli::Cli::try_parse_from(line.split_whitespace())?.command {
            ewe::cli::Command::Train(args) => Ok(args),
            _ => unreachable!("parsed above"),
        }
    }

    fn args(extra: &str) -> Args {
        parsed(extra).unwrap()
    }

    #[test]
    fn defaults_follow_the_method() {
        let lora = Settings::resolve(&args(""), Precision::Bf16, Template::Alpaca, 64, 100, None);
        assert_eq!(
            (lora.schedule.total, lora.schedule.peak, lora.schedule.warmup),
            (13, 2e-4, 0)
        );
        assert_eq!(lora.lora.unwrap().alpha, 32.0);
        let full = Settings::resolve(
            &args("--method full --steps 100 --batch-size 3"),
            Precision::Bf16,
            Template::Alpaca,
            64,
            100,
            None,
        );
        assert_eq!(
            (full.schedule.total, full.schedule.peak, full.schedule.warmup),
            (100, 2e-5, 3)
        );
        assert_eq!((full.lora, full.micro_batch), (None, 3));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for (line, name) in [
            ("--lr 0", "--lr"),
            ("--lr NaN", "--lr"),
            ("--eval-fraction 1", "--eval-fraction"),
            ("--lora-dropout 1.5", "--lora-dropout"),
            ("--clip=-1", "--clip"),
            ("--weight-decay=-0.1", "--weight-decay"),
            ("--steps 0", "steps"),
            ("--guard=-1", "--guard"),
            ("--eval-fraction 0 --early-stop 3", "--early-stop"),
            ("--method full --master bf16", "--master bf16 is refused"),
            ("--update-in-backward", "--method full"),
            ("--offload", "--method full"),
            ("--method full --quantize nf4", "--method lora"),
            ("--method full --dora", "--method lora --dora"),
            ("--adapter a --dora", "--lora-targets and --dora"),
        ] {
            let error = match parsed(line) {
                Ok(args) => Settings::check(&args).unwrap_err().to_string(),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(name), "{line}: {error}");
        }
        Settings::check(&args("--clip 0 --eval-fraction 0 --weight-decay 0")).unwrap();
        assert!(Settings::max_length(&args("--max-length 99"), 64).is_err());
        for line in [
            "--template alpaca",
            "--template mine.jinja",
            "--template-file mine",
        ] {
            assert!(Settings::check_template(&args(line), true).is_err(), "{line}");
            Settings::check_template(&args(line), false).unwrap();
        }
        Settings::check_template(&args("--template completion"), true).unwrap();
    }

    #[test]
    fn a_changed_setting_is_named() {
        let saved = Settings::resolve(&args(""), Precision::Bf16, Template::Alpaca, 64, 100, None);
        let now = Settings::resolve(
            &args("--clip 2 --lr 0.1"),
            Precision::Bf16,
            Template::Alpaca,
            64,
            100,
            None,
        );
        saved.same_as(&saved).unwrap();
        let error = now.same_as(&saved).unwrap_err().to_string();
        assert!(
            error.contains("clip: 1.0 then, 2.0 now") && error.contains("schedule:"),
            "{error}"
        );
    }
}
