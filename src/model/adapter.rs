//! Reads a LoRA adapter in PEFT's format: `adapter_config.json` and `adapter_model.safetensors` or `adapter_model.bin`, with
//! keys `base_model.model.<path>.lora_A.weight` `[rank, in]`, `….lora_B.weight` `[out, rank]` and, of DoRA,
//! `….lora_magnitude_vector` `[out]`. Of an embedding they are `….lora_embedding_A` `[rank, vocab]` and `….lora_embedding_B`
//! `[d, rank]`; whole weights, those of `modules_to_save` among them, are `….weight`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use regex::Regex;
use serde_json::{Map, Value};
use tch::{Device, Kind, Tensor};

use super::layers::Linear;
use super::lora::{Lora, Magnitude};
use super::weights::Weights;
use super::{CausalLm, Ends};

const PREFIX: &str = "base_model.model.";

/// What an output head may be called.
const HEADS: [&str; 2] = ["lm_head", "embed_out"];

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
    /// Inner widths and alphas of the layers whose paths end in these patterns.
    #[serde(default, deserialize_with = "null_is_none")]
    rank_pattern: Map<String, Value>,
    #[serde(default, deserialize_with = "null_is_none")]
    alpha_pattern: Map<String, Value>,
    /// Modules that were trained whole: names, or ends of paths.
    #[serde(default, deserialize_with = "null_is_none")]
    modules_to_save: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Settings that change what an adapter means, with the values that leave it the LoRA implemented here.
const PLAIN: &[(&str, &[&str])] = &[
    ("bias", &["\"none\""]),
    ("fan_in_fan_out", &["false"]),
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

fn null_is_none<'a, D: serde::Deserializer<'a>, T: serde::Deserialize<'a> + Default>(
    from: D,
) -> Result<T, D::Error> {
    let value: Option<T> = serde::Deserialize::deserialize(from)?;
    Ok(value.unwrap_or_default())
}

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
                Some(value) => bail!(
                    "{}: `{name}` = {value} is not supported\nhint: let peft merge the adapter into its model (merge_and_unload), and use that",
                    path.display()
                ),
            }
        }
        let ranks = config
            .rank_pattern
            .iter()
            .map(|(name, rank)| (name.as_str(), rank.as_i64()));
        for (name, rank) in ranks.chain([("r", Some(config.r))]) {
            if rank.is_none_or(|rank| !(1..=LARGEST_RANK).contains(&rank)) {
                let rank = rank.map_or_else(|| "no whole number".to_owned(), |rank| rank.to_string());
                bail!(
                    "{}: the rank `{name}` is {rank}, want 1 to {LARGEST_RANK}",
                    path.display()
                );
            }
        }
        let alphas = config
            .alpha_pattern
            .iter()
            .map(|(name, alpha)| (name.as_str(), alpha.as_f64()));
        for (name, alpha) in alphas.chain([("lora_alpha", Some(config.lora_alpha))]) {
            if !alpha.is_some_and(f64::is_finite) {
                bail!("{}: the alpha `{name}` is no number", path.display());
            }
        }
        for name in config.rank_pattern.keys().chain(config.alpha_pattern.keys()) {
            pattern(name).with_context(|| {
                format!("{}: `{name}` is a pattern that is not supported", path.display())
            })?;
        }
        Ok(config)
    }

    /// Inner width of the layer at `path`.
    fn rank(&self, path: &str) -> i64 {
        matching(&self.rank_pattern, path)
            .and_then(Value::as_i64)
            .unwrap_or(self.r)
    }

    /// What the output of the layer at `path` is multiplied with.
    fn scale(&self, path: &str) -> f64 {
        let rank = self.rank(path) as f64;
        let alpha = matching(&self.alpha_pattern, path)
            .and_then(Value::as_f64)
            .unwrap_or(self.lora_alpha);
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Whether the module at `path` was trained whole, in a copy of its own.
    fn saves(&self, path: &str) -> bool {
        let ends = |name: &String| {
            path.strip_suffix(name.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        self.modules_to_save.iter().any(ends)
    }
}

/// No adapter is wider.
const LARGEST_RANK: i64 = 1 << 16;

/// PEFT's reading of a name in `rank_pattern`: the end of a path, as a regular expression.
fn pattern(name: &str) -> Result<Regex, regex::Error> {
    Regex::new(&format!(r"^(?:.*\.)?(?:{name})$"))
}

/// What the first pattern that fits `path` stands for.
fn matching<'a>(patterns: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let fits = |name: &str| pattern(name).is_ok_and(|pattern| pattern.is_match(path));
    patterns
        .iter()
        .find(|(name, _)| fits(name))
        .map(|(_, value)| value)
}

/// The adapter's weights, in either format.
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

/// What the adapter in `dir` is, without a model: its config, and which layers its file has something for.
pub fn about(dir: &Path) -> Result<About> {
    let config = Config::read(dir)?;
    let weights = weights_of(dir)?;
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
        beyond: beyond(&config, &weights.names()),
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
    /// What it has that training does not go on with, in words.
    pub beyond: Vec<String>,
}

/// What an adapter has besides low-rank corrections of one width in blocks.
fn beyond(config: &Config, names: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (name, patterns) in [
        ("rank_pattern", &config.rank_pattern),
        ("alpha_pattern", &config.alpha_pattern),
    ] {
        if !patterns.is_empty() {
            found.push(format!("`{name}`"));
        }
    }
    let in_block =
        |name: &&&str| name.split('.').any(|part| part.parse::<u32>().is_ok()) && name.contains(".lora_");
    let others = names.iter().filter(|name| !in_block(name));
    found.extend(others.map(|name| format!("`{}`", name.strip_prefix(PREFIX).unwrap_or(name))));
    found
}

/// What an adapter did to a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    /// Layers that have a low-rank correction now, the output head among them.
    pub layers: usize,
    /// Whole weights that are the adapter's now, and others than before; of an embedding also one that was corrected.
    pub replaced: Vec<String>,
}

/// Attaches the adapter in `dir` to `model`. A and B stay in fp32; dropout is off. What it has of whole weights, and of a
/// correction of the embedding, goes into the model's own at once: looked up or added later, the sum would be rounded once, too.
///
/// Fails with the file and every name or shape that does not fit the model.
pub fn attach(model: &mut dyn CausalLm, dir: &Path, device: Device) -> Result<Attached> {
    let _guard = tch::no_grad_guard();
    let config = Config::read(dir)?;
    let mut weights = weights_of(dir)?;
    weights.place(Kind::Float, device);
    let mut unused: BTreeSet<String> = weights.names().into_iter().map(str::to_string).collect();
    let has = |unused: &BTreeSet<String>, name: &str| unused.contains(&format!("{PREFIX}{name}"));
    let head = HEADS
        .iter()
        .find(|head| has(&unused, &format!("{head}.lora_A.weight")))
        .copied();
    // What is done to one of two that are tied is not done to the other.
    let embedding = model.ends().embedding.path.clone();
    let embedded = has(&unused, &format!("{embedding}.lora_embedding_A"));
    let apart = |path: &str| has(&unused, &format!("{path}.weight")) && config.saves(path);
    if head.is_some() || embedded || apart(&embedding) || HEADS.iter().any(|head| apart(head)) {
        model.untie();
    }

    let mut loras = BTreeMap::new();
    let mut visit = |path: &str, linear: &Linear| {
        if let Some(lora) = lora_of(path, linear, &config, &mut weights, &mut unused) {
            loras.insert(linear.path.clone(), lora);
        }
    };
    model.for_each_linear(&mut |linear| visit(&linear.path, linear));
    if let Some(head) = head {
        visit(head, model.ends().head);
    }
    let mut replaced = replace(model, &mut weights, &mut unused)?;
    if embedded {
        let Ends { embedding, .. } = model.ends();
        correct(embedding, &config, &mut weights, &mut unused)?;
        replaced.push(embedding.path.clone());
    }
    weights.finish()?;
    if !unused.is_empty() {
        let names: Vec<String> = unused.into_iter().collect();
        bail!(
            "{} does not fit the model, which has no place for:\n  {}\nhint: is this adapter for another base model?",
            dir.display(),
            names.join("\n  ")
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
    put(model.ends().head);
    Ok(Attached { layers, replaced })
}

/// The correction of `linear`, called `path` in the file, if it has one.
fn lora_of(
    path: &str,
    linear: &Linear,
    config: &Config,
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

/// Adds the correction of the embedding to its rows.
fn correct(
    embedding: &mut super::layers::Embedding,
    config: &Config,
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

/// Puts the whole weights of the file in place of the model's. Gives the names of those that are others than before.
fn replace(
    model: &mut dyn CausalLm,
    weights: &mut Weights,
    unused: &mut BTreeSet<String>,
) -> Result<Vec<String>> {
    let mut own: BTreeMap<String, Tensor> = model.parameters().into_iter().collect();
    let Ends { head, .. } = model.ends();
    for name in HEADS {
        own.entry(format!("{name}.weight"))
            .or_insert_with(|| head.weight.shallow_clone());
    }
    let mut replaced = Vec::new();
    for full in unused.clone() {
        // A layer that has a correction calls what it corrects its base.
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
                "`{full}` has {} rows, the model's {}: an adapter with another vocabulary is not supported\nhint: let \
                 peft merge it into its model (merge_and_unload), and use that",
                theirs.first().unwrap_or(&0),
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
