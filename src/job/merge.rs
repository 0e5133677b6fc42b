//! What `ewe merge` does.

use std::path::PathBuf;

/// What to make of a model, with an adapter or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeJob {
    /// Directory of the model, a GGUF file, or an id on the Hugging Face hub.
    pub model: PathBuf,
    /// Directory of an adapter in PEFT's format.
    pub adapter: Option<PathBuf>,
    /// Directory that receives the model.
    pub out: Option<PathBuf>,
    /// GGUF file that receives the model.
    pub gguf: Option<PathBuf>,
    /// Type of the weights in that file; none for the type that they are merged in.
    pub gguf_type: Option<GgufType>,
    /// Type of the weights: `auto`, `bf16`, `fp16` or `fp32`.
    pub dtype: String,
    /// Whether the result is printed as JSON.
    pub json: bool,
}

/// Types of weights in GGUF files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum GgufType {
    /// 32 bits
    F32,
    /// 16 bits, with the range of fp32
    Bf16,
    /// 16 bits, with more digits and less range
    F16,
    /// 8 bits, in blocks of 32 with a scale
    #[value(name = "q8_0")]
    Q8_0,
}
