//! Limits for an untrusted tokenizer.json: it must not take hours for a text, make it a thousand
//! times as long, or end the program.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use ewe::settings_file;
use serde::Deserialize;
use serde_json::Value;

use crate::model::fault;

/// Most bytes of a tokenizer.json; the largest published ones have some thirty million.
const LONGEST: u64 = 512 << 20;
/// Most times that a text may grow.
const GROWTH: u64 = 1_000;
/// Most tokens that a post-processor may add.
const ADDED: usize = 10_000;
/// Time limit for some lines that take real tokenizers a millisecond.
const PATIENCE: Duration = Duration::from_secs(10);

/// The hint of every error.
const HINT: &str = "hint: compare it with the source's; it is not the tokenizer of a model";

/// The parts of the file that process a text.
#[derive(Deserialize)]
struct Outline {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
}

/// Checks the file before it is loaded. Fails if it is too large, or its parts make a text too
/// long.
pub fn check(path: &Path) -> Result<()> {
    let text =
        settings_file::read(path, LONGEST).with_context(|| format!("cannot read {}", path.display()))?;
    // The loader has a better error for a malformed file.
    let Ok(outline) = serde_json::from_slice::<Outline>(&text) else {
        return Ok(());
    };
    let parts = [
        ("normalizer", outline.normalizer),
        ("pre_tokenizer", outline.pre_tokenizer),
        ("post_processor", outline.post_processor),
        ("decoder", outline.decoder),
    ];
    for (name, part) in parts
        .iter()
        .filter_map(|(name, part)| Some((name, part.as_ref()?)))
    {
        let growth = growth(part);
        if growth > GROWTH {
            bail!(
                "{}: its `{name}` can make a text {growth} times as long, more than {GROWTH}\n{HINT}",
                path.display()
            );
        }
        let added = added(part);
        if added > ADDED {
            bail!(
                "{}: its `{name}` adds {added} tokens, more than {ADDED}\n{HINT}",
                path.display()
            );
        }
    }
    Ok(())
}

/// Returns the steps of a sequence.
fn steps(part: &Value) -> impl Iterator<Item = &Value> {
    let names = ["normalizers", "pretokenizers", "processors", "decoders"];
    names
        .into_iter()
        .filter_map(|name| part[name].as_array())
        .flatten()
}

/// Returns how many times as long a part can make a text.
fn growth(part: &Value) -> u64 {
    let own = match part["type"].as_str() {
        Some("Replace") => {
            let content = part["content"].as_str().map_or(0, str::len);
            let pattern = part["pattern"]["String"].as_str().map_or(1, str::len);
            content.div_ceil(pattern.max(1)) as u64
        }
        Some("Prepend") => part["prepend"].as_str().map_or(0, |text| text.len() / 64) as u64,
        Some("TemplateProcessing") => {
            let parts = |name: &str| part[name].as_array().into_iter().flatten();
            parts("single")
                .filter(|part| part.get("Sequence").is_some())
                .count() as u64
        }
        _ => 1,
    };
    steps(part).map(growth).fold(own.max(1), u64::saturating_mul)
}

/// Returns how many tokens a post-processor adds to a text.
fn added(part: &Value) -> usize {
    let ids = |name: &str| part["special_tokens"][name]["ids"].as_array().map_or(1, Vec::len);
    let parts = part["single"].as_array().into_iter().flatten();
    let names = parts.filter_map(|part| part["SpecialToken"]["id"].as_str());
    names.map(ids).sum::<usize>() + steps(part).map(added).sum::<usize>()
}

/// Encodes some lines on which unbounded patterns run forever. Fails if that takes too long or the
/// library panics.
pub fn try_out(tokenizer: &Arc<tokenizers::Tokenizer>, path: &Path) -> Result<()> {
    let (tell, told) = mpsc::channel();
    let tokenizer = tokenizer.clone();
    // A thread cannot be stopped, so it is not waited for.
    std::thread::spawn(move || {
        let lines = ["a", " ", "1", "A", "\n", "-", "é", "ab ", "羊"].map(|text| text.repeat(300) + "!");
        let done = fault::tamed(|| {
            lines
                .iter()
                .try_for_each(|line| tokenizer.encode_fast(line.as_str(), true).map(drop))
        });
        let _ = tell.send(match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(words) => Err(words),
        });
    });
    match told.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(words)) => Err(anyhow!(
            "{} cannot take a text apart: {words}\n{HINT}",
            path.display()
        )),
        Err(_) => Err(anyhow!(
            "{} takes more than {} s for some lines of text: a pattern in it goes back without end\n{HINT}",
            path.display(),
            PATIENCE.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::golden;
    use crate::model::text::tokenizer::Tokenizer;
    use serde_json::json;

    /// Checks the error of a tokenizer.json whose `field` is replaced by `part`.
    fn fails(field: &str, part: Value, words: &str) {
        let dir = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(golden("llama").join("tokenizer.json")).unwrap();
        let mut file: Value = serde_json::from_str(&text).unwrap();
        file[field] = part;
        std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
        let started = std::time::Instant::now();
        let message = format!("{:#}", Tokenizer::read(dir.path()).err().expect(words));
        for words in [words, "tokenizer.json", "hint:"] {
            assert!(message.contains(words), "{message:?} does not say {words:?}");
        }
        assert!(started.elapsed() < 6 * PATIENCE);
    }

    #[test]
    fn strangers_tokenizers_take_no_more_than_their_share() {
        let split = |pattern: &str| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        fails("pre_tokenizer", split("(a+)+$"), "tokenizer.json");
        fails("pre_tokenizer", split("(?:a|a?)+$"), "tokenizer.json");
        let doubles = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let many = json!({"type": "Sequence", "normalizers": vec![doubles; 40]});
        fails("normalizer", many, "times as long");
        let long = json!({"type": "Replace", "pattern": {"Regex": "."}, "content": "b".repeat(5000)});
        fails("normalizer", long, "times as long");
        let twice = json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]});
        let processors = json!({"type": "Sequence", "processors": vec![twice; 30]});
        fails("post_processor", processors, "times as long");
        let adds = json!({"type": "TemplateProcessing", "pair": [],
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": vec![1; 20_000], "tokens": vec!["<s>"; 20_000]}}});
        fails("post_processor", adds, "adds 20000 tokens");
    }
}
