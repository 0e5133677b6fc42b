//! What the files beside a tokenizer say: special tokens, the chat template, where an answer ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ewe::{python_json, settings_file};
use serde_json::Value;

/// A chat template as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatTemplateFile {
    /// Jinja.
    pub source: String,
    /// `chat_template.jinja` or `tokenizer_config.json`.
    pub path: PathBuf,
}

/// What the files beside a tokenizer say of it.
#[derive(Default)]
pub(super) struct SpecialTokens {
    /// `bos_token` and all other names that end so.
    pub(super) texts: BTreeMap<String, String>,
    pub(super) chat_template: Option<ChatTemplateFile>,
    pub(super) generation: Generation,
    /// tokenizer_config.json and added_tokens.json, null where there are none.
    pub(super) config: Value,
    pub(super) added: Value,
}

/// What generation_config.json says of where an answer ends.
#[derive(Default)]
pub(super) struct Generation {
    pub(super) end_tokens: Vec<i64>,
    pub(super) stop_strings: Vec<String>,
}

impl Generation {
    fn of(config: &Value) -> Generation {
        let all = |value: &Value| match value {
            Value::Array(all) => all.clone(),
            one => vec![one.clone()],
        };
        Generation {
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
            generation: Generation::of(&read("generation_config.json")?),
            ..SpecialTokens::default()
        };
        // What the second says counts.
        for tokens in [&read("special_tokens_map.json")?, &config] {
            let tokens = tokens.as_object().into_iter().flatten();
            for (name, token) in tokens.filter(|(name, _)| name.ends_with("_token")) {
                if let Some(text) = text_of(token) {
                    special.texts.insert(name.clone(), text);
                }
            }
        }
        // One template, or several by name.
        special.chat_template = match &config["chat_template"] {
            Value::Array(templates) => templates
                .iter()
                .find(|template| template["name"] == "default")
                .and_then(|template| template["template"].as_str()),
            template => template.as_str(),
        }
        .map(|source| ChatTemplateFile {
            source: source.to_owned(),
            path: dir.join("tokenizer_config.json"),
        });
        special.config = config;
        let path = dir.join("chat_template.jinja");
        if path.is_file() {
            let source = settings_file::read_text(&path, settings_file::LONGEST)
                .with_context(|| format!("cannot read {}", path.display()))?;
            special.chat_template = Some(ChatTemplateFile { source, path });
        }
        Ok(special)
    }
}

/// The text of a token: itself, or the `content` of an object.
pub(super) fn text_of(token: &Value) -> Option<String> {
    token.as_str().or(token["content"].as_str()).map(str::to_string)
}
