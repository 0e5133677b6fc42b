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

use crate::model::decoder::{self, Decoder, Ends};
use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{
    Experts, ExpertsConfig, GatedMlp, Linear, LogitForm, PlainRmsNorm, QkvProjection,
};
use crate::model::{CausalLm, ModelInfo};
use config::Config;

#[derive(Debug)]
struct Attention {
    qkv: QkvProjection,
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
            qkv: weights.qkv_projection(path, d, [queries, keys], variant.qkv_bias),
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
        let [mut q_bthd, mut k_btkd, v_btkd] = self.qkv.heads(x_btd, self.head_dim);
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
        match self {
            Mlp::Dense(mlp) => mlp.list(found),
            Mlp::Experts(experts) => experts.list(found),
        }
    }
}

#[derive(Debug)]
struct Block {
    input_layernorm: PlainRmsNorm,
    self_attn: Attention,
    post_attention_layernorm: PlainRmsNorm,
    mlp: Mlp,
    /// What attention's and the MLP's outputs are multiplied by; 1 in most models.
    residual: f64,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(model_type, fields)?;
    let (d, eps) = (config.hidden_size, config.rms_norm_eps);
    let multipliers = &config.multipliers;
    let blocks = (0..config.num_hidden_layers)
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
                residual: multipliers.residual,
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
            head_dim: config.head_dim,
            hidden: d,
            vocab: config.vocab_size,
            context: config.max_position_embeddings as usize,
            end_tokens: fields.end_tokens(config.vocab_size)?,
            begin_token: fields.begin_token(config.vocab_size)?,
            tied,
            capped: false,
        },
        ends: Ends {
            embedding_scale: multipliers.embedding,
            logit_form: match multipliers.logits {
                1.0 => LogitForm::Plain,
                by => LogitForm::Divided(by),
            },
            ..Ends::new(embedding, weights.plain_rms_norm("model.norm", d, eps), head)
        },
        blocks,
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

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let normed_btd = self.input_layernorm.forward(x_btd);
        let attended_btd = self.self_attn.forward(layer, &normed_btd, pass);
        let attended_btd = times(attended_btd, self.residual);
        let x_btd = pass.select(layer, x_btd);
        let (x_btd, normed_btd) = self.post_attention_layernorm.of_sum(&x_btd, &attended_btd);
        x_btd + times(self.mlp.forward(&normed_btd), self.residual)
    }

    fn linears_mut(&mut self) -> Vec<&mut Linear> {
        let Attention { qkv, o_proj, .. } = &mut self.self_attn;
        let mut linears: Vec<&mut Linear> = qkv.linears_mut().into_iter().chain([o_proj]).collect();
        if let Mlp::Dense(mlp) = &mut self.mlp {
            linears.extend(mlp.linears_mut());
        }
        linears
    }

    fn expert_linears_mut(&mut self) -> Vec<&mut Linear> {
        match &mut self.mlp {
            Mlp::Experts(experts) => experts.linears_mut(),
            Mlp::Dense(_) => Vec::new(),
        }
    }

    fn experts(&self) -> Option<ExpertsConfig> {
        match &self.mlp {
            Mlp::Experts(experts) => Some(experts.config),
            Mlp::Dense(_) => None,
        }
    }

    fn join_projections(&mut self) {
        self.self_attn.qkv.join();
        match &mut self.mlp {
            Mlp::Dense(mlp) => mlp.join(),
            Mlp::Experts(experts) => experts.join(),
        }
    }

    fn list(&self, found: &mut Vec<(String, Tensor)>) {
        let Attention {
            qkv,
            o_proj,
            q_norm,
            k_norm,
            ..
        } = &self.self_attn;
        for linear in qkv.linears().into_iter().chain([o_proj]) {
            linear.list(found);
        }
        for norm in q_norm.iter().chain(k_norm) {
            norm.list(found);
        }
        self.mlp.list(found);
        self.input_layernorm.list(found);
        self.post_attention_layernorm.list(found);
    }
}
