//! The config.json of Llama and related models.

use anyhow::{Result, bail};
use serde_json::json;

use crate::gguf::config::{SMOLLM3_BASE, SMOLLM3_INTERVAL};
use crate::model::files::config::ConfigFields;
use crate::model::layers::ExpertsConfig;
use crate::model::layers::activation::Activation;
use crate::model::layers::rope::Rope;
use ewe::text::counted;

/// The fields of config.json, under their own names.
#[derive(Debug, Clone)]
pub(super) struct Config {
    pub vocab_size: i64,
    pub hidden_size: i64,
    pub intermediate_size: i64,
    pub num_hidden_layers: usize,
    pub num_attention_heads: i64,
    pub num_key_value_heads: i64,
    pub head_dim: i64,
    pub max_position_embeddings: i64,
    pub rms_norm_eps: f64,
    pub hidden_act: Activation,
    pub tie_word_embeddings: bool,
    pub variant: Variant,
    pub multipliers: Multipliers,
    /// In models with a mixture of experts, what stands in place of the MLPs.
    pub experts: Option<ExpertsConfig>,
    pub rope: Rope,
}

/// What differs between the models of the family.
#[derive(Debug, Clone)]
pub(super) struct Variant {
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// A bias on attention's output.
    pub o_bias: bool,
    pub mlp_bias: bool,
    /// Norms on the queries and keys of each head.
    pub qk_norm: bool,
    /// How many tokens each layer sees, including the token itself; none for all.
    pub windows: Vec<Option<i64>>,
    /// Whether each layer rotates queries and keys.
    pub rotates: Vec<bool>,
}

/// Granite's factors; 1 in other models.
#[derive(Debug, Clone)]
pub(super) struct Multipliers {
    pub embedding: f64,
    /// Of what attention and MLP add to the hidden states.
    pub residual: f64,
    /// Of the product of query and key, in place of `1/√d`.
    pub attention: Option<f64>,
    /// What logits are divided by.
    pub logits: f64,
}

impl Config {
    pub(super) fn read(model_type: &str, fields: &ConfigFields) -> Result<Config> {
        let path = fields.path().display();
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let kv_heads = fields.optional_size("num_key_value_heads")?.unwrap_or(heads);
        if heads % kv_heads != 0 {
            bail!(
                "{path}: `num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}"
            );
        }
        let head_dim = match fields.optional_size("head_dim")? {
            Some(head_dim) => head_dim,
            None if model_type == "qwen3" => 128,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => bail!(
                "{path}: `hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}"
            ),
        };
        if head_dim % 2 != 0 {
            bail!(
                "{path}: `head_dim` is {head_dim}, an odd number of features that cannot be rotated in pairs"
            );
        }
        for (name, value) in Rope::settings(fields)? {
            if name == "partial_rotary_factor" && value != json!(1.0) {
                bail!("{path}: `partial_rotary_factor` = {value} is not supported (only 1.0)");
            }
        }
        fields.refuse_unless("partial_rotary_factor", &[json!(1.0)])?;
        let num_hidden_layers = fields.size("num_hidden_layers")? as usize;
        let ties = model_type == "smollm3";
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-6)?,
            hidden_act: Activation::read(fields, "hidden_act", "silu")?,
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(ties),
            variant: Variant::read(model_type, fields, num_hidden_layers)?,
            multipliers: Multipliers::read(model_type, fields)?,
            experts: match model_type {
                "qwen3_moe" => Some(experts(fields)?),
                _ => None,
            },
            rope: rope(model_type, fields, head_dim)?,
        })
    }
}

fn rope(model_type: &str, fields: &ConfigFields, head_dim: i64) -> Result<Rope> {
    let rope = Rope::read(fields, "rope_theta", head_dim)?;
    let has_base = fields.has("rope_theta") || Rope::settings(fields)?.contains_key("rope_theta");
    let theta = match model_type {
        "smollm3" if !has_base => SMOLLM3_BASE,
        _ => rope.theta,
    };
    Ok(Rope { theta, ..rope })
}

impl Multipliers {
    fn read(model_type: &str, fields: &ConfigFields) -> Result<Multipliers> {
        if model_type != "granite" {
            return Ok(Multipliers {
                embedding: 1.0,
                residual: 1.0,
                attention: None,
                logits: 1.0,
            });
        }
        Ok(Multipliers {
            embedding: fields.positive("embedding_multiplier", 1.0)?,
            residual: fields.positive("residual_multiplier", 1.0)?,
            attention: Some(fields.positive("attention_multiplier", 1.0)?),
            logits: fields.positive("logits_scaling", 1.0)?,
        })
    }
}

/// Reads the mixture of experts of Qwen 3. Fails unless every layer has one.
fn experts(fields: &ConfigFields) -> Result<ExpertsConfig> {
    let path = fields.path().display();
    fields.refuse_unless("decoder_sparse_step", &[json!(1)])?;
    fields.refuse_unless("mlp_only_layers", &[json!([])])?;
    // `transformers` 5 writes the second name.
    let (name, count) = match fields.optional_size("num_experts")? {
        Some(count) => ("num_experts", count),
        None => ("num_local_experts", fields.size("num_local_experts")?),
    };
    fields.check_modules(name, count, fields.size("num_hidden_layers")?)?;
    let chosen = fields.size("num_experts_per_tok")?;
    if chosen > count {
        bail!(
            "{path}: `num_experts_per_tok` {chosen} is more than the {}",
            counted(count, "expert")
        );
    }
    Ok(ExpertsConfig {
        count,
        chosen,
        inner: fields.size("moe_intermediate_size")?,
        normalizes: fields.optional("norm_topk_prob")?.unwrap_or(false),
    })
}

impl Variant {
    fn read(model_type: &str, fields: &ConfigFields, layers: usize) -> Result<Variant> {
        let bias = |name: &str| Ok::<bool, anyhow::Error>(fields.optional(name)?.unwrap_or(false));
        let plain = Variant {
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            windows: vec![None; layers],
            rotates: vec![true; layers],
        };
        Ok(match model_type {
            "llama" | "granite" => Variant {
                qkv_bias: bias("attention_bias")?,
                o_bias: bias("attention_bias")?,
                mlp_bias: bias("mlp_bias")?,
                ..plain
            },
            "mistral" => {
                fields.refuse_unless("layer_types", &[])?;
                Variant {
                    windows: vec![mistral_window(fields)?; layers],
                    ..plain
                }
            }
            "ministral" => Variant {
                windows: ministral_windows(fields, layers)?,
                ..plain
            },
            "smollm3" => Variant {
                qkv_bias: bias("attention_bias")?,
                o_bias: bias("attention_bias")?,
                mlp_bias: bias("mlp_bias")?,
                windows: smollm3_windows(fields, layers)?,
                rotates: smollm3_rotates(fields, layers)?,
                ..plain
            },
            "qwen2" => Variant {
                qkv_bias: true,
                windows: qwen_windows(fields, layers)?,
                ..plain
            },
            "qwen3" => Variant {
                qkv_bias: bias("attention_bias")?,
                o_bias: bias("attention_bias")?,
                qk_norm: true,
                windows: qwen_windows(fields, layers)?,
                ..plain
            },
            "qwen3_moe" => Variant {
                qkv_bias: bias("attention_bias")?,
                o_bias: bias("attention_bias")?,
                qk_norm: true,
                windows: vec![used_window(fields)?; layers],
                ..plain
            },
            other => unreachable!("`{other}` is not in this family's row of the table"),
        })
    }
}

/// Reads the window of Mistral. A config without the field is Mistral 7B v0.1's; later models have
/// null.
fn mistral_window(fields: &ConfigFields) -> Result<Option<i64>> {
    match fields.has("sliding_window") {
        true => fields.optional_size("sliding_window"),
        false => Ok(Some(4096)),
    }
}

/// Reads the windows of Ministral: in the layers that `layer_types` names, or in all.
fn ministral_windows(fields: &ConfigFields, layers: usize) -> Result<Vec<Option<i64>>> {
    let window = mistral_window(fields)?;
    let slides = fields.slides(layers)?.unwrap_or(vec![window.is_some(); layers]);
    if window.is_none() && slides.contains(&true) {
        bail!(
            "{}: `layer_types` has sliding layers, but `sliding_window` is null",
            fields.path().display()
        );
    }
    Ok(chosen_windows(&slides, window))
}

/// Reads `sliding_window` if `use_sliding_window` is true.
fn used_window(fields: &ConfigFields) -> Result<Option<i64>> {
    match fields.optional("use_sliding_window")? {
        Some(true) => Ok(Some(fields.size("sliding_window")?)),
        _ => Ok(None),
    }
}

/// Reads the windows of Qwen: none unless `use_sliding_window`; then in the layers from
/// `max_window_layers` on, or in those that `layer_types` names.
fn qwen_windows(fields: &ConfigFields, layers: usize) -> Result<Vec<Option<i64>>> {
    let window = used_window(fields)?;
    let slides = match fields.slides(layers)? {
        Some(slides) => slides,
        None => {
            let from: usize = fields.optional("max_window_layers")?.unwrap_or(28);
            (0..layers)
                .map(|layer| window.is_some() && layer >= from)
                .collect()
        }
    };
    refuse_slides_without(window, &slides, fields)?;
    Ok(chosen_windows(&slides, window))
}

/// Reads which layers of SmolLM 3 rotate: those with a 1 in `no_rope_layers`, or all but each
/// `no_rope_layer_interval`-th.
fn smollm3_rotates(fields: &ConfigFields, layers: usize) -> Result<Vec<bool>> {
    if let Some(rotates) = fields.optional::<Vec<i64>>("no_rope_layers")? {
        if rotates.len() < layers {
            bail!(
                "{}: `no_rope_layers` has {} for {}",
                fields.path().display(),
                counted(rotates.len(), "number"),
                counted(layers, "layer")
            );
        }
        return Ok(rotates[..layers].iter().map(|&rotates| rotates != 0).collect());
    }
    let interval = fields.optional_size("no_rope_layer_interval")?;
    let interval = interval.map_or(SMOLLM3_INTERVAL, |interval| interval as usize);
    Ok((1..=layers).map(|layer| layer % interval != 0).collect())
}

/// Reads the windows of SmolLM 3: none unless `use_sliding_window`; then in the layers that
/// `layer_types` names, or in those that do not rotate.
fn smollm3_windows(fields: &ConfigFields, layers: usize) -> Result<Vec<Option<i64>>> {
    let window = used_window(fields)?;
    let slides = match fields.slides(layers)? {
        Some(slides) => slides,
        None => smollm3_rotates(fields, layers)?
            .into_iter()
            .map(|rotates| window.is_some() && !rotates)
            .collect(),
    };
    refuse_slides_without(window, &slides, fields)?;
    Ok(chosen_windows(&slides, window))
}

/// Fails if a layer slides and there is no window.
fn refuse_slides_without(window: Option<i64>, slides: &[bool], fields: &ConfigFields) -> Result<()> {
    if window.is_none() && slides.contains(&true) {
        bail!(
            "{}: `layer_types` has sliding layers, but `use_sliding_window` is not true",
            fields.path().display()
        );
    }
    Ok(())
}

fn chosen_windows(slides: &[bool], window: Option<i64>) -> Vec<Option<i64>> {
    slides.iter().map(|&slides| window.filter(|_| slides)).collect()
}
