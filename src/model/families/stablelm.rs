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

use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{Embedding, GatedMlp, JointWeights, LayerNorm, Linear, forward_all};
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};
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
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: fields.size("num_hidden_layers")? as usize,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            layer_norm_eps: fields.positive("layer_norm_eps", 1e-5)?,
            hidden_act: Activation::read(fields, "hidden_act", "silu")?,
            use_qkv_bias: flag("use_qkv_bias")?,
            qk_layernorm: flag("qk_layernorm")?,
            use_parallel_residual: flag("use_parallel_residual")?,
            tie_word_embeddings: flag("tie_word_embeddings")?,
            rope: rope(fields, hidden_size / heads)?,
        })
    }
}

fn rope(fields: &ConfigFields, head_dim: i64) -> Result<Rope> {
    let settings = Rope::settings(fields)?;
    let part = match settings.get("partial_rotary_factor").and_then(Value::as_f64) {
        Some(part) => part,
        None => fields.optional("partial_rotary_factor")?.unwrap_or(0.25),
    };
    let dims = (head_dim as f64 * part) as i64;
    if dims < 2 || dims % 2 != 0 || dims > head_dim {
        bail!(
            "{}: `partial_rotary_factor` {part} of heads of {head_dim} is {}, which cannot be rotated in pairs",
            fields.path().display(),
            counted(dims, "feature")
        );
    }
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
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    /// The three, if one product computes them.
    qkv: Option<JointWeights>,
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
            q_proj: weights.linear(&format!("{path}.q_proj"), d, d, bias),
            k_proj: weights.linear(&format!("{path}.k_proj"), d, kv_heads * head_dim, bias),
            v_proj: weights.linear(&format!("{path}.v_proj"), d, kv_heads * head_dim, bias),
            qkv: None,
            o_proj: weights.linear(&format!("{path}.o_proj"), d, d, false),
            q_layernorm,
            k_layernorm,
            head_dim,
            rope: config.rope.clone(),
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        let heads = [size[0], size[1], -1, self.head_dim];
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let [q, k, v] = forward_all(self.qkv.as_ref(), projections, x_btd);
        let (mut q_bthd, mut k_btkd) = (q.view(heads), k.view(heads));
        let v_btkd = v.view(heads);
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

/// StableLM with its language-model head.
#[derive(Debug)]
pub struct StableLm {
    info: ModelInfo,
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: LayerNorm,
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
    let (d, inner, eps) = (
        config.hidden_size,
        config.intermediate_size,
        config.layer_norm_eps,
    );
    let layers = (0..config.num_hidden_layers)
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
    let vocab = config.vocab_size;
    let (embed_tokens, lm_head, tied) = if config.tie_word_embeddings {
        weights.tied("model.embed_tokens", "lm_head", vocab, d)
    } else {
        let embed_tokens = weights.embedding("model.embed_tokens", vocab, d);
        (embed_tokens, weights.linear("lm_head", d, vocab, false), false)
    };
    Ok(Box::new(StableLm {
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
        embed_tokens,
        layers,
        norm: weights.layer_norm("model.norm", d, eps),
        lm_head,
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

impl CausalLm for StableLm {
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
        // The order of the sums is the reference's; in 16 bits it matters.
        let sum_btd = pass.select(layer, x_btd) + attended_btd;
        let mixed_btd = match &block.post_attention_layernorm {
            Some(norm) => block.mlp.forward(&norm.forward(&sum_btd)),
            None => block.mlp.forward(&pass.select(layer, &normed_btd)),
        };
        sum_btd + mixed_btd
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
            mlp.linears_mut().into_iter().for_each(&mut *f);
        }
    }

    fn join_projections(&mut self) {
        for Block { self_attn, .. } in &mut self.layers {
            let Attention {
                q_proj,
                k_proj,
                v_proj,
                qkv,
                ..
            } = self_attn;
            *qkv = JointWeights::of(&mut [q_proj, k_proj, v_proj]);
        }
    }

    fn parameters(&self) -> Vec<(String, Tensor)> {
        let mut found = Vec::new();
        self.embed_tokens.list(&mut found);
        for block in &self.layers {
            let attention = &block.self_attn;
            for linear in [
                &attention.q_proj,
                &attention.k_proj,
                &attention.v_proj,
                &attention.o_proj,
            ]
            .into_iter()
            .chain(block.mlp.linears())
            {
                linear.list(&mut found);
            }
            let of_heads = attention.q_layernorm.iter().chain(&attention.k_layernorm);
            for norm in of_heads.flat_map(|norms| &norms.0) {
                norm.list(&mut found);
            }
            block.input_layernorm.list(&mut found);
            if let Some(norm) = &block.post_attention_layernorm {
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
