//! Text to token ids and back, with the model's own `tokenizer.json` or GPT-2's older two files.

mod decoder;
mod gpt2;
mod guard;
mod special;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use tokenizers::PostProcessorWrapper;

use crate::gguf;
use crate::gguf::header::Header;
use crate::model::{ModelInfo, fault};
pub use decoder::Decoder;
use ewe::text::counted;
use gpt2::{MERGES, VOCAB};
pub use special::ChatTemplateFile;
use special::SpecialTokens;

/// A model's tokenizer. Clones share their data.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    path: PathBuf,
    /// The largest id of the vocabulary, without added tokens.
    largest: i64,
    /// Rows of the model's embedding.
    rows: i64,
    /// Ids that precede a whole text, such as a begin-of-text token.
    begin: Arc<Vec<i64>>,
    end_tokens: Vec<i64>,
    chat_template: Option<ChatTemplateFile>,
    stop_strings: Vec<String>,
    special_texts: Arc<BTreeMap<String, String>>,
}

/// The tokens of a text, and of the ranges of bytes that were marked in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// Token ids.
    pub ids: Vec<i64>,
    /// For each range of bytes, in the same order, the tokens that overlap it.
    pub marked: Vec<Range<usize>>,
    /// Whether the first range begins within a token, so that the text before it alone has other
    /// tokens.
    pub splits_token: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or else `vocab.json` and `merges.txt`; and of
    /// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and
    /// `chat_template.jinja` those that exist. Reads all of these from a GGUF file.
    ///
    /// Fails if there is neither tokenizer, and on malformed files.
    pub fn read(dir: &Path) -> Result<Tokenizer> {
        let (mut inner, path, special) = match gguf::is(dir) {
            true => in_gguf(dir)?,
            false => in_folder(dir)?,
        };
        // A file saved in the middle of training may pad or truncate.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let begin = take_post_processor(&mut inner)
            .with_context(|| format!("{}: unusable post_processor", path.display()))?;
        let largest = inner.get_vocab(false).into_values().max().unwrap_or(0);
        let inner = Arc::new(inner);
        guard::try_out(&inner, &path)?;
        let end_text = special.texts.get("eos_token");
        let end_tokens = end_text
            .and_then(|text| inner.token_to_id(text))
            .map(i64::from)
            .into_iter()
            .collect();
        Ok(Tokenizer {
            inner,
            path,
            largest: i64::from(largest),
            rows: i64::MAX,
            begin: Arc::new(begin),
            end_tokens,
            chat_template: special.chat_template,
            stop_strings: special.generation.stop_strings,
            special_texts: Arc::new(special.texts),
        })
    }

    /// Adds the end tokens of the model's config. Fails if the vocabulary has tokens without a row
    /// in the model. Added tokens, for padding say, may be beyond: they do no harm in texts without
    /// them.
    pub fn belongs_to(mut self, info: &ModelInfo) -> Result<Tokenizer> {
        if self.largest >= info.vocab {
            bail!(
                "{} has a token of id {}, the model has {}\nhint: is it the tokenizer of another model?",
                self.path.display(),
                self.largest,
                counted(info.vocab, "row")
            );
        }
        self.rows = info.vocab;
        self.end_tokens.retain(|id| *id < info.vocab);
        self.end_tokens.extend(&info.end_tokens);
        self.end_tokens.sort_unstable();
        self.end_tokens.dedup();
        Ok(self)
    }

    /// Takes over how the model is prompted from `dir`, an adapter's: the chat template, the texts
    /// of special tokens that this tokenizer has, and what ends an answer. What `dir` does not say
    /// stays.
    pub fn prompted_as_in(mut self, dir: &Path) -> Result<Tokenizer> {
        let theirs = SpecialTokens::read(dir)?;
        let mut texts = (*self.special_texts).clone();
        for (name, text) in theirs.texts {
            let Some(id) = self.inner.token_to_id(&text) else {
                continue;
            };
            if name == "eos_token" {
                self.end_tokens.push(i64::from(id));
            }
            texts.insert(name, text);
        }
        self.special_texts = Arc::new(texts);
        self.end_tokens.extend(theirs.generation.end_tokens);
        self.end_tokens.retain(|id| *id < self.rows);
        self.end_tokens.sort_unstable();
        self.end_tokens.dedup();
        if theirs.chat_template.is_some() {
            self.chat_template = theirs.chat_template;
            self.stop_strings = theirs.generation.stop_strings;
        }
        Ok(self)
    }

    /// Encodes `text`. With `special`, the ids that precede a whole text, such as a begin-of-text
    /// token, come first.
    ///
    /// The end-of-text token that some tokenizers append is never added: a prompt is continued, and
    /// the template or the caller decides where a text ends.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<i64>> {
        let encoding = self.encoding(text, || self.inner.encode_fast(text, false))?;
        Ok(self.begin_ids(special).chain(ids_of(&encoding)).collect())
    }

    /// As [`Tokenizer::encode`]; also returns the tokens that overlap the ranges `marked`, which
    /// are in order and do not overlap each other.
    ///
    /// The text is encoded as a whole, so its ids do not depend on the marks. Parts that are
    /// encoded apart would each get the space that many tokenizers put before a text, and lose
    /// tokens across their boundary.
    pub fn encode_marked(&self, text: &str, special: bool, marked: &[Range<usize>]) -> Result<Marked> {
        let encoding = self.encoding(text, || self.inner.encode(text, false))?;
        let ids: Vec<i64> = self.begin_ids(special).chain(ids_of(&encoding)).collect();
        let (offsets, before) = (encoding.get_offsets(), ids.len() - encoding.get_ids().len());
        let ends_behind = |at: usize| {
            // A token without bytes of its own, a space put before a text, belongs to what follows
            // it.
            move |&(start, end): &(usize, usize)| end <= at && start < at
        };
        let tokens = |range: &Range<usize>| {
            let first = offsets.partition_point(ends_behind(range.start));
            let behind = offsets.partition_point(|&(start, _)| start < range.end);
            before + first..before + behind.max(first)
        };
        let first = marked.first().map(|range| (range.start, tokens(range).start));
        Ok(Marked {
            marked: marked.iter().map(tokens).collect(),
            splits_token: first
                .is_some_and(|(at, token)| offsets.get(token - before).is_some_and(|&(start, _)| start < at)),
            ids,
        })
    }

    /// Runs `encode` on `text`. Fails if the library panics, and on a token without a row in the
    /// model.
    fn encoding(
        &self,
        text: &str,
        encode: impl FnOnce() -> tokenizers::Result<tokenizers::Encoding>,
    ) -> Result<tokenizers::Encoding> {
        let failed = |words: &str| {
            anyhow!(
                "cannot tokenize a text of {}: {words}",
                counted(text.len(), "byte")
            )
        };
        let encoding = fault::tamed(encode)
            .map_err(|words| failed(&words))?
            .map_err(|error| failed(&error.to_string()))?;
        if let Some(id) = ids_of(&encoding).find(|id| *id >= self.rows) {
            bail!(
                "the text has the token `{}` of id {id}, for which the model has no row (of {})\nhint: leave it out of the text",
                self.token(id).unwrap_or_default(),
                self.rows
            );
        }
        Ok(encoding)
    }

    fn begin_ids(&self, special: bool) -> impl Iterator<Item = i64> {
        self.begin.iter().copied().filter(move |_| special)
    }

    /// Returns the ids that precede a whole text.
    pub fn begin(&self) -> &[i64] {
        &self.begin
    }

    /// Returns the text that can be put before any other to get the ids that [`Tokenizer::encode`]
    /// puts before it. None if no text does.
    pub fn begin_text(&self) -> Option<String> {
        let special: Option<String> = self.begin.iter().map(|&id| self.token(id)).collect();
        // Some tokenizers put a space before a text, but not after a special token.
        let ways = special.into_iter().flat_map(|text| [text.clone(), text + " "]);
        ways.into_iter().find(|begin| {
            ["Below is", "a", "7", "(x)", "\"", "羊"].iter().all(|text| {
                let (apart, whole) = (
                    self.encode(text, true),
                    self.encode(&format!("{begin}{text}"), false),
                );
                matches!((apart, whole), (Ok(apart), Ok(whole)) if apart == whole)
            })
        })
    }

    /// Returns the text that becomes the token `id` after any other text. None if no text does.
    pub fn end_text(&self, id: i64) -> Option<String> {
        let end = self.token(id)?;
        let is_it = |text: &str| -> Result<bool> {
            let mut ids = self.encode(text, false)?;
            ids.push(id);
            Ok(self.encode(&format!("{text}{end}"), false)? == ids)
        };
        ["a", "7.", "x\n"]
            .into_iter()
            .all(|text| is_it(text).unwrap_or(false))
            .then_some(end)
    }

    /// As [`Tokenizer::encode`]; returns none if there are more than `most` tokens. For a long text
    /// its beginning tells: encoding takes some three hundred times the bytes of a text.
    pub fn encode_within(&self, text: &str, special: bool, most: usize) -> Result<Option<Vec<i64>>> {
        // With a margin: where a text is cut, its last tokens may be different ones.
        let too_many = most.saturating_add(most / 8).saturating_add(64);
        let mut bytes = most.saturating_mul(4).max(1 << 12);
        while bytes < text.len() {
            let beginning = &text[..text.floor_char_boundary(bytes)];
            if self.encode(beginning, false)?.len() > too_many {
                return Ok(None);
            }
            bytes = bytes.saturating_mul(4);
        }
        self.encode(text, special).map(Some)
    }

    /// Decodes `ids`, without special tokens. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let failed = |words: &str| anyhow!("cannot decode {}: {words}", counted(ids.len(), "token"));
        fault::tamed(|| self.inner.decode(&ids, true))
            .map_err(|words| failed(&words))?
            .map_err(|error| failed(&error.to_string()))
    }

    /// Returns a token as the vocabulary writes it, or none for an unknown id.
    pub fn token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }

    /// Returns the id of a token as the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<i64> {
        self.inner.token_to_id(token).map(i64::from)
    }

    /// Returns the tokens outside of the vocabulary, and whether each is special.
    pub fn added_tokens(&self) -> Vec<(i64, bool)> {
        let added = self.inner.get_added_tokens_decoder();
        added
            .iter()
            .map(|(&id, token)| (i64::from(id), token.special))
            .collect()
    }

    /// Returns whether a token is special.
    pub fn is_special(&self, id: i64) -> bool {
        let token = self.token(id);
        token.is_some_and(|text| self.inner.get_added_vocabulary().is_special_token(&text))
    }

    /// Returns whether the vocabulary writes bytes as GPT-2 does.
    pub fn is_byte_level(&self) -> bool {
        let decoder = serde_json::to_string(&self.inner.get_decoder()).unwrap_or_default();
        decoder.contains("\"ByteLevel\"")
    }

    /// Returns the ids that end a text.
    pub fn end_tokens(&self) -> &[i64] {
        &self.end_tokens
    }

    /// Returns the id that ends a training example: the tokenizer's own end-of-text token, else the
    /// first of the config.
    pub fn end_token(&self) -> Option<i64> {
        self.special_texts
            .get("eos_token")
            .and_then(|text| self.inner.token_to_id(text))
            .map(i64::from)
            .filter(|id| *id < self.rows)
            .or_else(|| self.end_tokens.first().copied())
    }

    /// As [`Tokenizer::end_token`]. Fails if there is none.
    pub fn required_end_token(&self) -> Result<i64> {
        self.end_token()
            .context("the tokenizer names no end-of-text token\nhint: set eos_token in tokenizer_config.json")
    }

    /// Returns the Jinja template that renders messages to a prompt, if the model has one.
    pub fn chat_template(&self) -> Option<&ChatTemplateFile> {
        self.chat_template.as_ref()
    }

    /// Returns the stop strings of generation_config.json.
    pub fn stop_strings(&self) -> &[String] {
        &self.stop_strings
    }

    /// Returns the texts of special tokens by their names in tokenizer_config.json, such as
    /// `bos_token`.
    pub fn special_texts(&self) -> &BTreeMap<String, String> {
        &self.special_texts
    }
}

fn ids_of(encoding: &tokenizers::Encoding) -> impl Iterator<Item = i64> {
    encoding.get_ids().iter().map(|&id| i64::from(id))
}

/// Removes the post-processor and returns the ids that it puts before a text. Ids after a text, and
/// offsets trimmed to words, are not wanted.
fn take_post_processor(inner: &mut tokenizers::Tokenizer) -> Result<Vec<i64>> {
    let encode = |text: &str, special: bool| {
        inner
            .encode(text, special)
            .map_err(|error| anyhow!("cannot tokenize {text:?}: {error}"))
    };
    let mut begin = Vec::new();
    // Until a text has a token: not every vocabulary has every letter.
    for text in ["a", "the", "0", ".", " ", "A"] {
        let (whole, own) = (encode(text, true)?, encode(text, false)?);
        let added = whole
            .get_special_tokens_mask()
            .iter()
            .take_while(|&&mask| mask == 1);
        let added = added.count();
        if own.get_ids().is_empty() {
            continue;
        }
        if whole.get_ids()[added..].starts_with(own.get_ids()) {
            begin = ids_of(&whole).take(added).collect();
            break;
        }
        bail!("it changes the tokens of a text");
    }
    inner.with_post_processor(None::<PostProcessorWrapper>);
    Ok(begin)
}

/// Returns whether `dir` has a tokenizer that [`Tokenizer::read`] reads.
pub fn is_in(dir: &Path) -> bool {
    dir.join("tokenizer.json").is_file() || [VOCAB, MERGES].iter().all(|name| dir.join(name).is_file())
}

/// Reads the tokenizer of a GGUF file and what belongs to it. Returns the path, too.
fn in_gguf(path: &Path) -> Result<(tokenizers::Tokenizer, PathBuf, SpecialTokens)> {
    let files = gguf::tokenizer::of(&Header::read(path)?)?;
    let failed = |words: &str| anyhow!("{}: its tokenizer is unusable: {words}", path.display());
    let inner = fault::tamed(|| tokenizers::Tokenizer::from_bytes(&files.tokenizer))
        .map_err(|words| failed(&words))?
        .map_err(|error| failed(&error.to_string()))?;
    Ok((inner, path.to_path_buf(), SpecialTokens::of_gguf(files, path)))
}

/// Reads the tokenizer in a folder and what belongs to it. Returns its path, too.
fn in_folder(dir: &Path) -> Result<(tokenizers::Tokenizer, PathBuf, SpecialTokens)> {
    let mut special = SpecialTokens::read(dir)?;
    if !dir.join("tokenizer.json").is_file() {
        for name in ["bos_token", "eos_token", "unk_token"] {
            special
                .texts
                .entry(name.to_owned())
                .or_insert_with(|| gpt2::END.to_owned());
        }
    }
    let (inner, path) = inner(dir, &special)?;
    Ok((inner, path, special))
}

/// Reads `tokenizer.json` or GPT-2's two files. Returns the path, too.
fn inner(dir: &Path, special: &SpecialTokens) -> Result<(tokenizers::Tokenizer, PathBuf)> {
    let path = dir.join("tokenizer.json");
    if path.is_file() {
        guard::check(&path)?;
        let failed = |words: &str| anyhow!("{} is not a tokenizer: {words}", path.display());
        let inner = fault::tamed(|| tokenizers::Tokenizer::from_file(&path))
            .map_err(|words| failed(&words))?
            .map_err(|error| failed(&error.to_string()))?;
        return Ok((inner, path));
    }
    if !is_in(dir) {
        bail!(
            "{} is missing, and so are {VOCAB} with {MERGES}\nhint: save it with transformers' AutoTokenizer(…).save_pretrained",
            path.display()
        );
    }
    let path = dir.join(VOCAB);
    let inner = gpt2::read(dir, special)
        .with_context(|| format!("cannot read the tokenizer in {}", dir.display()))?;
    Ok((inner, path))
}
