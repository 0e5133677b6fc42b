//! Llama and its relatives: Llama 2 and 3 (Touvron et al. 2023, <https://arxiv.org/abs/2307.09288>; Llama Team 2024,
//! <https://arxiv.org/abs/2407.21783>), SmolLM, Mistral (Jiang et al. 2023, <https://arxiv.org/abs/2310.06825>),
//! Qwen 2 and 2.5 (<https://arxiv.org/abs/2407.10671>), Qwen 3 (<https://arxiv.org/abs/2505.09388>).
//!
//! A norm before attention and one before a gated MLP; query heads share key/value heads. Mistral adds a sliding window,
//! Qwen 2 biases on queries, keys and values, Qwen 3 in their place a norm on the queries and keys of each head.
//! Shapes: `b` rows, `t` time, `d` hidden, `h` query heads, `k` key/value heads; `q_bthd` has the features of a head
//! last.

use anyhow::{Result, bail};
use serde_json::json;
use tch::Tensor;

use super::activation::Activation;
use super::attention::{AttentionParams, ForwardPass};
use super::config::Fields;
use super::layers::{Embedding, Linear, PlainRmsNorm};
use super::rope::Rope;
use super::weights::Weights;
use super::{CausalLm, Ends, ModelInfo};

/// `config.json`, under its names.
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
    kin: Variant,
    rope: Rope,
}

/// What the members of the family do differently.
#[derive(Debug, Clone)]
struct Variant {
    /// Biases on queries, keys and values.
    qkv_bias: bool,
    /// A bias on attention's output.
    o_bias: bool,
    mlp_bias: bool,
    /// Norms on the queries and keys of each head.
    qk_norm: bool,
    /// How far each layer sees, itself included.
    windows: Vec<Option<i64>>,
}

impl Variant {
    fn read(family: &str, fields: &Fields, layers: usize) -> Result<Variant> {
        let bias = |name: &str| Ok::<bool, anyhow::Error>(fields.optional(name)?.unwrap_or(false));
        let plain = Variant {
            qkv_bias: false,
            o_bias: false,
            mlp_bias: false,
            qk_norm: false,
            windows: vec![None; layers],
        };
        Ok(match family {
            "llama" => Variant {
                qkv_bias: bias("attention_bias")?,
                o_bias: bias("attention_bias")?,
                mlp_bias: bias("mlp_bias")?,
                ..plain
            },
            "mistral" => {
                fields.refuse_unless("layer_types", &[])?;
                // Left out, it is that of Mistral 7B v0.1; later models have null.
                let window = if fields.has("sliding_window") {
                    fields.optional_size("sliding_window")?
                } else {
                    Some(4096)
                };
                Variant {
                    windows: vec![window; layers],
                    ..plain
                }
            }
            "qwen2" => Variant {
                qkv_bias: true,
                windows: upper_windows(fields, layers)?,
                ..plain
            },
            _ => Variant {
                qkv_bias: bias("attention_bias")?,
                o_bias: bias("attention_bias")?,
                qk_norm: true,
                windows: upper_windows(fields, layers)?,
                ..plain
            },
        })
    }
}

/// Qwen's windows: off unless `use_sliding_window`, and then in the layers from `max_window_layers` on, or in those that
/// `layer_types` names.
fn upper_windows(fields: &Fields, layers: usize) -> Result<Vec<Option<i64>>> {
    let window = match fields.optional("use_sliding_window")? {
        Some(true) => Some(fields.size("sliding_window")?),
        _ => None,
    };
    let slides = match fields.slides(layers)? {
        Some(slides) => slides,
        None => {
            let from: usize = fields.optional("max_window_layers")?.unwrap_or(28);
            (0..layers)
                .map(|layer| window.is_some() && layer >= from)
                .collect()
        }
    };
    if window.is_none() && slides.contains(&true) {
        bail!(
            "{}: `layer_types` has sliding layers, but `use_sliding_window` is not true",
            fields.path().display()
        );
    }
    Ok(slides
        .into_iter()
        .map(|slides| window.filter(|_| slides))
        .collect())
}

impl Config {
    fn read(family: &str, fields: &Fields) -> Result<Config> {
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
            None if family == "qwen3" => 128,
            None if hidden_size % heads == 0 => hidden_size / heads,
            None => bail!(
                "{path}: `hidden_size` {hidden_size} is not a multiple of `num_attention_heads` {heads}"
            ),
        };
        if head_dim % 2 != 0 {
            bail!(
                "{path}: `head_dim` is {head_dim}, an odd number of features that cannot be turned in pairs"
            );
        }
        for (name, value) in Rope::settings(fields)? {
            if name == "partial_rotary_factor" && value != json!(1.0) {
                bail!("{path}: `partial_rotary_factor` = {value} is not supported (only 1.0)");
            }
        }
        fields.refuse_unless("partial_rotary_factor", &[json!(1.0)])?;
        let num_hidden_layers = fields.size("num_hidden_layers")? as usize;
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
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(false),
            kin: Variant::read(family, fields, num_hidden_layers)?,
            rope: Rope::read(fields, "rope_theta", head_dim)?,
        })
    }
}

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Qwen 3's.
    q_norm: Option<PlainRmsNorm>,
    k_norm: Option<PlainRmsNorm>,
    head_dim: i64,
    rope: Rope,
    params: AttentionParams,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str, layer: usize) -> Attention {
        let (d, kin) = (config.hidden_size, &config.kin);
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let mut norm = |name: &str| {
            let path = format!("{path}.{name}");
            kin.qk_norm
                .then(|| weights.plain_rms_norm(&path, config.head_dim, config.rms_norm_eps))
        };
        let (q_norm, k_norm) = (norm("q_norm"), norm("k_norm"));
        Attention {
            q_proj: weights.linear(&format!("{path}.q_proj"), d, queries, kin.qkv_bias),
            k_proj: weights.linear(&format!("{path}.k_proj"), d, keys, kin.qkv_bias),
            v_proj: weights.linear(&format!("{path}.v_proj"), d, keys, kin.qkv_bias),
            o_proj: weights.linear(&format!("{path}.o_proj"), queries, d, kin.o_bias),
            q_norm,
            k_norm,
            head_dim: config.head_dim,
            rope: config.rope,
            params: AttentionParams {
                window: kin.windows[layer],
                ..AttentionParams::by_root(config.head_dim)
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        let heads = [size[0], size[1], -1, self.head_dim];
        let mut q_bthd = self.q_proj.forward(x_btd).view(heads);
        let mut k_btkd = self.k_proj.forward(x_btd).view(heads);
        let v_btkd = self.v_proj.forward(x_btd).view(heads);
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            (q_bthd, k_btkd) = (q_norm.forward(&q_bthd), k_norm.forward(&k_btkd));
        }
        let (q_bthd, k_btkd) = (pass.turn(&self.rope, &q_bthd), pass.turn(&self.rope, &k_btkd));
        self.o_proj
            .forward(&pass.attend(layer, &q_bthd, &k_btkd, &v_btkd, self.params))
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
        let (d, inner, bias) = (config.hidden_size, config.intermediate_size, config.kin.mlp_bias);
        Mlp {
            gate_proj: weights.linear(&format!("{path}.gate_proj"), d, inner, bias),
            up_proj: weights.linear(&format!("{path}.up_proj"), d, inner, bias),
            down_proj: weights.linear(&format!("{path}.down_proj"), inner, d, bias),
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
    input_layernorm: PlainRmsNorm,
    self_attn: Attention,
    post_attention_layernorm: PlainRmsNorm,
    mlp: Mlp,
}

/// A model of the family with its language-model head.
#[derive(Debug)]
pub struct Llama {
    info: ModelInfo,
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: PlainRmsNorm,
    /// The embedding again, where they are tied.
    lm_head: Linear,
}

impl Llama {
    /// The prefix that published checkpoints have on all names but `lm_head`'s.
    pub const PREFIX: &'static str = "model.";

    /// Reads the weights that `fields` describe; `family` is one of llama, mistral, qwen2, qwen3.
    pub fn load(family: &'static str, fields: &Fields, weights: &mut Weights) -> Result<Llama> {
        let config = Config::read(family, fields)?;
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        let layers = (0..config.num_hidden_layers)
            .map(|layer| {
                let path = format!("model.layers.{layer}");
                Block {
                    input_layernorm: weights.plain_rms_norm(&format!("{path}.input_layernorm"), d, eps),
                    self_attn: Attention::load(&config, weights, &format!("{path}.self_attn"), layer),
                    post_attention_layernorm: weights.plain_rms_norm(
                        &format!("{path}.post_attention_layernorm"),
                        d,
                        eps,
                    ),
                    mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
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
        Ok(Llama {
            info: ModelInfo {
                family,
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
            },
            embed_tokens,
            layers,
            norm: weights.plain_rms_norm("model.norm", d, eps),
            lm_head,
        })
    }
}

impl CausalLm for Llama {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        self.embed_tokens.forward(tokens_bt)
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let block = &self.layers[layer];
        let normed_btd = block.input_layernorm.forward(x_btd);
        let attended_btd = block.self_attn.forward(layer, &normed_btd, pass);
        let x_btd = pass.wanted(layer, x_btd) + attended_btd;
        let normed_btd = block.post_attention_layernorm.forward(&x_btd);
        x_btd + block.mlp.forward(&normed_btd)
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.norm.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.lm_head.forward(hidden)
    }

    fn ends(&mut self) -> Ends<'_> {
        Ends {
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
            let Attention {
                q_proj,
                k_proj,
                v_proj,
                o_proj,
                q_norm,
                k_norm,
                ..
            } = &block.self_attn;
            for linear in [q_proj, k_proj, v_proj, o_proj] {
                linear.list(&mut found);
            }
            for norm in q_norm.iter().chain(k_norm) {
                norm.list(&mut found);
            }
            for linear in [&block.mlp.gate_proj, &block.mlp.up_proj, &block.mlp.down_proj] {
                linear.list(&mut found);
            }
            block.input_layernorm.list(&mut found);
            block.post_attention_layernorm.list(&mut found);
        }
        self.norm.list(&mut found);
        if !self.info.tied {
            self.lm_head.list(&mut found);
        }
        found
    }
}
