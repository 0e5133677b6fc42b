//! Models against `transformers` on the tiny checkpoints of `scripts/make_goldens.py`, and damaged directories.

mod config;
mod damage;
mod logits;
mod weights;

use std::path::{Path, PathBuf};

use tch::{Device, Kind, Tensor};

use super::{LoadedModel, load};

pub(crate) const GOLDENS: &[&str] = &[
    "gptj",
    "neox",
    "neox_serial",
    "neox_tied",
    "llama",
    "llama3",
    "llama_biased",
    "llama_dynamic",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen3_biased",
    "gemma3",
    "gemma3_untied",
];

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub(crate) fn loaded(name: &str) -> LoadedModel {
    load(&golden(name), Device::Cpu, "fp32").unwrap()
}

/// `tokens_bt` and the logits `transformers` gives.
fn expected(name: &str) -> (Tensor, Tensor) {
    (
        reference(name, "tokens", Kind::Int64),
        reference(name, "logits", Kind::Float),
    )
}

/// A tensor of `expected.safetensors`.
fn reference(name: &str, tensor: &str, kind: Kind) -> Tensor {
    let bytes = std::fs::read(golden(name).join("expected.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(tensor).unwrap();
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind)
}

pub(crate) fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}
