//! The config.json of Gemma 2 and 3.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use crate::gguf::config::{GEMMA2_CAPS, GEMMA2_PATTERN, GEMMA3_PATTERN};
use crate::model::files::config::ConfigFields;
use crate::model::layers::rope::{Rope, RopePairing, Scaling};

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
    pub query_pre_attn_scalar: f64,
    pub sliding_window: i64,
    /// Whether each layer has a sliding window.
    pub slides: Vec<bool>,
    /// Norms on the queries and keys of each head, in Gemma 3.
    pub qk_norm: bool,
    /// Caps of Gemma 2.
    pub attn_logit_softcapping: Option<f64>,
    pub final_logit_softcapping: Option<f64>,
    pub tie_word_embeddings: bool,
    pub rope_full: Rope,
    pub rope_sliding: Rope,
}

impl Config {
    pub(super) fn read(model_type: &str, fields: &ConfigFields) -> Result<Config> {
        let is_gemma2 = model_type == "gemma2";
        fields.refuse_unless("hidden_activation", &[json!("gelu_pytorch_tanh")])?;
        fields.refuse_unless("attention_bias", &[json!(false)])?;
        if !is_gemma2 {
            fields.refuse_unless("attn_logit_softcapping", &[])?;
            fields.refuse_unless("final_logit_softcapping", &[])?;
        }
        fields.refuse_unless("use_bidirectional_attention", &[json!(false)])?;
        let layers = fields.size("num_hidden_layers")? as usize;
        let (heads, kv_heads) = (
            fields.size("num_attention_heads")?,
            fields.size("num_key_value_heads")?,
        );
        if heads % kv_heads != 0 {
            bail!(
                "{}: `num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}",
                fields.path().display()
            );
        }
        let head_dim = fields.optional_size("head_dim")?.unwrap_or(256);
        if head_dim % 2 != 0 {
            bail!(
                "{}: `head_dim` {head_dim} is odd, and its features cannot be rotated in pairs",
                fields.path().display()
            );
        }
        let [rope_full, rope_sliding] = match is_gemma2 {
            true => {
                let rope = Rope::read(fields, "rope_theta", head_dim)?;
                [rope.clone(), rope]
            }
            false => ropes(fields, head_dim)?,
        };
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size("hidden_size")?,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-6)?,
            query_pre_attn_scalar: fields.positive("query_pre_attn_scalar", 256.0)?,
            sliding_window: fields.size("sliding_window")?,
            slides: slides(
                fields,
                layers,
                if is_gemma2 { GEMMA2_PATTERN } else { GEMMA3_PATTERN },
            )?,
            qk_norm: !is_gemma2,
            attn_logit_softcapping: cap(fields, "attn_logit_softcapping", GEMMA2_CAPS.0, is_gemma2)?,
            final_logit_softcapping: cap(fields, "final_logit_softcapping", GEMMA2_CAPS.1, is_gemma2)?,
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(true),
            rope_full,
            rope_sliding,
        })
    }
}

/// Reads a cap of Gemma 2, `default` where the config does not have it; null is none.
fn cap(fields: &ConfigFields, name: &str, default: f64, is_gemma2: bool) -> Result<Option<f64>> {
    match fields.optional(name)? {
        Some(cap) => fields.check_positive(name, cap).map(Some),
        None => Ok((is_gemma2 && !fields.has(name)).then_some(default)),
    }
}

/// Reads which layers have a sliding window: `layer_types`, or all but each
/// `sliding_window_pattern`-th, by default each `pattern`-th.
fn slides(fields: &ConfigFields, layers: usize, pattern: usize) -> Result<Vec<bool>> {
    if let Some(slides) = fields.slides(layers)? {
        return Ok(slides);
    }
    let pattern: usize = fields.optional("sliding_window_pattern")?.unwrap_or(pattern);
    Ok((1..=layers)
        .map(|layer| pattern == 0 || layer % pattern != 0)
        .collect())
}

/// Reads the rotary settings of full and sliding layers, in either form that `transformers` has
/// written: `rope_parameters` by layer type, or `rope_theta`, `rope_local_base_freq` and
/// `rope_scaling`. Where both exist, `rope_scaling` overrides the settings of full layers.
fn ropes(fields: &ConfigFields, head_dim: i64) -> Result<[Rope; 2]> {
    let by_type: Map<String, Value> = fields.optional("rope_parameters")?.unwrap_or_default();
    let scaling: Option<Value> = fields.optional("rope_scaling")?;
    let rope = |layer_type: &str, old_name: &str, default: f64, scaling: Option<&Value>| -> Result<Rope> {
        let mut settings: Map<String, Value> = match by_type.get(layer_type) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(settings)) => settings.clone(),
            Some(other) => bail!(
                "{}: `rope_parameters` of {layer_type} are {other}",
                fields.path().display()
            ),
        };
        settings.extend(scaling.and_then(Value::as_object).cloned().unwrap_or_default());
        let theta = match settings.get("rope_theta").and_then(Value::as_f64) {
            Some(theta) => fields.check_positive("rope_theta", theta)?,
            None => fields.positive(old_name, default)?,
        };
        let settings = Value::Object(settings);
        let kind = settings
            .get("rope_type")
            .or(settings.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        let scaling = match (kind, settings.get("factor").and_then(Value::as_f64)) {
            ("default", _) => Scaling::None,
            ("linear", Some(factor)) if factor > 0.0 => Scaling::Linear(factor),
            _ => bail!(
                "{}: rope scaling {settings} of {layer_type} is not supported (only default and linear)",
                fields.path().display()
            ),
        };
        Ok(Rope {
            theta,
            dims: head_dim,
            scaling,
            pairing: RopePairing::Halves,
            in_fp32: false,
        })
    };
    Ok([
        rope("full_attention", "rope_theta", 1e6, scaling.as_ref())?,
        rope("sliding_attention", "rope_local_base_freq", 1e4, None)?,
    ])
}
