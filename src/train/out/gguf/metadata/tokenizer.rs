//! A model's tokenizer as metadata.

use super::{Described, HINT};
use crate::gguf::header::Header;
use crate::gguf::value::Value;
use crate::gguf::{self, vocabulary};
use crate::model::ModelInfo;
use crate::model::text::tokenizer::Tokenizer;
use anyhow::{Context, Result, anyhow, bail};
use ewe::settings_file;
use ewe::text::counted;
use std::path::Path;

/// Most bytes of a tokenizer.json; the largest published ones have some thirty million.
const LONGEST: u64 = 512 << 20;

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
