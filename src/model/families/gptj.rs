//! GPT-J (Wang and Komatsuzaki 2021; <https://huggingface.co/EleutherAI/gpt-j-6b>).
//!
//! One layer norm a block feeds attention and MLP in parallel. Rotary embedding rotates neighboring
//! pairs among the first `rotary_dim` features of a head.
//!
//! Shapes: `b` rows, `t` time, `d` hidden, `h` heads; `q_bthd` has the features of a head last.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tch::Tensor;

use crate::model::decoder::{self, Decoder, Ends};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass, Rounding};
use crate::model::layers::rope::{Rope, RopePairing, Scaling};
use crate::model::layers::{LayerNorm, Linear, QkvProjection};
use crate::model::{CausalLm, ModelInfo};

/// The fields of config.json, under their own names.
#[derive(Debug, Clone)]
struct Config {
    vocab_size: i64,
    n_positions: i64,
    n_embd: i64,
    n_layer: usize,
    n_head: i64,
    rotary_dim: i64,
    n_inner: i64,
    activation_function: Activation,
    layer_norm_epsilon: f64,
}

impl Config {
    fn read(fields: &ConfigFields) -> Result<Config> {
        fields.refuse_unless("scale_attn_weights", &[json!(true)])?;
        fields.refuse_unless("rotary", &[json!(true)])?;
        fields.refuse_unless("rope_scaling", &[])?;
        fields.refuse_unless("tie_word_embeddings", &[json!(false)])?;
        let n_embd = fields.size("n_embd")?;
        let n_head = fields.size("n_head")?;
        if n_embd % n_head != 0 {
            bail!(
                "{}: `n_embd` {n_embd} is not a multiple of `n_head` {n_head}",
                fields.path().display()
            );
        }
        let rotary_dim = fields.optional("rotary_dim")?.unwrap_or(n_embd / n_head);
        if rotary_dim < 2 || rotary_dim % 2 != 0 || rotary_dim > n_embd / n_head {
            bail!(
                "{}: `rotary_dim` {rotary_dim} does not fit heads of {}",
                fields.path().display(),
                n_embd / n_head
            );
        }
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            n_positions: fields.size("n_positions")?,
            n_embd,
            n_layer: fields.size("n_layer")? as usize,
            n_head,
            rotary_dim,
            n_inner: fields.optional_size("n_inner")?.unwrap_or(4 * n_embd),
            activation_function: Activation::read(fields, "activation_function", "gelu_new")?,
            layer_norm_epsilon: fields.positive("layer_norm_epsilon", 1e-5)?,
        })
    }
}

#[derive(Debug)]
struct Attention {
    qkv: QkvProjection,
    out_proj: Linear,
    head_dim: i64,
    rope: Rope,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Attention {
        let d = config.n_embd;
        Attention {
            qkv: weights.qkv_projection(path, d, [d, d], false),
            out_proj: weights.linear(&format!("{path}.out_proj"), d, d, false),
            head_dim: d / config.n_head,
            rope: Rope {
                theta: 10_000.0,
                dims: config.rotary_dim,
                scaling: Scaling::None,
                pairing: RopePairing::Pairs,
                in_fp32: false,
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let [q_bthd, k_bthd, v_bthd] = self.qkv.heads(x_btd, self.head_dim);
        // The reference has no fused attention for GPT-J.
        let params = AttentionParams {
            rounding: Rounding::Normalized,
            ..AttentionParams::by_root(self.head_dim)
        };
        self.out_proj
            .forward(&pass.rotate_and_attend(layer, &self.rope, &q_bthd, &k_bthd, &v_bthd, params))
    }
}

#[derive(Debug)]
struct Mlp {
    fc_in: Linear,
    fc_out: Linear,
    act: Activation,
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        Mlp {
            fc_in: weights.linear(&format!("{path}.fc_in"), config.n_embd, config.n_inner, true),
            fc_out: weights.linear(&format!("{path}.fc_out"), config.n_inner, config.n_embd, true),
            act: config.activation_function,
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        self.fc_out.forward(&self.act.forward(&self.fc_in.forward(x_btd)))
    }
}

#[derive(Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    mlp: Mlp,
}

/// Reads the model that `fields` describe. The buffers `attn.bias` and `attn.masked_bias` of old
/// checkpoints are ignored.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let eps = config.layer_norm_epsilon;
    let blocks = (0..config.n_layer)
        .map(|layer| {
            let path = format!("transformer.h.{layer}");
            Block {
                ln_1: weights.layer_norm(&format!("{path}.ln_1"), config.n_embd, eps),
                attn: Attention::load(&config, weights, &format!("{path}.attn")),
                mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
            }
        })
        .collect();
    let embedding = weights.embedding("transformer.wte", config.vocab_size, config.n_embd);
    let norm = weights.layer_norm("transformer.ln_f", config.n_embd, eps);
    let head = weights.linear("lm_head", config.n_embd, config.vocab_size, true);
    Ok(Box::new(Decoder {
        info: ModelInfo {
            family: model_type,
            layers: config.n_layer,
            heads: config.n_head,
            kv_heads: config.n_head,
            head_dim: config.n_embd / config.n_head,
            hidden: config.n_embd,
            vocab: config.vocab_size,
            context: config.n_positions as usize,
            end_tokens: fields.end_tokens(config.vocab_size)?,
            begin_token: fields.begin_token(config.vocab_size)?,
            tied: false,
            capped: false,
        },
        ends: Ends::new(embedding, norm, head),
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "gptj", "vocab_size": 128, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "rotary_dim": 8, "n_inner": null, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
        "eos_token_id": 0,
    })
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let normed_btd = self.ln_1.forward(x_btd);
        let attended_btd = self.attn.forward(layer, &normed_btd, pass);
        let [normed_btd, x_btd] = [&normed_btd, x_btd].map(|x_btd| pass.select(layer, x_btd));
        // The order of the sum is the reference's; in 16 bits it matters.
        attended_btd + self.mlp.forward(&normed_btd) + x_btd
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let Attention { qkv, out_proj, .. } = &mut self.attn;
        let attention = qkv.linears_mut().into_iter().chain([out_proj]);
        attention
            .chain([&mut self.mlp.fc_in, &mut self.mlp.fc_out])
            .collect()
    }

    fn join_projections(&mut self) {
        self.attn.qkv.join();
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        self.ln_1.list(found);
        let Attention { qkv, out_proj, .. } = &self.attn;
        for linear in [&qkv.k_proj, &qkv.v_proj, &qkv.q_proj, out_proj] {
            linear.list(found);
        }
        self.mlp.fc_in.list(found);
        self.mlp.fc_out.list(found);
    }
}
