//! `ewe complete`

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::backend::Sampling;
use crate::cli::args::reading::ReadingArgs;
use crate::cli::args::{local, number, words};
use crate::interchange::Need;
use crate::job::complete::{CompleteJob, Prompts};
use crate::job::model::{EngineLimits, ModelSpec};
use crate::job::rows::{PromptFormat, RowsFile};
use crate::prompt::template::TemplateChoice;

/// Requests at once on the CPU where --batch is absent.
const DEFAULT_BATCH: u16 = 32;

/// Arguments of `ewe complete`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["prompts", "prompt"]))]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs<local::DeviceArgs>,

    /// Rows with a "prompt" each, or in any format that `ewe import` reads, whose answers are
    /// ignored. The model's answers go to --out, in the same order
    #[arg(
        long,
        help_heading = "Prompts and answers",
        value_name = "FILE",
        requires = "out"
    )]
    pub prompts: Option<PathBuf>,

    /// How the file is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// One prompt, whose answer is streamed to standard output
    #[arg(long, help_heading = "Prompts and answers", value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Send each prompt as a user message, after the row's system message, by the chat template as
    /// `ewe chat` does, instead of as a text to continue
    #[arg(long, help_heading = "Prompts and answers")]
    pub chat: bool,

    /// With --chat, how messages become a prompt: as in `ewe chat`
    #[arg(
        long,
        help_heading = "Prompts and answers",
        value_name = "NAME|FILE",
        requires = "chat"
    )]
    pub template: Option<TemplateChoice>,

    /// Receives the rows {row, completion, finish_reason, prompt_tokens, completion_tokens}; `-` is
    /// standard output
    #[arg(long, help_heading = "Prompts and answers", value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,

    /// Print the result as JSON: the answer to --prompt as a row of --out; with --prompts, how many
    /// answers and tokens there are
    #[arg(long, help_heading = "Prompts and answers")]
    pub json: bool,

    /// How tokens are chosen
    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// How much the model may do at once
    #[command(flatten)]
    pub engine: local::EngineArgs,
}

impl Args {
    /// Returns what the command does.
    ///
    /// # Errors
    ///
    /// When columns are mapped that do not go together.
    pub fn job(&self) -> Result<CompleteJob> {
        let (prompts, limits) = match (&self.prompt, &self.prompts, &self.out) {
            (Some(prompt), _, _) => {
                let limits = EngineLimits {
                    max_batch: Some(1),
                    ..self.engine.limits(DEFAULT_BATCH)
                };
                (Prompts::One(prompt.clone()), limits)
            }
            (None, Some(path), Some(out)) => {
                let rows = RowsFile {
                    path: path.clone(),
                    reading: self.reading.reading(Need::Prompt)?,
                    left_out: self.reading.policy(),
                };
                let out = out.clone();
                (Prompts::File { rows, out }, self.engine.limits(DEFAULT_BATCH))
            }
            _ => bail!("--prompts goes with --out, or --prompt stands alone"),
        };
        Ok(CompleteJob {
            model: self.model.spec(),
            limits,
            prompts,
            format: match self.chat {
                true => PromptFormat::Chat(self.template.clone()),
                false => PromptFormat::Text,
            },
            sampling: self.sampling.sampling(),
            json: self.json,
        })
    }
}

/// Which model, where it runs, and in which type: on one device, or on those of
/// [`local::DeviceArgs`].
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs<D: local::Placed = local::OneDeviceArgs> {
    /// Directory of a model (config.json, weights, tokenizer), a GGUF file, or an id on the Hugging
    /// Face hub
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory of a LoRA adapter in PEFT's format, as `ewe train --method lora` writes it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// Where it runs
    #[command(flatten)]
    pub device: D,
}

impl<D: local::Placed> ModelArgs<D> {
    /// Returns the model that these options name.
    pub fn spec(&self) -> ModelSpec {
        self.device.spec(&self.model, self.adapter.as_deref())
    }
}

/// How messages become a prompt.
#[derive(Debug, Clone, clap::Args)]
pub struct TemplateArgs {
    /// How messages become a prompt: alpaca, dolly, chat, completion (nothing around them), or a
    /// Jinja file, as `ewe train` takes them [default: the chat template that came with adapter or
    /// model, else alpaca]
    #[arg(long, value_name = "NAME|FILE")]
    pub template: Option<TemplateChoice>,
}

/// How the next token is chosen.
#[derive(Debug, Clone, clap::Args)]
pub struct SamplingArgs {
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u64).range(..=number::MOST))]
    pub max_tokens: u64,

    /// 0 takes the likeliest token; higher is more varied
    #[arg(long, value_name = "T", default_value_t = 0.7, value_parser = number::temperature)]
    pub temperature: f64,

    /// Nucleus sampling: only the likeliest tokens whose probabilities add up to P; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = number::part)]
    pub top_p: f64,

    /// Only the K likeliest tokens; 0 is off
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=number::MOST))]
    pub top_k: u64,

    /// Only tokens with at least P times the probability of the likeliest; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = number::part)]
    pub min_p: f64,

    /// Subtracted from the score of tokens already generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, value_parser = number::penalty)]
    pub presence_penalty: f64,

    /// Subtracted from a token's score once for each time it was generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, value_parser = number::penalty)]
    pub frequency_penalty: f64,

    /// Divides positive scores of tokens in prompt or answer, and multiplies negative ones; 1 is
    /// off
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number::divisor)]
    pub repetition_penalty: f64,

    /// End the answer before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = words::some)]
    pub stop: Vec<String>,

    /// Generate --max-tokens tokens even where the model would end the answer; for measuring speed
    #[arg(long)]
    pub ignore_eos: bool,

    /// With the prompt and the options above, decides the answer; row N of a file uses seed + N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// Returns the sampling parameters of a request.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            max_tokens: self.max_tokens as usize,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k as usize,
            min_p: self.min_p,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            repetition_penalty: self.repetition_penalty,
            stop: self.stop.clone(),
            seed: self.seed,
            ignore_eos: self.ignore_eos,
            schema: None,
            choices: Vec::new(),
        }
    }
}
