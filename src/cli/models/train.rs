//! `ewe train`

use crate::cli::args::formats::Formats;
use crate::cli::args::number;
use crate::cli::args::reading::ReadingArgs;
use crate::prompt::template::TemplateChoice;
use clap::ValueEnum;
use std::path::PathBuf;

/// Arguments of `ewe train`.
#[derive(Debug, Clone, clap::Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("rows").required(true))]
#[command(after_help = "\
Targets are the completion and the end-of-text token after it; the prompt carries no loss. A step's loss is the mean
over all its target tokens, however the step is cut into micro-batches.

Examples:
  ewe train --db farm.db --model models/gemma-3-270m --out tuned
  ewe train --data rows.jsonl --template completion --model models/gemma-3-270m --method full --out tuned --epochs 2")]
pub struct Args {
    /// Dataset: its rows, but for those of rejected tasks
    #[arg(long, value_name = "FILE", group = "rows")]
    pub db: Option<PathBuf>,

    /// Rows of a file instead of a dataset, in any format that `ewe import` reads; prompt, completion are texts that no template
    /// is laid over
    #[arg(long, value_name = "FILE", group = "rows")]
    pub data: Option<PathBuf>,

    /// How the file is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// Directory of a model (config.json, weights, tokenizer), or its id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory that receives the result; must be new, empty, or (with --resume) this run's
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Continue from the last checkpoint in --out
    #[arg(long)]
    pub resume: bool,

    /// With --resume: go on with the rows and the settings of now, where they are others than before
    #[arg(long, requires = "resume")]
    pub allow_changes: bool,

    /// What is trained: every weight, or a low-rank adapter on every linear layer (Hu et al. 2021)
    #[arg(long, value_enum, default_value_t = Method::Lora)]
    pub method: Method,

    /// Rank of the adapter [default: 16]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub lora_rank: Option<u32>,

    /// Scale of the adapter times its rank [default: twice the rank]
    #[arg(long, value_name = "ALPHA", value_parser = number::factor)]
    pub lora_alpha: Option<f64>,

    /// Probability of dropping an input of the adapter
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = number::less_than_all)]
    pub lora_dropout: f64,

    /// Scale the adapter by alpha over the root of its rank instead, so that high ranks learn as fast as low ones (Kalajdzievski 2023)
    #[arg(long)]
    pub lora_rank_stabilized: bool,

    /// Go on with this adapter, in PEFT's format, in place of a fresh one
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// The same as --template FILE
    #[arg(long, value_name = "FILE", conflicts_with = "template")]
    pub template_file: Option<PathBuf>,

    /// How a row is laid out, and the model asked later, for it is saved as the chat template: alpaca, dolly, chat (the
    /// model's own), completion, or a Jinja file of your own: a chat template, or one with the blocks `prompt` and
    /// `completion` over instruction, input and output [default: alpaca; completion for rows of prompt and completion;
    /// with --adapter the adapter's own]
    #[arg(long, value_name = "NAME|FILE")]
    pub template: Option<TemplateChoice>,

    /// Passes over the training rows [default: 1]
    #[arg(long, value_name = "N", conflicts_with = "steps", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub epochs: Option<u32>,

    /// Optimizer steps, in place of epochs
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub steps: Option<u64>,

    /// Examples per optimizer step
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub batch_size: u32,

    /// At most this many examples go through the model at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub micro_batch: Option<u32>,

    /// At most this many tokens go through the model at once, packed without padding (one example always may) [default:
    /// 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub micro_tokens: Option<u32>,

    /// Peak learning rate [default: 2e-4 for lora, 2e-5 for full]
    #[arg(long, value_name = "RATE", value_parser = number::rate)]
    pub lr: Option<f64>,

    /// How the learning rate falls after the warm-up
    #[arg(long, value_enum, default_value_t = ScheduleKind::Cosine)]
    pub schedule: ScheduleKind,

    /// Steps over which the learning rate rises from zero [default: 3 % of all steps]
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub warmup_steps: Option<u64>,

    /// Decoupled weight decay; never on norms and biases
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = number::bound)]
    pub weight_decay: f64,

    /// Clip the global norm of the gradients to this; 0 does not clip
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = number::bound)]
    pub clip: f64,

    /// Most tokens of an example; rows that do not fit are listed and left out, never cut [default: 2048, or the
    /// model's context where that is shorter]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    pub max_length: Option<u32>,

    /// What is kept
    #[command(flatten)]
    pub formats: Formats,

    /// Order of the rows: shuffled anew each epoch, or as they come
    #[arg(long, value_enum, default_value_t = Order::Shuffled)]
    pub order: Order,

    /// Order, dropout, the adapter's start and the evaluation split are functions of this
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,

    /// Steps between checkpoints; 0 keeps none [default: a tenth of all steps with lora, 100 at most; 100 with full,
    /// whose checkpoints hold 12 bytes a parameter with the defaults]
    #[arg(long, value_name = "N", value_parser = number::count)]
    pub save_every: Option<u64>,

    /// Refuse a step whose loss or gradient is so many standard deviations above the last hundred steps' mean; 0 refuses only what is
    /// not finite. Three in a row end the run
    #[arg(long, value_name = "SIGMAS", default_value_t = 10.0, value_parser = number::bound)]
    pub guard: f64,

    /// Steps between evaluations [default: an epoch's]
    #[arg(long, value_name = "N", value_parser = number::some)]
    pub eval_every: Option<u64>,

    /// Keep the checkpoint with the lowest held-out loss, and make it the result
    #[arg(long)]
    pub keep_best: bool,

    /// The same, and end after so many evaluations without a better one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub early_stop: Option<u32>,

    /// Part of the tasks held out and evaluated at the start, at every epoch's end and at the last step; 0 holds out
    /// none
    #[arg(long, value_name = "F", default_value_t = 0.05, value_parser = number::less_than_all)]
    pub eval_fraction: f64,

    /// auto, cpu, or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    pub device: String,

    /// Try also what takes more memory than is free
    #[arg(long)]
    pub ignore_plan: bool,

    /// Encode everything, run the largest micro-batch, an optimizer step and a save, then undo it all
    #[arg(long)]
    pub dry_run: bool,
}

impl Args {
    /// What `--template` or `--template-file` names.
    pub fn template_choice(&self) -> Option<TemplateChoice> {
        let file = self.template_file.clone().map(TemplateChoice::File);
        self.template.clone().or(file)
    }
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Every weight.
    Full,
    /// A low-rank adapter on every linear layer but the output head.
    Lora,
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine, to zero.
    Cosine,
    /// A straight line, to zero.
    Linear,
    /// Not at all.
    Constant,
}

/// What is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// bfloat16.
    Bf16,
    /// Single precision.
    Fp32,
}

/// Fewer bits for a frozen base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quantize {
    /// 4 bits, of 16 levels that suit a normal distribution, with a scale for each 64 weights (QLoRA, Dettmers et al. 2023).
    Nf4,
}

/// The update rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW (Loshchilov & Hutter 2017; betas 0.9 and 0.999, eps 1e-8), moments in fp32: 8 bytes a weight.
    Adamw,
    /// The same with moments in 8 bits, a scale for each 256 of them: 2 bytes a weight.
    Adamw8bit,
    /// Adafactor (Shazeer & Stern 2018) without a first moment: next to nothing.
    Adafactor,
}

/// What is kept of a trained weight besides the bf16 that the model computes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Master {
    /// The lower 16 bits of its fp32, of which the bf16 is the upper half: 2 bytes.
    Split,
    /// The fp32: 4 bytes, and the same weights to the last bit.
    Fp32,
    /// Nothing; updates are rounded up or down by chance, so that they are right on average: 0 bytes.
    Stochastic,
    /// Nothing, and updates rounded to the nearest: refused.
    #[value(hide = true)]
    Bf16,
}

/// Order of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A new permutation each epoch, a function of seed and epoch.
    Shuffled,
    /// As they come.
    Sequential,
}
