//! `ewe-torch`: everything with tensors, on top of the `ewe` library. In reading order:
//!
//! - `model`: GPT-J and Gemma 3, shared layers, weights, the KV cache.
//! - `engine`: token generation.
//! - `eval`, `chat`: `score`, `complete`, `chat`, `serve`.
//! - `train`: fine-tuning.

mod model;
mod train;

use clap::Parser;

fn main() {
    let _cli = ewe::cli::Cli::parse();
}
