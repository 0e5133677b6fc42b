//! GPT-NeoX (Black et al. 2022, <https://arxiv.org/abs/2204.06745>), the architecture of Pythia
//! (Biderman et al. 2023, <https://arxiv.org/abs/2304.01373>) and of Dolly 2.
//!
//! Attention and MLP, each with its own layer norm, in parallel or one after the other. One product
//! makes queries, keys and values. Rotary embedding of the first features of a head.
//!
//! Shapes: `b` rows, `t` time, `d` hidden, `h` heads; `q_bthd` has the features of a head last,
//! `qkv_bth3d` those of query, key and value.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tch::Tensor;

use crate::model::decoder::{self, Decoder, Ends};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{LayerNorm, Linear};
use crate::model::{CausalLm, ModelInfo};

/// The fields of config.json, under their own names.
#[derive(Debug, Clone)]
struct Config {
    vocab_size: i64,
    hidden_size: i64,
    intermediate_size: i64,
    num_hidden_layers: usize,
    num_attention_heads: i64,
    max_position_embeddings: i64,
    layer_norm_eps: f64,
    hidden_act: Activation,
    attention_bias: bool,
    use_parallel_residual: bool,
    tie_word_embeddings: bool,
    rope: Rope,
}

impl Config {
    fn read(fields: &ConfigFields) -> Result<Config> {
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        if hidden_size % heads != 0 {
            bail!(
                "{}: `hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}",
                fields.path().display()
            );
        }
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")? as usize,
            num_attention_heads: heads,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            layer_norm_eps: fields.positive("layer_norm_eps", 1e-5)?,
            hidden_act: Activation::read(fields, "hidden_act", "gelu")?,
            attention_bias: fields.optional("attention_bias")?.unwrap_or(true),
            use_parallel_residual: fields.optional("use_parallel_residual")?.unwrap_or(true),
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(false),
            rope: rope(fields, hidden_size / heads)?,
        })
    }
}

/// Reads the rotary settings, under the names of 2022 (`rotary_pct`, `rotary_emb_base`) or today's.
fn rope(fields: &ConfigFields, head_dim: i64) -> Result<Rope> {
    let dims = Rope::rotated(fields, "rotary_pct", 0.25, head_dim)?;
    Rope::read(fields, "rotary_emb_base", dims)
}

#[derive(Debug)]
struct Attention {
    query_key_value: Linear,
    dense: Linear,
    heads: i64,
    head_dim: i64,
    rope: Rope,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Attention {
        let (d, bias) = (config.hidden_size, config.attention_bias);
        Attention {
            query_key_value: weights.linear(&format!("{path}.query_key_value"), d, 3 * d, bias),
            dense: weights.linear(&format!("{path}.dense"), d, d, bias),
            heads: config.num_attention_heads,
            head_dim: d / config.num_attention_heads,
            rope: config.rope.clone(),
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        // Query, key and value of a head are adjacent.
        let qkv_bth3d =
            self.query_key_value
                .forward(x_btd)
                .view([size[0], size[1], self.heads, 3 * self.head_dim]);
        let part = |n: i64| qkv_bth3d.narrow(3, n * self.head_dim, self.head_dim);
        let params = AttentionParams::by_root(self.head_dim);
        self.dense
            .forward(&pass.rotate_and_attend(layer, &self.rope, &part(0), &part(1), &part(2), params))
    }
}

#[derive(Debug)]
struct Mlp {
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    act: Activation,
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        Mlp {
            dense_h_to_4h: weights.linear(&format!("{path}.dense_h_to_4h"), d, inner, true),
            dense_4h_to_h: weights.linear(&format!("{path}.dense_4h_to_h"), inner, d, true),
            act: config.hidden_act,
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        self.dense_4h_to_h
            .forward(&self.act.forward(&self.dense_h_to_4h.forward(x_btd)))
    }
}

#[derive(Debug)]
struct Block {
    input_layernorm: LayerNorm,
    post_attention_layernorm: LayerNorm,
    attention: Attention,
    mlp: Mlp,
    is_parallel: bool,
}

/// Reads the model that `fields` describe. The buffers `attention.bias`, `attention.masked_bias`
/// and `attention.rotary_emb.inv_freq` of old checkpoints are ignored.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let (d, eps) = (config.hidden_size, config.layer_norm_eps);
    let blocks = (0..config.num_hidden_layers)
        .map(|layer| {
            let path = format!("gpt_neox.layers.{layer}");
            Block {
                input_layernorm: weights.layer_norm(&format!("{path}.input_layernorm"), d, eps),
                post_attention_layernorm: weights.layer_norm(
                    &format!("{path}.post_attention_layernorm"),
                    d,
                    eps,
                ),
                attention: Attention::load(&config, weights, &format!("{path}.attention")),
                mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
                is_parallel: config.use_parallel_residual,
            }
        })
        .collect();
    // Published as `embed_out`; `transformers` 5 writes `lm_head`.
    let head = if weights.has("lm_head.weight") {
        "lm_head"
    } else {
        "embed_out"
    };
    let paths = ["gpt_neox.embed_in", head];
    let (embedding, head, tied) =
        weights.embedding_and_head(paths, [config.vocab_size, d], config.tie_word_embeddings);
    let norm = weights.layer_norm("gpt_neox.final_layer_norm", d, eps);
    Ok(Box::new(Decoder {
        info: ModelInfo {
            family: model_type,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            kv_heads: config.num_attention_heads,
            head_dim: d / config.num_attention_heads,
            hidden: d,
            vocab: config.vocab_size,
            context: config.max_position_embeddings as usize,
            end_tokens: fields.end_tokens(config.vocab_size)?,
            begin_token: fields.begin_token(config.vocab_size)?,
            tied,
            capped: false,
        },
        ends: Ends {
            head_name: "embed_out",
            ..Ends::new(embedding, norm, head)
        },
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "gpt_neox", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "gelu",
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "layer_norm_eps": 1e-5, "eos_token_id": 0,
    })
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let normed_btd = self.input_layernorm.forward(x_btd);
        let attended_btd = self.attention.forward(layer, &normed_btd, pass);
        let x_btd = pass.select(layer, x_btd);
        // The order of the sums is the reference's; in 16 bits it matters.
        if self.is_parallel {
            let normed_btd = self.post_attention_layernorm.forward(&x_btd);
            self.mlp.forward(&normed_btd) + attended_btd + x_btd
        } else {
            let x_btd = attended_btd + x_btd;
            self.mlp.forward(&self.post_attention_layernorm.forward(&x_btd)) + x_btd
        }
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let (attention, mlp) = (&mut self.attention, &mut self.mlp);
        vec![
            &mut attention.query_key_value,
            &mut attention.dense,
            &mut mlp.dense_h_to_4h,
            &mut mlp.dense_4h_to_h,
        ]
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        self.input_layernorm.list(found);
        self.post_attention_layernorm.list(found);
        for linear in [
            &self.attention.query_key_value,
            &self.attention.dense,
            &self.mlp.dense_h_to_4h,
            &self.mlp.dense_4h_to_h,
        ] {
            linear.list(found);
        }
    }
}
