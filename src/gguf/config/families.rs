//! What the families of one config.json each add to it.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use super::{
    GEMMA2_27B_LAYERS, GEMMA2_CAPS, GEMMA2_PATTERN, GEMMA3_27B_LAYERS, GEMMA3_LOCAL_BASE, GEMMA3_PATTERN,
    Keys, MOST_LAYERS, SMOLLM3_INTERVAL, Sizes, linear, rotation, share, singles,
};

/// The window of Gemma 2, where a file does not say; llama.cpp takes the same.
const GEMMA2_WINDOW: i64 = 4096;

/// Adds the fields of the file's family, all but GPT-2, whose fields have other names.
pub(super) fn read(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let name = keys.architecture.name;
    if name != "gptneox" {
        let kv_heads = keys.size("attention.head_count_kv")?.unwrap_or(sizes.heads);
        config.insert("num_key_value_heads".to_owned(), json!(kv_heads));
    }
    match name {
        "gptneox" => return neox(keys, sizes, config),
        "stablelm" => return stablelm(keys, sizes, config),
        _ => {}
    }
    let eps = "attention.layer_norm_rms_epsilon";
    let missing = || keys.header.missing(&keys.key(eps));
    let eps = keys.number(eps)?.ok_or_else(missing)?;
    config.insert("rms_norm_eps".to_owned(), json!(eps));
    if name == "phi3" {
        return phi3(keys, sizes, config);
    }
    rotation(keys, sizes.head_dim, config)?;
    config.insert("head_dim".to_owned(), json!(sizes.head_dim));
    match name {
        "gemma2" => gemma2(keys, sizes, config),
        "gemma3" => gemma3(keys, sizes, config),
        _ => like_llama(keys, sizes, config),
    }
}

fn like_llama(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    let name = keys.architecture.name;
    set("hidden_act", json!("silu"));
    // Qwen 2 always has biases, on queries, keys and values only.
    if name != "qwen2" {
        set("attention_bias", json!(keys.has("blk.0.attn_q.bias")));
    }
    if matches!(name, "llama" | "granite") {
        set("mlp_bias", json!(keys.has("blk.0.ffn_gate.bias")));
    }
    match name {
        "granite" => granite(keys, sizes, config),
        "qwen3moe" => experts(keys, sizes, config),
        "smollm3" => {
            set("no_rope_layer_interval", json!(SMOLLM3_INTERVAL));
            set("use_sliding_window", json!(false));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Reads the factors of Granite.
fn granite(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    // llama.cpp uses it to say that nothing is rotated.
    if keys.header.flag(&keys.key("rope.scaling.finetuned"))? == Some(false) {
        bail!(
            "{}: `{}` = false, a Granite without a rotation, is not supported",
            keys.header.path().display(),
            keys.key("rope.scaling.finetuned")
        );
    }
    let logits = "logit_scale";
    let missing = || keys.header.missing(&keys.key(logits));
    let logits = keys.number(logits)?.ok_or_else(missing)?;
    // llama.cpp takes 0 for none.
    let factor = |name: &str, none: f64| -> Result<f64> {
        Ok(keys.number(name)?.filter(|factor| *factor != 0.0).unwrap_or(none))
    };
    let by_root = 1.0 / (sizes.head_dim.max(1) as f64).sqrt();
    let mut set = |name: &str, value: f64| config.insert(name.to_owned(), json!(value));
    set("attention_multiplier", factor("attention.scale", by_root)?);
    set("embedding_multiplier", factor("embedding_scale", 1.0)?);
    set("residual_multiplier", factor("residual_scale", 1.0)?);
    set("logits_scaling", logits);
    Ok(())
}

/// Reads the mixture of experts of Qwen 3, which llama.cpp always normalizes.
fn experts(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    keys.refuse("expert_weights_scale", 1.0)?;
    let chosen = keys.required("expert_used_count")?;
    let inner = match keys.size("expert_feed_forward_length")? {
        Some(inner) => inner,
        None if chosen > 0 => sizes.inner / chosen,
        None => 0,
    };
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("num_experts", json!(keys.required("expert_count")?));
    set("num_experts_per_tok", json!(chosen));
    set("moe_intermediate_size", json!(inner));
    set("norm_topk_prob", json!(true));
    set("decoder_sparse_step", json!(1));
    set("mlp_only_layers", json!([]));
    set("use_sliding_window", json!(false));
    Ok(())
}

/// Adds what Gemma 2 and 3 share: the scale of scores, which is another for the model of so many
/// layers, and the window of all layers but each `pattern`-th.
fn gemma(sizes: &Sizes, (largest, pattern): (i64, usize), window: i64, config: &mut Map<String, Value>) {
    let scalar = match sizes.layers {
        layers if layers == largest && sizes.heads > 0 => sizes.hidden / sizes.heads,
        _ => sizes.head_dim,
    };
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("query_pre_attn_scalar", json!(scalar));
    set("sliding_window", json!(window));
    // More layers are refused when the model is built.
    let layers = sizes.layers.clamp(0, MOST_LAYERS) as usize;
    let types = (1..=layers).map(|layer| match layer % pattern {
        0 => "full_attention",
        _ => "sliding_attention",
    });
    set("layer_types", json!(types.collect::<Vec<_>>()));
    set("hidden_activation", json!("gelu_pytorch_tanh"));
    set("attention_bias", json!(false));
}

fn gemma2(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let window = keys.size("attention.sliding_window")?.unwrap_or(GEMMA2_WINDOW);
    gemma(sizes, (GEMMA2_27B_LAYERS, GEMMA2_PATTERN), window, config);
    let cap = |name: &str, default: f64| Ok::<_, anyhow::Error>(keys.number(name)?.unwrap_or(default));
    let mut set = |name: &str, value: f64| config.insert(name.to_owned(), json!(value));
    let scores = cap("attn_logit_softcapping", GEMMA2_CAPS.0)?;
    set("attn_logit_softcapping", scores);
    let logits = cap("final_logit_softcapping", GEMMA2_CAPS.1)?;
    set("final_logit_softcapping", logits);
    Ok(())
}

fn gemma3(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let window = keys.required("attention.sliding_window")?;
    gemma(sizes, (GEMMA3_27B_LAYERS, GEMMA3_PATTERN), window, config);
    let local = keys.number("rope.freq_base_swa")?.unwrap_or(GEMMA3_LOCAL_BASE);
    config.insert("rope_local_base_freq".to_owned(), json!(local));
    Ok(())
}

/// Reads Phi 3 and 4, with the factors of LongRoPE where there are some.
fn phi3(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let path = keys.header.path().display();
    let dims = keys.size("rope.dimension_count")?.unwrap_or(sizes.head_dim);
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    // 0 is none; files of before 2024 do not say.
    let window = keys
        .size("attention.sliding_window")?
        .filter(|window| *window != 0);
    let original = "rope.scaling.original_context_length";
    let original = keys.size(original)?.unwrap_or(sizes.context);
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("head_dim", json!(sizes.head_dim));
    set("hidden_act", json!("silu"));
    set("rope_theta", json!(theta));
    set("partial_rotary_factor", json!(share(dims, sizes.head_dim)));
    set("original_max_position_embeddings", json!(original));
    set("sliding_window", json!(window));
    let Some(short) = keys.header.tensor("rope_factors_short.weight") else {
        if linear(keys)? != Value::Null {
            bail!(
                "{path}: scaled frequencies of Phi 3 without `rope_factors_short.weight` are not supported"
            );
        }
        return Ok(());
    };
    let long = keys.header.tensor("rope_factors_long.weight");
    let long = long.with_context(|| format!("{path}: tensor `rope_factors_long.weight` is missing"))?;
    let magnitude = keys.number("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let factors = |tensor| -> Result<Vec<f32>> { singles(keys.header, tensor) };
    let scaling = json!({
        "rope_type": "longrope",
        "short_factor": factors(short)?,
        "long_factor": factors(long)?,
        "attention_factor": magnitude,
    });
    set("rope_scaling", scaling);
    Ok(())
}

fn stablelm(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let eps = keys.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5);
    let dims = keys.size("rope.dimension_count")?.unwrap_or(sizes.head_dim);
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    let scaling = linear(keys)?;
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("layer_norm_eps", json!(eps));
    set("partial_rotary_factor", json!(share(dims, sizes.head_dim)));
    set("rope_theta", json!(theta));
    set("rope_scaling", scaling);
    set("hidden_act", json!("silu"));
    set("use_qkv_bias", json!(keys.has("blk.0.attn_q.bias")));
    set("qk_layernorm", json!(keys.has("blk.0.attn_q_norm.weight")));
    // As llama.cpp decides; the key that says so is wrong in files of models that do not say.
    let parallel = !keys.has("blk.0.ffn_norm.weight");
    set("use_parallel_residual", json!(parallel));
    Ok(())
}

fn neox(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let eps = keys.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5);
    let dims = keys.size("rope.dimension_count")?.unwrap_or(sizes.head_dim);
    let parallel = keys.header.flag(&keys.key("use_parallel_residual"))?;
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("layer_norm_eps", json!(eps));
    set("rotary_pct", json!(share(dims, sizes.head_dim)));
    let theta = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    set("rotary_emb_base", json!(theta));
    set("use_parallel_residual", json!(parallel.unwrap_or(true)));
    set("hidden_act", json!("gelu"));
    set("attention_bias", json!(true));
    let scaling = linear(keys)?;
    set("rope_scaling", scaling);
    Ok(())
}

/// Adds the fields of GPT-2.
pub(super) fn gpt2(keys: &Keys, sizes: &Sizes, config: &mut Map<String, Value>) -> Result<()> {
    let eps = keys.number("attention.layer_norm_epsilon")?.unwrap_or(1e-5);
    let mut set = |name: &str, value: Value| config.insert(name.to_owned(), value);
    set("n_layer", json!(sizes.layers));
    set("n_embd", json!(sizes.hidden));
    set("n_inner", json!(sizes.inner));
    set("n_head", json!(sizes.heads));
    set("n_positions", json!(sizes.context));
    set("n_ctx", json!(sizes.context));
    set("layer_norm_epsilon", json!(eps));
    set("activation_function", json!("gelu_new"));
    Ok(())
}
