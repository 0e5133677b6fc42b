//! Which files the weights of a model are in: one, or shards with an index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ewe::settings_file;

/// Names of the file that has all weights and of the index of shards, in order of preference.
pub const FORMATS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// Bytes of an index; that of a model of a million tensors has some hundred million.
const LONGEST_INDEX: u64 = 256 << 20;

/// The files of the weights in `dir`: one, or shards. Fails when there are none,
/// or when a shard is missing.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    for (single, index) in FORMATS {
        if dir.join(single).is_file() {
            return Ok(vec![dir.join(single)]);
        }
        if dir.join(index).is_file() {
            return shards_of(&dir.join(index));
        }
    }
    bail!(
        "{} has no weights: neither model.safetensors, model.safetensors.index.json, pytorch_model.bin nor \
         pytorch_model.bin.index.json\nhint: convert other formats with transformers' save_pretrained",
        dir.display()
    )
}

/// The names of the shards in an index, in order. Fails on one that lies elsewhere.
pub fn shard_names(index: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let text = settings_file::read(index, LONGEST_INDEX)
        .with_context(|| format!("cannot read {}", index.display()))?;
    let index_json: Index = serde_json::from_slice(&text)
        .with_context(|| format!("{} is not an index of shards", index.display()))?;
    let mut files: Vec<String> = index_json.weight_map.into_values().collect();
    files.sort_unstable();
    files.dedup();
    if let Some(file) = files
        .iter()
        .find(|file| file.contains(['/', '\\']) || file.starts_with('.'))
    {
        bail!(
            "{} names a shard outside of its folder: `{file}`",
            index.display()
        );
    }
    Ok(files)
}

/// The shards an index names, each checked to be there.
fn shards_of(index: &Path) -> Result<Vec<PathBuf>> {
    let files = shard_names(index)?;
    let files: Vec<PathBuf> = files.iter().map(|file| index.with_file_name(file)).collect();
    let missing: Vec<String> = files
        .iter()
        .filter(|f| !f.is_file())
        .map(|f| f.display().to_string())
        .collect();
    if !missing.is_empty() {
        bail!(
            "{} names shards that are not there: {}",
            index.display(),
            missing.join(", ")
        );
    }
    Ok(files)
}
