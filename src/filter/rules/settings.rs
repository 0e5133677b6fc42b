//! The parameters of the rules.

use serde::{Deserialize, Serialize};

/// The parameters of the rules. [`Settings::default`] is for the set `default`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The fewest words of an instruction; default 4. In a script without spaces, one character is
    /// a word.
    pub min_words: usize,
    /// The most words of an instruction; default 150. In a script without spaces, two characters
    /// are a word.
    pub max_words: usize,
    /// ISO 639-3 codes of the languages allowed for instructions; empty, the default, allows any.
    pub languages: Vec<String>,
    /// The smallest share of distinct word trigrams in a long text; default 0.4.
    pub distinct_trigrams: f64,
    /// The length in words of the n-grams that rows are compared by with evaluation files; default
    /// 13, as for GPT-3 (Brown et al. 2020, appendix C). `None` turns this off.
    pub decontaminate: Option<usize>,
    /// How the instances of one task are compared with each other.
    pub instances: Together,
}

/// How the instances of one task are compared with each other, after each was checked by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Together {
    /// Not at all.
    Any,
    /// Rejects an instance that repeats an earlier one, and all instances that have the same input
    /// but different outputs. Case and punctuation make no difference. An empty input is compared
    /// like any other.
    Default,
    /// As released with Self-Instruct: if two instances have the same non-empty input but different
    /// outputs, rejects all instances of the task. Of equal instances, one stays. Texts are
    /// compared exactly.
    SelfInstruct,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            min_words: 4,
            max_words: 150,
            languages: Vec::new(),
            distinct_trigrams: 0.4,
            decontaminate: Some(13),
            instances: Together::Default,
        }
    }
}
