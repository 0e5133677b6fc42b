//! `ewe train`

use crate::cli::args::formats::FormatArgs;
use crate::cli::args::local::TrainingDeviceArgs;
use crate::cli::args::number;
use crate::cli::args::ranks::RankArgs;
use crate::cli::args::reading::ReadingArgs;
use crate::cli::args::select::{Best, Choice};
use crate::finetune::{self, AnswerLoss, LoraSettings, Method, RowOrder, ScheduleKind};
use crate::interchange::Need;
use crate::job::rows::RowsFile;
use crate::job::train::{RowSource, SaveEvery, TrainJob};
use crate::prompt::template::TemplateChoice;
use crate::reasoning::ReasoningChoice;
use crate::settings::written::RunOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `ewe train`.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("rows").required(true))]
#[command(after_help = "\
The loss covers the completion and the end-of-text token after it, not the
prompt. The loss of a step is the mean over all its target tokens, however the
step is cut into micro-batches. OUT/run.toml has the options of the run.")]
pub struct Args {
    /// Dataset to train on: all rows except those of rejected tasks, of tasks that `ewe split`
    /// holds out, and of tasks that read like a held-out one. Held-out tasks are evaluated on
    #[arg(long, value_name = "FILE", group = "rows")]
    pub db: Option<PathBuf>,

    /// File to train on instead of a dataset, in any format that `ewe import` reads. Rows of prompt
    /// and completion are trained on as they are, without a template. May be given several times
    #[arg(long, value_name = "FILE", group = "rows")]
    pub data: Vec<PathBuf>,

    /// Evaluate on the rows of this file, in any format that `ewe import` reads: at the start,
    /// after each epoch and after the last step. Rows with the same question are not trained on
    #[arg(long, help_heading = "Checkpoints and evaluation", value_name = "FILE")]
    pub eval_data: Option<PathBuf>,

    /// Options for reading the files.
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Which tasks of the dataset.
    #[command(flatten)]
    pub choice: Box<Choice>,

    /// The best of them.
    #[command(flatten)]
    pub best: Best,

    /// Directory of a model (config.json, weights, tokenizer), a GGUF file, or an id on the Hugging
    /// Face hub
    #[arg(long, help_heading = "Model and result", value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory for the result; must be new, empty, or (with --resume) this run's
    #[arg(long, help_heading = "Model and result", value_name = "DIR")]
    pub out: PathBuf,

    /// Continue from the last checkpoint in --out
    #[arg(long, help_heading = "Checkpoints and evaluation")]
    pub resume: bool,

    /// With --resume: continue with the current rows and settings, even if they are not those of
    /// the checkpoint
    #[arg(long, help_heading = "Checkpoints and evaluation", requires = "resume")]
    pub allow_changes: bool,

    /// Train every weight, or a low-rank adapter on every linear layer (Hu et al. 2021)
    #[arg(long, help_heading = "Model and result", value_enum, default_value_t = Method::Lora)]
    pub method: Method,

    /// Rank of the adapter [default: 16]
    #[arg(long, help_heading = "Adapter", value_name = "R", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub lora_rank: Option<u32>,

    /// Scale of the adapter times its rank [default: twice the rank]
    #[arg(long, help_heading = "Adapter", value_name = "ALPHA", value_parser = number::factor)]
    pub lora_alpha: Option<f64>,

    /// Probability of dropping an input of the adapter
    #[arg(long, help_heading = "Adapter", value_name = "P", default_value_t = 0.0, value_parser = number::less_than_all)]
    pub lora_dropout: f64,

    /// Scale the adapter by alpha over the root of its rank instead, so that high ranks learn as
    /// fast as low ones (Kalajdzievski 2023)
    #[arg(long, help_heading = "Adapter")]
    pub lora_rank_stabilized: bool,

    /// Continue training this adapter, in PEFT's format, instead of a new one
    #[arg(long, help_heading = "Adapter", value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// The same as --template FILE
    #[arg(
        long,
        help_heading = "Model and result",
        value_name = "FILE",
        conflicts_with = "template"
    )]
    pub template_file: Option<PathBuf>,

    /// Template that lays out the rows, and is saved as the chat template of the result: alpaca,
    /// dolly, chat (the model's own), completion, or a Jinja file: a chat template, or one with the
    /// blocks `prompt` and `completion` over instruction, input and output [default: alpaca;
    /// completion for rows of prompt and completion; with --adapter the adapter's own]
    #[arg(long, help_heading = "Model and result", value_name = "NAME|FILE")]
    pub template: Option<TemplateChoice>,

    /// Which answers of a conversation are trained on
    #[arg(
        long,
        help_heading = "Model and result",
        value_enum,
        value_name = "WHICH",
        default_value_t
    )]
    pub loss: AnswerLoss,

    /// Whether answers are trained on with their reasoning, fields such as `reasoning_content`:
    /// kept, the chat template decides what it writes, as in `transformers`
    #[arg(
        long,
        help_heading = "Model and result",
        value_enum,
        value_name = "WHICH",
        default_value_t
    )]
    pub reasoning: ReasoningChoice,

    /// Passes over the training rows [default: 1]
    #[arg(long, help_heading = "Optimization", value_name = "N", conflicts_with = "steps", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub epochs: Option<u32>,

    /// Optimizer steps, in place of epochs
    #[arg(long, help_heading = "Optimization", value_name = "N", value_parser = number::some)]
    pub steps: Option<u64>,

    /// Examples per optimizer step
    #[arg(long, help_heading = "Optimization", value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub batch_size: u32,

    /// Most examples per micro-batch, the part of a step that passes through the model at once
    /// [default: --batch-size]
    #[arg(long, help_heading = "Optimization", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub micro_batch: Option<u32>,

    /// Most tokens per micro-batch, packed without padding; a longer example gets one of its own
    /// [default: 2048; on a GPU as many as fit of 8192, 6144, 4096 and 2048]
    #[arg(long, help_heading = "Optimization", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub micro_tokens: Option<u32>,

    /// Peak learning rate [default: 2e-4 for lora, 2e-5 for full]
    #[arg(long, help_heading = "Optimization", value_name = "RATE", value_parser = number::rate)]
    pub lr: Option<f64>,

    /// How the learning rate decays after the warm-up
    #[arg(long, help_heading = "Optimization", value_enum, default_value_t = ScheduleKind::Cosine)]
    pub schedule: ScheduleKind,

    /// Steps over which the learning rate rises from zero [default: 3 % of all steps]
    #[arg(long, help_heading = "Optimization", value_name = "N", value_parser = number::count)]
    pub warmup_steps: Option<u64>,

    /// Decoupled weight decay; never on norms and biases
    #[arg(long, help_heading = "Optimization", value_name = "RATE", default_value_t = 0.0, value_parser = number::bound)]
    pub weight_decay: f64,

    /// Clip the global norm of the gradients to this; 0 does not clip
    #[arg(long, help_heading = "Optimization", value_name = "NORM", default_value_t = 1.0, value_parser = number::bound)]
    pub clip: f64,

    /// Add uniform noise to the embeddings in training, of at most ALPHA over the root of sequence
    /// length times features; 5 to 15 are usual (NEFTune, Jain et al. 2023)
    #[arg(long, help_heading = "Optimization", value_name = "ALPHA", value_parser = number::factor)]
    pub neftune: Option<f64>,

    /// Most tokens of an example; longer rows are listed and left out, never cut [default: 2048, or
    /// the model's context where that is shorter]
    #[arg(long, help_heading = "Optimization", value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub max_length: Option<u32>,

    /// Number formats and memory strategies.
    #[command(flatten)]
    pub formats: FormatArgs,

    /// Order of the rows
    #[arg(long, help_heading = "Optimization", value_enum, default_value_t = RowOrder::Shuffled)]
    pub order: RowOrder,

    /// Seed of the row order, dropout, the adapter's first weights and the evaluation split
    #[arg(long, help_heading = "Optimization", value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Steps between checkpoints, or the time between them with a unit: 30s, 15m, 2h. 0 keeps none
    /// [default: on a GPU 15m, and the end of an epoch; on a CPU a tenth of all steps with lora,
    /// 100 at most; 100 with full, whose checkpoints hold 12 bytes a parameter with the defaults]
    #[arg(long, help_heading = "Checkpoints and evaluation", value_name = "STEPS|TIME", value_parser = save_every)]
    pub save_every: Option<SaveEvery>,

    /// Keep this many checkpoints for `ewe influence`, at the ends of as many equal parts of the
    /// run, besides the last. Each takes 12 bytes a trained parameter with AdamW: 46 MB for the
    /// default adapter of a 270M model, 3 GB for every weight of it
    #[arg(long, help_heading = "Checkpoints and evaluation", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub keep_checkpoints: u32,

    /// Skip the update of a step whose loss or gradient norm is this many standard deviations above
    /// the mean of the last hundred steps; 0 skips only what is not finite. Three skipped steps in
    /// a row end the run
    #[arg(long, help_heading = "Optimization", value_name = "SIGMAS", default_value_t = 10.0, value_parser = number::bound)]
    pub guard: f64,

    /// Steps between evaluations [default: those of an epoch]
    #[arg(long, help_heading = "Checkpoints and evaluation", value_name = "N", value_parser = number::some)]
    pub eval_every: Option<u64>,

    /// Keep the checkpoint with the lowest held-out loss, and make it the result
    #[arg(long, help_heading = "Checkpoints and evaluation")]
    pub keep_best: bool,

    /// As --keep-best, and end the run after this many evaluations without improvement
    #[arg(long, help_heading = "Checkpoints and evaluation", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub early_stop: Option<u32>,

    /// Share of the tasks that is held out and evaluated at the start, after each epoch and after
    /// the last step; 0 evaluates nothing [default: 0.05, unless `ewe split` has held tasks out]
    #[arg(long, help_heading = "Checkpoints and evaluation", value_name = "F", value_parser = number::less_than_all)]
    pub eval_fraction: Option<f64>,

    /// Where the model is trained.
    #[command(flatten)]
    pub place: TrainingDeviceArgs,

    /// How many processes train together.
    #[command(flatten)]
    pub ranks: RankArgs,

    /// Run even if the memory estimate exceeds free memory
    #[arg(long)]
    pub ignore_plan: bool,

    /// Encode all rows, run the largest micro-batch, an optimizer step and a save, then undo it all
    #[arg(long)]
    pub dry_run: bool,

    /// Print the first N rows as the model gets them, with what is trained on between ⟦ and ⟧, and
    /// end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub show_rows: Option<u32>,

    /// Print the result as JSON at the end: steps, losses and what was written; with --show-rows, a
    /// line for each row
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Returns what the command does. The run records `options`, by which it can be run again.
    ///
    /// # Errors
    ///
    /// When columns are mapped that do not go together.
    pub fn job(&self, options: &RunOptions) -> anyhow::Result<TrainJob> {
        let file = self.template_file.clone().map(TemplateChoice::File);
        Ok(TrainJob {
            rows: self.rows()?,
            model: self.model.clone(),
            out: self.out.clone(),
            resume: self.resume,
            allow_changes: self.allow_changes,
            method: self.method,
            lora: self.lora(),
            adapter: self.adapter.clone(),
            template: self.template.clone().or(file),
            loss: self.loss,
            reasoning: self.reasoning,
            epochs: self.epochs,
            steps: self.steps,
            batch_size: self.batch_size,
            micro_batch: self.micro_batch,
            micro_tokens: self.micro_tokens,
            lr: self.lr,
            schedule: self.schedule,
            warmup_steps: self.warmup_steps,
            weight_decay: self.weight_decay,
            clip: self.clip,
            neftune: self.neftune,
            max_length: self.max_length,
            precision: self.formats.precision,
            formats: self.formats.resolve(),
            formats_are_given: self.formats.are_given(),
            order: self.order,
            seed: self.seed,
            save_every: self.save_every,
            keep_checkpoints: self.keep_checkpoints,
            guard: self.guard,
            eval_every: self.eval_every,
            keep_best: self.keep_best,
            early_stop: self.early_stop,
            eval_data: self
                .eval_data
                .as_deref()
                .map(|path| self.file(path))
                .transpose()?,
            eval_fraction: self.eval_fraction,
            device: match self.ranks.gpus {
                Some(_) => "cuda".to_owned(),
                None => self.place.device.clone(),
            },
            ranks: self.ranks.job(),
            numerics: self.place.numerics(),
            ignore_plan: self.ignore_plan,
            dry_run: self.dry_run,
            show_rows: self.show_rows,
            json: self.json,
            options: options.clone(),
        })
    }

    fn rows(&self) -> anyhow::Result<RowSource> {
        Ok(match &self.db {
            Some(path) => RowSource::Dataset {
                path: path.clone(),
                filter: Box::new(self.best.of(self.choice.filter())),
            },
            None => RowSource::Files(
                self.data
                    .iter()
                    .map(|path| self.file(path))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }

    fn file(&self, path: &Path) -> anyhow::Result<RowsFile> {
        Ok(RowsFile {
            path: path.to_owned(),
            reading: self.reading.reading(Need::Pair)?,
            left_out: self.reading.policy(),
        })
    }

    fn lora(&self) -> LoraSettings {
        let rank = self.lora_rank.unwrap_or(finetune::LORA_RANK);
        LoraSettings {
            rank,
            alpha: self.lora_alpha.unwrap_or(finetune::default_alpha(rank)),
            dropout: self.lora_dropout,
            rank_stabilized: self.lora_rank_stabilized,
            dora: self.formats.dora,
            targets: self.formats.lora_targets.clone(),
            from: None,
        }
    }
}

/// Longest time between checkpoints.
const MOST_HOURS: u64 = 1000;

/// Parses `--save-every`: a number of steps, or a whole number of seconds, minutes or hours.
fn save_every(text: &str) -> Result<SaveEvery, String> {
    let text = text.trim();
    let unit = text.chars().next_back().and_then(|unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3600),
        _ => None,
    });
    let Some(seconds) = unit else {
        let steps = number::count(text).map(SaveEvery::Steps);
        return steps.map_err(|want| format!("{want}, or a time such as 30s, 15m or 2h"));
    };
    match number::some(&text[..text.len() - 1]) {
        Ok(count) if count.saturating_mul(seconds) <= 3600 * MOST_HOURS => {
            Ok(SaveEvery::Time(Duration::from_secs(count * seconds)))
        }
        _ => Err(format!(
            "want steps, or a time such as 30s, 15m or 2h, {MOST_HOURS}h at most"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn job(extra: &str) -> TrainJob {
        let line = format!("ewe train --data d --model m --out o {extra}");
        let Command::Train(args) = Cli::try_parse_from(line.split_whitespace()).unwrap().command else {
            unreachable!("parsed above")
        };
        args.job(&RunOptions::default()).unwrap()
    }

    #[test]
    fn an_adapter_has_defaults_that_follow_its_rank() {
        let of = |extra: &str| {
            let lora = job(extra).lora;
            (lora.rank, lora.alpha)
        };
        assert_eq!(of(""), (16, 32.0));
        assert_eq!(of("--lora-rank 4"), (4, 8.0));
        assert_eq!(of("--lora-rank 4 --lora-alpha 3"), (4, 3.0));
    }

    #[test]
    fn a_template_file_is_a_template() {
        let file = Some(TemplateChoice::File("mine".into()));
        assert_eq!(job("--template-file mine").template, file);
        assert_eq!(job("").template, None);
        assert_eq!(job("").rows.option(), "--data");
        assert_eq!(job("--data e --data f").rows.paths().len(), 3);
    }

    #[test]
    fn a_gpu_is_deterministic_and_exact_unless_told_otherwise() {
        let of = |extra: &str| {
            let numerics = job(extra).numerics;
            (numerics.deterministic, numerics.tf32)
        };
        assert_eq!(of(""), (true, false));
        assert_eq!(of("--nondeterministic"), (false, false));
        assert_eq!(of("--tf32 --precision fp32"), (true, true));
        assert_eq!(job("").numerics, Default::default());
    }

    #[test]
    fn checkpoints_are_counted_in_steps_or_time() {
        let time = |seconds| Some(SaveEvery::Time(Duration::from_secs(seconds)));
        let of = |text: &str| job(&format!("--save-every {text}")).save_every;
        assert_eq!(of("0"), Some(SaveEvery::Steps(0)));
        assert_eq!(of("200"), Some(SaveEvery::Steps(200)));
        assert_eq!(
            [of("30s"), of("15m"), of("2h")],
            [time(30), time(900), time(7200)]
        );
        assert_eq!(job("").save_every, None);
        let absurd = [
            "",
            "m",
            "0m",
            "-5m",
            "1.5h",
            "15min",
            "5d",
            "1001h",
            "18446744073709551615h",
            "9m9s",
        ];
        for text in absurd {
            assert!(save_every(text).is_err(), "{text:?}");
        }
    }
}
