//! Llama and related models: Llama 2 and 3 (Touvron et al. 2023,
//! <https://arxiv.org/abs/2307.09288>; Llama Team 2024, <https://arxiv.org/abs/2407.21783>),
//! SmolLM and SmolLM 3, Mistral (Jiang et al. 2023, <https://arxiv.org/abs/2310.06825>) and
//! Ministral, Falcon 3, Granite (<https://arxiv.org/abs/2405.04324>), Qwen 2 and 2.5
//! (<https://arxiv.org/abs/2407.10671>), Qwen 3 (<https://arxiv.org/abs/2505.09388>), dense and
//! with a mixture of experts.
//!
//! A norm before attention and one before a gated MLP; query heads share key/value heads. Mistral
//! adds a sliding window, Ministral in some layers. Some layers of SmolLM 3 do not rotate. Granite
//! multiplies embeddings, sums and scores, and divides logits, by fixed numbers. Qwen 2 adds biases
//! on queries, keys and values; Qwen 3 has instead a norm on the queries and keys of each head, and
//! may have a mixture of experts in place of the MLP.
//!
//! Shapes: `b` rows, `t` time, `d` hidden, `h` query heads, `k` key/value heads; `q_bthd` has the
//! features of a head last.

mod config;

use anyhow::Result;
use serde_json::{Value, json};
use tch::Tensor;

use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{
    Embedding, Experts, ExpertsConfig, GatedMlp, JointWeights, Linear, LogitForm, PlainRmsNorm, forward_all,
};
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};
use config::{Config, Multipliers};

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    /// The three, if one product computes them.
    qkv: Option<JointWeights>,
    o_proj: Linear,
    /// In Qwen 3 only.
    q_norm: Option<PlainRmsNorm>,
    k_norm: Option<PlainRmsNorm>,
    head_dim: i64,
    rope: Rope,
    params: AttentionParams,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str, layer: usize) -> Attention {
        let (d, variant) = (config.hidden_size, &config.variant);
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let mut norm = |name: &str| {
            let path = format!("{path}.{name}");
            variant
                .qk_norm
                .then(|| weights.plain_rms_norm(&path, config.head_dim, config.rms_norm_eps))
        };
        let (q_norm, k_norm) = (norm("q_norm"), norm("k_norm"));
        let by_root = AttentionParams::by_root(config.head_dim);
        Attention {
            q_proj: weights.linear(&format!("{path}.q_proj"), d, queries, variant.qkv_bias),
            k_proj: weights.linear(&format!("{path}.k_proj"), d, keys, variant.qkv_bias),
            v_proj: weights.linear(&format!("{path}.v_proj"), d, keys, variant.qkv_bias),
            qkv: None,
            o_proj: weights.linear(&format!("{path}.o_proj"), queries, d, variant.o_bias),
            q_norm,
            k_norm,
            head_dim: config.head_dim,
            rope: Rope {
                dims: if variant.rotates[layer] {
                    config.rope.dims
                } else {
                    0
                },
                ..config.rope.clone()
            },
            params: AttentionParams {
                scale: config.multipliers.attention.unwrap_or(by_root.scale),
                window: variant.windows[layer],
                ..by_root
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        let heads = [size[0], size[1], -1, self.head_dim];
        let projections = [&self.q_proj, &self.k_proj, &self.v_proj];
        let [q, k, v] = forward_all(self.qkv.as_ref(), projections, x_btd);
        let (mut q_bthd, mut k_btkd) = (q.view(heads), k.view(heads));
        let v_btkd = v.view(heads);
        if let (Some(q_norm), Some(k_norm)) = (&self.q_norm, &self.k_norm) {
            (q_bthd, k_btkd) = (q_norm.forward(&q_bthd), k_norm.forward(&k_btkd));
        }
        self.o_proj.forward(&pass.rotate_and_attend(
            layer,
            &self.rope,
            &q_bthd,
            &k_btkd,
            &v_btkd,
            self.params,
        ))
    }
}

/// What follows attention.
#[derive(Debug)]
enum Mlp {
    Dense(Box<GatedMlp>),
    Experts(Box<Experts>),
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        let (d, inner, act) = (config.hidden_size, config.intermediate_size, config.hidden_act);
        match config.experts {
            Some(experts) => Mlp::Experts(Box::new(weights.experts(path, d, experts, act))),
            None => {
                let mlp = weights.gated_mlp(path, [d, inner], config.variant.mlp_bias, act);
                Mlp::Dense(Box::new(mlp))
            }
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        match self {
            Mlp::Dense(mlp) => mlp.forward(x_btd),
            Mlp::Experts(experts) => experts.forward(x_btd),
        }
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        let mlps = match self {
            Mlp::Dense(mlp) => std::slice::from_ref(mlp.as_ref()),
            Mlp::Experts(experts) => {
                experts.router.list(found);
                experts.experts.as_slice()
            }
        };
        for linear in mlps.iter().flat_map(GatedMlp::linears) {
            linear.list(found);
        }
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
    multipliers: Multipliers,
    norm: PlainRmsNorm,
    /// Shares the embedding's weights where they are tied.
    lm_head: Linear,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(model_type, fields)?;
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
    Ok(Box::new(Llama {
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
        multipliers: config.multipliers,
        norm: weights.plain_rms_norm("model.norm", d, eps),
        lm_head,
    }))
}

/// The config.json of a tiny Qwen 3, for `ewe selftest`.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "qwen3", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 0,
    })
}

/// The config.json of a tiny SmolLM 3, for `ewe selftest`. Its second layer does not rotate.
pub fn smollm3_selftest_config() -> Value {
    let mut config = selftest_config();
    config["model_type"] = json!("smollm3");
    config["tie_word_embeddings"] = json!(true);
    config["no_rope_layers"] = json!([1, 0]);
    config
}

/// Returns `x` multiplied by `by`, which is 1 in most models.
fn times(x: Tensor, by: f64) -> Tensor {
    if by == 1.0 { x } else { x * by }
}

impl CausalLm for Llama {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        times(self.embed_tokens.forward(tokens_bt), self.multipliers.embedding)
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let block = &self.layers[layer];
        let normed_btd = block.input_layernorm.forward(x_btd);
        let attended_btd = block.self_attn.forward(layer, &normed_btd, pass);
        let attended_btd = times(attended_btd, self.multipliers.residual);
        let x_btd = pass.select(layer, x_btd);
        let (x_btd, normed_btd) = block.post_attention_layernorm.of_sum(&x_btd, &attended_btd);
        x_btd + times(block.mlp.forward(&normed_btd), self.multipliers.residual)
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.norm.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.logit_form().apply(self.lm_head.forward(hidden))
    }

    fn logit_form(&self) -> LogitForm {
        match self.multipliers.logits {
            1.0 => LogitForm::Plain,
            by => LogitForm::Divided(by),
        }
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
            if let Mlp::Dense(mlp) = mlp {
                mlp.linears_mut().into_iter().for_each(&mut *f);
            }
        }
    }

    fn for_each_expert_linear(&mut self, f: &mut dyn FnMut(&mut Linear)) {
        for Block { mlp, .. } in &mut self.layers {
            if let Mlp::Experts(experts) = mlp {
                let linears = experts.experts.iter_mut().flat_map(GatedMlp::linears_mut);
                linears.for_each(&mut *f);
            }
        }
    }

    fn experts(&self) -> Option<ExpertsConfig> {
        match &self.layers.first()?.mlp {
            Mlp::Experts(experts) => Some(experts.config),
            Mlp::Dense(_) => None,
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
            block.mlp.list(&mut found);
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
