//! Files beside the weights that say how to prompt a model: its chat template, and what ends an
//! answer. `transformers`, vLLM, llama.cpp's converter and ewe read them.

use super::files;
use crate::gguf;
use crate::model::files::text_config;
use crate::model::text::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use ewe::{python_json, settings_file};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A template as it is saved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedTemplate {
    /// Chat template; none keeps the existing one.
    pub template: Option<String>,
    /// Texts of special tokens, by their names in tokenizer_config.json.
    pub special: BTreeMap<String, String>,
    /// Tokens that end an answer, besides those of the base model.
    pub ends: Vec<i64>,
    /// Texts that end an answer.
    pub stop: Vec<String>,
}

const TEMPLATE: &str = "chat_template.jinja";
const TOKENIZER: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";

impl SavedTemplate {
    /// Returns the template of a tokenizer.
    pub fn of(tokenizer: &Tokenizer) -> SavedTemplate {
        SavedTemplate {
            template: tokenizer.chat_template().map(|file| file.source.clone()),
            special: tokenizer.special_texts().clone(),
            ends: tokenizer.end_tokens().to_vec(),
            stop: tokenizer.stop_strings().to_vec(),
        }
    }

    /// Writes the files to `out`, where the tokenizer of `base` is already.
    pub fn write(&self, base: &Path, out: &Path) -> Result<()> {
        if let Some(template) = &self.template {
            files::write(&out.join(TEMPLATE), template.as_bytes())?;
            self.write_tokenizer_config(template, out)?;
        }
        self.write_generation_config(base, out)
    }

    /// Writes the template once more, for programs that look there only, and the special tokens
    /// that it names.
    fn write_tokenizer_config(&self, template: &str, out: &Path) -> Result<()> {
        let path = out.join(TOKENIZER);
        if !path.is_file() {
            return Ok(());
        }
        let mut config = object(&path)?;
        let before = config.clone();
        let named = config.get("chat_template").and_then(Value::as_array);
        let is_default = named.is_some_and(|named| {
            named
                .iter()
                .any(|one| one["name"] == "default" && one["template"] == template)
        });
        // Several named templates stay if the default one, which is used for chats, is the same.
        if !is_default {
            config.insert("chat_template".to_owned(), json!(template));
        }
        for (name, text) in &self.special {
            let now = config.get(name);
            let now = now.and_then(|now| now.as_str().or(now["content"].as_str()));
            if now != Some(text.as_str()) {
                config.insert(name.clone(), json!(text));
            }
        }
        if config != before {
            files::write_python_json(&path, config)?;
        }
        Ok(())
    }

    fn write_generation_config(&self, base: &Path, out: &Path) -> Result<()> {
        let (theirs, path) = (base.join(GENERATION), out.join(GENERATION));
        let mut config = match theirs.is_file() {
            true => object(&theirs)?,
            false => from_config(base)?,
        };
        let before = config.clone();
        let mut ends = ids(&config, "eos_token_id");
        for end in &self.ends {
            if !ends.contains(end) {
                ends.push(*end);
            }
        }
        match ends.as_slice() {
            [] => config.remove("eos_token_id"),
            [end] => config.insert("eos_token_id".to_owned(), json!(end)),
            ends => config.insert("eos_token_id".to_owned(), json!(ends)),
        };
        match self.stop.as_slice() {
            [] => config.remove("stop_strings"),
            stop => config.insert("stop_strings".to_owned(), json!(stop)),
        };
        match theirs.is_file() && config == before {
            true => files::copy(&theirs, &path),
            false => files::write_python_json(&path, config),
        }
    }
}

/// Returns the generation_config.json that `transformers` derives for a model without one: the
/// special tokens of config.json.
fn from_config(base: &Path) -> Result<Map<String, Value>> {
    let mut config = config(base)?;
    config.retain(|name, value| {
        ["bos_token_id", "eos_token_id", "pad_token_id"].contains(&name.as_str()) && !value.is_null()
    });
    Ok(config)
}

/// Reads the fields of config.json of the model in `base`.
pub fn config(base: &Path) -> Result<Map<String, Value>> {
    match gguf::is(base) {
        true => gguf::config::read(base),
        false => object(&base.join("config.json")).map(text_config::flattened),
    }
}

fn ids(config: &Map<String, Value>, name: &str) -> Vec<i64> {
    match config.get(name) {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_i64).collect(),
        one => one.and_then(Value::as_i64).into_iter().collect(),
    }
}

/// Reads the fields of a JSON file written by Python.
pub fn object(path: &Path) -> Result<Map<String, Value>> {
    let text = settings_file::read(path, settings_file::LONGEST)
        .with_context(|| format!("cannot read {}", path.display()))?;
    match python_json::parse(&text).with_context(|| format!("{} is not JSON", path.display()))? {
        Value::Object(object) => Ok(object),
        _ => bail!("{} is not a JSON object", path.display()),
    }
}
