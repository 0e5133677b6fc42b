//! `ewe complete`

use std::path::PathBuf;

use crate::cli::args::reading::ReadingArgs;
use crate::cli::args::{local, number, words};
use crate::prompt::template::TemplateChoice;

/// Arguments of `ewe complete`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["prompts", "prompt"]))]
pub struct Args {
    /// The model
    #[command(flatten)]
    pub model: ModelArgs,

    /// Rows with a "prompt" each, or in any format that `ewe import` reads, whose answers are not looked at; what the model answers
    /// goes to --out, in the same order
    #[arg(long, value_name = "FILE", requires = "out")]
    pub prompts: Option<PathBuf>,

    /// How the file is read
    #[command(flatten)]
    pub reading: ReadingArgs,

    /// One prompt; the answer goes to standard output as it comes
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,

    /// Each prompt is a user message, below the row's system message, asked as `ewe chat` asks it, in place of a text to go on with
    #[arg(long)]
    pub chat: bool,

    /// With --chat, how messages become a prompt: as in `ewe chat`
    #[arg(long, value_name = "NAME|FILE", requires = "chat")]
    pub template: Option<TemplateChoice>,

    /// Where the rows {row, completion, finish_reason, prompt_tokens, completion_tokens} go; `-` is standard output
    #[arg(long, value_name = "FILE.jsonl")]
    pub out: Option<PathBuf>,

    /// How it answers
    #[command(flatten)]
    pub sampling: SamplingArgs,

    /// What the model may use
    #[command(flatten)]
    pub engine: local::Engine,
}

/// Which model, where, and in which type.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Directory of a model (config.json, weights, tokenizer), or its id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory of a LoRA adapter in PEFT's format, as `ewe train --method lora` writes it
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// Where it runs
    #[command(flatten)]
    pub place: local::Place,
}

/// In which form a model is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct FormArgs {
    /// How messages become a prompt: alpaca, dolly, chat, completion (nothing around them), or a Jinja file, as `ewe train` takes
    /// them [default: the chat template that came with adapter or model, else alpaca]
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

    /// Nucleus: only the likeliest tokens that make up this much probability; 1 is off
    #[arg(long, value_name = "P", default_value_t = 1.0, value_parser = number::part)]
    pub top_p: f64,

    /// Only the K likeliest tokens; 0 is off
    #[arg(long, value_name = "K", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=number::MOST))]
    pub top_k: u64,

    /// Only tokens at least this fraction as likely as the likeliest; 0 is off
    #[arg(long, value_name = "P", default_value_t = 0.0, value_parser = number::part)]
    pub min_p: f64,

    /// Subtracted from the score of tokens already generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, value_parser = number::penalty)]
    pub presence_penalty: f64,

    /// Subtracted from a token's score once for each time it was generated
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true, value_parser = number::penalty)]
    pub frequency_penalty: f64,

    /// Divides the scores of tokens in prompt or answer; 1 is off
    #[arg(long, value_name = "X", default_value_t = 1.0, value_parser = number::divisor)]
    pub repetition_penalty: f64,

    /// The answer ends before this text; may be given several times
    #[arg(long, value_name = "TEXT", value_parser = words::some)]
    pub stop: Vec<String>,

    /// Answers go on to --max-tokens even where the model ends them; for measuring speed
    #[arg(long)]
    pub ignore_eos: bool,

    /// With the prompt and the options above, decides the answer; row N of a file uses seed + N
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

impl SamplingArgs {
    /// As the backend takes it.
    pub fn sampling(&self) -> crate::backend::Sampling {
        crate::backend::Sampling {
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
        }
    }
}
