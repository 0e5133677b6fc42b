//! Gemma 2 and 3.

use super::{Details, HINT, linear, rotation};
use crate::gguf::config::{
    GEMMA2_27B_LAYERS, GEMMA2_CAPS, GEMMA2_PATTERN, GEMMA3_27B_LAYERS, GEMMA3_LOCAL_BASE, GEMMA3_PATTERN,
};
use crate::model::files::config::ConfigFields;
use anyhow::{Result, bail};
use ewe::text::counted;
use serde_json::{Map, Value as Json};

pub(super) fn gemma2(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    let path = fields.path().display();
    fits(details, (GEMMA2_27B_LAYERS, GEMMA2_PATTERN), "Gemma 2")?;
    if !info.tied {
        bail!(
            "{path}: llama.cpp takes the embedding of Gemma 2 for its head, and this one has another\n{HINT}"
        );
    }
    rotation(details, "rope_theta", info.head_dim)?;
    for (name, default) in [
        ("attn_logit_softcapping", GEMMA2_CAPS.0),
        ("final_logit_softcapping", GEMMA2_CAPS.1),
    ] {
        if fields.has(name) && fields.optional::<f64>(name)?.is_none() {
            bail!("{path}: `{name}` = null is not supported by llama.cpp, which always caps\n{HINT}");
        }
        details.number(name, fields.positive(name, default)?);
    }
    shared(details)
}

pub(super) fn gemma3(details: &mut Details) -> Result<()> {
    let fields = details.fields;
    let path = fields.path().display();
    details.only("final_logit_softcapping", &[])?;
    fits(details, (GEMMA3_27B_LAYERS, GEMMA3_PATTERN), "Gemma 3")?;
    let [full, sliding] = ["full_attention", "sliding_attention"].map(|name| rope_settings(fields, name));
    let (full, sliding) = (full?, sliding?);
    let base = |settings: &Map<String, Json>, name: &str, default: f64| match settings.get("rope_theta") {
        Some(theta) => Ok(theta.as_f64().unwrap_or(default)),
        None => fields.positive(name, default),
    };
    let local = base(&sliding, "rope_local_base_freq", GEMMA3_LOCAL_BASE)?;
    if local != GEMMA3_LOCAL_BASE {
        bail!(
            "{path}: llama.cpp rotates the sliding layers of Gemma 3 with the base {GEMMA3_LOCAL_BASE}, not {local}\n{HINT}"
        );
    }
    let theta = base(&full, "rope_theta", 1e6)?;
    details.number("rope.freq_base", theta);
    if let Some(factor) = full.get("factor").and_then(Json::as_f64) {
        linear(details, factor);
    }
    shared(details)
}

/// Writes what both have.
fn shared(details: &mut Details) -> Result<()> {
    let fields = details.fields;
    let eps = fields.positive("rms_norm_eps", 1e-6)?;
    details.number("attention.layer_norm_rms_epsilon", eps);
    details.size("attention.sliding_window", fields.size("sliding_window")?)?;
    details.size("context_length", details.info.context as i64)
}

/// Fails unless scores have the scale that llama.cpp computes, which is another for a model of
/// `largest` layers, and each `pattern`-th layer is the only one with full attention.
fn fits(details: &Details, (largest, pattern): (i64, usize), called: &str) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    let path = fields.path().display();
    let layers = info.layers as i64;
    let scalar = match layers == largest {
        true => info.hidden / info.heads,
        false => info.head_dim,
    };
    let is = fields.positive("query_pre_attn_scalar", 256.0)?;
    if is != scalar as f64 {
        bail!(
            "{path}: `query_pre_attn_scalar` = {is} is not supported by llama.cpp, which takes {scalar} for a {called} of {}\n{HINT}",
            counted(layers, "layer")
        );
    }
    if !has_pattern(fields, info.layers, pattern)? {
        let which = match pattern {
            2 => "second".to_owned(),
            other => format!("{other}th"),
        };
        bail!(
            "{path}: llama.cpp takes each {which} layer of {called} for one with full attention, and `layer_types` says others\n{HINT}"
        );
    }
    Ok(())
}

/// Returns whether each `pattern`-th layer, and no other, has full attention.
fn has_pattern(fields: &ConfigFields, layers: usize, pattern: usize) -> Result<bool> {
    let said: usize = fields.optional("sliding_window_pattern")?.unwrap_or(pattern);
    Ok(match fields.slides(layers)? {
        Some(slides) => slides
            .iter()
            .enumerate()
            .all(|(layer, slides)| *slides == ((layer + 1) % pattern != 0)),
        None => said == pattern || (said > layers && layers < pattern),
    })
}

/// Returns the rotary settings of layers of one type; those of full layers may also stand in
/// `rope_scaling`.
fn rope_settings(fields: &ConfigFields, layer_type: &str) -> Result<Map<String, Json>> {
    let by_type: Map<String, Json> = fields.optional("rope_parameters")?.unwrap_or_default();
    let mut settings = match by_type.get(layer_type) {
        Some(Json::Object(settings)) => settings.clone(),
        _ => Map::new(),
    };
    if layer_type == "full_attention" {
        let scaling: Option<Map<String, Json>> = fields.optional("rope_scaling")?;
        settings.extend(scaling.unwrap_or_default());
    }
    Ok(settings)
}
