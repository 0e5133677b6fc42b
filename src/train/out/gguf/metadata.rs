//! Settings and tokenizer of a model as metadata of GGUF, under llama.cpp's keys. What llama.cpp
//! would compute differently is refused, or said.

use crate::gguf::config::{GEMMA3_27B_LAYERS, GEMMA3_LOCAL_BASE, GEMMA3_PATTERN};
use crate::gguf::header::Header;
use crate::gguf::kind::TensorKind;
use crate::gguf::names::Architecture;
use crate::gguf::rope_factors::Llama3;
use crate::gguf::value::Value;
use crate::gguf::{self, vocabulary};
use crate::model::ModelInfo;
use crate::model::files::config::ConfigFields;
use crate::model::files::fingerprint::called;
use crate::model::layers::rope::{Rope, Scaling};
use crate::model::text::tokenizer::Tokenizer;
use anyhow::{Context, Result, anyhow, bail};
use ewe::settings_file;
use ewe::text::counted;
use serde_json::{Map, Value as Json, json};
use std::path::Path;

/// Most bytes of a tokenizer.json; the largest published ones have some thirty million.
const LONGEST: u64 = 512 << 20;

/// Version of the quantized types that llama.cpp reads.
const QUANTIZATION_VERSION: u32 = 2;

/// The hint for what llama.cpp cannot do.
const HINT: &str = "hint: --out DIR writes a folder that transformers and vLLM load";

/// A model as metadata.
pub struct Described {
    /// Keys and values.
    pub entries: Vec<(String, Value)>,
    /// The tensor `rope_freqs.weight`, if the model has one.
    pub rope_factors: Option<Vec<f32>>,
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
            rope_factors: None,
            notes: Vec::new(),
        },
    };
    details.size("block_count", info.layers as i64)?;
    details.size("embedding_length", info.hidden)?;
    details.size("feed_forward_length", fields.size("intermediate_size")?)?;
    details.size("attention.head_count", info.heads)?;
    details.size("attention.head_count_kv", info.kv_heads)?;
    details.size("attention.key_length", info.head_dim)?;
    details.size("attention.value_length", info.head_dim)?;
    details.size("vocab_size", info.vocab)?;
    match architecture.name {
        "gemma3" => gemma3(&mut details)?,
        "gptneox" => neox(&mut details)?,
        _ => like_llama(&mut details)?,
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

/// Llama, Mistral, Qwen 2 and 3, OLMo 2.
fn like_llama(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    details.only("hidden_act", &[json!("silu"), json!("swish")])?;
    if details.name == "qwen3" {
        details.only("attention_bias", &[json!(false)])?;
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

/// Returns the window of a model that has one in any layer.
fn window(fields: &ConfigFields) -> Result<Option<i64>> {
    let model_type: String = fields.required("model_type")?;
    match model_type.as_str() {
        // A config without the field is Mistral 7B v0.1's.
        "mistral" if !fields.has("sliding_window") => Ok(Some(4096)),
        "mistral" => fields.optional_size("sliding_window"),
        _ => match fields.optional("use_sliding_window")? {
            Some(true) => fields.optional_size("sliding_window"),
            _ => Ok(None),
        },
    }
}

/// Writes the length of the context. llama.cpp gives these architectures no window, so that
/// answers are the same only within one.
fn context(details: &mut Details, window: Option<i64>) -> Result<()> {
    let whole = details.info.context as i64;
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
    let rope = Rope::read(details.fields, theta_name, dims)?;
    details.number("rope.freq_base", rope.theta);
    match rope.scaling {
        Scaling::None => {}
        Scaling::Linear(factor) => linear(details, factor),
        Scaling::Llama3 {
            factor,
            low,
            high,
            original_context,
        } if details.name == "llama" => {
            let settings = Llama3 {
                factor,
                low,
                high,
                original: original_context,
            };
            details.described.rope_factors = Some(settings.factors(rope.theta, dims));
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

fn gemma3(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    let path = fields.path().display();
    details.only("final_logit_softcapping", &[])?;
    let layers = info.layers as i64;
    let scalar = match layers {
        GEMMA3_27B_LAYERS => info.hidden / info.heads,
        _ => info.head_dim,
    };
    let is = fields.positive("query_pre_attn_scalar", 256.0)?;
    if is != scalar as f64 {
        bail!(
            "{path}: `query_pre_attn_scalar` = {is} is not supported by llama.cpp, which takes {scalar} for a Gemma 3 of {}\n{HINT}",
            counted(layers, "layer")
        );
    }
    if !has_pattern(fields, info.layers)? {
        bail!(
            "{path}: llama.cpp takes each {GEMMA3_PATTERN}th layer of Gemma 3 for one with full attention, and `layer_types` says others\n{HINT}"
        );
    }
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
    let eps = fields.positive("rms_norm_eps", 1e-6)?;
    details.number("attention.layer_norm_rms_epsilon", eps);
    details.size("attention.sliding_window", fields.size("sliding_window")?)?;
    details.size("context_length", info.context as i64)
}

/// Returns whether each sixth layer, and no other, has full attention.
fn has_pattern(fields: &ConfigFields, layers: usize) -> Result<bool> {
    let pattern: usize = fields
        .optional("sliding_window_pattern")?
        .unwrap_or(GEMMA3_PATTERN);
    Ok(match fields.slides(layers)? {
        Some(slides) => slides
            .iter()
            .enumerate()
            .all(|(layer, slides)| *slides == ((layer + 1) % GEMMA3_PATTERN != 0)),
        None => pattern == GEMMA3_PATTERN || (pattern > layers && layers < GEMMA3_PATTERN),
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

fn neox(details: &mut Details) -> Result<()> {
    let (fields, info) = (details.fields, details.info);
    let gelu = ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"].map(|name| json!(name));
    details.only("hidden_act", &gelu)?;
    details.only("attention_bias", &[json!(true)])?;
    let settings = Rope::settings(fields)?;
    let share = match settings.get("partial_rotary_factor").and_then(Json::as_f64) {
        Some(share) => share,
        None => fields.optional("rotary_pct")?.unwrap_or(0.25),
    };
    let dims = (info.head_dim as f64 * share) as i64;
    details.size("rope.dimension_count", dims)?;
    rotation(details, "rotary_emb_base", dims)?;
    let parallel = fields.optional("use_parallel_residual")?.unwrap_or(true);
    details.set("use_parallel_residual", Value::Bool(parallel));
    let eps = fields.positive("layer_norm_eps", 1e-5)?;
    details.number("attention.layer_norm_epsilon", eps);
    context(details, None)
}

/// Adds a model's tokenizer, with its chat template.
///
/// # Errors
///
/// If llama.cpp would split texts differently, or the model has no tokenizer.json.
pub fn add_tokenizer(
    described: &mut Described,
    base: &Path,
    tokenizer: &Tokenizer,
    info: &ModelInfo,
) -> Result<()> {
    if gguf::is(base) {
        described.entries.extend(copied(base)?);
    } else {
        let vocabulary = converted(base, info)?;
        described.entries.extend(vocabulary.entries);
        described.notes.extend(vocabulary.note.map(str::to_owned));
    }
    let mut set = |name: &str, value: Value| {
        let key = format!("tokenizer.{name}");
        described.entries.push((key, value));
    };
    let special = |name: &str| {
        let text = tokenizer.special_texts().get(name)?;
        tokenizer.id(text).filter(|id| (0..info.vocab).contains(id))
    };
    let (bos, adds_bos) = match tokenizer.begin() {
        [] => (special("bos_token").or(info.begin_token), false),
        [one] => (Some(*one), true),
        several => bail!(
            "the tokenizer puts {} before a text, and llama.cpp at most one\n{HINT}",
            counted(several.len(), "token")
        ),
    };
    let eos = tokenizer.end_token();
    let others = tokenizer.end_tokens().iter().copied();
    let mut others = others.filter(|id| Some(*id) != eos);
    for (name, id) in [
        ("ggml.bos_token_id", bos),
        ("ggml.eos_token_id", eos),
        ("ggml.eot_token_id", others.next()),
        ("ggml.eom_token_id", others.next()),
        ("ggml.unknown_token_id", special("unk_token")),
        ("ggml.padding_token_id", special("pad_token")),
    ] {
        if let Some(id) = id.and_then(|id| u32::try_from(id).ok()) {
            set(name, Value::U32(id));
        }
    }
    set("ggml.add_bos_token", Value::Bool(adds_bos));
    set("ggml.add_eos_token", Value::Bool(false));
    if let Some(template) = tokenizer.chat_template() {
        set("chat_template", Value::Text(template.source.clone()));
    }
    Ok(())
}

/// Copies the vocabulary of a GGUF file.
fn copied(base: &Path) -> Result<Vec<(String, Value)>> {
    const KEPT: [&str; 8] = [
        "model",
        "pre",
        "tokens",
        "scores",
        "token_type",
        "merges",
        "add_space_prefix",
        "remove_extra_whitespaces",
    ];
    let header = Header::read(base)?;
    let kept = KEPT.map(|name| format!("tokenizer.ggml.{name}"));
    let found = kept
        .into_iter()
        .filter_map(|key| Some((header.get(&key)?.clone(), key)));
    Ok(found.map(|(value, key)| (key, value)).collect())
}

/// Converts the vocabulary of a tokenizer.json.
fn converted(base: &Path, info: &ModelInfo) -> Result<vocabulary::Converted> {
    let path = base.join("tokenizer.json");
    if !path.is_file() {
        bail!(
            "{} is missing, which GGUF's tokenizer is made of\nhint: save it with transformers' AutoTokenizer(…).save_pretrained",
            path.display()
        );
    }
    let read = |path: &Path| {
        settings_file::read(path, LONGEST).with_context(|| format!("cannot read {}", path.display()))
    };
    let tokenizer = read(&path)?;
    let model = base.join("tokenizer.model");
    let model = match model.is_file() {
        true => Some(read(&model)?),
        false => None,
    };
    let source = vocabulary::Source {
        tokenizer: &tokenizer,
        sentencepiece: model.as_deref(),
        rows: usize::try_from(info.vocab)?,
    };
    vocabulary::of(&source).map_err(|error| anyhow!("{}: {error:#}\n{HINT}", path.display()))
}
