//! Text to token ids and back, through the model's own `tokenizer.json`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::ModelInfo;

/// A model's tokenizer. Clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    path: PathBuf,
    /// The largest id.
    largest: i64,
    end_tokens: Vec<i64>,
    chat_template: Option<String>,
    begin_text: String,
    end_text: String,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and `tokenizer_config.json` and `chat_template.jinja` where there are any.
    ///
    /// Fails when the first is missing or malformed.
    pub fn read(dir: &Path) -> Result<Tokenizer> {
        let path = dir.join("tokenizer.json");
        if !path.is_file() {
            bail!(
                "{} is missing\nhint: save it with transformers' AutoTokenizer(…).save_pretrained",
                path.display()
            );
        }
        let mut inner = tokenizers::Tokenizer::from_file(&path)
            .map_err(|error| anyhow!("{} is not a tokenizer: {error}", path.display()))?;
        // A file saved in the middle of training may pad or cut; neither is wanted here.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let special = SpecialTokens::read(dir)?;
        let largest = inner.get_vocab(true).into_values().max().unwrap_or(0);
        let end_tokens = inner
            .token_to_id(&special.end_text)
            .map(i64::from)
            .into_iter()
            .collect();
        Ok(Tokenizer {
            inner: Arc::new(inner),
            path,
            largest: i64::from(largest),
            end_tokens,
            chat_template: special.chat_template,
            begin_text: special.begin_text,
            end_text: special.end_text,
        })
    }

    /// Adds what the model's config says about it. Fails if it has tokens that the model has no row for.
    pub fn belongs_to(mut self, info: &ModelInfo) -> Result<Tokenizer> {
        if self.largest >= info.vocab {
            bail!(
                "{} has a token of id {}, the model has {} rows",
                self.path.display(),
                self.largest,
                info.vocab
            );
        }
        self.end_tokens.extend(&info.end_tokens);
        self.end_tokens.sort_unstable();
        self.end_tokens.dedup();
        Ok(self)
    }

    /// Ids of `text`; `special` adds what the tokenizer puts around a whole text (a begin-of-text token, say).
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<i64>> {
        let encoding = self
            .inner
            .encode_fast(text, special)
            .map_err(|error| anyhow!("cannot tokenize a text of {} bytes: {error}", text.len()))?;
        Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
    }

    /// Text of `ids`, without special tokens. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        self.inner
            .decode(&ids, true)
            .map_err(|error| anyhow!("cannot decode {} tokens: {error}", ids.len()))
    }

    /// The ids that end a text.
    pub fn end_tokens(&self) -> &[i64] {
        &self.end_tokens
    }

    /// The id appended to a training example: the tokenizer's own end-of-text, else the config's first.
    pub fn end_token(&self) -> Option<i64> {
        self.inner
            .token_to_id(&self.end_text)
            .map(i64::from)
            .or_else(|| self.end_tokens.first().copied())
    }

    /// The Jinja template that turns messages into a prompt, if the model came with one.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Begin- and end-of-text tokens as text, which chat templates use; empty where there is none.
    pub fn special_texts(&self) -> (&str, &str) {
        (&self.begin_text, &self.end_text)
    }
}

/// Decodes a growing list of tokens into text that only ever grows by whole characters.
pub struct Decoder {
    tokenizer: Tokenizer,
    ids: Vec<i64>,
    /// `ids[context..shown]` is decoded along with what is new, because some decoders treat the first token
    /// of a text differently.
    context: usize,
    shown: usize,
}

impl Decoder {
    /// A decoder of what follows `prompt`.
    pub fn after(tokenizer: &Tokenizer, prompt: &[i64]) -> Decoder {
        let ids = prompt[prompt.len().saturating_sub(6)..].to_vec();
        Decoder {
            tokenizer: tokenizer.clone(),
            context: 0,
            shown: ids.len(),
            ids,
        }
    }

    /// Takes one more token; gives the text that is now certain, often empty in the middle of a character.
    pub fn push(&mut self, id: i64) -> Result<String> {
        self.ids.push(id);
        self.advance(false)
    }

    /// Gives what is left, an incomplete character as U+FFFD.
    pub fn finish(&mut self) -> Result<String> {
        self.advance(true)
    }

    fn advance(&mut self, all: bool) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[self.context..self.shown])?;
        let after = self.tokenizer.decode(&self.ids[self.context..])?;
        if !all && after.ends_with('\u{FFFD}') {
            return Ok(String::new());
        }
        // A prompt that ends within a character decodes to fewer bytes once the character is whole.
        let new = after
            .get(before.len().min(after.len())..)
            .unwrap_or("")
            .to_string();
        self.context = self.shown.max(self.ids.len().saturating_sub(6));
        self.shown = self.ids.len();
        Ok(new)
    }
}

#[derive(Default)]
struct SpecialTokens {
    begin_text: String,
    end_text: String,
    chat_template: Option<String>,
}

impl SpecialTokens {
    fn read(dir: &Path) -> Result<SpecialTokens> {
        let mut special = SpecialTokens::default();
        let path: PathBuf = dir.join("tokenizer_config.json");
        if path.is_file() {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let config: Value =
                serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
            // A token is its text, or an object with the text as `content`.
            let token = |name: &str| {
                let token = &config[name];
                token
                    .as_str()
                    .or(token["content"].as_str())
                    .unwrap_or_default()
                    .to_string()
            };
            special.begin_text = token("bos_token");
            special.end_text = token("eos_token");
            special.chat_template = config["chat_template"].as_str().map(str::to_string);
        }
        if let Ok(template) = std::fs::read_to_string(dir.join("chat_template.jinja")) {
            special.chat_template = Some(template);
        }
        Ok(special)
    }
}
