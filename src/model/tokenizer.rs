//! Text to token ids and back, through the model's own `tokenizer.json` or GPT-2's older two files.

mod decoder;
mod gpt2;
mod special;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use tokenizers::PostProcessorWrapper;

use super::{ModelInfo, fault, tokenizer_guard};
pub use decoder::Decoder;
use ewe::text::counted;
use gpt2::{MERGES, VOCAB};
pub use special::ChatTemplateFile;
use special::SpecialTokens;

/// A model's tokenizer. Clones share it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    path: PathBuf,
    /// The largest id of the vocabulary, without tokens that were added to it.
    largest: i64,
    /// Rows of the model's embedding.
    rows: i64,
    /// What is put in front of a whole text.
    begin: Arc<Vec<i64>>,
    end_tokens: Vec<i64>,
    chat_template: Option<ChatTemplateFile>,
    stop_strings: Vec<String>,
    special_texts: Arc<BTreeMap<String, String>>,
}

/// A text in tokens, some of whose bytes were marked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The ids.
    pub ids: Vec<i64>,
    /// Of each stretch of bytes, in the same order: the tokens that have a part in it.
    pub marked: Vec<Range<usize>>,
    /// Whether the first of these begins within its first token, so that what precedes it alone is other tokens.
    pub parts_a_token: bool,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, or `vocab.json` and `merges.txt` where that is missing; and what there is of
    /// `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and `chat_template.jinja`.
    ///
    /// Fails when there is neither, and on what is malformed.
    pub fn read(dir: &Path) -> Result<Tokenizer> {
        let mut special = SpecialTokens::read(dir)?;
        if !dir.join("tokenizer.json").is_file() {
            for name in ["bos_token", "eos_token", "unk_token"] {
                special
                    .texts
                    .entry(name.to_owned())
                    .or_insert_with(|| gpt2::END.to_owned());
            }
        }
        let (mut inner, path) = inner(dir, &special)?;
        // A file saved in the middle of training may pad or cut; neither is wanted here.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| anyhow!("{}: {error}", path.display()))?;
        let begin = take_post_processor(&mut inner)
            .with_context(|| format!("{}: unusable post_processor", path.display()))?;
        let largest = inner.get_vocab(false).into_values().max().unwrap_or(0);
        let inner = Arc::new(inner);
        tokenizer_guard::try_out(&inner, &path)?;
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

    /// Adds what the model's config says about it. Fails if its vocabulary has tokens that the model has no row for. Tokens that
    /// were added to it, say for padding, may lie beyond: they do no harm where no text has them.
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

    /// Takes over what is said in `dir`, beside an adapter, of how its model is asked: the chat template, the texts of special
    /// tokens that this tokenizer has, what ends an answer. A folder that says nothing changes nothing.
    pub fn asked_as_in(mut self, dir: &Path) -> Result<Tokenizer> {
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

    /// Ids of `text`; `special` puts in front what the tokenizer puts in front of a whole text (a begin-of-text token, say).
    ///
    /// What some tokenizers put behind a whole text, an end-of-text token, is never there: what is asked is a text that goes on, and
    /// where one ends is the template's or the caller's to say.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<i64>> {
        let encoding = self.encoding(text, || self.inner.encode_fast(text, false))?;
        Ok(self.begin_ids(special).chain(ids_of(&encoding)).collect())
    }

    /// The same, and which tokens have a part in the stretches `marked`, which are in order and do not overlap.
    ///
    /// The text is encoded as a whole, so the ids are those of the text whatever is marked: parts that are encoded apart would get
    /// the space that many tokenizers put in front of a text, and lose tokens that lie across their boundary.
    pub fn encode_marked(&self, text: &str, special: bool, marked: &[Range<usize>]) -> Result<Marked> {
        let encoding = self.encoding(text, || self.inner.encode(text, false))?;
        let ids: Vec<i64> = self.begin_ids(special).chain(ids_of(&encoding)).collect();
        let (offsets, before) = (encoding.get_offsets(), ids.len() - encoding.get_ids().len());
        let ends_behind = |at: usize| {
            // A token without a byte of its own, a space that was put in front, belongs to what follows it.
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
            parts_a_token: first
                .is_some_and(|(at, token)| offsets.get(token - before).is_some_and(|&(start, _)| start < at)),
            ids,
        })
    }

    /// What `encode` makes of `text`. Fails where the library breaks down, and on a token that the model has no row for.
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

    /// A text that encodes, with any other behind it, as that other does with special tokens. None if no text does.
    pub fn begin_text(&self) -> Option<String> {
        let special: Option<String> = self.begin.iter().map(|&id| self.token(id)).collect();
        // Some tokenizers put a space in front of a text, but not behind a special token.
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

    /// A text that is the token `id` behind any other. None if no text is.
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

    /// The same, unless the beginning of a long text shows that they are more than `most`: to encode a text takes some three hundred
    /// times its bytes.
    pub fn encode_within(&self, text: &str, special: bool, most: usize) -> Result<Option<Vec<i64>>> {
        // What many tokens more than enough are: where a text is cut, the last of them may be others.
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

    /// Text of `ids`, without special tokens. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[i64]) -> Result<String> {
        let ids: Vec<u32> = ids.iter().map(|&id| id as u32).collect();
        let failed = |words: &str| anyhow!("cannot decode {}: {words}", counted(ids.len(), "token"));
        fault::tamed(|| self.inner.decode(&ids, true))
            .map_err(|words| failed(&words))?
            .map_err(|error| failed(&error.to_string()))
    }

    /// A token as the vocabulary writes it, if there is one of that id.
    pub fn token(&self, id: i64) -> Option<String> {
        self.inner.id_to_token(u32::try_from(id).ok()?)
    }

    /// The tokens beside the vocabulary, and whether they are special.
    pub fn added_tokens(&self) -> Vec<(i64, bool)> {
        let added = self.inner.get_added_tokens_decoder();
        added
            .iter()
            .map(|(&id, token)| (i64::from(id), token.special))
            .collect()
    }

    /// Whether a token is a special one.
    pub fn is_special(&self, id: i64) -> bool {
        let token = self.token(id);
        token.is_some_and(|text| self.inner.get_added_vocabulary().is_special_token(&text))
    }

    /// Whether the vocabulary writes bytes as GPT-2 does.
    pub fn is_byte_level(&self) -> bool {
        let decoder = serde_json::to_string(&self.inner.get_decoder()).unwrap_or_default();
        decoder.contains("\"ByteLevel\"")
    }

    /// The ids that end a text.
    pub fn end_tokens(&self) -> &[i64] {
        &self.end_tokens
    }

    /// The id appended to a training example: the tokenizer's own end-of-text, else the config's first.
    pub fn end_token(&self) -> Option<i64> {
        self.special_texts
            .get("eos_token")
            .and_then(|text| self.inner.token_to_id(text))
            .map(i64::from)
            .filter(|id| *id < self.rows)
            .or_else(|| self.end_tokens.first().copied())
    }

    /// The same. Fails where there is none.
    pub fn required_end_token(&self) -> Result<i64> {
        self.end_token()
            .context("the tokenizer names no end-of-text token\nhint: set eos_token in tokenizer_config.json")
    }

    /// The Jinja template that turns messages into a prompt, if the model came with one.
    pub fn chat_template(&self) -> Option<&ChatTemplateFile> {
        self.chat_template.as_ref()
    }

    /// What ends an answer besides tokens, by generation_config.json.
    pub fn stop_strings(&self) -> &[String] {
        &self.stop_strings
    }

    /// The texts of special tokens by their names in tokenizer_config.json: `bos_token` and so on.
    pub fn special_texts(&self) -> &BTreeMap<String, String> {
        &self.special_texts
    }
}

fn ids_of(encoding: &tokenizers::Encoding) -> impl Iterator<Item = i64> {
    encoding.get_ids().iter().map(|&id| i64::from(id))
}

/// Takes the post-processor out and gives what it puts in front of a text. What it puts behind goes, and so do the offsets that it
/// trims to words.
fn take_post_processor(inner: &mut tokenizers::Tokenizer) -> Result<Vec<i64>> {
    let encode = |text: &str, special: bool| {
        inner
            .encode(text, special)
            .map_err(|error| anyhow!("cannot tokenize {text:?}: {error}"))
    };
    let mut begin = Vec::new();
    // A text that has a token: not every vocabulary has every letter.
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

/// Whether `dir` has a tokenizer that [`Tokenizer::read`] reads.
pub fn is_in(dir: &Path) -> bool {
    dir.join("tokenizer.json").is_file() || [VOCAB, MERGES].iter().all(|name| dir.join(name).is_file())
}

/// `tokenizer.json`, or GPT-2's two files; and where it was read.
fn inner(dir: &Path, special: &SpecialTokens) -> Result<(tokenizers::Tokenizer, PathBuf)> {
    let path = dir.join("tokenizer.json");
    if path.is_file() {
        tokenizer_guard::check(&path)?;
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
