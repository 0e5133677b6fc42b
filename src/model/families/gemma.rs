//! Gemma 2 (Gemma Team 2024; <https://arxiv.org/abs/2408.00118>) and Gemma 3, text only (Gemma Team
//! 2025; <https://arxiv.org/abs/2503.19786>), also from checkpoints of text and images.
//!
//! Sandwich norms around attention and MLP. Gemma 2 alternates layers with a sliding window and
//! with full attention, and caps scores and logits. Gemma 3 has norms on queries and keys, and five
//! layers with a sliding window for each with full attention; each kind has its own rotary base.
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
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{GatedMlp, Linear, LogitForm, QkvProjection, RmsNorm};
use crate::model::{CausalLm, ModelInfo};
use config::Config;

#[derive(Debug)]
struct Attention {
    qkv: QkvProjection,
    o_proj: Linear,
    /// In Gemma 3 only.
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
    head_dim: i64,
    rope: Rope,
    params: AttentionParams,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str, slides: bool) -> Attention {
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let mut norm = |name: &str| {
            let path = format!("{path}.{name}");
            config
                .qk_norm
                .then(|| weights.rms_norm(&path, config.head_dim, eps))
        };
        let (q_norm, k_norm) = (norm("q_norm"), norm("k_norm"));
        Attention {
            qkv: weights.qkv_projection(path, d, [queries, keys], false),
            o_proj: weights.linear(&format!("{path}.o_proj"), queries, d, false),
            q_norm,
            k_norm,
            head_dim: config.head_dim,
            rope: match slides {
                true => config.rope_sliding.clone(),
                false => config.rope_full.clone(),
            },
            params: AttentionParams {
                scale: config.query_pre_attn_scalar.powf(-0.5),
                window: slides.then_some(config.sliding_window),
                cap: config.attn_logit_softcapping,
                ..AttentionParams::default()
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

#[derive(Debug)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: GatedMlp,
    post_feedforward_layernorm: RmsNorm,
}

/// Reads the model that `fields` describe.
pub fn load(
    model_type: &'static str,
    fields: &ConfigFields,
    weights: &mut Weights,
) -> Result<Box<dyn CausalLm>> {
    let config = Config::read(model_type, fields)?;
    let (d, eps) = (config.hidden_size, config.rms_norm_eps);
    let (inner, act) = (config.intermediate_size, Activation::GeluTanh);
    // The text half of a model of text and images.
    let root = match model_type {
        "gemma3" => "model.language_model",
        _ => "model",
    };
    let blocks = (0..config.num_hidden_layers)
        .map(|layer| {
            let path = format!("{root}.layers.{layer}");
            let slides = config.slides[layer];
            Block {
                input_layernorm: weights.rms_norm(&format!("{path}.input_layernorm"), d, eps),
                self_attn: Attention::load(&config, weights, &format!("{path}.self_attn"), slides),
                post_attention_layernorm: weights.rms_norm(
                    &format!("{path}.post_attention_layernorm"),
                    d,
                    eps,
                ),
                pre_feedforward_layernorm: weights.rms_norm(
                    &format!("{path}.pre_feedforward_layernorm"),
                    d,
                    eps,
                ),
                mlp: weights.gated_mlp(&format!("{path}.mlp"), [d, inner], false, act),
                post_feedforward_layernorm: weights.rms_norm(
                    &format!("{path}.post_feedforward_layernorm"),
                    d,
                    eps,
                ),
            }
        })
        .collect();
    let embedding = format!("{root}.embed_tokens");
    let paths = [embedding.as_str(), "lm_head"];
    let (embedding, head, tied) =
        weights.embedding_and_head(paths, [config.vocab_size, d], config.tie_word_embeddings);
    // The reference rounds the scale to the weights' type: √640 becomes 25.25 in bf16.
    let embedding_scale = Tensor::from((d as f64).sqrt())
        .to_kind(embedding.weight.kind())
        .double_value(&[]);
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
            capped: config.attn_logit_softcapping.is_some(),
        },
        ends: Ends {
            embedding_scale,
            logit_form: match config.final_logit_softcapping {
                None => LogitForm::Plain,
                Some(cap) => LogitForm::Capped(cap),
            },
            ..Ends::new(embedding, weights.rms_norm(&format!("{root}.norm"), d, eps), head)
        },
        blocks,
    }))
}

/// The config.json of a tiny model, for `ewe selftest`. Its window is shorter than the examples, so
/// that both kinds of attention matter.
pub fn selftest_config() -> Value {
    json!({
        "model_type": "gemma3_text", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 16, "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"], "tie_word_embeddings": true, "eos_token_id": 0,
    })
}

/// The config.json of a tiny Gemma 2, for `ewe selftest`.
pub fn gemma2_selftest_config() -> Value {
    let mut config = selftest_config();
    config["model_type"] = json!("gemma2");
    config["attn_logit_softcapping"] = json!(50.0);
    config["final_logit_softcapping"] = json!(30.0);
    config
}

impl decoder::Block for Block {
    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let attended_btd = self
            .self_attn
            .forward(layer, &self.input_layernorm.forward(x_btd), pass);
        let x_btd = pass.select(layer, x_btd);
        let x_btd = self.post_attention_layernorm.add_to(&x_btd, &attended_btd);
        let mixed_btd = self.mlp.forward(&self.pre_feedforward_layernorm.forward(&x_btd));
        self.post_feedforward_layernorm.add_to(&x_btd, &mixed_btd)
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
        self.mlp.list(found);
        for norm in q_norm.iter().chain(k_norm) {
            norm.list(found);
        }
        for norm in [
            &self.input_layernorm,
            &self.post_attention_layernorm,
            &self.pre_feedforward_layernorm,
            &self.post_feedforward_layernorm,
        ] {
            norm.list(found);
        }
    }
}
