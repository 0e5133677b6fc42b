//! Parameters of the rules.

use serde::{Deserialize, Serialize};

/// Parameters of the rules. `Settings::default()` is what the set `default` uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// The fewest words of an instruction; 4. In a script without spaces, a character counts as a word.
    pub min_words: usize,
    /// The most words of an instruction; 150. In a script without spaces, two characters count as a word.
    pub max_words: usize,
    /// ISO 639-3 codes of the languages an instruction may have; none by default, which allows any.
    pub languages: Vec<String>,
    /// The smallest share of a long text's word trigrams that must be different ones; 0.4.
    pub distinct_trigrams: f64,
    /// The length, in words, of the n-grams by which rows are matched with the files they must not contain; 13, the
    /// length used for GPT-3 (Brown et al. 2020, appendix C). `None` does without.
    pub decontaminate: Option<usize>,
    /// How the instances of one task are compared.
    pub instances: Together,
}

/// How the instances of one task are compared with each other, once each was judged alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Together {
    /// Not at all.
    Any,
    /// An instance that repeats an earlier one falls; of those that share an input but not the output, all fall.
    /// Case and punctuation make no difference, and no input is an input like any other.
    Default,
    /// As released with Self-Instruct: when two instances have the same input, which is not empty, and different
    /// outputs, all instances of the task fall; of equal ones, one stays. Texts are compared exactly.
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
