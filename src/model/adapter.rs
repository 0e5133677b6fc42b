//! Reads a LoRA adapter in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`, with keys
//! `base_model.model.<path>.lora_A.weight` `[rank, in]`, `….lora_B.weight` `[out, rank]` and, of DoRA, `….lora_magnitude_vector` `[out]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use tch::{Device, Kind};

use super::CausalLm;
use super::lora::{Lora, Magnitude};
use super::weights::Weights;

const PREFIX: &str = "base_model.model.";

/// The fields of `adapter_config.json` that say how an adapter is applied.
#[derive(Debug, serde::Deserialize)]
struct Config {
    peft_type: String,
    r: i64,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Settings that change what an adapter means, with the values that leave it the LoRA implemented here.
const PLAIN: &[(&str, &[&str])] = &[
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
    ("rank_pattern", &["{}"]),
    ("alpha_pattern", &["{}"]),
    ("modules_to_save", &["[]"]),
    ("trainable_token_indices", &["[]", "{}"]),
    ("layer_replication", &["[]"]),
    ("target_parameters", &["[]"]),
    ("lora_bias", &["false"]),
    ("use_qalora", &["false"]),
    ("use_bdlora", &["false"]),
    ("alora_invocation_tokens", &["[]"]),
    ("arrow_config", &[]),
    ("kasa_config", &[]),
    ("monteclora_config", &[]),
];

impl Config {
    /// Reads the one in `dir`. Fails on what is neither LoRA nor DoRA.
    fn read(dir: &Path) -> Result<Config> {
        let path = dir.join("adapter_config.json");
        let text = std::fs::read_to_string(&path).with_context(|| {
            format!(
                "cannot read {}\nhint: an adapter is a directory in PEFT's format",
                path.display()
            )
        })?;
        let config: Config = serde_json::from_str(&text)
            .with_context(|| format!("{} is not an adapter's config", path.display()))?;
        if config.peft_type != "LORA" {
            bail!(
                "{}: peft_type `{}` is not supported (only LORA)",
                path.display(),
                config.peft_type
            );
        }
        for (name, plain) in PLAIN {
            match config.rest.get(*name) {
                None | Some(Value::Null) => {}
                Some(value) if plain.contains(&value.to_string().as_str()) => {}
                Some(value) => bail!("{}: `{name}` = {value} is not supported", path.display()),
            }
        }
        if config.r < 1 {
            bail!("{}: `r` is {}, want at least 1", path.display(), config.r);
        }
        Ok(config)
    }

    /// What an adapter's output is multiplied with.
    fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

/// What the adapter in `dir` is, without a model: its config, and which layers its file has something for.
pub fn about(dir: &Path) -> Result<About> {
    let config = Config::read(dir)?;
    let weights = Weights::open_file(&dir.join("adapter_model.safetensors"), "")?;
    let path = |name: &str| {
        let name = name.strip_prefix(PREFIX)?.strip_suffix(".lora_A.weight")?;
        Some(name.to_owned())
    };
    Ok(About {
        rank: config.r as u32,
        alpha: config.lora_alpha,
        rank_stabilized: config.use_rslora,
        dora: config.use_dora,
        paths: weights.names().into_iter().filter_map(path).collect(),
    })
}

/// What an adapter's config says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct About {
    /// Inner width.
    pub rank: u32,
    /// Its output is scaled by `alpha / rank`, or,
    pub alpha: f64,
    /// where this is set, by `alpha / √rank`.
    pub rank_stabilized: bool,
    /// Whether lengths of weights are learnt apart.
    pub dora: bool,
    /// Paths of the layers that have one.
    pub paths: Vec<String>,
}

/// Attaches the adapter in `dir` to `model`, and gives how many layers have one. A and B stay in fp32; dropout is off.
///
/// Fails with the file and every name or shape that does not fit the model.
pub fn attach(model: &mut dyn CausalLm, dir: &Path, device: Device) -> Result<usize> {
    let _guard = tch::no_grad_guard();
    let config = Config::read(dir)?;
    let rank = config.r;
    let scale = config.scale();
    let file = dir.join("adapter_model.safetensors");
    let mut weights = Weights::open_file(&file, "")?;
    weights.place(Kind::Float, device);
    let mut unused: BTreeSet<String> = weights.names().into_iter().map(str::to_string).collect();
    let mut loras = BTreeMap::new();
    model.for_each_linear(&mut |linear| {
        let (a, b) = (
            format!("{PREFIX}{}.lora_A.weight", linear.path),
            format!("{PREFIX}{}.lora_B.weight", linear.path),
        );
        if !unused.contains(&a) && !unused.contains(&b) {
            return;
        }
        unused.remove(&a);
        unused.remove(&b);
        let magnitude = format!("{PREFIX}{}.lora_magnitude_vector", linear.path);
        if config.use_dora {
            unused.remove(&magnitude);
        }
        let (outputs, inputs) = linear.size();
        let (a, b) = (
            weights.tensor(&a, &[rank, inputs]),
            weights.tensor(&b, &[outputs, rank]),
        );
        let magnitude = config
            .use_dora
            .then(|| Magnitude::new(&linear.values(), Some(weights.tensor(&magnitude, &[outputs]))));
        loras.insert(
            linear.path.clone(),
            Lora {
                a,
                b,
                scale,
                dropout: 0.0,
                magnitude,
            },
        );
    });
    weights.finish()?;
    if !unused.is_empty() {
        let names: Vec<String> = unused.into_iter().collect();
        bail!(
            "{} does not fit the model, which has no place for:\n  {}\nhint: is this adapter for another base model?",
            file.display(),
            names.join("\n  ")
        );
    }
    if loras.is_empty() {
        bail!("{} has no LoRA weights", file.display());
    }
    let count = loras.len();
    model.for_each_linear(&mut |linear| {
        if let Some(lora) = loras.remove(&linear.path) {
            linear.lora = Some(lora);
        }
    });
    Ok(count)
}
