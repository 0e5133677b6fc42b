//! OLMo 2 (Team OLMo 2024, <https://arxiv.org/abs/2501.00656>).
//!
//! Like Llama, but norms follow attention and MLP instead of preceding them, and queries and keys
//! are normalized over all heads at once. Norms and rotations are fp32 until their result is
//! rounded.
//!
//! Shapes: `b` rows, `t` time, `d` hidden, `h` query heads, `k` key/value heads; `q_bthd` has the
//! features of a head last.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tch::Tensor;

use crate::model::decoder::{self, Decoder, Ends};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{Fp32RmsNorm, GatedMlp, Linear, QkvProjection};
use crate::model::{CausalLm, ModelInfo};

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
    max_position_embeddings: i64,
    rms_norm_eps: f64,
    hidden_act: Activation,
    tie_word_embeddings: bool,
    rope: Rope,
}

impl Config {
    fn read(fields: &ConfigFields) -> Result<Config> {
        let path = fields.path().display();
        fields.refuse_unless("attention_bias", &[json!(false)])?;
        // Fields of the first OLMo, and of OLMo 3.
        fields.refuse_unless("clip_qkv", &[])?;
        fields.refuse_unless("sliding_window", &[])?;
        fields.refuse_unless("layer_types", &[])?;
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
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")? as usize,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-5)?,
            hidden_act: Activation::read(fields, "hidden_act", "silu")?,
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(false),
            rope: Rope {
                in_fp32: true,
                ..Rope::read(fields, "rope_theta", head_dim)?
            },
        })
    }
}

#[derive(Debug)]
struct Attention {
    qkv: QkvProjection,
    o_proj: Linear,
    /// Over the features of all heads.
    q_norm: Fp32RmsNorm,
    k_norm: Fp32RmsNorm,
    head_dim: i64,
    rope: Rope,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Attention {
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        Attention {
            qkv: weights.qkv_projection(path, d, [queries, keys], false),
            o_proj: weights.linear(&format!("{path}.o_proj"), queries, d, false),
            q_norm: weights.fp32_rms_norm(&format!("{path}.q_norm"), queries, eps),
            k_norm: weights.fp32_rms_norm(&format!("{path}.k_norm"), keys, eps),
            head_dim: config.head_dim,
            rope: config.rope.clone(),
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        let heads = [size[0], size[1], -1, self.head_dim];
        let [q, k, v] = self.qkv.forward(x_btd);
        let q_bthd = self.q_norm.forward(&q).view(heads);
        let k_btkd = self.k_norm.forward(&k).view(heads);
        let v_btkd = v.view(heads);
        self.o_proj.forward(&pass.rotate_and_attend(
            layer,
            &self.rope,
            &q_bthd,
            &k_btkd,
            &v_btkd,
            AttentionParams::by_root(self.head_dim),
        ))
    }
}

#[derive(Debug)]
struct Block {
    self_attn: Attention,
    post_attention_layernorm: Fp32RmsNorm,
    mlp: GatedMlp,
    post_feedforward_layernorm: Fp32RmsNorm,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let (d, eps) = (config.hidden_size, config.rms_norm_eps);
    let (inner, act) = (config.intermediate_size, config.hidden_act);
    let blocks = (0..config.num_hidden_layers)
        .map(|layer| {
            let path = format!("model.layers.{layer}");
            let mut norm = |name: &str| weights.fp32_rms_norm(&format!("{path}.{name}"), d, eps);
            let (post_attention_layernorm, post_feedforward_layernorm) = (
                norm("post_attention_layernorm"),
                norm("post_feedforward_layernorm"),
            );
            Block {
                self_attn: Attention::load(&config, weights, &format!("{path}.self_attn")),
                post_attention_layernorm,
                mlp: weights.gated_mlp(&format!("{path}.mlp"), [d, inner], false, act),
                post_feedforward_layernorm,
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
            context: config.max_position_embeddings as usize,
            end_tokens: fields.end_tokens(config.vocab_size)?,
            begin_token: fields.begin_token(config.vocab_size)?,
            tied,
            capped: false,
        },
        ends: Ends::new(embedding, weights.fp32_rms_norm("model.norm", d, eps), head),
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "olmo2", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 0,
    })
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let attended_btd = self.self_attn.forward(layer, x_btd, pass);
        let x_btd = pass.select(layer, x_btd) + self.post_attention_layernorm.forward(&attended_btd);
        let mixed_btd = self.mlp.forward(&x_btd);
        x_btd + self.post_feedforward_layernorm.forward(&mixed_btd)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let Attention { qkv, o_proj, .. } = &mut self.self_attn;
        let attention = qkv.linears_mut().into_iter().chain([o_proj]);
        attention.chain(self.mlp.linears_mut()).collect()
    }

    fn join_projections(&mut self) {
        self.self_attn.qkv.join();
        self.mlp.join();
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        let attention = &self.self_attn;
        for linear in attention.qkv.linears().into_iter().chain([&attention.o_proj]) {
            linear.list(found);
        }
        self.mlp.list(found);
        for norm in [
            &attention.q_norm,
            &attention.k_norm,
            &self.post_attention_layernorm,
            &self.post_feedforward_layernorm,
        ] {
            norm.list(found);
        }
    }
}
