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

use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::{Rope, RopePairing, Scaling};
use crate::model::layers::{Embedding, LayerNorm, Linear};
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};

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
}

/// GPT-2 with its language-model head.
#[derive(Debug)]
pub struct Gpt2 {
    info: ModelInfo,
    wte: Embedding,
    /// A row for each position.
    wpe: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
    /// Shares the embedding's weights where they are tied.
    lm_head: Linear,
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
    let h = (0..config.n_layer)
        .map(|layer| {
            let path = format!("transformer.h.{layer}");
            Block {
                ln_1: weights.layer_norm(&format!("{path}.ln_1"), d, eps),
                attn: Attention::load(&config, weights, &format!("{path}.attn"), layer),
                ln_2: weights.layer_norm(&format!("{path}.ln_2"), d, eps),
                mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
            }
        })
        .collect();
    let vocab = config.vocab_size;
    let (wte, lm_head, tied) = if config.tie_word_embeddings {
        weights.tied("transformer.wte", "lm_head", vocab, d)
    } else {
        let wte = weights.embedding("transformer.wte", vocab, d);
        (wte, weights.linear("lm_head", d, vocab, false), false)
    };
    Ok(Box::new(Gpt2 {
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
        wte,
        wpe: weights.embedding("transformer.wpe", config.n_positions, d),
        h,
        ln_f: weights.layer_norm("transformer.ln_f", d, eps),
        lm_head,
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

impl CausalLm for Gpt2 {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        self.wte.forward(tokens_bt)
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let block = &self.h[layer];
        let x_btd = &match layer {
            // A step that is computed ahead may be one beyond the context.
            0 => {
                x_btd
                    + self
                        .wpe
                        .forward(&pass.positions().clamp_max(self.info.context as i64 - 1))
            }
            _ => x_btd.shallow_clone(),
        };
        let normed_btd = block.ln_1.forward(x_btd);
        let attended_btd = block.attn.forward(layer, &normed_btd, pass);
        let x_btd = attended_btd + pass.select(layer, x_btd);
        let mixed_btd = block.mlp.forward(&block.ln_2.forward(&x_btd));
        x_btd + mixed_btd
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.ln_f.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.lm_head.forward(hidden)
    }

    fn embedding_and_head(&mut self) -> EmbeddingAndHead<'_> {
        EmbeddingAndHead {
            embedding: &mut self.wte,
            head: &mut self.lm_head,
            head_name: "lm_head",
            tied: &mut self.info.tied,
        }
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        (self.lm_head.weight.shallow_clone(), None)
    }

    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        for Block { attn, mlp, .. } in &mut self.h {
            for linear in [&mut attn.c_attn, &mut attn.c_proj, &mut mlp.c_fc, &mut mlp.c_proj] {
                f(linear);
            }
        }
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        self.wte.list(&mut found);
        self.wpe.list(&mut found);
        for Block {
            ln_1,
            attn,
            ln_2,
            mlp,
        } in &self.h
        {
            ln_1.list(&mut found);
            ln_2.list(&mut found);
            for linear in [&attn.c_attn, &attn.c_proj, &mlp.c_fc, &mlp.c_proj] {
                linear.list(&mut found);
            }
        }
        self.ln_f.list(&mut found);
        if !self.info.tied {
            self.lm_head.list(&mut found);
        }
        found
    }
}
