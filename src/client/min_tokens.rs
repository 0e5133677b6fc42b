//! The least `max_tokens` that a server takes. A request for fewer tokens asks for that many, and
//! the answer is cut.

use crate::backend::{Completion, FinishReason};
use regex::Regex;
use std::sync::LazyLock;

/// No server requires more than this.
const MOST: u64 = 1024;

static UPPER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)at most|no more than|(?:less|smaller|lower) than|maximum|\bmax\b|too (?:large|high|big|many)|exceed|<|≤|up to")
        .expect("a fixed pattern")
});

static LOWER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)at least|n(?:o|ot be) (?:less|lower|smaller) than|(?:greater|larger|higher|bigger|more) than|or (?:more|greater|higher|above|larger)|\bbe above|too (?:small|low|few)|\bbelow\b|\bminimum\b|>|≥|\bbetween\b|\brange\b|\[\d+, ?\d+\]",
    )
    .expect("a fixed pattern")
});

static MORE_THAN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(?:(?:greater|larger|higher|bigger|more) than|\bbe above|>)\s*(\d+)")
        .expect("a fixed pattern")
});

static NUMBER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?-u:\b)[0-9]+(?-u:\b)").expect("a fixed pattern"));

/// Returns the least number of tokens that an error states, after fewer were `sent`.
pub fn stated(words: &str, sent: u64) -> Option<u64> {
    LOWER.is_match(words).then(|| guessed(words, sent)).flatten()
}

/// Returns the least number of tokens that an error may mean: a number in it that is larger than
/// the one `sent`.
pub fn guessed(words: &str, sent: u64) -> Option<u64> {
    if UPPER.is_match(words) && !LOWER.is_match(words) {
        return None;
    }
    let number = |digits: &str| digits.parse::<u64>().ok();
    let more_than = MORE_THAN.captures_iter(words);
    let more_than = more_than
        .filter_map(|found| number(&found[1]))
        .find(|n| *n >= sent);
    let numbers = NUMBER.find_iter(words).filter_map(|found| number(found.as_str()));
    let least = more_than.map(|n| n.saturating_add(1));
    least
        .or_else(|| numbers.filter(|n| *n > sent).min())
        .filter(|n| *n <= MOST)
}

/// Cuts the answer to a request that allowed more tokens: after `most_tokens` words, since no token
/// has more than one word in it.
pub fn cut(mut completion: Completion, most_tokens: usize) -> Completion {
    let mut words = 0;
    let mut in_word = false;
    let end = completion.text.char_indices().find(|(_, c)| {
        let begins = !c.is_whitespace() && !in_word;
        in_word = !c.is_whitespace();
        words += usize::from(begins);
        words > most_tokens
    });
    let end = end.map(|(at, _)| at);
    if let Some(end) = end {
        let kept = completion.text[..end].trim_end().len();
        completion.text.truncate(kept);
    }
    if end.is_some() || completion.completion_tokens > most_tokens {
        completion.finish_reason = FinishReason::Length;
    }
    completion
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_value_is_found_in_the_words() {
        for (words, least) in [
            ("max_tokens must be at least 16", Some(16)),
            ("max_tokens must be greater than or equal to 16", Some(16)),
            ("Input should be greater than 15", Some(16)),
            (
                "Invalid 'max_tokens': integer below minimum value. Expected a value >= 16, but got 4 instead.",
                Some(16),
            ),
            ("max_tokens must be > 8", Some(9)),
            ("max_tokens must be between 16 and 4096", Some(16)),
            ("the range of max_tokens is [10, 8192]", Some(10)),
            ("max_tokens must not be less than 16", Some(16)),
            ("max_tokens: 16 or more", Some(16)),
            ("max_tokens is too small (4), the minimum is 32", Some(32)),
            ("max_tokens must be at most 4096", None),
            ("max_tokens is too large: 4. This model supports at most 3", None),
            ("max_tokens must be less than or equal to 512", None),
            ("max_tokens must be at least 16000", None),
            ("max_tokens must be at least 1", None),
            ("max_tokens must be positive", None),
            ("max_tokens is unknown, see error 400", None),
        ] {
            assert_eq!(stated(words, 4), least, "{words}");
        }
        assert_eq!(guessed("max_tokens不能小于16", 4), Some(16));
        assert_eq!(guessed("max_tokens at most 512", 4), None);
    }

    #[test]
    fn what_was_asked_for_too_much_is_cut() {
        let answer = |text: &str, tokens: usize| Completion {
            text: text.to_string(),
            finish_reason: FinishReason::Stop,
            reasoning: String::new(),
            refusal: None,
            places: None,
            prompt_tokens: 1,
            completion_tokens: tokens,
        };
        for (text, tokens, kept, finish) in [
            (" No", 2, " No", FinishReason::Stop),
            (" No, it is not", 4, " No, it is not", FinishReason::Stop),
            (" No, it is not one.", 6, " No, it is not", FinishReason::Length),
            (
                " No, it is\n\nnot  one",
                0,
                " No, it is\n\nnot",
                FinishReason::Length,
            ),
            ("Unsegmented", 9, "Unsegmented", FinishReason::Length),
            ("", 0, "", FinishReason::Stop),
        ] {
            let cut = cut(answer(text, tokens), 4);
            assert_eq!((cut.text.as_str(), cut.finish_reason), (kept, finish), "{text}");
        }
    }
}
