//! How likely a model finds each of the words that its answer may name, such as the scores of a
//! judge. The words are read from the text; this adds what the model would have said as well, from
//! the logprobs in the place of the word (G-Eval, Liu et al. 2023, [arXiv
//! 2303.16634](https://arxiv.org/abs/2303.16634)).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many of the likeliest tokens are asked for in each place: the most that OpenAI's API has.
pub const LIKELIEST: usize = 20;

/// The most places of one answer that are kept: reasoning may name many numbers.
const MOST_PLACES: usize = 256;

/// The longest answer whose tokens are looked at, in bytes.
const LONGEST: usize = 1 << 20;
/// By how many of its bytes a text is found among its tokens.
const MOST_COMPARED: usize = 256;

/// By what a judge's verdict is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum JudgedBy {
    /// by the score or letter that the judge writes
    #[default]
    Text,
    /// by the probabilities of all scores or letters in its place, which needs logprobs
    Likelihood,
}

impl JudgedBy {
    /// The word in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            JudgedBy::Text => "text",
            JudgedBy::Likelihood => "likelihood",
        }
    }

    /// Returns what [`crate::backend::Sampling::choices`] is for these words: nothing unless their
    /// likelihood is asked for.
    pub fn choices(self, words: &[&str]) -> Vec<String> {
        match self {
            JudgedBy::Text => Vec::new(),
            JudgedBy::Likelihood => words.iter().map(|&word| word.to_owned()).collect(),
        }
    }
}

impl FromStr for JudgedBy {
    type Err = String;

    fn from_str(word: &str) -> Result<JudgedBy, String> {
        [JudgedBy::Text, JudgedBy::Likelihood]
            .into_iter()
            .find(|by| by.as_str() == word)
            .ok_or_else(|| format!("unknown way to judge `{word}`: one of text, likelihood"))
    }
}

/// A token of an answer, as a server or the engine reports it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReportedToken {
    /// Its text; with replacement characters where it is a part of a character.
    pub text: String,
    /// Its own logprob, and then those of the likeliest in its place; one may be listed twice.
    pub likeliest: Vec<(String, f64)>,
}

/// A place of an answer where one of the words stands, and how likely each of them was there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoicePlace {
    /// Where the word begins, in bytes of the answer's text.
    pub at: usize,
    /// The probability of each word, in their order, rounded to 1e-9; 0 if it is not among the
    /// likeliest. Their sum is at most 1.
    pub p: Vec<f64>,
}

impl ChoicePlace {
    /// Returns the probabilities as shares of their sum, or none if all are 0.
    pub fn shares(&self) -> Option<Vec<f64>> {
        let sum: f64 = self.p.iter().sum();
        (sum > 0.0).then(|| self.p.iter().map(|p| p / sum).collect())
    }
}

/// Returns the places of `text`, the answer that `tokens` spell, where one of `words` stands.
/// Tokens may have more before and behind the text: reasoning, and what ended the answer.
pub fn places(text: &str, tokens: &[ReportedToken], words: &[String]) -> Vec<ChoicePlace> {
    let spelled: String = tokens.iter().map(|token| token.text.as_str()).collect();
    let Some((from, agreed)) = within(text, &spelled) else {
        return Vec::new();
    };
    let indent = text.len() - text.trim_start().len();
    let mut places = Vec::new();
    let mut begin = 0;
    for token in tokens {
        let word = token.text.trim_start();
        let at = begin + token.text.len() - word.len();
        begin += token.text.len();
        let is_inside = at >= from && begin <= from + agreed;
        if is_inside && words.iter().any(|choice| begins(word, choice)) {
            places.push(ChoicePlace {
                at: at - from + indent,
                p: words.iter().map(|choice| probability(token, choice)).collect(),
            });
        }
    }
    let before = places.len().saturating_sub(MOST_PLACES);
    places.split_off(before)
}

/// Where `text` without white space before it begins in what the tokens spell, and how many bytes
/// agree. Characters of several tokens may be spelled otherwise, so the place that agrees longest
/// counts, and of equal ones the last.
fn within(text: &str, spelled: &str) -> Option<(usize, usize)> {
    let text = text.trim_start();
    let first = text.chars().next()?;
    if spelled.len() > LONGEST {
        return None;
    }
    let agreed = |at: usize, most: usize| {
        let both = spelled[at..].bytes().zip(text.bytes().take(most));
        both.take_while(|(one, other)| one == other).count()
    };
    let places = spelled.match_indices(first);
    let (at, _) = places.max_by_key(|&(at, _)| agreed(at, MOST_COMPARED))?;
    Some((at, agreed(at, text.len())))
}

/// Whether a token is a word, or the beginning of one of several letters.
fn begins(token: &str, word: &str) -> bool {
    let token = token.trim();
    let is_head = |head: &str| head.eq_ignore_ascii_case(token);
    !token.is_empty() && word.get(..token.len()).is_some_and(is_head)
}

/// The probability of a word in the place of a token, with and without space before it.
fn probability(token: &ReportedToken, word: &str) -> f64 {
    let mut seen: Vec<&str> = Vec::new();
    let mut sum = 0.0;
    for (text, logprob) in &token.likeliest {
        if begins(text, word) && !seen.contains(&text.as_str()) {
            seen.push(text);
            sum += logprob.exp();
        }
    }
    if !sum.is_finite() {
        return 0.0;
    }
    (sum.clamp(0.0, 1.0) * 1e9).round() / 1e9
}

/// Returns the place of the word at this byte of the text.
///
/// # Errors
///
/// Says what the model does not tell.
pub fn place_at(places: Option<&[ChoicePlace]>, at: usize) -> Result<&ChoicePlace, NoLikelihood> {
    let places = places.ok_or(NoLikelihood::NotTold)?;
    places
        .iter()
        .find(|place| place.at == at)
        .ok_or(NoLikelihood::NoToken)
}

/// Why there is no likelihood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLikelihood {
    /// The server has none for any answer.
    #[error("the server sends no logprobs with its answers\nhint: --by text reads what the judge writes")]
    NotTold,
    /// The word is a part of a token, or the tokens do not spell the text.
    #[error("the word that it answers with is no token of its own")]
    NoToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, likeliest: &[(&str, f64)]) -> ReportedToken {
        let all = likeliest.iter().map(|&(text, p)| (text.to_owned(), p.ln()));
        ReportedToken {
            text: text.to_owned(),
            likeliest: all.collect(),
        }
    }

    fn plain(text: &str) -> ReportedToken {
        token(text, &[(text, 0.9)])
    }

    fn words(all: &[&str]) -> Vec<String> {
        JudgedBy::Likelihood.choices(all)
    }

    #[test]
    fn the_probabilities_of_all_words_are_those_of_the_place_of_the_one_that_was_said() {
        let scores = words(&["1", "2", "3", "4", "5"]);
        let said = token(
            " 4",
            &[
                (" 4", 0.5),
                (" 3", 0.2),
                ("4", 0.1),
                (" 4", 0.5),
                (" five", 0.1),
                (" 45", 0.05),
            ],
        );
        let tokens = [
            plain(" Score"),
            plain(":"),
            said.clone(),
            plain("\nReason: 2 of"),
            plain(" 3"),
        ];
        let text = " Score: 4\nReason: 2 of 3";
        let found = places(text, &tokens, &scores);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].at, text.find('4').unwrap());
        assert_eq!(found[0].p, [0.0, 0.0, 0.2, 0.6, 0.0]);
        let shares = found[0].shares().unwrap();
        assert!((shares[3] - 0.75).abs() < 1e-12, "{shares:?}");
        assert_eq!(found[1].at, text.rfind('3').unwrap());
        // With reasoning before it, and the end of the answer behind it.
        let more: Vec<ReportedToken> = [plain("<think>4"), plain("</think>"), plain("\n")]
            .into_iter()
            .chain([said, plain("<|im_end|>")])
            .collect();
        assert_eq!(places("4", &more, &scores)[0].p, [0.0, 0.0, 0.2, 0.6, 0.0]);
        assert_eq!(places(" 4", &more, &scores)[0].at, 1);
    }

    #[test]
    fn a_word_of_several_tokens_is_known_by_its_first() {
        let verdicts = words(&["A", "B", "tie"]);
        let said = token(" t", &[(" t", 0.5), (" A", 0.25), ("a", 0.125), (" the", 0.1)]);
        let found = places(" tie", &[said, plain("ie")], &verdicts);
        assert_eq!(found[0].p, [0.375, 0.0, 0.5]);
        assert_eq!(found[0].at, 1);
    }

    #[test]
    fn broken_characters_behind_the_word_do_no_harm() {
        let scores = words(&["1", "2"]);
        let tokens = [plain("2"), plain(" \u{fffd}"), plain("\u{fffd}"), plain(" 1")];
        let found = places("2 é 1", &tokens, &scores);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].at, 0);
    }

    #[test]
    fn what_is_not_told_is_said() {
        let scores = words(&["1", "2"]);
        assert!(places("", &[plain("2")], &scores).is_empty());
        assert!(places("2", &[], &scores).is_empty());
        assert!(places("12", &[plain("12")], &scores).is_empty());
        assert_eq!(place_at(None, 0), Err(NoLikelihood::NotTold));
        assert_eq!(place_at(Some(&[]), 0), Err(NoLikelihood::NoToken));
        let hostile = token("2", &[("2", 1e308), ("1", f64::NAN)]);
        assert_eq!(places("2", &[hostile], &scores)[0].p, [0.0, 1.0]);
        let odd = ReportedToken {
            text: "2".to_owned(),
            likeliest: Vec::new(),
        };
        assert_eq!(places("2", &[odd], &scores)[0].shares(), None);
    }
}
