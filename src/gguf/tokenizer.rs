//! The tokenizer.json that a file's metadata describe, as the converters of `transformers` make it:
//! byte-level BPE (llama.cpp's `gpt2`), or SentencePiece's BPE (`llama`), whose merges follow from
//! the scores of its pieces.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::config::special_ids;
use super::header::Header;
use super::pre_tokenizer::Splitting;
use super::value;

/// What kind of token one is: the numbers of SentencePiece.
pub mod token_kind {
    /// A piece of text.
    pub const NORMAL: i64 = 1;
    /// Stands for what no token says.
    pub const UNKNOWN: i64 = 2;
    /// A special token.
    pub const CONTROL: i64 = 3;
    /// A text that is always one token.
    pub const USER_DEFINED: i64 = 4;
    /// A row of the embedding without a token.
    pub const UNUSED: i64 = 5;
    /// A byte.
    pub const BYTE: i64 = 6;
}

use token_kind::{CONTROL, UNKNOWN, UNUSED, USER_DEFINED};

/// The longest piece that is made by merging, in bytes; no real one is longer.
const LONGEST_PIECE: usize = 1024;

/// SentencePiece's sign for a space.
pub const SPACE: &str = "\u{2581}";

/// The texts of a file's tokenizer.
pub struct TokenizerFiles {
    /// tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// The fields of tokenizer_config.json.
    pub config: Map<String, Value>,
    /// The fields of generation_config.json.
    pub generation: Map<String, Value>,
}

/// tokenizer.json.
#[derive(Serialize)]
struct TokenizerJson<'a> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Bpe<'a>,
}

#[derive(Serialize)]
struct Bpe<'a> {
    r#type: &'static str,
    dropout: Value,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: BTreeMap<&'a str, usize>,
    merges: Vec<(&'a str, &'a str)>,
}

/// The vocabulary of a file.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<i64>,
}

/// Makes the tokenizer of a file.
///
/// # Errors
///
/// Name the file, and the key that is missing or unusable: another algorithm than BPE, a way to
/// split texts that is not known, lists that do not fit each other.
pub fn of(header: &Header) -> Result<TokenizerFiles> {
    let path = header.path().display();
    let Some(model) = header.text("tokenizer.ggml.model")? else {
        bail!("{path}: there is no tokenizer in it\nhint: take a file that llama.cpp answers with");
    };
    let vocabulary = Vocabulary::read(header)?;
    let (tokenizer, adds_bos) = match model {
        "gpt2" => byte_level(header, &vocabulary)?,
        "llama" => sentencepiece(header, &vocabulary)?,
        other => bail!(
            "{path}: the tokenizer `{}` is not supported\nhint: known are gpt2 and llama",
            ewe::text::one_line(other, 40)
        ),
    };
    Ok(TokenizerFiles {
        tokenizer,
        config: settings(header, &vocabulary, adds_bos)?,
        generation: special_ids(header)?
            .into_iter()
            .map(|(name, ids)| (name.to_owned(), ids))
            .collect(),
    })
}

impl Vocabulary {
    fn read(header: &Header) -> Result<Vocabulary> {
        let key = "tokenizer.ggml.tokens";
        let tokens = match header.get(key) {
            Some(value::Value::Texts(tokens)) => tokens.clone(),
            Some(other) => return Err(header.unusable(key, other, "a list of texts")),
            None => return Err(header.missing(key)),
        };
        let key = "tokenizer.ggml.token_type";
        let kinds = match header.get(key) {
            Some(value::Value::Integers(kinds)) if kinds.len() == tokens.len() => kinds.clone(),
            Some(other) => return Err(header.unusable(key, other, "one integer for each token")),
            None => vec![token_kind::NORMAL; tokens.len()],
        };
        Ok(Vocabulary { tokens, kinds })
    }

    /// Returns the tokens with their ids, without rows that stand for none.
    fn ids(&self) -> BTreeMap<&str, usize> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        let is_token = |id: usize, token: &str, kind: i64| {
            !(kind == UNUSED
                && token
                    .strip_prefix("[PAD")
                    .is_some_and(|rest| rest == format!("{id}]")))
        };
        all.filter(|(id, (token, kind))| is_token(*id, token, **kind))
            .map(|(id, (token, _))| (token.as_str(), id))
            .collect()
    }

    /// Returns the entries of `added_tokens`: special tokens, and texts that are always one token.
    /// The latter are found before spaces become U+2581, so those of spaces have spaces, as in
    /// GGUF: a long run of spaces is cut as by llama.cpp and SentencePiece, longest token first.
    fn added(&self) -> Vec<Value> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        let is_added = |kind: i64| matches!(kind, CONTROL | UNKNOWN | USER_DEFINED);
        all.filter(|(_, (token, kind))| is_added(**kind) && !token.is_empty())
            .map(|(id, (token, kind))| {
                json!({
                    "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": *kind != USER_DEFINED,
                })
            })
            .collect()
    }

    /// Returns the text of the special token whose id is under this name.
    fn special(&self, header: &Header, name: &str) -> Result<Option<&str>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        let Some(id) = header.integer(&key)? else {
            return Ok(None);
        };
        let token = usize::try_from(id).ok().and_then(|id| self.tokens.get(id));
        let token = token.map(String::as_str);
        match token {
            Some(token) => Ok(Some(token)),
            None => bail!(
                "{}: `{key}` is {id}, and there are {}",
                header.path().display(),
                ewe::text::counted(self.tokens.len(), "token")
            ),
        }
    }
}

/// Returns the fields of tokenizer_config.json.
fn settings(header: &Header, vocabulary: &Vocabulary, adds_bos: bool) -> Result<Map<String, Value>> {
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), json!("PreTrainedTokenizerFast"));
    for (key, name) in [
        ("bos", "bos_token"),
        ("eos", "eos_token"),
        ("unknown", "unk_token"),
        ("padding", "pad_token"),
    ] {
        if let Some(token) = vocabulary.special(header, key)? {
            config.insert(name.to_owned(), json!(token));
        }
    }
    config.insert("add_bos_token".to_owned(), json!(adds_bos));
    config.insert("add_eos_token".to_owned(), json!(false));
    config.insert("clean_up_tokenization_spaces".to_owned(), json!(false));
    if let Some(template) = header.text("tokenizer.chat_template")? {
        config.insert("chat_template".to_owned(), json!(template));
    }
    Ok(config)
}

/// Returns what puts the begin-of-text token before a text, and whether anything does.
fn post_processor(header: &Header, vocabulary: &Vocabulary, by_default: bool) -> Result<(Value, bool)> {
    let adds = header.flag("tokenizer.ggml.add_bos_token")?.unwrap_or(by_default);
    let Some(bos) = vocabulary.special(header, "bos")?.filter(|_| adds) else {
        return Ok((Value::Null, false));
    };
    let id = header.integer("tokenizer.ggml.bos_token_id")?;
    let (special, text) = (
        json!({"SpecialToken": {"id": bos, "type_id": 0}}),
        |id: &str| json!({"Sequence": {"id": id, "type_id": 0}}),
    );
    let mut tokens = Map::new();
    tokens.insert(bos.to_owned(), json!({"id": bos, "ids": [id], "tokens": [bos]}));
    let processor = json!({
        "type": "TemplateProcessing",
        "single": [special, text("A")],
        "pair": [special, text("A"), special, text("B")],
        "special_tokens": tokens,
    });
    Ok((processor, true))
}

/// Makes the tokenizer of `gpt2`.
fn byte_level(header: &Header, vocabulary: &Vocabulary) -> Result<(Vec<u8>, bool)> {
    let path = header.path().display();
    let key = "tokenizer.ggml.pre";
    let Some(name) = header.text(key)? else {
        bail!(
            "{path}: `{key}` is missing, so nobody knows how it splits texts\nhint: take a newer file; this one is older than May 2024"
        );
    };
    let Some(splitting) = Splitting::called(name) else {
        bail!(
            "{path}: `{key}` = `{}` is not supported\nhint: known are {}",
            ewe::text::one_line(name, 40),
            Splitting::known()
        );
    };
    let key = "tokenizer.ggml.merges";
    let merges = match header.get(key) {
        Some(value::Value::Texts(merges)) => merges,
        Some(other) => return Err(header.unusable(key, other, "a list of texts")),
        None => return Err(header.missing(key)),
    };
    let mut pairs = Vec::with_capacity(merges.len());
    for (number, merge) in merges.iter().enumerate() {
        // A space within a part is written as U+0120.
        let pair = merge
            .split_once(' ')
            .filter(|(left, right)| !left.is_empty() && !right.is_empty());
        pairs.push(pair.with_context(|| format!("{path}: merge {number} is {merge:?}, not two parts"))?);
    }
    let (post_processor, adds_bos) = post_processor(header, vocabulary, splitting.adds_bos)?;
    let file = TokenizerJson {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: vocabulary.added(),
        normalizer: splitting.normalizer(),
        pre_tokenizer: splitting.pre_tokenizer(),
        post_processor,
        decoder: json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}),
        model: Bpe {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: None,
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: splitting.ignores_merges,
            vocab: vocabulary.ids(),
            merges: pairs,
        },
    };
    Ok((serde_json::to_vec(&file)?, adds_bos))
}

/// Makes the tokenizer of `llama`.
fn sentencepiece(header: &Header, vocabulary: &Vocabulary) -> Result<(Vec<u8>, bool)> {
    let key = "tokenizer.ggml.scores";
    let scores = match header.get(key) {
        Some(value::Value::Floats(scores)) if scores.len() == vocabulary.tokens.len() => scores,
        Some(other) => return Err(header.unusable(key, other, "one number for each token")),
        None => return Err(header.missing(key)),
    };
    let prefix = header.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
    let replace =
        |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
    let mut decoders = vec![
        replace(SPACE, " "),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    let (normalizer, pre_tokenizer) = match prefix {
        true => {
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            let prepend = json!({"type": "Prepend", "prepend": SPACE});
            (
                json!({"type": "Sequence", "normalizers": [prepend, replace(" ", SPACE)]}),
                Value::Null,
            )
        }
        false => (
            replace(" ", SPACE),
            json!({"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}),
        ),
    };
    let (post_processor, adds_bos) = post_processor(header, vocabulary, true)?;
    let file = TokenizerJson {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: vocabulary.added(),
        normalizer,
        pre_tokenizer,
        post_processor,
        decoder: json!({"type": "Sequence", "decoders": decoders}),
        model: Bpe {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: vocabulary.special(header, "unknown")?,
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: true,
            byte_fallback: true,
            ignore_merges: false,
            vocab: vocabulary.ids(),
            merges: merges(vocabulary, scores),
        },
    };
    Ok((serde_json::to_vec(&file)?, adds_bos))
}

/// Returns the merges of SentencePiece's BPE, the best score first, those of user-defined pieces
/// before all others; of one piece, in the order of their parts' ids.
fn merges<'a>(vocabulary: &'a Vocabulary, scores: &[f32]) -> Vec<(&'a str, &'a str)> {
    let ids: HashMap<&str, usize> = vocabulary.ids().into_iter().collect();
    let mut rows = Vec::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        let rank = match vocabulary.kinds[id] {
            USER_DEFINED => (0, id as f64),
            token_kind::NORMAL => (1, -f64::from(scores[id])),
            _ => continue,
        };
        if token.len() > LONGEST_PIECE {
            continue;
        }
        for (cut, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(cut);
            if let (Some(&first), Some(&second)) = (ids.get(left), ids.get(right)) {
                rows.push((rank, first, second, left, right));
            }
        }
    }
    rows.sort_by(|a, b| {
        let ranks = a.0.0.cmp(&b.0.0).then(a.0.1.total_cmp(&b.0.1));
        ranks.then((a.1, a.2).cmp(&(b.1, b.2)))
    });
    rows.into_iter().map(|(.., left, right)| (left, right)).collect()
}
