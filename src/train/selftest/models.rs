//! Models of random numbers that selftest trains.

use crate::model::config::Fields;
use crate::model::weights::{Form, Weights};
use crate::model::{self, CausalLm};
use crate::train::out::files;
use anyhow::Result;
use serde_json::{Value, json};
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Of every family, small.
pub fn configs() -> [(&'static str, Value); 4] {
    let gptj = json!({
        "model_type": "gptj", "vocab_size": 128, "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 4,
        "rotary_dim": 8, "n_inner": null, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new",
        "eos_token_id": 0,
    });
    // A window shorter than the examples, so that both kinds of attention do something.
    let gemma3 = json!({
        "model_type": "gemma3_text", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "rms_norm_eps": 1e-6, "query_pre_attn_scalar": 16, "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"], "tie_word_embeddings": true, "eos_token_id": 0,
    });
    let neox = json!({
        "model_type": "gpt_neox", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_act": "gelu",
        "rotary_pct": 0.25, "rotary_emb_base": 10000, "layer_norm_eps": 1e-5, "eos_token_id": 0,
    });
    let qwen3 = json!({
        "model_type": "qwen3", "vocab_size": 128, "max_position_embeddings": 64, "hidden_size": 64,
        "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 16, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": false, "eos_token_id": 0,
    });
    [
        ("gptj", gptj),
        ("gpt_neox", neox),
        ("qwen3", qwen3),
        ("gemma3_text", gemma3),
    ]
}

/// Writes a model of `config` with random weights.
pub fn make(dir: &Path, config: &Value) -> Result<()> {
    files::write_json(&dir.join("config.json"), config)?;
    let mut sketch = Weights::sketch();
    model::build(&Fields::read(dir)?, &mut sketch)?;
    tch::manual_seed(1);
    let tensors: Vec<(String, Tensor)> = sketch
        .into_asked()
        .into_iter()
        .map(|(name, shape)| (name, Tensor::randn(shape, (Kind::Float, Device::Cpu)) * 0.1))
        .collect();
    files::write_safetensors(&dir.join("model.safetensors"), &tensors)
}

/// Reads it.
pub fn load(dir: &Path, device: Device, kind: Kind) -> Result<Box<dyn CausalLm>> {
    load_as(dir, device, kind, Form::Plain)
}

/// Reads it, its linear layers kept as `form` says.
pub fn load_as(dir: &Path, device: Device, kind: Kind, form: Form) -> Result<Box<dyn CausalLm>> {
    let _guard = tch::no_grad_guard();
    let mut weights = Weights::open(dir, "")?;
    weights.place(kind, device);
    weights.keep_as(form);
    let model = model::build(&Fields::read(dir)?, &mut weights)?;
    weights.finish()?;
    Ok(model)
}
