//! Models against `transformers` on the tiny checkpoints of `scripts/make_goldens.py`, and damaged
//! directories.

mod config;
mod damage;
mod joint;
mod logits;
mod weights;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use tch::{Device, Kind, Tensor};

use super::{LoadedModel, load};

/// Folders of `tests/golden` that have a model with the logits of `transformers`, sorted.
pub(crate) static GOLDENS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let entries = std::fs::read_dir(golden("")).unwrap();
    let folders = entries.map(|entry| entry.unwrap().path());
    let has_logits = |dir: &PathBuf| {
        ["config.json", "expected.safetensors"]
            .iter()
            .all(|name| dir.join(name).is_file())
    };
    let mut names: Vec<String> = folders
        .filter(has_logits)
        .map(|dir| dir.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort_unstable();
    assert!(names.len() >= 14, "{names:?}");
    names
});

/// Those of them that a cache of pages is for, whatever the GPU: their scores have no cap.
pub(crate) fn paged_goldens() -> impl Iterator<Item = &'static String> {
    GOLDENS.iter().filter(|name| !loaded(name).model.info().capped)
}

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

pub(crate) fn loaded(name: &str) -> LoadedModel {
    load(&golden(name), Device::Cpu, "fp32").unwrap()
}

/// Returns `tokens_bt` and the logits of `transformers`.
fn expected(name: &str) -> (Tensor, Tensor) {
    (
        reference(name, "tokens", Kind::Int64),
        reference(name, "logits", Kind::Float),
    )
}

/// Reads a tensor of `expected.safetensors`.
fn reference(name: &str, tensor: &str, kind: Kind) -> Tensor {
    let bytes = std::fs::read(golden(name).join("expected.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor(tensor).unwrap();
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Tensor::from_data_size(view.data(), &shape, kind)
}

/// The largest difference of two tensors, in units of the largest number of `want`, at least 1:
/// processors add the parts of a product in different orders, and that rounding grows with them.
pub(crate) fn distance(ours: &Tensor, want: &Tensor) -> f64 {
    let largest = want.abs().max().double_value(&[]);
    (ours - want).abs().max().double_value(&[]) / largest.max(1.0)
}
