//! Reads LoRA adapters in PEFT's format: `adapter_config.json` with `adapter_model.safetensors` or
//! `adapter_model.bin`.
//!
//! Keys are `base_model.model.<path>.lora_A.weight` `[rank, in]`, `….lora_B.weight` `[out, rank]`
//! and, for DoRA, `….lora_magnitude_vector` `[out]`. For an embedding they are `….lora_embedding_A`
//! `[rank, vocab]` and `….lora_embedding_B` `[d, rank]`. Whole weights, such as those of
//! `modules_to_save`, are `….weight`.

mod config;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Result, bail};
use tch::{Device, Kind, Tensor};

use super::weights::Weights;
use crate::model::layers::Linear;
use crate::model::layers::lora::{Lora, Magnitude};
use crate::model::{CausalLm, EmbeddingAndHead, head_names};
use config::AdapterConfig;
use ewe::text::counted;

const PREFIX: &str = "base_model.model.";

/// Opens the adapter's weights, in either format.
fn weights_of(dir: &Path) -> Result<Weights> {
    let files = ["adapter_model.safetensors", "adapter_model.bin"].map(|name| dir.join(name));
    match files.iter().find(|file| file.is_file()) {
        Some(file) => Weights::open_file(file, ""),
        None => bail!(
            "{} has neither adapter_model.safetensors nor adapter_model.bin\nhint: an adapter is a directory in PEFT's format",
            dir.display()
        ),
    }
}

/// Reads what the adapter in `dir` is, without a model: its config, and the layers that its file
/// has weights for.
pub fn about(dir: &Path) -> Result<AdapterInfo> {
    let config = AdapterConfig::read(dir)?;
    let weights = weights_of(dir)?;
    let path = |name: &str| {
        let name = name.strip_prefix(PREFIX)?.strip_suffix(".lora_A.weight")?;
        Some(name.to_owned())
    };
    Ok(AdapterInfo {
        rank: config.r as u32,
        alpha: config.lora_alpha,
        rank_stabilized: config.use_rslora,
        dora: config.use_dora,
        paths: weights.names().into_iter().filter_map(path).collect(),
        beyond: beyond(&config, &weights.names()),
    })
}

/// What an adapter is, by its config and the names of its weights.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterInfo {
    /// Rank.
    pub rank: u32,
    /// The output is scaled by `alpha / rank`,
    pub alpha: f64,
    /// or, where this is set, by `alpha / √rank`.
    pub rank_stabilized: bool,
    /// Whether it is a DoRA adapter.
    pub dora: bool,
    /// Paths of the layers that it adapts.
    pub paths: Vec<String>,
    /// What it has that training cannot continue, in words.
    pub beyond: Vec<String>,
}

/// Lists what an adapter has besides LoRA of a single rank in blocks.
fn beyond(config: &AdapterConfig, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, patterns) in [
        ("rank_pattern", &config.rank_pattern),
        ("alpha_pattern", &config.alpha_pattern),
    ] {
        if !patterns.is_empty() {
            found.push(format!("`{name}`"));
        }
    }
    let others = names.iter().filter(|name| !is_in_block(name));
    found.extend(others.map(|name| format!("`{}`", name.strip_prefix(PREFIX).unwrap_or(name))));
    found
}

/// Lists the names of tensors of the adapter in `dir` that are not of LoRA in blocks, such as whole
/// weights and the LoRA of an embedding or of the output head.
pub fn beyond_blocks(dir: &Path) -> Result<Vec<String>> {
    let weights = weights_of(dir)?;
    let names = weights.names();
    let others = names.iter().filter(|name| !is_in_block(name));
    Ok(others
        .map(|name| name.strip_prefix(PREFIX).unwrap_or(name).to_owned())
        .collect())
}

/// Whether a tensor is of the LoRA of a layer in a block.
fn is_in_block(name: &str) -> bool {
    name.split('.').any(|part| part.parse::<u32>().is_ok()) && name.contains(".lora_")
}

/// What an adapter changed in a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Number of layers with LoRA, the output head included.
    pub layers: usize,
    /// Names of whole weights that the adapter replaced by different ones, and of an embedding that
    /// it corrected.
    pub replaced: Vec<String>,
}

/// Attaches the adapter in `dir` to `model`, which was read from `base`. A and B stay in fp32;
/// dropout is off. Whole weights, and a LoRA of the embedding, are merged into the model at once:
/// looked up or added later, the sum would be rounded once just the same.
///
/// Warns where the adapter names another base model. Fails with the file and every name or shape
/// that does not fit the model.
pub fn attach(model: &mut dyn CausalLm, base: &Path, dir: &Path, device: Device) -> Result<Attached> {
    let _guard = tch::no_grad_guard();
    let config = AdapterConfig::read(dir)?;
    let mut weights = weights_of(dir)?;
    refuse_in_memory_names(dir, &weights.names())?;
    weights.place(Kind::Float, device);
    let mut unused: BTreeSet<String> = weights.names().into_iter().map(str::to_string).collect();
    let has = |unused: &BTreeSet<String>, name: &str| unused.contains(&format!("{PREFIX}{name}"));
    let heads = head_names();
    let head = heads
        .iter()
        .find(|head| has(&unused, &format!("{head}.lora_A.weight")))
        .copied();
    // A change of one of two tied layers must not reach the other.
    let embedding = model.embedding_and_head().embedding.path.clone();
    let embedded = has(&unused, &format!("{embedding}.lora_embedding_A"));
    let apart = |path: &str| has(&unused, &format!("{path}.weight")) && config.saves(path);
    if head.is_some() || embedded || apart(&embedding) || heads.iter().any(|head| apart(head)) {
        if config.ties && *model.embedding_and_head().tied {
            config.refuse_tied()?;
        }
        model.untie();
    }

    let mut loras = BTreeMap::new();
    let mut visit = |path: &str, linear: &Linear| {
        if let Some(lora) = read_lora(path, linear, &config, &mut weights, &mut unused) {
            loras.insert(linear.path.clone(), lora);
        }
    };
    model.for_each_linear(&mut |linear| visit(&linear.path, linear));
    if let Some(head) = head {
        visit(head, model.embedding_and_head().head);
    }
    let mut replaced = replace_whole(model, &mut weights, &mut unused)?;
    if embedded {
        let EmbeddingAndHead { embedding, .. } = model.embedding_and_head();
        merge_embedding(embedding, &config, &mut weights, &mut unused)?;
        replaced.push(embedding.path.clone());
    }
    let of = format!("the model in {}", base.display());
    weights.finish_for(&of, &config.hint(base))?;
    if !unused.is_empty() {
        const SHOWN: usize = 5;
        let beyond = unused.len().saturating_sub(SHOWN);
        let mut names: Vec<String> = unused.into_iter().take(SHOWN).collect();
        if beyond > 0 {
            names.push(format!("and {beyond} more"));
        }
        bail!(
            "{} does not fit {of}, which has no place for:\n  {}\nhint: {}",
            dir.display(),
            names.join("\n  "),
            config.hint(base)
        );
    }
    if loras.is_empty() && replaced.is_empty() {
        bail!("{} has no LoRA weights", dir.display());
    }
    let layers = loras.len();
    let mut put = |linear: &mut Linear| {
        if let Some(lora) = loras.remove(&linear.path) {
            linear.lora = Some(lora);
        }
    };
    model.for_each_linear(&mut put);
    put(model.embedding_and_head().head);
    // Where the adapter does not fit, the error has named the base already.
    if let Some(warning) = config.warning(base) {
        tracing::warn!("{warning}");
    }
    Ok(Attached { layers, replaced })
}

/// Fails on tensors with their names in memory, which contain the adapter's own name: peft ignores
/// them.
fn refuse_in_memory_names(dir: &Path, names: &[&str]) -> Result<()> {
    let own = |name: &&&str| {
        let behind = ["lora_A.", "lora_B."].map(|part| name.split_once(part));
        let behind = behind.into_iter().flatten().next();
        behind.is_some_and(|(_, behind)| behind != "weight" && behind.ends_with(".weight"))
    };
    match names.iter().find(own) {
        None => Ok(()),
        Some(name) => bail!(
            "{}: the adapter's name stands in those of its tensors, as in memory: `{name}`\nhint: peft's save_pretrained \
             writes names without it",
            dir.display()
        ),
    }
}

/// Reads the LoRA of `linear`, called `path` in the file; none if there is none.
fn read_lora(
    path: &str,
    linear: &Linear,
    config: &AdapterConfig,
    weights: &mut Weights,
    unused: &mut BTreeSet<String>,
) -> Option<Lora> {
    let [a, b] = ["A", "B"].map(|side| format!("{PREFIX}{path}.lora_{side}.weight"));
    if !unused.contains(&a) && !unused.contains(&b) {
        return None;
    }
    unused.remove(&a);
    unused.remove(&b);
    let magnitude = format!("{PREFIX}{path}.lora_magnitude_vector");
    if config.use_dora {
        unused.remove(&magnitude);
    }
    let (outputs, inputs) = linear.size();
    let rank = config.rank(path);
    let (a, b) = (
        weights.tensor(&a, &[rank, inputs]),
        weights.tensor(&b, &[outputs, rank]),
    );
    let magnitude = config
        .use_dora
        .then(|| Magnitude::new(&linear.values(), Some(weights.tensor(&magnitude, &[outputs]))));
    Some(Lora {
        a,
        b,
        scale: config.scale(path),
        dropout: 0.0,
        magnitude,
    })
}

/// Merges the LoRA of the embedding into its rows.
fn merge_embedding(
    embedding: &mut crate::model::layers::Embedding,
    config: &AdapterConfig,
    weights: &mut Weights,
    unused: &mut BTreeSet<String>,
) -> Result<()> {
    let path = embedding.path.as_str();
    if config.use_dora {
        bail!(
            "a DoRA adapter of the embedding `{path}` is not supported\nhint: let peft merge it into its model (merge_and_unload), and use that"
        );
    }
    let (rows, width) = embedding.weight.size2()?;
    let rank = config.rank(path);
    let [a, b] = ["A", "B"].map(|side| format!("{PREFIX}{path}.lora_embedding_{side}"));
    unused.remove(&a);
    unused.remove(&b);
    let (a_rv, b_dr) = (
        weights.tensor(&a, &[rank, rows]),
        weights.tensor(&b, &[width, rank]),
    );
    if a_rv.dim() == 2 && b_dr.dim() == 2 {
        let sum_vd = embedding.weight.to_kind(Kind::Float) + b_dr.matmul(&a_rv).tr() * config.scale(path);
        embedding.weight.copy_(&sum_vd);
    }
    Ok(())
}

/// Replaces the model's weights by the whole weights of the file. Returns the names of those that
/// differ from before.
fn replace_whole(
    model: &mut dyn CausalLm,
    weights: &mut Weights,
    unused: &mut BTreeSet<String>,
) -> Result<Vec<String>> {
    let mut own: BTreeMap<String, Tensor> = model.parameters().into_iter().collect();
    let EmbeddingAndHead { head, .. } = model.embedding_and_head();
    for name in head_names() {
        own.entry(format!("{name}.weight"))
            .or_insert_with(|| head.weight.shallow_clone());
    }
    let mut replaced = Vec::new();
    for full in unused.clone() {
        // A layer with LoRA has its own weight under `base_layer`.
        let name = full
            .strip_prefix(PREFIX)
            .unwrap_or(&full)
            .replace(".base_layer.", ".");
        let Some(tensor) = own.get_mut(&name) else {
            continue;
        };
        let theirs = weights.shape(&full);
        if theirs.first() != tensor.size().first() && name.ends_with(".weight") && theirs.len() == 2 {
            bail!(
                "`{full}` has {}, the model's {}: an adapter with another vocabulary is not supported\nhint: let \
                 peft merge it into its model (merge_and_unload), and use that",
                counted(*theirs.first().unwrap_or(&0), "row"),
                tensor.size().first().unwrap_or(&0)
            );
        }
        unused.remove(&full);
        let saved = weights.tensor(&full, &tensor.size()).to_kind(tensor.kind());
        if saved.size() == tensor.size() && !saved.equal(tensor) {
            tensor.copy_(&saved);
            replaced.push(name);
        }
    }
    Ok(replaced)
}
