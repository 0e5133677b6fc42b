//! StableLM (<https://arxiv.org/abs/2402.17834>).
//!
//! Like Llama, but with layer norms instead of RMS norms, and rotary embedding of the first
//! features of a head. Attention and MLP follow each other, each with its own norm, or are in
//! parallel behind one. Larger models have a norm for the queries and keys of each head.
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
use crate::model::layers::{GatedMlp, LayerNorm, Linear, QkvProjection};
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
    max_position_embeddings: i64,
    layer_norm_eps: f64,
    hidden_act: Activation,
    use_qkv_bias: bool,
    qk_layernorm: bool,
    use_parallel_residual: bool,
    tie_word_embeddings: bool,
    rope: Rope,
}

impl Config {
    fn read(fields: &ConfigFields) -> Result<Config> {
        let path = fields.path().display();
        let hidden_size = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        let kv_heads = fields.optional_size("num_key_value_heads")?.unwrap_or(heads);
        for (what, of, name) in [
            ("hidden_size", hidden_size, "num_attention_heads"),
            ("num_attention_heads", heads, "num_key_value_heads"),
        ] {
            let by = if name == "num_attention_heads" {
                heads
            } else {
                kv_heads
            };
            if of % by != 0 {
                bail!("{path}: `{what}` {of} is not a multiple of `{name}` {by}");
            }
        }
        let flag = |name: &str| Ok::<bool, anyhow::Error>(fields.optional(name)?.unwrap_or(false));
        let (layers, qk_layernorm) = (fields.size("num_hidden_layers")?, flag("qk_layernorm")?);
        if qk_layernorm {
            // Each has norms of its own.
            fields.check_modules("num_attention_heads", heads, layers)?;
        }
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: layers as usize,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            layer_norm_eps: fields.positive("layer_norm_eps", 1e-5)?,
            hidden_act: Activation::read(fields, "hidden_act", "silu")?,
            use_qkv_bias: flag("use_qkv_bias")?,
            qk_layernorm,
            use_parallel_residual: flag("use_parallel_residual")?,
            tie_word_embeddings: flag("tie_word_embeddings")?,
            rope: rope(fields, hidden_size / heads)?,
        })
    }
}

fn rope(fields: &ConfigFields, head_dim: i64) -> Result<Rope> {
    let dims = Rope::rotated(fields, "partial_rotary_factor", 0.25, head_dim)?;
    Rope::read(fields, "rope_theta", dims)
}

/// A norm of its own for each head.
#[derive(Debug)]
struct HeadNorms(Vec<LayerNorm>);

impl HeadNorms {
    fn load(weights: &mut Weights, path: &str, [heads, dim]: [i64; 2], eps: f64) -> HeadNorms {
        let mut norm = |head: i64| weights.scaling_layer_norm(&format!("{path}.norms.{head}"), dim, eps);
        HeadNorms((0..heads).map(&mut norm).collect())
    }

    /// Normalizes `x_bthd`; shape and type stay.
    fn forward(&self, x_bthd: &Tensor) -> Tensor {
        let heads: Vec<Tensor> = (0..)
            .zip(&self.0)
            .map(|(head, norm)| norm.forward(&x_bthd.narrow(2, head, 1)))
            .collect();
        Tensor::cat(&heads, 2)
    }
}

#[derive(Debug)]
struct Attention {
    qkv: QkvProjection,
    o_proj: Linear,
    q_layernorm: Option<HeadNorms>,
    k_layernorm: Option<HeadNorms>,
    head_dim: i64,
    rope: Rope,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Attention {
        let (d, bias, eps) = (config.hidden_size, config.use_qkv_bias, config.layer_norm_eps);
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        let head_dim = d / heads;
        let mut norms = |name: &str, heads: i64| {
            let path = format!("{path}.{name}");
            config
                .qk_layernorm
                .then(|| HeadNorms::load(weights, &path, [heads, head_dim], eps))
        };
        let (q_layernorm, k_layernorm) = (norms("q_layernorm", heads), norms("k_layernorm", kv_heads));
        Attention {
            qkv: weights.qkv_projection(path, d, [d, kv_heads * head_dim], bias),
            o_proj: weights.linear(&format!("{path}.o_proj"), d, d, false),
            q_layernorm,
            k_layernorm,
            head_dim,
            rope: config.rope.clone(),
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let [mut q_bthd, mut k_btkd, v_btkd] = self.qkv.heads(x_btd, self.head_dim);
        if let (Some(q_norms), Some(k_norms)) = (&self.q_layernorm, &self.k_layernorm) {
            (q_bthd, k_btkd) = (q_norms.forward(&q_bthd), k_norms.forward(&k_btkd));
        }
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
    input_layernorm: LayerNorm,
    self_attn: Attention,
    /// None where attention and MLP are in parallel.
    post_attention_layernorm: Option<LayerNorm>,
    mlp: GatedMlp,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(fields)?;
    let (d, inner, eps) = (
        config.hidden_size,
        config.intermediate_size,
        config.layer_norm_eps,
    );
    let blocks = (0..config.num_hidden_layers)
        .map(|layer| {
            let path = format!("model.layers.{layer}");
            Block {
                input_layernorm: weights.layer_norm(&format!("{path}.input_layernorm"), d, eps),
                self_attn: Attention::load(&config, weights, &format!("{path}.self_attn")),
                post_attention_layernorm: (!config.use_parallel_residual)
                    .then(|| weights.layer_norm(&format!("{path}.post_attention_layernorm"), d, eps)),
                mlp: weights.gated_mlp(&format!("{path}.mlp"), [d, inner], false, config.hidden_act),
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
            head_dim: d / config.num_attention_heads,
            hidden: d,
            vocab: config.vocab_size,
            context: config.max_position_embeddings as usize,
            end_tokens: fields.end_tokens(config.vocab_size)?,
            begin_token: fields.begin_token(config.vocab_size)?,
            tied,
            capped: false,
        },
        ends: Ends::new(embedding, weights.layer_norm("model.norm", d, eps), head),
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "stablelm", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "partial_rotary_factor": 0.25, "layer_norm_eps": 1e-5, "hidden_act": "silu", "use_qkv_bias": true,
        "eos_token_id": 0,
    })
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let normed_btd = self.input_layernorm.forward(x_btd);
        let attended_btd = self.self_attn.forward(layer, &normed_btd, pass);
        // The order of the sums is the reference's; in 16 bits it matters.
        let sum_btd = pass.select(layer, x_btd) + attended_btd;
        let mixed_btd = match &self.post_attention_layernorm {
            Some(norm) => self.mlp.forward(&norm.forward(&sum_btd)),
            None => self.mlp.forward(&pass.select(layer, &normed_btd)),
        };
        sum_btd + mixed_btd
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
        let of_heads = attention.q_layernorm.iter().chain(&attention.k_layernorm);
        for norm in of_heads.flat_map(|norms| &norms.0) {
            norm.list(found);
        }
        self.input_layernorm.list(found);
        if let Some(norm) = &self.post_attention_layernorm {
            norm.list(found);
        }
    }
}
