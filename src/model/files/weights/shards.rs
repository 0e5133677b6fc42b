//! The files of a checkpoint: one, or shards with an index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ewe::settings_file;

/// Name of the single file and of the shards' index, in order of preference.
pub const FORMATS: [(&str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
];

/// Most bytes of an index; that of a model of a million tensors has some hundred million.
const LONGEST_INDEX: u64 = 256 << 20;

/// Returns the files of the weights in `dir`: one, or shards. Fails when there are none, or a shard
/// is missing.
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

/// Returns the names of the shards in an index, sorted. Fails on one outside of the index's folder.
pub fn shard_names(index: &Path) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct ShardIndex {
        weight_map: BTreeMap<String, String>,
    }
    let text = settings_file::read(index, LONGEST_INDEX)
        .with_context(|| format!("cannot read {}", index.display()))?;
    let index_json: ShardIndex = serde_json::from_slice(&text)
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

/// Returns the shards of an index. Fails when one is missing.
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
