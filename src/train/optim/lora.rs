//! Low-rank adapters (LoRA, Hu et al. 2021, <https://arxiv.org/abs/2106.09685>): attached to every linear layer of
//! every block, written in the format of `peft`.

use super::parameter::Parameter;
use crate::model::lora::{Lora, Magnitude};
use crate::model::{CausalLm, hub};
use crate::train::out::files;
use anyhow::{Context, Result, bail};
use ewe::cli::models::train::Master;
use rand::RngExt;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use tch::{Device, Tensor};

/// How adapters are made.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LoraSettings {
    /// Inner width.
    pub rank: u32,
    /// The adapter's output is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Probability of dropping an input while training.
    pub dropout: f64,
    /// Scaled by `alpha / √rank` instead, so that high ranks learn as fast as low ones (Kalajdzievski 2023,
    /// <https://arxiv.org/abs/2312.03732>).
    pub rank_stabilized: bool,
    /// Whether the lengths of weights are learnt apart.
    #[serde(default)]
    pub dora: bool,
    /// Which layers have one, by the last part of their names; all linear layers of the blocks if empty.
    pub targets: Vec<String>,
    /// Digest of the adapter that the run begins with, if it is not a fresh one.
    pub from: Option<String>,
}

impl LoraSettings {
    /// What the adapter's output is multiplied with.
    pub fn scale(&self) -> f64 {
        let rank = f64::from(self.rank);
        self.alpha / if self.rank_stabilized { rank.sqrt() } else { rank }
    }
}

/// Whether a layer is one of those that `targets` name; all are if there are none.
pub fn is_target(targets: &[String], path: &str) -> bool {
    targets.is_empty() || targets.iter().any(|target| target == last(path))
}

/// The last part of a layer's name: `q_proj`.
pub fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The names that `--lora-targets` may have for this model.
pub fn known_targets(model: &mut dyn CausalLm) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    model.for_each_linear(&mut |linear| {
        known.insert(last(&linear.path).to_owned());
    });
    known
}

/// Fails unless each target names layers of the model.
pub fn check_targets(model: &mut dyn CausalLm, settings: &LoraSettings) -> Result<()> {
    refuse_unknown(&settings.targets, &known_targets(model))
}

/// Fails unless each of `targets` is among the names of a model's layers.
pub fn refuse_unknown(targets: &[String], known: &BTreeSet<String>) -> Result<()> {
    let Some(target) = targets.iter().find(|target| !known.contains(*target)) else {
        return Ok(());
    };
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    bail!(
        "--lora-targets: the model has no layer {target:?}\nhint: it has {}",
        known.join(", ")
    )
}

/// Prefix and suffixes of the names that `peft` gives.
const PREFIX: &str = "base_model.model.";

/// Attaches an adapter to the layers that are wanted and have none yet; the base's gradients stay off. B is zero, so the
/// adapted model starts as the base; A is uniform within ±1/√inputs, as in `peft`, and a function of the seed and the
/// layer's name alone. An adapter that was loaded goes on as it is.
pub fn attach(
    model: &mut dyn CausalLm,
    settings: &LoraSettings,
    seed: u64,
    device: Device,
) -> Vec<Parameter> {
    attach_where(model, settings, seed, device, &|_| true)
}

/// The same of those layers only whose path `takes`.
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
            trained.extend(trained_of(lora, &linear.path));
            return;
        }
        let (outputs, inputs) = linear.size();
        let bound = 1.0 / (inputs as f32).sqrt();
        let mut rng = crate::train::rng(seed, &format!("lora {}", linear.path), 0);
        let values: Vec<f32> = (0..rank * inputs)
            .map(|_| rng.random_range(-bound..bound))
            .collect();
        let a = Tensor::from_slice(&values).view([rank, inputs]).to_device(device);
        let b = Tensor::zeros([outputs, rank], (tch::Kind::Float, device));
        let lora = Lora {
            a,
            b,
            scale: settings.scale(),
            dropout: settings.dropout,
            magnitude: settings.dora.then(|| Magnitude::new(&linear.values(), None)),
        };
        trained.extend(trained_of(&lora, &linear.path));
        linear.lora = Some(lora);
    });
    trained
}

/// What is trained of the adapter of the layer `path`.
fn trained_of(lora: &Lora, path: &str) -> Vec<Parameter> {
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

/// Sets the dropout of every attached adapter; evaluation switches it off.
pub fn set_dropout(model: &mut dyn CausalLm, dropout: f64) {
    model.for_each_linear(&mut |linear| {
        if let Some(lora) = &mut linear.lora {
            lora.dropout = dropout;
        }
    });
}

/// Writes `adapter_config.json` and `adapter_model.safetensors` into `dir`. `base` is where the base model lies; `peft`
/// looks for it there.
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
        // A folder of the cache means nothing elsewhere.
        Some(id) => id.into(),
        None => std::fs::canonicalize(base).with_context(|| format!("cannot resolve {}", base.display()))?,
    };
    // `peft` declares alpha an integer; most are.
    let alpha = if settings.alpha.fract() == 0.0 {
        json!(settings.alpha as i64)
    } else {
        json!(settings.alpha)
    };
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings.rank,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "target_modules": targets,
        "bias": "none",
        "fan_in_fan_out": false,
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
