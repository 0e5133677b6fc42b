//! How texts are split into words before byte-level BPE: llama.cpp has a name for each way, and
//! tokenizer.json the steps. llama.cpp's converter recognizes a tokenizer by the tokens of a fixed
//! text; here it is recognized by its steps, and one that is not known is refused.

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// A way to split texts.
#[derive(Debug, PartialEq, Eq)]
pub struct Splitting {
    /// Names that llama.cpp has for it. The first is written.
    names: &'static [&'static str],
    /// The pattern of the first step, in Oniguruma's syntax; none if there is only GPT-2's.
    pattern: Option<&'static str>,
    /// Whether each digit is a word of its own, as the first step.
    digits: bool,
    /// Whether a word that is a token is taken whole, whatever the merges.
    pub ignores_merges: bool,
    /// Whether a begin-of-text token precedes a text where the file does not say.
    pub adds_bos: bool,
    /// Whether texts are normalized to NFC first, which llama.cpp leaves out.
    is_composed: bool,
}

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

const PLAIN: Splitting = Splitting {
    names: &["gpt-2", "olmo", "mpt", "phi-2", "jais", "exaone4"],
    pattern: None,
    digits: false,
    ignores_merges: false,
    adds_bos: false,
    is_composed: false,
};

static KNOWN: [Splitting; 7] = [
    PLAIN,
    Splitting {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        digits: true,
        ..PLAIN
    },
    Splitting {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "pixtral",
            "midm-2.0",
        ],
        pattern: Some(LLAMA3),
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
    Splitting {
        names: &["dbrx", "smaug-bpe"],
        pattern: Some(LLAMA3),
        ..PLAIN
    },
    Splitting {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2"],
        pattern: Some(QWEN2),
        is_composed: true,
        ..PLAIN
    },
    Splitting {
        names: &["gpt-4o", "llama4", "kanana2"],
        pattern: Some(GPT4O),
        ..PLAIN
    },
    Splitting {
        names: &["tekken"],
        pattern: Some(TEKKEN),
        ignores_merges: true,
        adds_bos: true,
        ..PLAIN
    },
];

impl Splitting {
    /// Returns the way that llama.cpp calls `name`.
    pub fn called(name: &str) -> Option<&'static Splitting> {
        KNOWN.iter().find(|known| known.names.contains(&name))
    }

    /// Returns every name, for messages.
    pub fn known() -> String {
        let names: Vec<&str> = KNOWN
            .iter()
            .flat_map(|known| known.names.iter().copied())
            .collect();
        names.join(", ")
    }

    /// Returns the way of a tokenizer.json, of which these are `pre_tokenizer`, `normalizer` and
    /// the model's `ignore_merges`.
    ///
    /// # Errors
    ///
    /// If llama.cpp has no such way, as far as is known here.
    pub fn of(pre_tokenizer: &Value, normalizer: &Value, ignores_merges: bool) -> Result<&'static Splitting> {
        if !matches!(normalizer["type"].as_str(), None | Some("NFC")) {
            bail!(
                "its normalizer {} is not known to llama.cpp",
                ewe::text::one_line(&normalizer.to_string(), 80)
            );
        }
        let steps = steps(pre_tokenizer);
        let found = KNOWN
            .iter()
            .find(|known| known.ignores_merges == ignores_merges && known.steps() == steps);
        match found {
            Some(found) => Ok(found),
            None => bail!(
                "its pre_tokenizer {} is of no kind that is known here, and llama.cpp would split texts differently without an error",
                ewe::text::one_line(&pre_tokenizer.to_string(), 160)
            ),
        }
    }

    /// Returns the name to write.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// Returns the `pre_tokenizer` of tokenizer.json.
    pub fn pre_tokenizer(&self) -> Value {
        let mut steps = self.steps();
        match steps.len() {
            1 => steps.remove(0),
            _ => json!({"type": "Sequence", "pretokenizers": steps}),
        }
    }

    /// Returns the `normalizer` of tokenizer.json.
    pub fn normalizer(&self) -> Value {
        match self.is_composed {
            true => json!({"type": "NFC"}),
            false => Value::Null,
        }
    }

    fn steps(&self) -> Vec<Value> {
        let first = match self.pattern {
            Some(pattern) => Some(json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            })),
            None => self
                .digits
                .then(|| json!({"type": "Digits", "individual_digits": true})),
        };
        let last = bytes(self.pattern.is_none());
        first.into_iter().chain([last]).collect()
    }
}

fn bytes(use_regex: bool) -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex})
}

/// Returns the steps of a pre-tokenizer. Fields that do not change tokens have one value.
fn steps(pre_tokenizer: &Value) -> Vec<Value> {
    let steps = match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.clone(),
        None => vec![pre_tokenizer.clone()],
    };
    let plain = |step: Value| match step["type"].as_str() {
        Some("ByteLevel") if step["add_prefix_space"] != true => bytes(step["use_regex"] != false),
        // A pattern of those above matches all of a text, so that there is nothing between matches.
        Some("Split")
            if (step["behavior"] == "Isolated" && step["invert"] != true)
                || (step["behavior"] == "Removed" && step["invert"] == true) =>
        {
            json!({"type": "Split", "pattern": step["pattern"], "behavior": "Isolated", "invert": false})
        }
        _ => step,
    };
    steps.into_iter().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_is_recognized_by_its_own_steps() {
        for known in &KNOWN {
            let found = Splitting::of(&known.pre_tokenizer(), &known.normalizer(), known.ignores_merges);
            assert_eq!(found.unwrap(), known, "{}", known.name());
            for name in known.names {
                assert_eq!(Splitting::called(name), Some(known));
            }
        }
    }

    #[test]
    fn other_steps_are_refused() {
        let of = |step: Value| Splitting::of(&step, &Value::Null, false).map_err(|error| error.to_string());
        let refused = of(json!({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}));
        assert!(refused.unwrap_err().contains("ByteLevel"));
        assert!(of(json!({"type": "Whitespace"})).is_err());
        assert!(of(Value::Null).is_err());
        let lower = Splitting::of(&PLAIN.pre_tokenizer(), &json!({"type": "Lowercase"}), false);
        assert!(lower.unwrap_err().to_string().contains("Lowercase"));
        // Words that are tokens are merged by some, taken whole by others.
        let found = |merges| {
            Splitting::of(&KNOWN[2].pre_tokenizer(), &Value::Null, merges)
                .unwrap()
                .name()
        };
        assert_eq!((found(true), found(false)), ("llama-bpe", "dbrx"));
        // As some files write what comes to the same.
        let mut removed = KNOWN[2].pre_tokenizer();
        removed["pretokenizers"][0]["behavior"] = json!("Removed");
        assert!(of(removed.clone()).is_err());
        removed["pretokenizers"][0]["invert"] = json!(true);
        assert_eq!(of(removed).unwrap().name(), "dbrx");
    }
}
