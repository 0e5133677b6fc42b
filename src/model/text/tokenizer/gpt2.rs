//! GPT-2's two files, in which tokenizers were published before `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use tokenizers::AddedToken;
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::special::{SpecialTokens, text_of};

/// Tokens and their ids.
pub(super) const VOCAB: &str = "vocab.json";
/// Pairs that are merged to tokens, in order.
pub(super) const MERGES: &str = "merges.txt";

/// GPT-2's only special token, which its tokenizer has unless another is named.
pub(super) const END: &str = "<|endoftext|>";

/// Reads GPT-2's byte-level BPE (Radford et al. 2019).
pub(super) fn read(dir: &Path, special: &SpecialTokens) -> Result<tokenizers::Tokenizer> {
    let config = &special.config;
    match config["tokenizer_class"].as_str() {
        None | Some("GPT2Tokenizer" | "GPT2TokenizerFast" | "GPTNeoXTokenizer" | "GPTNeoXTokenizerFast") => {}
        Some(other) => bail!(
            "`tokenizer_class` is {other}, which splits texts in another way than GPT-2\nhint: save tokenizer.json with transformers' AutoTokenizer(…).save_pretrained"
        ),
    }
    if config["add_bos_token"].as_bool() == Some(true) {
        bail!("`add_bos_token` = true is not supported without tokenizer.json");
    }
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let model = BPE::from_file(&file(VOCAB), &file(MERGES))
        .build()
        .map_err(|error| anyhow!("{VOCAB} and {MERGES} are no byte-level BPE: {error}"))?;
    let prefix_space = config["add_prefix_space"].as_bool().unwrap_or(false);
    let bytes = ByteLevel::new(prefix_space, true, true);
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));

    // Added tokens in the order of their ids, as the library numbers them.
    let mut added: BTreeMap<u64, AddedToken> = BTreeMap::new();
    if let Value::Object(tokens) = &special.added {
        for (text, id) in tokens {
            let id = id
                .as_u64()
                .with_context(|| format!("added_tokens.json: `{text}` has no id"))?;
            added.insert(id, AddedToken::from(text.clone(), false).normalized(false));
        }
    }
    if let Value::Object(tokens) = &config["added_tokens_decoder"] {
        for (id, token) in tokens {
            let token: AddedToken = serde_json::from_value(token.clone())
                .with_context(|| format!("tokenizer_config.json: token {id} is unusable"))?;
            added.insert(id.parse().with_context(|| format!("`{id}` is no id"))?, token);
        }
    }
    let mut specials: Vec<String> = special.texts.values().cloned().collect();
    if let Value::Array(more) = &config["additional_special_tokens"] {
        specials.extend(more.iter().filter_map(text_of));
    }
    for (id, mut token) in added {
        token.special |= specials.contains(&token.content);
        let text = token.content.clone();
        inner.add_tokens(&[token]);
        if inner.token_to_id(&text).map(u64::from) != Some(id) {
            bail!("token `{text}` should have id {id}, which leaves a gap or is taken");
        }
    }
    let known = |text: &String| inner.token_to_id(text).is_some();
    let specials: Vec<AddedToken> = specials
        .iter()
        .filter(|text| known(text))
        .map(|text| AddedToken::from(text.clone(), true))
        .collect();
    inner.add_special_tokens(&specials);
    Ok(inner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde::Deserialize;

    use super::super::Tokenizer;
    use super::{MERGES, VOCAB};
    use crate::model::tests::golden;

    #[derive(Deserialize)]
    struct TokenizeCase {
        text: String,
        ids: Vec<i64>,
        decoded: String,
    }

    /// Hostile texts have the ids of `transformers`.
    #[test]
    fn gpt2s_two_files_give_the_references_ids() {
        let folder = golden("gpt2_files");
        let tokenizer = Tokenizer::read(&folder).unwrap();
        let cases = std::fs::read_to_string(folder.join("expected.json")).unwrap();
        let cases: Vec<TokenizeCase> = serde_json::from_str(&cases).unwrap();
        assert!(cases.len() >= 400);
        for case in &cases {
            let ids = tokenizer.encode(&case.text, true).unwrap();
            assert_eq!(ids, case.ids, "{:?}", case.text);
            assert_eq!(tokenizer.decode(&ids).unwrap(), case.decoded, "{:?}", case.text);
        }
        assert_eq!(tokenizer.end_token(), Some(0));
    }

    #[test]
    fn unusable_pairs_are_named() {
        let fails = |damage: &dyn Fn(&Path), words: &str| {
            let dir = tempfile::tempdir().unwrap();
            for file in [VOCAB, MERGES, "tokenizer_config.json", "added_tokens.json"] {
                std::fs::copy(golden("gpt2_files").join(file), dir.path().join(file)).unwrap();
            }
            damage(dir.path());
            let message = format!("{:#}", Tokenizer::read(dir.path()).err().expect(words));
            assert!(message.contains(words), "{message:?} does not say {words:?}");
        };
        let write = |name: &'static str, text: &'static str| {
            move |dir: &Path| std::fs::write(dir.join(name), text).unwrap()
        };
        let config = "tokenizer_config.json";
        fails(
            &write(config, r#"{"tokenizer_class": "Qwen2Tokenizer"}"#),
            "Qwen2Tokenizer",
        );
        fails(&write(config, r#"{"add_bos_token": true}"#), "add_bos_token");
        fails(&write("added_tokens.json", r#"{"<a>": 100000}"#), "id 100000");
        fails(&write(MERGES, "a\n"), "no byte-level BPE");
        fails(&write(VOCAB, "[]"), "no byte-level BPE");
        fails(
            &|dir| std::fs::remove_file(dir.join(MERGES)).unwrap(),
            "tokenizer.json is missing",
        );
    }
}
