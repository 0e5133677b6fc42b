//! Low-rank adapters (LoRA, Hu et al. 2021, <https://arxiv.org/abs/2106.09685>): attached to the
//! linear layers of all blocks, and written in PEFT's format.

use super::parameter::Parameter;
use crate::model::CausalLm;
use crate::model::files::fingerprint::fingerprint;
use crate::model::files::{adapter, hub};
use crate::model::layers::lora::{Lora, Magnitude};
use crate::train::out::files;
use anyhow::{Context, Result, bail};
use ewe::finetune::{LoraSettings, Master};
use rand::RngExt;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Returns whether `targets` name the layer at `path`; no targets name all layers.
pub fn is_target(targets: &[String], path: &str) -> bool {
    targets.is_empty() || targets.iter().any(|target| target == layer_name(path))
}

/// Returns the last part of a layer's path, such as `q_proj`.
pub fn layer_name(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Returns the names that `--lora-targets` accepts for this model.
pub fn known_targets(model: &mut dyn CausalLm) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    model.for_each_linear(&mut |linear| {
        known.insert(layer_name(&linear.path).to_owned());
    });
    known
}

/// Fails if a target names no layer of the model.
pub fn check_targets(model: &mut dyn CausalLm, settings: &LoraSettings) -> Result<()> {
    check_names(&settings.targets, &known_targets(model))
}

/// Fails if one of `targets` is not among the `known` names of layers.
pub fn check_names(targets: &[String], known: &BTreeSet<String>) -> Result<()> {
    let Some(target) = targets.iter().find(|target| !known.contains(*target)) else {
        return Ok(());
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    bail!(
        "--lora-targets: the model has no layer {target:?}\nhint: it has {}",
        known.join(", ")
    )
}

/// Reads the settings of the adapter in `dir`, which training continues with this `dropout`. Fails
/// if it has more than LoRA or DoRA of linear layers.
pub fn adapter_settings(dir: &Path, dropout: f64) -> Result<LoraSettings> {
    let about = adapter::about(dir)?;
    if !about.beyond.is_empty() {
        bail!(
            "training cannot continue {}, which has {}\nhint: `ewe merge` adds it to its model, which can be trained with another adapter",
            dir.display(),
            about.beyond.join(", ")
        );
    }
    let targets: BTreeSet<String> = about
        .paths
        .iter()
        .map(|path| layer_name(path).to_owned())
        .collect();
    Ok(LoraSettings {
        rank: about.rank,
        alpha: about.alpha,
        dropout,
        rank_stabilized: about.rank_stabilized,
        dora: about.dora,
        targets: targets.into_iter().collect(),
        from: Some(fingerprint(dir, None, Kind::Float)?),
    })
}

/// Prefix of tensor names in PEFT's files.
const PREFIX: &str = "base_model.model.";

/// Attaches a new adapter to the target layers that have none, and returns what is trained;
/// gradients of the base stay off. B is zero, so that the adapted model starts as the base. A is
/// uniform within ±1/√inputs, as in PEFT, and a function of the seed and the layer's path alone.
/// Loaded adapters are trained on as they are.
pub fn attach(
    model: &mut dyn CausalLm,
    settings: &LoraSettings,
    seed: u64,
    device: Device,
) -> Vec<Parameter> {
    attach_where(model, settings, seed, device, &|_| true)
}

/// As [`attach`], for layers whose path `takes` accepts.
pub fn attach_where(
    model: &mut dyn CausalLm,
    settings: &LoraSettings,
    seed: u64,
    device: Device,
    takes: &dyn Fn(&str) -> bool,
) -> Vec<Parameter> {
    let mut trained = Vec::new();
    let rank = i64::from(settings.rank);
    model.for_each_linear(&mut |linear| {
        if !is_target(&settings.targets, &linear.path) || !takes(&linear.path) {
            return;
        }
        if let Some(lora) = &mut linear.lora {
            lora.dropout = settings.dropout;
            trained.extend(parameters(lora, &linear.path));
            return;
        }
        let (outputs, inputs) = linear.size();
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut rng = crate::train::rng(seed, &format!("lora {}", linear.path), 0);
        let values: Vec<f32> = (0..rank * inputs)
            .map(|_| rng.random_range(-bound..bound))
            .collect();
        let a = Tensor::from_slice(&values).view([rank, inputs]).to_device(device);
        let b = Tensor::zeros([outputs, rank], (Kind::Float, device));
        let lora = Lora {
            a,
            b,
            scale: settings.scale(),
            dropout: settings.dropout,
            magnitude: settings.dora.then(|| Magnitude::new(&linear.values(), None)),
        };
        trained.extend(parameters(&lora, &linear.path));
        linear.lora = Some(lora);
    });
    trained
}

/// Returns the parameters of the adapter of the layer at `path`.
fn parameters(lora: &Lora, path: &str) -> Vec<Parameter> {
    let mut named = vec![("lora_A.weight", &lora.a), ("lora_B.weight", &lora.b)];
    named.extend(
        lora.magnitude
            .iter()
            .map(|of| ("lora_magnitude_vector", &of.lengths)),
    );
    let of = |(name, leaf): (&str, &Tensor)| {
        let name = format!("{PREFIX}{path}.{name}");
        Parameter::new(name, leaf.shallow_clone(), None, Master::Fp32)
    };
    named.into_iter().map(of).collect()
}

/// Sets the dropout of all attached adapters; evaluation sets it to 0.
pub fn set_dropout(model: &mut dyn CausalLm, dropout: f64) {
    model.for_each_linear(&mut |linear| {
        if let Some(lora) = &mut linear.lora {
            lora.dropout = dropout;
        }
    });
}

/// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`. PEFT looks for the base
/// model at `base`.
pub fn write(
    dir: &Path,
    model: &mut dyn CausalLm,
    trained: &[Parameter],
    settings: &LoraSettings,
    base: &Path,
) -> Result<()> {
    let targets = match settings.targets.as_slice() {
        [] => known_targets(model),
        targets => targets.iter().cloned().collect(),
    };
    let base = match hub::id_of(base) {
        // A folder in the cache means nothing on another machine.
        Some(id) => id.into(),
        None => std::fs::canonicalize(base).with_context(|| format!("cannot resolve {}", base.display()))?,
    };
    // PEFT declares alpha as an integer; most are.
    let alpha = if settings.alpha.fract() == 0.0 {
        json!(settings.alpha as i64)
    } else {
        json!(settings.alpha)
    };
    let mut transposed = false;
    model.for_each_linear(&mut |linear| transposed |= linear.transposed);
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": transposed,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
        "use_rslora": settings.rank_stabilized,
        "use_dora": settings.dora,
    });
    files::write_json(&dir.join("adapter_config.json"), &config)?;
    let tensors: Vec<(String, Tensor)> = trained
        .iter()
        .map(|of| (of.name.clone(), of.leaf.detach()))
        .collect();
    files::write_safetensors(&dir.join("adapter_model.safetensors"), &tensors)
}
