//! The files beside a tokenizer: special tokens, the chat template, what ends an answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ewe::{python_json, settings_file};
use serde_json::Value;

use crate::gguf::tokenizer::TokenizerFiles;

/// A chat template and its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplateFile {
    /// The template, in Jinja.
    pub source: String,
    /// The path of `chat_template.jinja`, `tokenizer_config.json`, or a GGUF file.
    pub path: PathBuf,
}

/// What the files beside a tokenizer say.
#[derive(Default)]
pub(super) struct SpecialTokens {
    /// Texts of `bos_token` and all other names that end in `_token`.
    pub(super) texts: BTreeMap<String, String>,
    pub(super) chat_template: Option<ChatTemplateFile>,
    pub(super) generation: GenerationConfig,
    /// tokenizer_config.json and added_tokens.json; null if missing.
    pub(super) config: Value,
    pub(super) added: Value,
}

/// What generation_config.json says about the end of an answer.
#[derive(Default)]
pub(super) struct GenerationConfig {
    pub(super) end_tokens: Vec<i64>,
    pub(super) stop_strings: Vec<String>,
}

impl GenerationConfig {
    fn of(config: &Value) -> GenerationConfig {
        let all = |value: &Value| match value {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        GenerationConfig {
            end_tokens: all(&config["eos_token_id"])
                .iter()
                .filter_map(Value::as_i64)
                .collect(),
            stop_strings: all(&config["stop_strings"])
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }
}

impl SpecialTokens {
    pub(super) fn read(dir: &Path) -> Result<SpecialTokens> {
        let read = |name: &str| -> Result<Value> {
            let path: PathBuf = dir.join(name);
            if !path.is_file() {
                return Ok(Value::Null);
            }
            let text = settings_file::read(&path, settings_file::LONGEST)
                .with_context(|| format!("cannot read {}", path.display()))?;
            python_json::parse(&text).with_context(|| format!("{} is not JSON", path.display()))
        };
        let config = read("tokenizer_config.json")?;
        let mut special = SpecialTokens {
            added: read("added_tokens.json")?,
            generation: GenerationConfig::of(&read("generation_config.json")?),
            ..SpecialTokens::default()
        };
        // The second file overrides the first.
        special.add_texts(&read("special_tokens_map.json")?);
        special.add_texts(&config);
        special.chat_template = template_in(&config, dir.join("tokenizer_config.json"));
        special.config = config;
        let path = dir.join("chat_template.jinja");
        if path.is_file() {
            let source = settings_file::read_text(&path, settings_file::LONGEST)
                .with_context(|| format!("cannot read {}", path.display()))?;
            special.chat_template = Some(ChatTemplateFile { source, path });
        }
        Ok(special)
    }

    /// Makes them of what a GGUF file at `path` says.
    pub(super) fn of_gguf(files: TokenizerFiles, path: &Path) -> SpecialTokens {
        let mut special = SpecialTokens {
            generation: GenerationConfig::of(&Value::Object(files.generation)),
            config: Value::Object(files.config),
            ..SpecialTokens::default()
        };
        let config = special.config.clone();
        special.add_texts(&config);
        special.chat_template = template_in(&config, path.to_path_buf());
        special
    }

    /// Adds the texts of all fields whose names end in `_token`.
    fn add_texts(&mut self, config: &Value) {
        let tokens = config.as_object().into_iter().flatten();
        for (name, token) in tokens.filter(|(name, _)| name.ends_with("_token")) {
            if let Some(text) = text_of(token) {
                self.texts.insert(name.clone(), text);
            }
        }
    }
}

/// Returns the chat template in tokenizer_config.json: one, or of several with names the default.
fn template_in(config: &Value, path: PathBuf) -> Option<ChatTemplateFile> {
    let source = match &config["chat_template"] {
        Value::Array(templates) => templates
            .iter()
            .find(|template| template["name"] == "default")
            .and_then(|template| template["template"].as_str()),
        template => template.as_str(),
    };
    source.map(|source| ChatTemplateFile {
        source: source.to_owned(),
        path,
    })
}

/// Returns the text of a token: the value itself, or the `content` of an object.
pub(super) fn text_of(token: &Value) -> Option<String> {
    token.as_str().or(token["content"].as_str()).map(str::to_string)
}
