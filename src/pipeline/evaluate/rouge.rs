//! ROUGE-L with stemming: the words of a suite, and the filter's longest common subsequence.

use std::collections::HashMap;

use crate::filter::RougeL;
use crate::filter::lcs::LcsPattern;
use crate::suite::words::StemmedWords;

/// Returns ROUGE-L F1 of two texts as Google's `rouge_score` does with `use_stemmer=True`, from 0
/// to 1. Of long texts it is a lower bound ([`StemmedWords::is_cut`]).
pub fn rouge_l(answer: &StemmedWords, reference: &StemmedWords) -> f64 {
    let mut numbers: HashMap<&str, u32> = HashMap::new();
    let (answer_words, reference_words) = (encode(answer, &mut numbers), encode(reference, &mut numbers));
    let mut pattern = LcsPattern::default();
    pattern.set(&reference_words);
    let lcs = pattern.lcs(&answer_words, 0).unwrap_or(0);
    let total = (answer.count + reference.count).min(u32::MAX as usize) as u32;
    RougeL { lcs, total }.f1()
}

/// Returns the best ROUGE-L F1 of an answer with several references.
pub fn best(answer: &StemmedWords, references: &[String]) -> f64 {
    references
        .iter()
        .map(|reference| rouge_l(answer, &StemmedWords::of(reference)))
        .fold(0.0, f64::max)
}

/// The words as numbers, equal if the words are.
fn encode<'a>(words: &'a StemmedWords, numbers: &mut HashMap<&'a str, u32>) -> Vec<u32> {
    let number = |word: &'a String| {
        let next = numbers.len() as u32;
        *numbers.entry(word.as_str()).or_insert(next)
    };
    words.compared.iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(answer: &str, reference: &str) -> f64 {
        rouge_l(&StemmedWords::of(answer), &StemmedWords::of(reference))
    }

    #[test]
    fn stems_count_and_the_best_reference() {
        assert_eq!(
            score("The runner was running", "runs the running"),
            2.0 / 7.0 * 2.0
        );
        assert_eq!(score("", ""), 0.0);
        assert_eq!(score("…", "a"), 0.0);
        let references = ["b".to_owned(), "Cats!".to_owned()];
        assert_eq!(best(&StemmedWords::of("cat"), &references), 1.0);
        assert_eq!(best(&StemmedWords::of("dogs"), &references), 0.0);
        assert_eq!(best(&StemmedWords::of("cats"), &[]), 0.0);
    }

    /// Ten megabytes, in a moment; all its words count against it.
    #[test]
    fn a_huge_answer_is_scored_in_bounded_time() {
        let answer = StemmedWords::of(&"never ending ".repeat(800_000));
        let reference = StemmedWords::of(&"never ending ".repeat(100));
        let score = rouge_l(&answer, &reference);
        assert!(answer.is_cut() && score > 0.0 && score < 0.001, "{score}");
    }
}
