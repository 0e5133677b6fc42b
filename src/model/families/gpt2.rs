//! GPT-2 (Radford et al. 2019, *Language Models are Unsupervised Multitask Learners*).
//!
//! Learned positions instead of rotary ones: the first block adds them to the embedding. A layer
//! norm before attention and one before the MLP. One product makes queries, keys and values.
//! Checkpoints have the weights of linear layers transposed, `[in, out]`.
//!
//! Shapes: `b` rows, `t` time, `d` hidden, `h` heads; `q_bthd` has the features of a head last.

use anyhow::{Result, bail};
use serde_json::{Value, json};
use tch::Tensor;

use crate::model::decoder::{self, Decoder, Ends};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::{Rope, RopePairing, Scaling};
use crate::model::layers::{Embedding, LayerNorm, Linear};
use crate::model::{CausalLm, ModelInfo};

/// The fields of config.json, under their own names.
#[derive(Debug, Clone)]
struct Config {
    vocab_size: i64,
    n_positions: i64,
    n_embd: i64,
    n_layer: usize,
    n_head: i64,
    n_inner: i64,
    activation_function: Activation,
    layer_norm_epsilon: f64,
    scale_attn_by_inverse_layer_idx: bool,
    tie_word_embeddings: bool,
}

impl Config {
    fn read(fields: &ConfigFields) -> Result<Config> {
        fields.refuse_unless("scale_attn_weights", &[json!(true)])?;
        fields.refuse_unless("add_cross_attention", &[json!(false)])?;
        // It only changes roundings, of another implementation of attention.
        fields.refuse_unless("reorder_and_upcast_attn", &[json!(false)])?;
        let n_embd = fields.size("n_embd")?;
        let n_head = fields.size("n_head")?;
        if n_embd % n_head != 0 {
            bail!(
                "{}: `n_embd` {n_embd} is not a multiple of `n_head` {n_head}",
                fields.path().display()
            );
        }
        let flag =
            |name: &str, default: bool| Ok::<bool, anyhow::Error>(fields.optional(name)?.unwrap_or(default));
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            n_positions: fields.size("n_positions")?,
            n_embd,
            n_layer: fields.size("n_layer")? as usize,
            n_head,
            n_inner: fields.optional_size("n_inner")?.unwrap_or(4 * n_embd),
            activation_function: Activation::read(fields, "activation_function", "gelu_new")?,
            layer_norm_epsilon: fields.positive("layer_norm_epsilon", 1e-5)?,
            scale_attn_by_inverse_layer_idx: flag("scale_attn_by_inverse_layer_idx", false)?,
            tie_word_embeddings: flag("tie_word_embeddings", true)?,
        })
    }
}

#[derive(Debug)]
struct Attention {
    c_attn: Linear,
    c_proj: Linear,
    heads: i64,
    params: AttentionParams,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str, layer: usize) -> Attention {
        let d = config.n_embd;
        let by_root = AttentionParams::by_root(d / config.n_head);
        let divisor = match config.scale_attn_by_inverse_layer_idx {
            true => (layer + 1) as f64,
            false => 1.0,
        };
        Attention {
            c_attn: weights.transposed_linear(&format!("{path}.c_attn"), d, 3 * d),
            c_proj: weights.transposed_linear(&format!("{path}.c_proj"), d, d),
            heads: config.n_head,
            params: AttentionParams {
                scale: by_root.scale / divisor,
                ..by_root
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let width = *x_btd.size().last().expect("a tensor of features");
        let head_dim = width / self.heads;
        let qkv = self.c_attn.forward(x_btd);
        let part = |n: i64| {
            qkv.narrow(-1, n * width, width)
                .unflatten(-1, [self.heads, head_dim])
        };
        // Positions are in the embedding already.
        let rope = Rope {
            theta: 1.0,
            dims: 0,
            scaling: Scaling::None,
            pairing: RopePairing::Halves,
            in_fp32: false,
        };
        let [q_bthd, k_bthd, v_bthd] = [0, 1, 2].map(part);
        self.c_proj
            .forward(&pass.rotate_and_attend(layer, &rope, &q_bthd, &k_bthd, &v_bthd, self.params))
    }
}

#[derive(Debug)]
struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
    act: Activation,
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        Mlp {
            c_fc: weights.transposed_linear(&format!("{path}.c_fc"), config.n_embd, config.n_inner),
            c_proj: weights.transposed_linear(&format!("{path}.c_proj"), config.n_inner, config.n_embd),
            act: config.activation_function,
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        self.c_proj.forward(&self.act.forward(&self.c_fc.forward(x_btd)))
    }
}

#[derive(Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
    /// In the first block, a row for each position.
    wpe: Option<Embedding>,
}

/// Reads the model that `fields` describe. The buffers `attn.bias` and `attn.masked_bias` of old
/// checkpoints are ignored.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let (d, eps) = (config.n_embd, config.layer_norm_epsilon);
    let mut blocks: Vec<Block> = (0..config.n_layer)
        .map(|layer| {
            let path = format!("transformer.h.{layer}");
            Block {
                ln_1: weights.layer_norm(&format!("{path}.ln_1"), d, eps),
                attn: Attention::load(&config, weights, &format!("{path}.attn"), layer),
                ln_2: weights.layer_norm(&format!("{path}.ln_2"), d, eps),
                mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
                wpe: None,
            }
        })
        .collect();
    let vocab = config.vocab_size;
    let paths = ["transformer.wte", "lm_head"];
    let (embedding, head, tied) = weights.embedding_and_head(paths, [vocab, d], config.tie_word_embeddings);
    blocks[0].wpe = Some(weights.embedding("transformer.wpe", config.n_positions, d));
    Ok(Box::new(Decoder {
        info: ModelInfo {
            family: model_type,
            layers: config.n_layer,
            heads: config.n_head,
            kv_heads: config.n_head,
            head_dim: d / config.n_head,
            hidden: d,
            vocab,
            context: config.n_positions as usize,
            end_tokens: fields.end_tokens(vocab)?,
            begin_token: fields.begin_token(vocab)?,
            tied,
            capped: false,
        },
        ends: Ends::new(embedding, weights.layer_norm("transformer.ln_f", d, eps), head),
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "gpt2", "vocab_size": 128, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "n_inner": null, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "eos_token_id": 0,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    })
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let x_btd = &match &self.wpe {
            // A step that is computed ahead may be one beyond the context.
            Some(wpe) => {
                let last = wpe.weight.size()[0] - 1;
                x_btd + wpe.forward(&pass.positions().clamp_max(last))
            }
            None => x_btd.shallow_clone(),
        };
        let normed_btd = self.ln_1.forward(x_btd);
        let attended_btd = self.attn.forward(layer, &normed_btd, pass);
        let x_btd = attended_btd + pass.select(layer, x_btd);
        let mixed_btd = self.mlp.forward(&self.ln_2.forward(&x_btd));
        x_btd + mixed_btd
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let (attn, mlp) = (&mut self.attn, &mut self.mlp);
        vec![&mut attn.c_attn, &mut attn.c_proj, &mut mlp.c_fc, &mut mlp.c_proj]
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        if let Some(wpe) = &self.wpe {
            wpe.list(found);
        }
        self.ln_1.list(found);
        self.ln_2.list(found);
        let (attn, mlp) = (&self.attn, &self.mlp);
        for linear in [&attn.c_attn, &attn.c_proj, &mlp.c_fc, &mlp.c_proj] {
            linear.list(found);
        }
    }
}
