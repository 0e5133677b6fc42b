//! Saves a trained model as a directory that `transformers`, vLLM and llama.cpp's converter load as
//! it is.

use super::files;
use super::saved_template::{self, SavedTemplate};
use crate::gguf::{self, header::Header};
use crate::model::files::text_config;
use crate::model::{self, CausalLm};
use crate::train::optim::lora;
use crate::train::optim::parameter::Parameter;
use crate::train::trainer::Trainer;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::ffi::OsStr;
use std::path::Path;
use tch::Tensor;

/// Largest file of weights, the limit that `transformers` had for years.
pub const SHARD_BYTES: usize = 5_000_000_000;

/// Files of a tokenizer, copied if the base model has them.
const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];

/// Copies the tokenizer of `base` to `out`.
pub fn copy_tokenizer(base: &Path, out: &Path) -> Result<()> {
    if gguf::is(base) {
        let made = gguf::tokenizer::of(&Header::read(base)?)?;
        files::write(&out.join("tokenizer.json"), &made.tokenizer)?;
        return files::write_python_json(&out.join("tokenizer_config.json"), made.config);
    }
    TOKENIZER_FILES
        .iter()
        .filter(|name| base.join(name).is_file())
        .try_for_each(|name| files::copy(&base.join(name), &out.join(name)))
}

/// Files that are written last and so mark a finished result: the weights, or the index of their
/// shards.
const LAST: [&str; 3] = [
    "adapter_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
];

/// Returns whether a file of this name is written last.
pub fn is_last(name: &OsStr) -> bool {
    LAST.iter().any(|last| name == *last)
}

/// Returns whether `out` holds a finished result.
pub fn is_finished(out: &Path) -> bool {
    LAST.iter().any(|name| out.join(name).is_file())
}

/// Returns the bytes that [`write`] will write, except for small files.
pub fn bytes(trainer: &Trainer) -> u64 {
    match &trainer.lora {
        Some(_) => {
            let leaf = |of: &Parameter| 4 * of.leaf.numel() as u64;
            trainer.trained.iter().map(leaf).sum()
        }
        None => files::bytes(&trainer.model.parameters()),
    }
}

/// Writes the result of `trainer` to `out`: an adapter in PEFT's format, or the whole model in the
/// type that it computes in; beside either, the tokenizer and the template. Each file appears
/// whole; the weights, or the index of their shards, come last.
pub fn write(trainer: &mut Trainer, base: &Path, template: &SavedTemplate, out: &Path) -> Result<()> {
    files::make_sure_of_room(out, bytes(trainer)).context("cannot save the result")?;
    copy_tokenizer(base, out)?;
    template.write(base, out)?;
    if let Some(settings) = &trainer.lora {
        return lora::write(out, trainer.model.as_mut(), &trainer.trained, settings, base);
    }
    write_model(trainer.model.as_ref(), base, out)
}

/// Writes config.json and weights of `model`, which has the shapes of the model in `base`.
pub fn write_model(model: &dyn CausalLm, base: &Path, out: &Path) -> Result<()> {
    let mut weights = model.parameters();
    let config = config_of(model, base, &mut weights)?;
    files::write_python_json(&out.join("config.json"), config)?;
    write_weights(out, weights, SHARD_BYTES)
}

/// Returns config.json of `model`, whose `weights` get the names that they are saved by.
pub fn config_of(
    model: &dyn CausalLm,
    base: &Path,
    weights: &mut [(String, Tensor)],
) -> Result<Map<String, Value>> {
    let kind = weights
        .first()
        .map_or(tch::Kind::Float, |(_, tensor)| tensor.kind());
    let mut config = config(base, kind)?;
    // The head may no longer be the embedding: another head in the base's files, or an adapter of
    // one of the two.
    let ties = config
        .get("tie_word_embeddings")
        .map_or(model::ties_by_default(model.info().family), |ties| ties == true);
    if ties && !model.info().tied {
        config.insert("tie_word_embeddings".to_owned(), json!(false));
    }
    text_config::without_images(&mut config, weights);
    Ok(config)
}

/// Returns the base's config.json with the type that the weights are saved in.
fn config(base: &Path, kind: tch::Kind) -> Result<Map<String, Value>> {
    let mut config = saved_template::config(base)?;
    let name = match kind {
        tch::Kind::BFloat16 => "bfloat16",
        tch::Kind::Half => "float16",
        _ => "float32",
    };
    // `transformers` 5 reads `dtype`; earlier versions and other programs read `torch_dtype`.
    for field in ["dtype", "torch_dtype"] {
        config.insert(field.to_owned(), json!(name));
    }
    Ok(config)
}

/// Writes one file, or shards of at most `limit` bytes with an index.
fn write_weights(out: &Path, weights: Vec<(String, Tensor)>, limit: usize) -> Result<()> {
    let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
    let total: usize = weights.iter().map(|(_, tensor)| bytes(tensor)).sum();
    if total <= limit {
        return files::write_safetensors(&out.join("model.safetensors"), &weights);
    }
    let mut shards: Vec<Vec<(String, Tensor)>> = vec![Vec::new()];
    let mut filled = 0;
    for (name, tensor) in weights {
        let size = bytes(&tensor);
        if filled > 0 && filled + size > limit {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += size;
        shards.last_mut().expect("never empty").push((name, tensor));
    }
    let mut places = Map::new();
    for (index, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", index + 1, shards.len());
        files::write_safetensors(&out.join(&file), shard)?;
        places.extend(shard.iter().map(|(name, _)| (name.clone(), json!(file))));
    }
    let index = json!({"metadata": {"total_size": total}, "weight_map": places});
    files::write_json(&out.join("model.safetensors.index.json"), &index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_hold_every_tensor_once() {
        let dir = tempfile::tempdir().unwrap();
        let tensor = |n: i64| Tensor::full([n], n, (tch::Kind::Float, tch::Device::Cpu));
        let weights: Vec<_> = [3, 2, 9, 1].map(|n| (format!("w{n}"), tensor(n))).into();
        write_weights(dir.path(), weights, 24).unwrap();
        let index = std::fs::read_to_string(dir.path().join("model.safetensors.index.json")).unwrap();
        let index: Value = serde_json::from_str(&index).unwrap();
        assert_eq!(index["metadata"]["total_size"], 60);
        for (name, file) in index["weight_map"].as_object().unwrap() {
            let shard = files::read_safetensors(&dir.path().join(file.as_str().unwrap())).unwrap();
            assert_eq!(shard[name].size()[0].to_string(), name[1..]);
        }
        assert_eq!(index["weight_map"]["w9"], "model-00002-of-00003.safetensors");
    }
}
