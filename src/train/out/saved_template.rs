//! What a model's folder says of how it is asked, written beside weights: the chat template, and where an answer ends. `transformers`,
//! vLLM and llama.cpp's converter read it there, and so does ewe.

use super::files;
use crate::model::tokenizer::Tokenizer;
use anyhow::{Context, Result, bail};
use ewe::{python_json, settings_file};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// A form as it is saved.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SavedTemplate {
    /// The chat template; none leaves what is there.
    pub template: Option<String>,
    /// Texts of special tokens by their names in tokenizer_config.json.
    pub special: BTreeMap<String, String>,
    /// Tokens that end an answer, beside those of the base model.
    pub ends: Vec<i64>,
    /// Words that do.
    pub stop: Vec<String>,
}

const TEMPLATE: &str = "chat_template.jinja";
const TOKENIZER: &str = "tokenizer_config.json";
const GENERATION: &str = "generation_config.json";

impl SavedTemplate {
    /// That of a tokenizer, as it was read.
    pub fn of(tokenizer: &Tokenizer) -> SavedTemplate {
        SavedTemplate {
            template: tokenizer.chat_template().map(|file| file.source.clone()),
            special: tokenizer.special_texts().clone(),
            ends: tokenizer.end_tokens().to_vec(),
            stop: tokenizer.stop_strings().to_vec(),
        }
    }

    /// Writes it into `out`, where the tokenizer of `base` was copied already.
    pub fn write(&self, base: &Path, out: &Path) -> Result<()> {
        if let Some(template) = &self.template {
            files::write(&out.join(TEMPLATE), template.as_bytes())?;
            self.write_tokenizer_config(template, out)?;
        }
        self.write_generation_config(base, out)
    }

    /// The template once more, for programs that look there only; and what special tokens are called in it.
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
        // Of several by name the others stay, if the one that is used for chats is the same.
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

/// What `transformers` makes of a model without generation_config.json: what config.json says of special tokens.
fn from_config(base: &Path) -> Result<Map<String, Value>> {
    let mut config = object(&base.join("config.json"))?;
    config.retain(|name, value| {
        ["bos_token_id", "eos_token_id", "pad_token_id"].contains(&name.as_str()) && !value.is_null()
    });
    Ok(config)
}

fn ids(config: &Map<String, Value>, name: &str) -> Vec<i64> {
    match config.get(name) {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_i64).collect(),
        one => one.and_then(Value::as_i64).into_iter().collect(),
    }
}

/// The fields of a file that Python wrote, say.
pub(in crate::train) fn object(path: &Path) -> Result<Map<String, Value>> {
    let text = settings_file::read(path, settings_file::LONGEST)
        .with_context(|| format!("cannot read {}", path.display()))?;
    match python_json::parse(&text).with_context(|| format!("{} is not JSON", path.display()))? {
        Value::Object(object) => Ok(object),
        _ => bail!("{} is not a JSON object", path.display()),
    }
}
