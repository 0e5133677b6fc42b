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

use crate::model::files::config::ConfigFields;
use crate::model::files::weights::Weights;
use crate::model::layers::activation::Activation;
use crate::model::layers::attention::{AttentionParams, ForwardPass};
use crate::model::layers::rope::Rope;
use crate::model::layers::{Embedding, GatedMlp, JointWeights, Linear, LogitForm, RmsNorm, forward_all};
use crate::model::{CausalLm, EmbeddingAndHead, ModelInfo};
use config::Config;

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    /// The three, if one product computes them.
    qkv: Option<JointWeights>,
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
            q_proj: weights.linear(&format!("{path}.q_proj"), d, queries, false),
            k_proj: weights.linear(&format!("{path}.k_proj"), d, keys, false),
            v_proj: weights.linear(&format!("{path}.v_proj"), d, keys, false),
            qkv: None,
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

#[derive(Debug)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: GatedMlp,
    post_feedforward_layernorm: RmsNorm,
}

/// A Gemma with its language-model head.
#[derive(Debug)]
pub struct Gemma {
    info: ModelInfo,
    embed_tokens: Embedding,
    embed_scale: f64,
    layers: Vec<Block>,
    final_logit_softcapping: Option<f64>,
    norm: RmsNorm,
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
    let (inner, act) = (config.intermediate_size, Activation::GeluTanh);
    // The text half of a model of text and images.
    let root = match model_type {
        "gemma3" => "model.language_model",
        _ => "model",
    };
    let layers = (0..config.num_hidden_layers)
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
    let vocab = config.vocab_size;
    let embedding = format!("{root}.embed_tokens");
    let (embed_tokens, lm_head, tied) = if config.tie_word_embeddings {
        weights.tied(&embedding, "lm_head", vocab, d)
    } else {
        let embed_tokens = weights.embedding(&embedding, vocab, d);
        (embed_tokens, weights.linear("lm_head", d, vocab, false), false)
    };
    // The reference rounds the scale to the weights' type: √640 becomes 25.25 in bf16.
    let embed_scale = Tensor::from((d as f64).sqrt())
        .to_kind(embed_tokens.weight.kind())
        .double_value(&[]);
    Ok(Box::new(Gemma {
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
        embed_tokens,
        embed_scale,
        layers,
        final_logit_softcapping: config.final_logit_softcapping,
        norm: weights.rms_norm(&format!("{root}.norm"), d, eps),
        lm_head,
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

impl CausalLm for Gemma {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, tokens_bt: &Tensor) -> Tensor {
        self.embed_tokens.forward(tokens_bt) * self.embed_scale
    }

    fn block(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let block = &self.layers[layer];
        let attended_btd = block
            .self_attn
            .forward(layer, &block.input_layernorm.forward(x_btd), pass);
        let x_btd = pass.select(layer, x_btd);
        let x_btd = block.post_attention_layernorm.add_to(&x_btd, &attended_btd);
        let mixed_btd = block
            .mlp
            .forward(&block.pre_feedforward_layernorm.forward(&x_btd));
        block.post_feedforward_layernorm.add_to(&x_btd, &mixed_btd)
    }

    fn finish(&self, x_btd: &Tensor) -> Tensor {
        self.norm.forward(x_btd)
    }

    fn logits(&self, hidden: &Tensor) -> Tensor {
        self.logit_form().apply(self.lm_head.forward(hidden))
    }

    fn logit_form(&self) -> LogitForm {
        match self.final_logit_softcapping {
            None => LogitForm::Plain,
            Some(cap) => LogitForm::Capped(cap),
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
        for block in &mut self.layers {
            let Attention {
                q_proj,
                k_proj,
                v_proj,
                o_proj,
                ..
            } = &mut block.self_attn;
            for linear in [q_proj, k_proj, v_proj, o_proj] {
                f(linear);
            }
            block.mlp.linears_mut().into_iter().for_each(&mut *f);
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
            let (attention, mlp) = (&block.self_attn, &block.mlp);
            for linear in [
                &attention.q_proj,
                &attention.k_proj,
                &attention.v_proj,
                &attention.o_proj,
            ]
            .into_iter()
            .chain(mlp.linears())
            {
                linear.list(&mut found);
            }
            for norm in attention.q_norm.iter().chain(&attention.k_norm) {
                norm.list(&mut found);
            }
            for norm in [
                &block.input_layernorm,
                &block.post_attention_layernorm,
                &block.pre_feedforward_layernorm,
                &block.post_feedforward_layernorm,
            ] {
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
