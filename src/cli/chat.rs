//! `ewe chat`

/// Arguments of `ewe chat`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Directory of a model: config.json, safetensors, tokenizer.json
    #[arg(long, value_name = "DIR")]
    pub model: std::path::PathBuf,
}
