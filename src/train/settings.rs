//! A run's settings, resolved once from the command line and checked before any work.

use crate::model::device::has_bf16;
use crate::model::weights::Form;
use crate::train::data::micro_batch::{BatchSampler, MicroBatchLimits};
use crate::train::optim::lora::LoraSettings;
use crate::train::optim::optimizer::Rule;
use crate::train::optim::schedule::Schedule;
use anyhow::{Result, bail};
use ewe::cli::args::formats::Formats;
use ewe::cli::models::train::{Args, Master, Method, OptimizerKind, Order, Precision, Quantize};
use ewe::prompt::template::{Template, TemplateChoice};
use ewe::text::counted;
use serde::{Deserialize, Serialize};
use serde_json::Value;
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
    /// Fails on a format that nobody should have. What else is wrong with an option, the command line has refused.
    pub fn check(formats: &Formats) -> Result<()> {
        if formats.master == Master::Bf16 {
            bail!(
                "--master bf16 is refused: bf16 has 8 bits, so that an update of less than 1/512 of a weight is rounded away, which at a \
                 rate of 1e-5 are most of them\nhint: --master stochastic takes as little memory and loses nothing on average; \
                 --master split loses nothing at all"
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
                bail!(
                    "--max-length {length} is beyond the model's context of {}",
                    counted(context, "token")
                )
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
        let dealing = BatchSampler {
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
    pub fn dealing(&self) -> BatchSampler {
        BatchSampler {
            batch_size: self.batch_size,
            order: self.order,
            seed: self.seed,
        }
    }

    /// How steps are cut.
    pub fn limits(&self) -> MicroBatchLimits {
        MicroBatchLimits {
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
        let differing = self.differing(saved, matters)?;
        if !differing.is_empty() {
            bail!(
                "the run to resume was started with other settings:{}\nhint: {hint}",
                differing.concat()
            );
        }
        Ok(())
    }

    /// What differs from `saved` among the settings that matter, a line each that begins with a break and names the option.
    pub fn differing(&self, saved: &Settings, matters: impl Fn(&str) -> bool) -> Result<Vec<String>> {
        let (ours, theirs) = (serde_json::to_value(self)?, serde_json::to_value(saved)?);
        let (ours, theirs) = (leaves(&ours), leaves(&theirs));
        let mut lines = Vec::new();
        for (name, value) in &ours {
            let before = theirs.iter().find(|(other, _)| other == name);
            let before = before.map_or(&Value::Null, |(_, value)| *value);
            let whole = name.split('.').next().unwrap_or_default();
            if before != *value && matters(whole) {
                lines.push(format!(
                    "\n  {}: {} then, {} now",
                    option(name),
                    short(before),
                    short(value)
                ));
            }
        }
        Ok(lines)
    }

    /// Fails where something is to be found by evaluations, and the rows are too few for any to be held out.
    pub fn check_held_out(args: &Args, held_out: usize) -> Result<()> {
        let wanted = [
            (args.keep_best, "--keep-best"),
            (args.early_stop.is_some(), "--early-stop"),
            (args.eval_every.is_some(), "--eval-every"),
        ];
        match wanted.into_iter().find(|(given, _)| *given) {
            Some((_, option)) if held_out == 0 => bail!(
                "{option} needs something held out, and --eval-fraction {} of these rows is none\nhint: a larger --eval-fraction, or leave \
                 {option} away",
                args.eval_fraction
            ),
            _ => Ok(()),
        }
    }
}

/// The values of settings that hold no others, each with its name: `clip`, `schedule.peak`.
fn leaves(settings: &Value) -> Vec<(String, &Value)> {
    let mut leaves = Vec::new();
    for (name, value) in settings.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(within) => leaves.extend(
                within
                    .iter()
                    .map(|(part, value)| (format!("{name}.{part}"), value)),
            ),
            // Without an adapter there is none to compare with; `method` says so.
            None if name == "lora" => {}
            None => leaves.push((name.clone(), value)),
        }
    }
    leaves
}

/// The option that says a setting.
fn option(name: &str) -> String {
    match name {
        "lora.dora" => "--dora".to_owned(),
        "lora.from" => "--adapter".to_owned(),
        "template_text" => "--template".to_owned(),
        "schedule.kind" => "--schedule".to_owned(),
        "schedule.peak" => "--lr".to_owned(),
        "schedule.warmup" => "--warmup-steps".to_owned(),
        "schedule.total" => "--steps".to_owned(),
        name => format!("--{}", name.replace(['_', '.'], "-")),
    }
}

/// The beginning of a value: a template is a page.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Whether the rate of the first step is zero and so teaches nothing although there is only one.
pub fn warn_of_idle_schedule(schedule: &Schedule) -> Option<String> {
    (schedule.warmup >= schedule.total).then(|| {
        format!(
            "warm-up takes {} of {}: the peak rate is never reached",
            schedule.warmup,
            counted(schedule.total, "step")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(extra: &str) -> Args {
        let line = format!("ewe train --data d --model m --out o {extra}");
        match ewe::cli::Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .command
        {
            ewe::cli::Command::Train(args) => args,
            _ => unreachable!("parsed above"),
        }
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
    fn what_model_and_rows_do_not_bear_is_refused() {
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
            error.contains("\n  --clip: 1.0 then, 2.0 now")
                && error.contains("\n  --lr: 0.0002 then, 0.1 now")
                && !error.contains("--schedule"),
            "{error}"
        );
    }
}
