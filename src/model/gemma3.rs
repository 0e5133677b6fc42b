//! Gemma 3, text only (Gemma Team 2025; <https://arxiv.org/abs/2503.19786>).
//!
//! Sandwich norms around attention and MLP, norms on queries and keys, five layers with a sliding window for one that
//! sees everything, each kind with its own rotary base. Shapes: `b` rows, `t` time, `d` hidden, `h` query heads, `k`
//! key/value heads; `q_bthd` has the features of a head last.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};
use tch::Tensor;

use super::activation::Activation;
use super::attention::{AttentionParams, ForwardPass};
use super::config::Fields;
use super::layers::{Embedding, Linear, RmsNorm};
use super::rope::{Layout, Rope, Scaling};
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
    query_pre_attn_scalar: f64,
    sliding_window: i64,
    /// Whether each layer slides.
    slides: Vec<bool>,
    tie_word_embeddings: bool,
    rope_full: Rope,
    rope_sliding: Rope,
}

impl Config {
    fn read(fields: &Fields) -> Result<Config> {
        fields.refuse_unless("hidden_activation", &[json!("gelu_pytorch_tanh")])?;
        fields.refuse_unless("attention_bias", &[json!(false)])?;
        fields.refuse_unless("attn_logit_softcapping", &[])?;
        fields.refuse_unless("final_logit_softcapping", &[])?;
        fields.refuse_unless("use_bidirectional_attention", &[json!(false)])?;
        let layers = fields.size("num_hidden_layers")? as usize;
        let (heads, kv_heads) = (
            fields.size("num_attention_heads")?,
            fields.size("num_key_value_heads")?,
        );
        if heads % kv_heads != 0 {
            bail!(
                "{}: `num_attention_heads` {heads} is not a multiple of `num_key_value_heads` {kv_heads}",
                fields.path().display()
            );
        }
        let head_dim = fields.optional_size("head_dim")?.unwrap_or(256);
        if head_dim % 2 != 0 {
            bail!(
                "{}: `head_dim` {head_dim} is odd, and its features cannot be turned in pairs",
                fields.path().display()
            );
        }
        let [rope_full, rope_sliding] = ropes(fields, head_dim)?;
        Ok(Config {
            vocab_size: fields.size("vocab_size")?,
            hidden_size: fields.size("hidden_size")?,
            intermediate_size: fields.size("intermediate_size")?,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            num_key_value_heads: kv_heads,
            head_dim,
            max_position_embeddings: fields.size("max_position_embeddings")?,
            rms_norm_eps: fields.positive("rms_norm_eps", 1e-6)?,
            query_pre_attn_scalar: fields.positive("query_pre_attn_scalar", 256.0)?,
            sliding_window: fields.size("sliding_window")?,
            slides: slides(fields, layers)?,
            tie_word_embeddings: fields.optional("tie_word_embeddings")?.unwrap_or(true),
            rope_full,
            rope_sliding,
        })
    }
}

/// Which layers slide: `layer_types`, or every one but each `sliding_window_pattern`-th.
fn slides(fields: &Fields, layers: usize) -> Result<Vec<bool>> {
    if let Some(slides) = fields.slides(layers)? {
        return Ok(slides);
    }
    let pattern: usize = fields.optional("sliding_window_pattern")?.unwrap_or(6);
    Ok((1..=layers)
        .map(|layer| pattern == 0 || layer % pattern != 0)
        .collect())
}

/// Rotary settings of full and sliding layers, from the two ways `transformers` has written them: `rope_parameters`
/// by layer type, or `rope_theta`, `rope_local_base_freq` and `rope_scaling`. Where there are both, `rope_scaling` is put over
/// what full layers have.
fn ropes(fields: &Fields, head_dim: i64) -> Result<[Rope; 2]> {
    let by_type: Map<String, Value> = fields.optional("rope_parameters")?.unwrap_or_default();
    let scaling: Option<Value> = fields.optional("rope_scaling")?;
    let rope = |layer_type: &str, old_name: &str, default: f64, scaling: Option<&Value>| -> Result<Rope> {
        let mut settings: Map<String, Value> = match by_type.get(layer_type) {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(settings)) => settings.clone(),
            Some(other) => bail!(
                "{}: `rope_parameters` of {layer_type} are {other}",
                fields.path().display()
            ),
        };
        settings.extend(scaling.and_then(Value::as_object).cloned().unwrap_or_default());
        let theta = match settings.get("rope_theta").and_then(Value::as_f64) {
            Some(theta) => fields.check_positive("rope_theta", theta)?,
            None => fields.positive(old_name, default)?,
        };
        let settings = Value::Object(settings);
        let kind = settings
            .get("rope_type")
            .or(settings.get("type"))
            .and_then(Value::as_str)
            .unwrap_or("default");
        let scaling = match (kind, settings.get("factor").and_then(Value::as_f64)) {
            ("default", _) => Scaling::None,
            ("linear", Some(factor)) if factor > 0.0 => Scaling::Linear(factor),
            _ => bail!(
                "{}: rope scaling {settings} of {layer_type} is not supported (only default and linear)",
                fields.path().display()
            ),
        };
        Ok(Rope {
            theta,
            dims: head_dim,
            scaling,
            layout: Layout::Halves,
        })
    };
    Ok([
        rope("full_attention", "rope_theta", 1e6, scaling.as_ref())?,
        rope("sliding_attention", "rope_local_base_freq", 1e4, None)?,
    ])
}

#[derive(Debug)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    q_norm: RmsNorm,
    k_norm: RmsNorm,
    head_dim: i64,
    rope: Rope,
    params: AttentionParams,
}

impl Attention {
    fn load(config: &Config, weights: &mut Weights, path: &str, slides: bool) -> Attention {
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        Attention {
            q_proj: weights.linear(&format!("{path}.q_proj"), d, queries, false),
            k_proj: weights.linear(&format!("{path}.k_proj"), d, keys, false),
            v_proj: weights.linear(&format!("{path}.v_proj"), d, keys, false),
            o_proj: weights.linear(&format!("{path}.o_proj"), queries, d, false),
            q_norm: weights.rms_norm(&format!("{path}.q_norm"), config.head_dim, eps),
            k_norm: weights.rms_norm(&format!("{path}.k_norm"), config.head_dim, eps),
            head_dim: config.head_dim,
            rope: if slides {
                config.rope_sliding
            } else {
                config.rope_full
            },
            params: AttentionParams {
                scale: config.query_pre_attn_scalar.powf(-0.5),
                window: slides.then_some(config.sliding_window),
                ..AttentionParams::default()
            },
        }
    }

    fn forward(&self, layer: usize, x_btd: &Tensor, pass: &mut ForwardPass) -> Tensor {
        let size = x_btd.size();
        let heads = [size[0], size[1], -1, self.head_dim];
        let q_bthd = self.q_norm.forward(&self.q_proj.forward(x_btd).view(heads));
        let k_btkd = self.k_norm.forward(&self.k_proj.forward(x_btd).view(heads));
        let v_btkd = self.v_proj.forward(x_btd).view(heads);
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
}

impl Mlp {
    fn load(config: &Config, weights: &mut Weights, path: &str) -> Mlp {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        Mlp {
            gate_proj: weights.linear(&format!("{path}.gate_proj"), d, inner, false),
            up_proj: weights.linear(&format!("{path}.up_proj"), d, inner, false),
            down_proj: weights.linear(&format!("{path}.down_proj"), inner, d, false),
        }
    }

    fn forward(&self, x_btd: &Tensor) -> Tensor {
        self.down_proj
            .forward(&Activation::GeluTanh.gate(&self.gate_proj.forward(x_btd), &self.up_proj.forward(x_btd)))
    }
}

#[derive(Debug)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    pre_feedforward_layernorm: RmsNorm,
    mlp: Mlp,
    post_feedforward_layernorm: RmsNorm,
}

/// Gemma 3 with its language-model head.
#[derive(Debug)]
pub struct Gemma3 {
    info: ModelInfo,
    embed_tokens: Embedding,
    embed_scale: f64,
    layers: Vec<Block>,
    norm: RmsNorm,
    /// The embedding again, where they are tied.
    lm_head: Linear,
}

impl Gemma3 {
    /// The prefix that published checkpoints have on all names but `lm_head`'s.
    pub const PREFIX: &'static str = "model.";

    /// Reads the weights that `fields` describe.
    pub fn load(fields: &Fields, weights: &mut Weights) -> Result<Gemma3> {
        let config = Config::read(fields)?;
        let (d, eps) = (config.hidden_size, config.rms_norm_eps);
        let layers = (0..config.num_hidden_layers)
            .map(|layer| {
                let path = format!("model.layers.{layer}");
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
                    mlp: Mlp::load(&config, weights, &format!("{path}.mlp")),
                    post_feedforward_layernorm: weights.rms_norm(
                        &format!("{path}.post_feedforward_layernorm"),
                        d,
                        eps,
                    ),
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
        // The reference rounds the scale to the weights' type: √640 becomes 25.25 in bf16.
        let embed_scale = Tensor::from((d as f64).sqrt())
            .to_kind(embed_tokens.weight.kind())
            .double_value(&[]);
        Ok(Gemma3 {
            info: ModelInfo {
                family: "gemma3_text",
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
            embed_scale,
            layers,
            norm: weights.rms_norm("model.norm", d, eps),
            lm_head,
        })
    }
}

impl CausalLm for Gemma3 {
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
        let x_btd = pass.wanted(layer, x_btd);
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
        for block in &mut self.layers {
            let Attention {
                q_proj,
                k_proj,
                v_proj,
                o_proj,
                ..
            } = &mut block.self_attn;
            let Mlp {
                gate_proj,
                up_proj,
                down_proj,
            } = &mut block.mlp;
            for linear in [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj] {
                f(linear);
            }
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
                &mlp.gate_proj,
                &mlp.up_proj,
                &mlp.down_proj,
            ] {
                linear.list(&mut found);
            }
            for norm in [
                &attention.q_norm,
                &attention.k_norm,
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
