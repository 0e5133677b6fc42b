//! `ewe merge`

use std::path::PathBuf;

/// Arguments of `ewe merge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of the model that the adapter was trained on, or its id on the Hugging Face hub
    #[arg(long, value_name = "DIR|HF_ID")]
    pub model: PathBuf,

    /// Directory of the adapter, in PEFT's format
    #[arg(long, value_name = "DIR")]
    pub adapter: PathBuf,

    /// Directory that receives the model; must be new or empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// What the weights are saved in: auto (the model's own), bf16, fp16 or fp32
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    pub dtype: String,
}
