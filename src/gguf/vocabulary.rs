//! A tokenizer.json as metadata: the reverse of [`super::tokenizer`]. What llama.cpp would read
//! differently is refused.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;
use serde_json::Value as Json;

use super::pre_tokenizer::Splitting;
use super::tokenizer::{SPACE, token_kind};
use super::value::Value;

mod sentencepiece;

/// Score of pieces that no merge makes, as llama.cpp's converter writes it.
const NO_SCORE: f32 = -1000.0;
/// Score of rows without a token.
const UNUSED_SCORE: f32 = -10_000.0;

/// Texts that look like special tokens, which llama.cpp's converter takes for such even where they
/// are not declared.
const LOOK_SPECIAL: [&str; 4] = ["<pad>", "<mask>", "<2mass>", "[@BOS@]"];

/// A vocabulary as metadata.
pub struct Converted {
    /// Keys and values, without the ids of special tokens.
    pub entries: Vec<(String, Value)>,
    /// Where llama.cpp will split texts differently, if anywhere.
    pub note: Option<&'static str>,
}

/// Whether a space is put before texts, which llama.cpp does before each one and after each special
/// token, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Never,
    /// As in llama.cpp.
    Each,
    /// Unless the text begins with one.
    Missing,
    /// Only at the beginning, unless there is one.
    MissingAtBegin,
}

impl Prefix {
    fn note(self) -> Option<&'static str> {
        match self {
            Prefix::Never | Prefix::Each => None,
            Prefix::Missing => Some(
                "llama.cpp puts a space also before a text that begins with one, and tokenizer.json does \
                 not",
            ),
            Prefix::MissingAtBegin => Some(
                "llama.cpp puts a space also before a text that begins with one or follows a special \
                 token, and tokenizer.json does not",
            ),
        }
    }
}

/// What a vocabulary is made of.
pub struct Source<'a> {
    /// tokenizer.json.
    pub tokenizer: &'a [u8],
    /// tokenizer.model, which has SentencePiece's scores.
    pub sentencepiece: Option<&'a [u8]>,
    /// Rows of the embedding.
    pub rows: usize,
}

#[derive(Deserialize)]
struct TokenizerJson {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Json,
    #[serde(default)]
    pre_tokenizer: Json,
    model: Bpe,
}

#[derive(Deserialize)]
struct Added {
    id: usize,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Bpe {
    vocab: HashMap<String, usize>,
    merges: Vec<Merge>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// A merge in either form of tokenizer.json.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Pair(String, String),
    Text(String),
}

impl Merge {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Merge::Pair(left, right) => Some((left, right)),
            Merge::Text(text) => text.split_once(' '),
        }
    }
}

/// The tokens of a vocabulary by id, and what kind each is.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<i64>,
}

/// Returns the metadata of a vocabulary.
///
/// # Errors
///
/// If it is not BPE, or is one that llama.cpp does not know.
pub fn of(source: &Source) -> Result<Converted> {
    refuse_other_kinds(source.tokenizer)?;
    let file: TokenizerJson =
        serde_json::from_slice(source.tokenizer).context("it is not a tokenizer of BPE")?;
    let tokens = tokens(&file, source.rows)?;
    let (mut entries, mut note) = (Vec::new(), None);
    let mut set = |name: &str, value: Value| entries.push((format!("tokenizer.ggml.{name}"), value));
    set(
        "model",
        Value::Text(if file.model.byte_fallback { "llama" } else { "gpt2" }.to_owned()),
    );
    if file.model.byte_fallback {
        set("pre", Value::Text("default".to_owned()));
        set("tokens", Value::Texts(tokens.texts.clone()));
        set(
            "scores",
            Value::Floats(scores(&file, source.sentencepiece, &tokens)?),
        );
        set("token_type", Value::Integers(tokens.kinds.clone()));
        let prefix = prefix(&file.normalizer, &file.pre_tokenizer)?;
        set("add_space_prefix", Value::Bool(prefix != Prefix::Never));
        note = prefix.note();
    } else {
        let splitting = Splitting::of(&file.pre_tokenizer, &file.normalizer, file.model.ignore_merges)?;
        set("pre", Value::Text(splitting.name().to_owned()));
        set("tokens", Value::Texts(tokens.texts.clone()));
        set("token_type", Value::Integers(tokens.kinds.clone()));
        set("merges", Value::Texts(merges(&file)?));
    }
    Ok(Converted { entries, note })
}

fn refuse_other_kinds(tokenizer: &[u8]) -> Result<()> {
    #[derive(Deserialize)]
    struct Outline {
        model: Kind,
    }
    #[derive(Deserialize)]
    struct Kind {
        r#type: Option<String>,
    }
    let outline: Outline = serde_json::from_slice(tokenizer).context("it is not a tokenizer")?;
    match outline.model.r#type.as_deref() {
        None | Some("BPE") => Ok(()),
        Some(other) => bail!(
            "its model is {}, and only BPE is written",
            ewe::text::one_line(other, 40)
        ),
    }
}

fn tokens(file: &TokenizerJson, rows: usize) -> Result<Tokens> {
    let mut tokens = Tokens {
        texts: (0..rows).map(|id| format!("[PAD{id}]")).collect(),
        kinds: vec![token_kind::UNUSED; rows],
    };
    for (text, &id) in &file.model.vocab {
        if id >= rows {
            bail!(
                "it has a token of id {id}, and the model {}",
                ewe::text::counted(rows, "row")
            );
        }
        let is_byte = file.model.byte_fallback && byte(text).is_some();
        tokens.kinds[id] = match is_byte {
            true => token_kind::BYTE,
            false if file.model.unk_token.as_ref() == Some(text) => token_kind::UNKNOWN,
            false => token_kind::NORMAL,
        };
        tokens.texts[id].clone_from(text);
    }
    for added in &file.added_tokens {
        // Tokens for padding, say, may be beyond the rows.
        if added.id >= rows {
            continue;
        }
        let is_unknown = tokens.kinds[added.id] == token_kind::UNKNOWN;
        let is_special = added.special || looks_special(&added.content);
        tokens.texts[added.id].clone_from(&added.content);
        tokens.kinds[added.id] = match is_special {
            _ if is_unknown => token_kind::UNKNOWN,
            true => token_kind::CONTROL,
            false => {
                tokens.texts[added.id] = added.content.replace(SPACE, " ");
                token_kind::USER_DEFINED
            }
        };
    }
    Ok(tokens)
}

fn looks_special(text: &str) -> bool {
    let between = |begin: &str, end: &str| text.starts_with(begin) && text.ends_with(end);
    LOOK_SPECIAL.contains(&text)
        || between("<|", "|>")
        || between("<\u{ff5c}", "\u{ff5c}>")
        || between("<unused", ">")
}

/// Returns the byte that a token like `<0x0A>` stands for.
fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

/// Returns the merges as texts: two parts with a space between them.
fn merges(file: &TokenizerJson) -> Result<Vec<String>> {
    let text = |(number, merge): (usize, &Merge)| {
        let parts = merge
            .parts()
            .filter(|(left, right)| !left.is_empty() && !right.is_empty());
        let (left, right) = parts.ok_or_else(|| anyhow!("merge {number} has not two parts"))?;
        // As llama.cpp's converter writes a space within a part.
        let plain = |part: &str| part.replace(' ', "\u{120}");
        Ok(format!("{} {}", plain(left), plain(right)))
    };
    file.model.merges.iter().enumerate().map(text).collect()
}

/// Returns where a space is put before a text. Fails on steps that SentencePiece does not have.
fn prefix(normalizer: &Json, pre_tokenizer: &Json) -> Result<Prefix> {
    let replaces = |step: &Json| {
        step["type"] == "Replace" && step["pattern"]["String"] == " " && step["content"] == SPACE
    };
    let prepends = |step: &Json| step["type"] == "Prepend" && step["prepend"] == SPACE;
    let splits_at_spaces = pre_tokenizer["type"] == "Split" && pre_tokenizer["pattern"]["String"] == " ";
    let steps = normalizer["normalizers"].as_array().map(Vec::as_slice);
    match (steps, pre_tokenizer["type"].as_str()) {
        (Some([first, second]), None) if prepends(first) && replaces(second) => Ok(Prefix::Each),
        (None, None) if replaces(normalizer) => Ok(Prefix::Never),
        (None, Some(_)) if replaces(normalizer) && splits_at_spaces => Ok(Prefix::Never),
        (None, Some("Metaspace")) if normalizer.is_null() && pre_tokenizer["split"] == false => {
            match pre_tokenizer["prepend_scheme"].as_str() {
                Some("never") => Ok(Prefix::Never),
                Some("first") => Ok(Prefix::MissingAtBegin),
                _ => Ok(Prefix::Missing),
            }
        }
        _ => bail!(
            "its normalizer {} and pre_tokenizer {} are of no kind that is known here, and llama.cpp would split texts differently without \
             an error",
            ewe::text::one_line(&normalizer.to_string(), 120),
            ewe::text::one_line(&pre_tokenizer.to_string(), 120)
        ),
    }
}

/// Returns the score of each token: SentencePiece's own, or by the order of the merges, of which
/// the first that makes a piece counts.
fn scores(file: &TokenizerJson, model: Option<&[u8]>, tokens: &Tokens) -> Result<Vec<f32>> {
    let kinds = tokens.kinds.iter();
    let mut scores: Vec<f32> = kinds
        .map(|kind| match *kind {
            token_kind::UNUSED => UNUSED_SCORE,
            token_kind::NORMAL | token_kind::USER_DEFINED => NO_SCORE,
            _ => 0.0,
        })
        .collect();
    if let Some(pieces) = model.and_then(sentencepiece::pieces) {
        let is_same = |(id, piece): (usize, &sentencepiece::Piece)| {
            tokens.kinds.get(id) != Some(&token_kind::NORMAL) || tokens.texts[id] == piece.text
        };
        if pieces.iter().enumerate().all(is_same) {
            for (score, piece) in scores.iter_mut().zip(&pieces) {
                *score = piece.score;
            }
            return Ok(scores);
        }
    }
    let mut made: BTreeMap<usize, usize> = BTreeMap::new();
    for (rank, merge) in file.model.merges.iter().enumerate() {
        let (left, right) = merge
            .parts()
            .ok_or_else(|| anyhow!("merge {rank} has not two parts"))?;
        if let Some(&id) = file.model.vocab.get(&format!("{left}{right}")) {
            made.entry(id).or_insert(rank);
        }
    }
    let last = -(file.model.merges.len() as f32);
    for (id, score) in scores.iter_mut().enumerate() {
        if tokens.kinds[id] == token_kind::NORMAL {
            // Pieces that no merge makes come last; llama.cpp would make them of any two parts.
            *score = made.get(&id).map_or(last, |rank| -(*rank as f32));
        }
    }
    Ok(scores)
}

#[cfg(test)]
mod tests;
