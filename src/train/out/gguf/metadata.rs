//! Settings and tokenizer of a model as metadata of GGUF, under llama.cpp's keys. What llama.cpp
//! would compute differently is refused, or said.

mod families;
mod gemma;
mod tokenizer;

use crate::gguf;
use crate::gguf::config::SMOLLM3_BASE;
use crate::gguf::kind::TensorKind;
use crate::gguf::names::Architecture;
use crate::gguf::rope_factors::Llama3;
use crate::gguf::value::Value;
use crate::model::ModelInfo;
use crate::model::files::config::ConfigFields;
use crate::model::files::fingerprint::called;
use crate::model::layers::rope::{Rope, Scaling};
use anyhow::{Context, Result, anyhow, bail};
use ewe::text::counted;
use serde_json::Value as Json;
use std::path::Path;
pub use tokenizer::add_tokenizer;

/// Version of the quantized types that llama.cpp reads.
const QUANTIZATION_VERSION: u32 = 2;

/// The hint for what llama.cpp cannot do.
const HINT: &str = "hint: --out DIR writes a folder that transformers and vLLM load";

/// A model as metadata.
pub struct Described {
    /// Keys and values.
    pub entries: Vec<(String, Value)>,
    /// Tensors that are settings: factors of rotary frequencies, by name.
    pub factors: Vec<(&'static str, Vec<f32>)>,
    /// What llama.cpp will do differently.
    pub notes: Vec<String>,
}

/// What differs between architectures.
struct Details<'a> {
    fields: &'a ConfigFields,
    info: &'a ModelInfo,
    name: &'static str,
    described: Described,
}

impl Details<'_> {
    fn set(&mut self, key: &str, value: Value) {
        self.described
            .entries
            .push((format!("{}.{key}", self.name), value));
    }

    fn size(&mut self, key: &str, size: i64) -> Result<()> {
        let size = u32::try_from(size).with_context(|| format!("`{key}` {size} is out of range"))?;
        self.set(key, Value::U32(size));
        Ok(())
    }

    fn number(&mut self, key: &str, number: f64) {
        self.set(key, Value::F32(number as f32));
    }

    /// Fails unless the field has one of these values: llama.cpp computes nothing else.
    fn only(&self, name: &str, values: &[Json]) -> Result<()> {
        self.fields
            .refuse_unless(name, values)
            .map_err(|error| anyhow!("{error} by llama.cpp\n{HINT}"))
    }
}

/// Describes a model with these fields, whose weights are `main` for the most part, without its
/// tokenizer.
///
/// # Errors
///
/// If llama.cpp would compute something else.
pub fn of(
    fields: &ConfigFields,
    info: &ModelInfo,
    architecture: &'static Architecture,
    main: TensorKind,
) -> Result<Described> {
    let general = [
        ("architecture", Value::Text(architecture.name.to_owned())),
        ("type", Value::Text("model".to_owned())),
        ("name", Value::Text(name_of(fields.path()))),
        ("file_type", Value::U32(file_type(main))),
        ("quantization_version", Value::U32(QUANTIZATION_VERSION)),
    ];
    let mut details = Details {
        fields,
        info,
        name: architecture.name,
        described: Described {
            entries: general
                .map(|(key, value)| (format!("general.{key}"), value))
                .into(),
            factors: Vec::new(),
            notes: Vec::new(),
        },
    };
    details.size("block_count", info.layers as i64)?;
    details.size("embedding_length", info.hidden)?;
    let inner = match architecture.name {
        "gpt2" => fields.optional_size("n_inner")?.unwrap_or(4 * info.hidden),
        _ => fields.size("intermediate_size")?,
    };
    details.size("feed_forward_length", inner)?;
    details.size("attention.head_count", info.heads)?;
    details.size("attention.head_count_kv", info.kv_heads)?;
    details.size("attention.key_length", info.head_dim)?;
    details.size("attention.value_length", info.head_dim)?;
    details.size("vocab_size", info.vocab)?;
    match architecture.name {
        "gemma2" => gemma::gemma2(&mut details)?,
        "gemma3" => gemma::gemma3(&mut details)?,
        "gptneox" => families::neox(&mut details)?,
        "gpt2" => families::gpt2(&mut details)?,
        "phi3" => families::phi3(&mut details)?,
        "stablelm" => families::stablelm(&mut details)?,
        _ => families::like_llama(&mut details)?,
    }
    Ok(details.described)
}

/// Returns the name of the model whose config is at `path`.
fn name_of(path: &Path) -> String {
    match gguf::is(path) {
        true => called(path),
        false => called(path.parent().unwrap_or(path)),
    }
}

/// Returns llama.cpp's number for files whose weights are of this type.
fn file_type(main: TensorKind) -> u32 {
    match main {
        TensorKind::F16 => 1,
        TensorKind::Q8_0 => 7,
        TensorKind::Bf16 => 32,
        _ => 0,
    }
}

/// Returns the window of a model that has one in any layer.
fn window(fields: &ConfigFields) -> Result<Option<i64>> {
    let model_type: String = fields.required("model_type")?;
    match model_type.as_str() {
        // A config without the field is Mistral 7B v0.1's.
        "mistral" | "ministral" if !fields.has("sliding_window") => Ok(Some(4096)),
        "mistral" | "ministral" | "phi3" => fields.optional_size("sliding_window"),
        _ => match fields.optional("use_sliding_window")? {
            Some(true) => fields.optional_size("sliding_window"),
            _ => Ok(None),
        },
    }
}

/// Writes the length of the context. llama.cpp gives these architectures no window, so that
/// answers are the same only within one.
fn context(details: &mut Details, window: Option<i64>) -> Result<()> {
    let whole = match details.name {
        // Beyond the original context llama.cpp takes other factors.
        "phi3" => details.fields.size("max_position_embeddings")?,
        _ => details.info.context as i64,
    };
    let within = window.filter(|window| *window < whole);
    if let Some(window) = within {
        details.described.notes.push(format!(
            "the context is {} in place of {whole}: llama.cpp has no sliding window for {}",
            counted(window, "token"),
            details.name
        ));
    }
    details.size("context_length", within.unwrap_or(whole))
}

/// Writes the base of the rotation, and its scaling.
fn rotation(details: &mut Details, theta_name: &str, dims: i64) -> Result<()> {
    let mut rope = Rope::read(details.fields, theta_name, dims)?;
    let settings = Rope::settings(details.fields)?;
    let has_base = details.fields.has(theta_name) || settings.contains_key("rope_theta");
    if details.name == "smollm3" && !has_base {
        rope.theta = SMOLLM3_BASE;
    }
    details.number("rope.freq_base", rope.theta);
    match rope.scaling {
        Scaling::None => {}
        Scaling::Linear(factor) => linear(details, factor),
        Scaling::Llama3 {
            factor,
            low,
            high,
            original_context,
        } if matches!(details.name, "llama" | "granite") => {
            let settings = Llama3 {
                factor,
                low,
                high,
                original: original_context,
            };
            let factors = settings.factors(rope.theta, dims);
            details.described.factors.push(("rope_freqs.weight", factors));
        }
        _ => bail!(
            "{}: llama.cpp has no such scaling of frequencies for {}\n{HINT}",
            details.fields.path().display(),
            details.name
        ),
    }
    Ok(())
}

fn linear(details: &mut Details, factor: f64) {
    details.set("rope.scaling.type", Value::Text("linear".to_owned()));
    details.number("rope.scaling.factor", factor);
}
