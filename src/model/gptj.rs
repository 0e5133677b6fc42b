//! GPT-J (Wang and Komatsuzaki 2021; <https://huggingface.co/EleutherAI/gpt-j-6b>).
//!
//! One layer norm a block feeds attention and MLP in parallel; rotary embedding turns neighbouring pairs among the
//! first `rotary_dim` features of a head. Shapes: `b` rows, `t` time, `d` hidden, `h` heads; `q_bthd` has the
//! features of a head last.

use anyhow::{Result, bail};
use serde_json::json;
use tch::Tensor;

use super::activation::Activation;
use super::attention::{AttentionParams, ForwardPass, Rounding};
use super::config::Fields;
use super::layers::{Embedding, LayerNorm, Linear};
use super::rope::{Layout, Rope, Scaling};
use super::weights::Weights;
use super::{CausalLm, Ends, ModelInfo};

/// `config.json`, under its names.
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
    fn read(fields: &Fields) -> Result<Config> {
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
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    heads: i64,
    head_dim: i64,
    rope: Rope,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Attention {
        let d = config.n_embd;
        let mut linear = |name: &str| weights.linear(&format!("{path}.{name}"), d, d, false);
        Attention {
            q_proj: linear("q_proj"),
            k_proj: linear("k_proj"),
            v_proj: linear("v_proj"),
            out_proj: linear("out_proj"),
            heads: config.n_head,
            head_dim: d / config.n_head,
            rope: Rope {
                theta: 10_000.0,
                dims: config.rotary_dim,
                scaling: Scaling::None,
                layout: Layout::Pairs,
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        let heads = [size[0], size[1], self.heads, self.head_dim];
        let q_bthd = pass.turn(&self.rope, &self.q_proj.forward(x_btd).view(heads));
        let k_bthd = pass.turn(&self.rope, &self.k_proj.forward(x_btd).view(heads));
        let v_bthd = self.v_proj.forward(x_btd).view(heads);
        // The reference has no fused attention for GPT-J.
        let params = AttentionParams {
            rounding: Rounding::OfOne,
            ..AttentionParams::by_root(self.head_dim)
        };
        self.out_proj
            .forward(&pass.attend(layer, &q_bthd, &k_bthd, &v_bthd, params))
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

/// GPT-J with its language-model head.
#[derive(Debug)]
pub struct GptJ {
    info: ModelInfo,
    wte: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
    lm_head: Linear,
}

impl GptJ {
    /// The prefix that published checkpoints have on all names but `lm_head`'s.
    pub const PREFIX: &'static str = "transformer.";

    /// Reads the weights that `fields` describe. The buffers `attn.bias` and `attn.masked_bias` of old checkpoints
    /// are never asked for.
    pub fn load(fields: &Fields, weights: &mut Weights) -> Result<GptJ> {
        let config = Config::read(fields)?;
        let eps = config.layer_norm_epsilon;
        let h = (0..config.n_layer)
            .map(|layer| {
                let path = format!("transformer.h.{layer}");
                Block {
                    ln_1: weights.layer_norm(&format!("{path}.ln_1"), config.n_embd, eps),
                    attn: Attention::load(&config, weights, &format!("{path}.attn")),
                    mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
                }
            })
            .collect();
        Ok(GptJ {
            info: ModelInfo {
                family: "gptj",
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
            },
            wte: weights.embedding("transformer.wte", config.vocab_size, config.n_embd),
            h,
            ln_f: weights.layer_norm("transformer.ln_f", config.n_embd, eps),
            lm_head: weights.linear("lm_head", config.n_embd, config.vocab_size, true),
        })
    }
}

impl CausalLm for GptJ {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        self.wte.forward(tokens_bt)
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let block = &self.h[layer];
        let normed_btd = block.ln_1.forward(x_btd);
        let attended_btd = block.attn.forward(layer, &normed_btd, pass);
        let [normed_btd, x_btd] = [&normed_btd, x_btd].map(|x_btd| pass.wanted(layer, x_btd));
        // The order of the sum is the reference's; in 16 bits it matters.
        attended_btd + block.mlp.forward(&normed_btd) + x_btd
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.ln_f.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.lm_head.forward(hidden)
    }

    fn ends(&mut self) -> Ends<'_> {
        Ends {
            embedding: &mut self.wte,
            head: &mut self.lm_head,
            head_name: "lm_head",
            tied: &mut self.info.tied,
        }
    }

    fn head(&self) -> (Tensor, Option<Tensor>) {
        (
            self.lm_head.weight.shallow_clone(),
            self.lm_head.bias.as_ref().map(Tensor::shallow_clone),
        )
    }

    fn for_each_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        for block in &mut self.h {
            let Attention {
                q_proj,
                k_proj,
                v_proj,
                out_proj,
                ..
            } = &mut block.attn;
            for linear in [
                q_proj,
                k_proj,
                v_proj,
                out_proj,
                &mut block.mlp.fc_in,
                &mut block.mlp.fc_out,
            ] {
                f(linear);
            }
        }
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        self.wte.list(&mut found);
        for Block { ln_1, attn, mlp } in &self.h {
            ln_1.list(&mut found);
            for linear in [&attn.k_proj, &attn.v_proj, &attn.q_proj, &attn.out_proj] {
                linear.list(&mut found);
            }
            mlp.fc_in.list(&mut found);
            mlp.fc_out.list(&mut found);
        }
        self.ln_f.list(&mut found);
        self.lm_head.list(&mut found);
        found
    }
}
