//! A trained model as a directory that `transformers`, vLLM and llama.cpp's converter load as it is.

use super::files;
use super::saved_template::{self, SavedTemplate};
use crate::model::CausalLm;
use crate::train::trainer::Trainer;
use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use std::ffi::OsStr;
use std::path::Path;
use tch::Tensor;

/// Largest file of weights, as `transformers` had it for years.
const SHARD_BYTES: usize = 5_000_000_000;

/// What belongs to a tokenizer, where the base model has it.
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

/// Copies the tokenizer of `base` into `out`.
pub fn copy_tokenizer(base: &Path, out: &Path) -> Result<()> {
    TOKENIZER_FILES
        .iter()
        .filter(|name| base.join(name).is_file())
        .try_for_each(|name| files::copy(&base.join(name), &out.join(name)))
}

/// What is written last, and so says that a result is finished: the weights, or the index of their
/// shards.
const LAST: [&str; 3] = [
    "adapter_model.safetensors",
    "model.safetensors",
    "model.safetensors.index.json",
];

/// Whether a file of this name is written last.
pub fn is_last(name: &OsStr) -> bool {
    LAST.iter().any(|last| name == *last)
}

/// Whether `out` holds a finished result.
pub fn is_finished(out: &Path) -> bool {
    LAST.iter().any(|name| out.join(name).is_file())
}

/// Bytes of what [`write`] will write, but for small files.
pub fn bytes(trainer: &Trainer) -> u64 {
    match &trainer.lora {
        Some(_) => {
            let leaf = |of: &crate::train::optim::parameter::Parameter| 4 * of.leaf.numel() as u64;
            trainer.trained.iter().map(leaf).sum()
        }
        None => files::bytes(&trainer.model.parameters()),
    }
}

/// Writes the result of `trainer` into `out`: an adapter in `peft`'s format, or the whole model, in the type it
/// computes in, and beside either the tokenizer and the form in which it is asked. Each file appears whole; the weights, or the index
/// of their shards, come last.
pub fn write(trainer: &mut Trainer, base: &Path, form: &SavedTemplate, out: &Path) -> Result<()> {
    files::make_sure_of_room(out, bytes(trainer)).context("cannot save the result")?;
    copy_tokenizer(base, out)?;
    form.write(base, out)?;
    if let Some(settings) = &trainer.lora {
        return crate::train::optim::lora::write(
            out,
            trainer.model.as_mut(),
            &trainer.trained,
            settings,
            base,
        );
    }
    write_model(trainer.model.as_ref(), base, out)
}

/// Writes config.json and weights of `model`, which has the shape of the one in `base`.
pub fn write_model(model: &dyn CausalLm, base: &Path, out: &Path) -> Result<()> {
    let weights = model.parameters();
    let kind = weights
        .first()
        .map_or(tch::Kind::Float, |(_, tensor)| tensor.kind());
    let mut config = config(base, kind)?;
    // Another head in the base's files, or what an adapter did to one of the two.
    let ties = config
        .get("tie_word_embeddings")
        .map_or(model.info().family == "gemma3_text", |ties| ties == true);
    if ties && !model.info().tied {
        config.insert("tie_word_embeddings".to_owned(), json!(false));
    }
    files::write_python_json(&out.join("config.json"), config)?;
    write_weights(out, weights, SHARD_BYTES)
}

/// The base's config.json with the type that the weights are saved in.
fn config(base: &Path, kind: tch::Kind) -> Result<Map<String, Value>> {
    let mut config = saved_template::object(&base.join("config.json"))?;
    let name = if kind == tch::Kind::BFloat16 {
        "bfloat16"
    } else {
        "float32"
    };
    // `transformers` 5 reads `dtype`; before it, and elsewhere, the name was `torch_dtype`.
    for field in ["dtype", "torch_dtype"] {
        config.insert(field.to_owned(), json!(name));
    }
    Ok(config)
}

/// One file, or shards of at most `limit` bytes with an index.
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
