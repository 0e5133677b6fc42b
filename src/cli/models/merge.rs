//! `ewe merge`

use std::path::PathBuf;

use crate::job::merge::{GgufType, MergeJob};

/// Arguments of `ewe merge`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("result").args(["out", "gguf"]).required(true).multiple(true))]
pub struct Args {
    /// Directory of the model that the adapter was trained on, a GGUF file, or an id on the Hugging
    /// Face hub
    #[arg(long, value_name = "DIR|FILE|HF_ID")]
    pub model: PathBuf,

    /// Directory of the adapter, in PEFT's format [default: none, the model as it is]
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,

    /// Directory that receives the model; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// GGUF file that receives the model, for llama.cpp; beside it, a Modelfile for Ollama
    #[arg(long, value_name = "FILE")]
    pub gguf: Option<PathBuf>,

    /// Type of the weights in the GGUF file [default: the type that they are merged in]
    #[arg(id = "type", long = "type", value_name = "TYPE", value_enum)]
    pub gguf_type: Option<GgufType>,

    /// Type of the saved weights: auto (the model's own), bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,

    /// Print the result as JSON: the files and their sizes
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// Returns what to do.
    pub fn job(&self) -> MergeJob {
        MergeJob {
            model: self.model.clone(),
            adapter: self.adapter.clone(),
            out: self.out.clone(),
            gguf: self.gguf.clone(),
            gguf_type: self.gguf_type,
            dtype: self.dtype.clone(),
            json: self.json,
        }
    }
}
