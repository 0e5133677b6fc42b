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

use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{Embedding, Fp32RmsNorm, Linear};
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};

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
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
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
            q_proj: weights.linear(&format!("{path}.q_proj"), d, queries, false),
            k_proj: weights.linear(&format!("{path}.k_proj"), d, keys, false),
            v_proj: weights.linear(&format!("{path}.v_proj"), d, keys, false),
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
        let q_bthd = self.q_norm.forward(&self.q_proj.forward(x_btd)).view(heads);
        let k_btkd = self.k_norm.forward(&self.k_proj.forward(x_btd)).view(heads);
        let v_btkd = self.v_proj.forward(x_btd).view(heads);
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
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
    act: Activation,
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        Mlp {
            gate_proj: weights.linear(&format!("{path}.gate_proj"), d, inner, false),
            up_proj: weights.linear(&format!("{path}.up_proj"), d, inner, false),
            down_proj: weights.linear(&format!("{path}.down_proj"), inner, d, false),
            act: config.hidden_act,
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        self.down_proj.forward(
            &self
                .act
                .gate(&self.gate_proj.forward(x_btd), &self.up_proj.forward(x_btd)),
        )
    }
}

#[derive(Debug)]
struct Block {
    self_attn: Attention,
    post_attention_layernorm: Fp32RmsNorm,
    mlp: Mlp,
    post_feedforward_layernorm: Fp32RmsNorm,
}

/// OLMo 2 with its language-model head.
#[derive(Debug)]
pub struct Olmo2 {
    info: ModelInfo,
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: Fp32RmsNorm,
    /// Shares the embedding's weights where they are tied.
    lm_head: Linear,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let (d, eps) = (config.hidden_size, config.rms_norm_eps);
    let layers = (0..config.num_hidden_layers)
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
                mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
                post_feedforward_layernorm,
            }
        })
        .collect();
    let vocab = config.vocab_size;
    let (embed_tokens, lm_head, tied) = if config.tie_word_embeddings {
        weights.tied("model.embed_tokens", "lm_head", vocab, d)
    } else {
        let embed_tokens = weights.embedding("model.embed_tokens", vocab, d);
        (embed_tokens, weights.linear("lm_head", d, vocab, false), false)
    };
    Ok(Box::new(Olmo2 {
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
        embed_tokens,
        layers,
        norm: weights.fp32_rms_norm("model.norm", d, eps),
        lm_head,
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

impl CausalLm for Olmo2 {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        self.embed_tokens.forward(tokens_bt)
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let block = &self.layers[layer];
        let attended_btd = block.self_attn.forward(layer, x_btd, pass);
        let x_btd = pass.select(layer, x_btd) + block.post_attention_layernorm.forward(&attended_btd);
        let mixed_btd = block.mlp.forward(&x_btd);
        x_btd + block.post_feedforward_layernorm.forward(&mixed_btd)
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.norm.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.lm_head.forward(hidden)
    }

    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_> {
        EmbeddingAndHead {
            embedding: &mut self.embed_tokens,
            head: &mut self.lm_head,
            head_name: "lm_head",
            tied: &mut self.info.tied,
        }
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        (self.lm_head.weight.shallow_clone(), None)
    }

    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        for Block { self_attn, mlp, .. } in &mut self.layers {
            f(&mut self_attn.q_proj);
            f(&mut self_attn.k_proj);
            f(&mut self_attn.v_proj);
            f(&mut self_attn.o_proj);
            f(&mut mlp.gate_proj);
            f(&mut mlp.up_proj);
            f(&mut mlp.down_proj);
        }
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        self.embed_tokens.list(&mut found);
        for block in &self.layers {
            let (attention, mlp) = (&block.self_attn, &block.mlp);
            for linear in [
                &attention.q_proj,
                &attention.k_proj,
                &attention.v_proj,
                &attention.o_proj,
                &mlp.gate_proj,
                &mlp.up_proj,
                &mlp.down_proj,
            ] {
                linear.list(&mut found);
            }
            for norm in [
                &attention.q_norm,
                &attention.k_norm,
                &block.post_attention_layernorm,
                &block.post_feedforward_layernorm,
            ] {
                norm.list(&mut found);
            }
        }
        self.norm.list(&mut found);
        if !self.info.tied {
            self.lm_head.list(&mut found);
        }
        found
    }
}
