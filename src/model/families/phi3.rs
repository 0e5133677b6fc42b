//! Phi 3 (Abdin et al. 2024, <https://arxiv.org/abs/2404.14219>), Phi 3.5, and Phi 4
//! (<https://arxiv.org/abs/2412.08905>) with Phi 4 mini.
//!
//! Like Llama, but one product makes queries, keys and values, and one the gate and what it gates.
//! Some rotate only the first features of a head. Models for long contexts scale their frequencies
//! by LongRoPE: other factors apply to a whole text once it is longer than the original context.
//! Only texts within that context are supported, so its length is the model's.
//!
//! Shapes: `b` rows, `t` time, `d` hidden, `h` query heads, `k` key/value heads; `q_bthd` has the
//! features of a head last.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use tch::Tensor;

use crate::model::decoder::{self, Decoder, Ends};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::{Rope, RopePairing, Scaling};
use crate::model::layers::{Linear, PlainRmsNorm};
use crate::model::{CausalLm, ModelInfo};
use ewe::text::counted;

/// The fields of config.json, under their own names.
#[derive(Debug, Clone)]
struct Config {
    vocab_size: i64,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    num_key_value_heads: i64,
    head_dim: i64,
    /// The original context, where frequencies are scaled.
    context: i64,
    rms_norm_eps: f64,
    hidden_act: Activation,
    sliding_window: Option<i64>,
    tie_word_embeddings: bool,
    rope: Rope,
}

impl Config {
    fn read(fields: &ConfigFields) -> Result<Config> {
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
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => bail!(
                "{path}: `hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}"
            ),
        };
        let (rope, context) = rope(fields, head_dim)?;
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")? as usize,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            context,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-5)?,
            hidden_act: Activation::read(fields, "hidden_act", "silu")?,
            sliding_window: fields.optional_size("sliding_window")?,
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(false),
            rope,
        })
    }
}

/// Reads the rotary settings, and the number of tokens that they are for.
fn rope(fields: &ConfigFields, head_dim: i64) -> Result<(Rope, i64)> {
    let path = fields.path().display();
    let settings = Rope::settings(fields)?;
    let dims = Rope::rotated(fields, "partial_rotary_factor", 1.0, head_dim)?;
    let theta = match settings.get("rope_theta").and_then(Value::as_f64) {
        Some(theta) => fields.check_positive("rope_theta", theta)?,
        None => fields.positive("rope_theta", 10_000.0)?,
    };
    let most = fields.size("max_position_embeddings")?;
    let kind = settings
        .get("rope_type")
        .or(settings.get("type"))
        .and_then(Value::as_str);
    let (scaling, context) = match kind {
        None | Some("default") => (Scaling::None, most),
        // Names of one thing; the last is only Phi's.
        Some("longrope" | "su" | "yarn") => {
            let original = match fields.optional_size("original_max_position_embeddings")? {
                Some(original) => original,
                None => settings
                    .get("original_max_position_embeddings")
                    .and_then(Value::as_i64)
                    .filter(|original| (2..=most).contains(original))
                    .unwrap_or(4096.min(most)),
            };
            (
                long_rope(&settings, fields, dims, [most, original])?,
                most.min(original),
            )
        }
        Some(_) => bail!(
            "{path}: rope scaling {} is not supported (only default and longrope)",
            Value::Object(settings.clone())
        ),
    };
    let rope = Rope {
        theta,
        dims,
        scaling,
        pairing: RopePairing::Halves,
        in_fp32: false,
    };
    Ok((rope, context))
}

/// Reads the factors of LongRoPE for texts within the original context, and the magnitude that the
/// paper's appendix gives for the scaling of the context from `original` to `most` tokens.
fn long_rope(
    settings: &Map<String, Value>,
    fields: &ConfigFields,
    dims: i64,
    [most, original]: [i64; 2],
) -> Result<Scaling> {
    let path = fields.path().display();
    let factors = settings.get("short_factor").and_then(Value::as_array);
    let short: Option<Vec<f64>> = factors.and_then(|factors| factors.iter().map(Value::as_f64).collect());
    let short = short.unwrap_or_default();
    if short.len() as i64 != dims / 2 || !short.iter().all(|factor| *factor > 0.0) {
        bail!(
            "{path}: `short_factor` of the rope scaling needs {}",
            counted(dims / 2, "positive number")
        );
    }
    let number = |name: &str| settings.get(name).and_then(Value::as_f64);
    let factor = number("factor").unwrap_or(most as f64 / original as f64);
    let magnitude = match number("attention_factor") {
        Some(magnitude) => fields.check_positive("attention_factor", magnitude)?,
        None if factor <= 1.0 => 1.0,
        None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
    };
    Ok(Scaling::Long {
        short: short.into(),
        magnitude,
    })
}

#[derive(Debug)]
struct Attention {
    qkv_proj: Linear,
    o_proj: Linear,
    /// Features of all queries, and of all keys.
    queries: i64,
    keys: i64,
    head_dim: i64,
    rope: Rope,
    params: AttentionParams,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Attention {
        let d = config.hidden_size;
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        Attention {
            qkv_proj: weights.linear(&format!("{path}.qkv_proj"), d, queries + 2 * keys, false),
            o_proj: weights.linear(&format!("{path}.o_proj"), queries, d, false),
            queries,
            keys,
            head_dim: config.head_dim,
            rope: config.rope.clone(),
            params: AttentionParams {
                window: config.sliding_window,
                ..AttentionParams::by_root(config.head_dim)
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let qkv = self.qkv_proj.forward(x_btd);
        let part = |start: i64, width: i64| {
            qkv.narrow(-1, start, width)
                .unflatten(-1, [width / self.head_dim, self.head_dim])
        };
        let q_bthd = part(0, self.queries);
        let k_btkd = part(self.queries, self.keys);
        let v_btkd = part(self.queries + self.keys, self.keys);
        self.o_proj.forward(&pass.rotate_and_attend(
            layer,
            &self.rope,
            &q_bthd,
            &k_btkd,
            &v_btkd,
            self.params,
        ))
    }
}

#[derive(Debug)]
struct Mlp {
    /// The gate, then what it gates.
    gate_up_proj: Linear,
    down_proj: Linear,
    inner: i64,
    act: Activation,
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        Mlp {
            gate_up_proj: weights.linear(&format!("{path}.gate_up_proj"), d, 2 * inner, false),
            down_proj: weights.linear(&format!("{path}.down_proj"), inner, d, false),
            inner,
            act: config.hidden_act,
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        let both = self.gate_up_proj.forward(x_btd);
        let part = |start: i64| both.narrow(-1, start, self.inner);
        self.down_proj
            .forward(&self.act.gate(&part(0), &part(self.inner)))
    }
}

#[derive(Debug)]
struct Block {
    input_layernorm: PlainRmsNorm,
    self_attn: Attention,
    post_attention_layernorm: PlainRmsNorm,
    mlp: Mlp,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let (d, eps) = (config.hidden_size, config.rms_norm_eps);
    let blocks = (0..config.num_hidden_layers)
        .map(|layer| {
            let path = format!("model.layers.{layer}");
            let mut norm = |name: &str| weights.plain_rms_norm(&format!("{path}.{name}"), d, eps);
            let (input_layernorm, post_attention_layernorm) =
                (norm("input_layernorm"), norm("post_attention_layernorm"));
            Block {
                input_layernorm,
                self_attn: Attention::load(&config, weights, &format!("{path}.self_attn")),
                post_attention_layernorm,
                mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
            }
        })
        .collect();
    let paths = ["model.embed_tokens", "lm_head"];
    let (embedding, head, tied) =
        weights.embedding_and_head(paths, [config.vocab_size, d], config.tie_word_embeddings);
    Ok(Box::new(Decoder {
        info: ModelInfo {
            family: model_type,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            head_dim: config.head_dim,
            hidden: d,
            vocab: config.vocab_size,
            context: config.context as usize,
            end_tokens: fields.end_tokens(config.vocab_size)?,
            begin_token: fields.begin_token(config.vocab_size)?,
            tied,
            capped: false,
        },
        ends: Ends::new(embedding, weights.plain_rms_norm("model.norm", d, eps), head),
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "phi3", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": false,
        "eos_token_id": 0,
    })
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let normed_btd = self.input_layernorm.forward(x_btd);
        let attended_btd = self.self_attn.forward(layer, &normed_btd, pass);
        let x_btd = pass.select(layer, x_btd);
        let (x_btd, normed_btd) = self.post_attention_layernorm.of_sum(&x_btd, &attended_btd);
        x_btd + self.mlp.forward(&normed_btd)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let (attention, mlp) = (&mut self.self_attn, &mut self.mlp);
        vec![
            &mut attention.qkv_proj,
            &mut attention.o_proj,
            &mut mlp.gate_up_proj,
            &mut mlp.down_proj,
        ]
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        let (attention, mlp) = (&self.self_attn, &self.mlp);
        for linear in [
            &attention.qkv_proj,
            &attention.o_proj,
            &mlp.gate_up_proj,
            &mlp.down_proj,
        ] {
            linear.list(found);
        }
        self.input_layernorm.list(found);
        self.post_attention_layernorm.list(found);
    }
}
