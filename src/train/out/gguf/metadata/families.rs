//! The families, all but Gemma.

use super::{Details, HINT, context, rotation, window};
use crate::gguf::config::SMOLLM3_INTERVAL;
use crate::gguf::value::Value;
use crate::model::layers::rope::Rope;
use anyhow::{Result, bail};
use ewe::text::counted;
use serde_json::{Value as Json, json};

/// Forms of GELU. llama.cpp computes its tanh approximation for all.
const GELU: [&str; 4] = ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"];

/// Llama, Mistral, Granite, SmolLM 3, Qwen 2 and 3, OLMo 2.
pub(super) fn like_llama(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    details.only("hidden_act", &[json!("silu"), json!("swish")])?;
    if matches!(details.name, "qwen3" | "qwen3moe" | "smollm3") {
        details.only("attention_bias", &[json!(false)])?;
    }
    match details.name {
        "granite" => granite(details)?,
        "smollm3" => smollm3(details)?,
        "qwen3moe" => experts(details)?,
        _ => {}
    }
    let eps = match details.name {
        "olmo2" => 1e-5,
        _ => 1e-6,
    };
    let eps = fields.positive("rms_norm_eps", eps)?;
    details.number("attention.layer_norm_rms_epsilon", eps);
    details.size("rope.dimension_count", info.head_dim)?;
    rotation(details, "rope_theta", info.head_dim)?;
    context(details, window(fields)?)
}

fn granite(details: &mut Details) -> Result<()> {
    for (theirs, ours) in [
        ("attention_multiplier", "attention.scale"),
        ("embedding_multiplier", "embedding_scale"),
        ("residual_multiplier", "residual_scale"),
        ("logits_scaling", "logit_scale"),
    ] {
        let factor = details.fields.positive(theirs, 1.0)?;
        details.number(ours, factor);
    }
    Ok(())
}

/// Fails unless each fourth layer, and no other, is without a rotation.
fn smollm3(details: &mut Details) -> Result<()> {
    details.only("mlp_bias", &[json!(false)])?;
    let (fields, layers) = (details.fields, details.info.layers);
    let by_interval = |interval: usize| (1..=layers).map(move |layer| layer % interval != 0);
    let rotates: Vec<bool> = match fields.optional::<Vec<i64>>("no_rope_layers")? {
        Some(rotates) => rotates.into_iter().take(layers).map(|one| one != 0).collect(),
        None => {
            let interval = fields.optional_size("no_rope_layer_interval")?;
            by_interval(interval.map_or(SMOLLM3_INTERVAL, |interval| interval as usize)).collect()
        }
    };
    if !rotates.into_iter().eq(by_interval(SMOLLM3_INTERVAL)) {
        bail!(
            "{}: llama.cpp rotates all layers of SmolLM 3 but each {SMOLLM3_INTERVAL}th, and `no_rope_layers` says others\n{HINT}",
            fields.path().display()
        );
    }
    Ok(())
}

fn experts(details: &mut Details) -> Result<()> {
    details.only("norm_topk_prob", &[json!(true)])?;
    let fields = details.fields;
    if !fields.has("norm_topk_prob") {
        bail!(
            "{}: llama.cpp divides the weights of chosen experts by their sum, and without `norm_topk_prob` they are not\n{HINT}",
            fields.path().display()
        );
    }
    // `transformers` 5 writes the second name.
    let count = match fields.optional_size("num_experts")? {
        Some(count) => count,
        None => fields.size("num_local_experts")?,
    };
    details.size("expert_count", count)?;
    details.size("expert_used_count", fields.size("num_experts_per_tok")?)?;
    details.size(
        "expert_feed_forward_length",
        fields.size("moe_intermediate_size")?,
    )
}

/// Phi 3 and 4. The factors of LongRoPE are tensors.
pub(super) fn phi3(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    let path = fields.path().display();
    details.only("hidden_act", &[json!("silu"), json!("swish")])?;
    if info.heads * info.head_dim != info.hidden {
        bail!(
            "{path}: `head_dim` {} is not supported by llama.cpp, which divides `hidden_size` by the heads of Phi 3\n{HINT}",
            info.head_dim
        );
    }
    let eps = fields.positive("rms_norm_eps", 1e-5)?;
    details.number("attention.layer_norm_rms_epsilon", eps);
    let settings = Rope::settings(fields)?;
    let dims = Rope::rotated(fields, "partial_rotary_factor", 1.0, info.head_dim)?;
    details.size("rope.dimension_count", dims)?;
    let theta = match settings.get("rope_theta").and_then(Json::as_f64) {
        Some(theta) => theta,
        None => fields.positive("rope_theta", 10_000.0)?,
    };
    details.number("rope.freq_base", theta);
    let whole = fields.size("max_position_embeddings")?;
    // The model has the original context, where frequencies are scaled, and else its own.
    let original = info.context as i64;
    details.size("rope.scaling.original_context_length", original)?;
    let factors = |name: &str| -> Vec<f32> {
        let factors = settings.get(name).and_then(Json::as_array);
        let factors = factors.into_iter().flatten().filter_map(Json::as_f64);
        factors.map(|factor| factor as f32).collect()
    };
    let (short, long) = (factors("short_factor"), factors("long_factor"));
    if !short.is_empty() {
        if long.len() != short.len() {
            bail!("{path}: `long_factor` and `short_factor` of the rope scaling differ in length");
        }
        let number = |name: &str| settings.get(name).and_then(Json::as_f64);
        let factor = number("factor").unwrap_or(whole as f64 / original as f64);
        let magnitude = match number("attention_factor") {
            Some(magnitude) => magnitude,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / (original as f64).ln()).sqrt(),
        };
        details.number("rope.scaling.attn_factor", magnitude);
        let found = &mut details.described.factors;
        found.push(("rope_factors_long.weight", long));
        found.push(("rope_factors_short.weight", short));
        details.described.notes.push(format!(
            "llama.cpp has other frequencies for texts longer than {}, and takes them for all texts once its \
             context (-c) is longer",
            counted(original, "token")
        ));
    }
    let window = window(fields)?;
    details.size("attention.sliding_window", window.unwrap_or(0))?;
    context(details, window)
}

pub(super) fn stablelm(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    details.only("hidden_act", &[json!("silu"), json!("swish")])?;
    let dims = Rope::rotated(fields, "partial_rotary_factor", 0.25, info.head_dim)?;
    details.size("rope.dimension_count", dims)?;
    rotation(details, "rope_theta", dims)?;
    let parallel = fields.optional("use_parallel_residual")?.unwrap_or(false);
    details.set("use_parallel_residual", Value::Bool(parallel));
    let eps = fields.positive("layer_norm_eps", 1e-5)?;
    details.number("attention.layer_norm_epsilon", eps);
    context(details, None)
}

pub(super) fn gpt2(details: &mut Details) -> Result<()> {
    details.only("activation_function", &GELU.map(|name| json!(name)))?;
    details.only("scale_attn_by_inverse_layer_idx", &[json!(false)])?;
    let eps = details.fields.positive("layer_norm_epsilon", 1e-5)?;
    details.number("attention.layer_norm_epsilon", eps);
    context(details, None)
}

pub(super) fn neox(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    details.only("hidden_act", &GELU.map(|name| json!(name)))?;
    details.only("attention_bias", &[json!(true)])?;
    let dims = Rope::rotated(fields, "rotary_pct", 0.25, info.head_dim)?;
    details.size("rope.dimension_count", dims)?;
    rotation(details, "rotary_emb_base", dims)?;
    let parallel = fields.optional("use_parallel_residual")?.unwrap_or(true);
    details.set("use_parallel_residual", Value::Bool(parallel));
    let eps = fields.positive("layer_norm_eps", 1e-5)?;
    details.number("attention.layer_norm_epsilon", eps);
    context(details, None)
}
