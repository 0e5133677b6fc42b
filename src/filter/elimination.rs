//! What speaks against a task that was made of another, beside what speaks against any task: the elimination step of
//! Evol-Instruct (Xu et al. 2023, section 3.2), which the released code lacks. Whether two tasks are the same in other
//! words, a model is asked; everything else is decided here.

use super::rules::Objection;
use super::words::{each_word, units, words};

/// Reason code of a task that says no more than the one it was made of.
pub const NO_GAIN: &str = "no_gain";
/// Reason code of a task of which nobody could say whether it is the same.
pub const UNCLEAR_EQUALITY: &str = "unclear_equality";
/// Reason code of a task in which there are words of the prompt that asked for it.
pub const PROMPT_LEAK: &str = "prompt_leak";
/// Reason code of an answer that declines: the task became too hard.
pub const UNANSWERABLE: &str = "unanswerable";
/// Reason code of an answer in which there are no words but function words.
pub const NO_CONTENT: &str = "no_content";
/// All of them.
pub const REASONS: [&str; 5] = [NO_GAIN, UNCLEAR_EQUALITY, PROMPT_LEAK, UNANSWERABLE, NO_CONTENT];

/// What may stand before the apology that a refusal begins with: "I am very sorry". The published test takes it anywhere,
/// and with that a letter that says "Dear Ann, I am sorry to hear", and a story in which "he was sorry".
const BEFORE_APOLOGY: [&str; 13] = [
    "i", "am", "m", "we", "are", "re", "very", "so", "really", "oh", "but", "and", "no",
];

/// Words of a task that is about apologies, whose answer may well begin with one.
const APOLOGETIC: [&str; 7] = [
    "sorry",
    "apolog",
    "regret",
    "refus",
    "declin",
    "excuse",
    "condolence",
];

/// Words that carry no meaning of their own, in English. Those that answer a question by themselves, such as "yes",
/// "both" or "never", are not among them.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "again", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "but", "by", "can", "could", "d", "did", "do", "does", "doing", "during",
    "for", "from", "further", "had", "has", "have", "having", "her", "here", "hers", "him", "his", "how",
    "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "may", "me", "might", "must", "my", "of",
    "on", "or", "our", "ours", "re", "s", "shall", "should", "so", "some", "such", "t", "than", "that",
    "the", "their", "theirs", "them", "then", "there", "these", "this", "those", "through", "to", "too",
    "until", "ve", "very", "was", "were", "what", "when", "where", "which", "while", "who", "whom", "whose",
    "why", "will", "with", "would", "you", "your", "yours",
];

/// Whether two texts have the same words in the same order: nothing was gained then, and no model need be asked.
pub fn same_words(task: &str, other: &str) -> bool {
    units(task) == units(other)
}

/// The first of the `markers`, in lower case, that is in `text` and not in the task that it was made of.
pub fn leak<'a>(text: &str, made_of: &str, markers: &[&'a str]) -> Option<&'a str> {
    let (text, made_of) = (text.to_lowercase(), made_of.to_lowercase());
    let found = markers
        .iter()
        .find(|marker| text.contains(**marker) && !made_of.contains(**marker));
    found.copied()
}

/// What speaks against an answer: that it is a refusal of fewer than `refusal_words` words, or that it says nothing.
/// A label of a classification task may be any word.
pub fn answer(
    instruction: &str,
    is_classification: bool,
    output: &str,
    refusal_words: usize,
) -> Option<Objection> {
    let objection = |reason, detail: &str| {
        Some(Objection {
            reason,
            detail: super::rules::shown(detail),
        })
    };
    if is_refusal(instruction, output, refusal_words) {
        return objection(UNANSWERABLE, output);
    }
    (!is_classification && says_nothing(output))
        .then(|| objection(NO_CONTENT, output))
        .flatten()
}

fn is_refusal(instruction: &str, output: &str, refusal_words: usize) -> bool {
    let instruction = instruction.to_lowercase();
    let words = words(output);
    words.len() < refusal_words
        && words
            .iter()
            .find(|word| !BEFORE_APOLOGY.contains(&word.as_str()))
            .is_some_and(|word| word == "sorry")
        && APOLOGETIC.iter().all(|about| !instruction.contains(about))
}

/// Nothing but function words, white space and signs that end, join or quote. Other signs, such as an operator or an
/// emoji, may be the answer.
fn says_nothing(output: &str) -> bool {
    let mut has_content = output.chars().any(|c| {
        !c.is_alphanumeric()
            && !c.is_whitespace()
            && !".,;:!?…-–—_'\"“”‘’«»()[]{}*#`|\u{200b}\u{feff}".contains(c)
    });
    each_word(output, |word| has_content |= !STOP_WORDS.contains(&word));
    !has_content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(instruction: &str, output: &str) -> Option<&'static str> {
        answer(instruction, false, output, 80).map(|objection| objection.reason)
    }

    #[test]
    fn the_same_words_are_no_gain() {
        assert!(same_words("Name a river.", "name a RIVER"));
        assert!(!same_words("Name a river.", "Name a river in Spain."));
        assert!(!same_words("写诗", "写信"));
    }

    #[test]
    fn words_of_the_prompt_are_found_unless_the_task_was_about_them() {
        let markers = ["harder task", "given prompt"];
        assert_eq!(
            leak("A Harder Task: add 2 and 2", "Add.", &markers),
            Some("harder task")
        );
        assert_eq!(
            leak("Shorten the given prompt.", "Shorten.", &markers),
            Some("given prompt")
        );
        assert_eq!(
            leak(
                "Shorten the given prompt by half.",
                "Rate the given prompt.",
                &markers
            ),
            None
        );
        assert_eq!(leak("Name a harder rock.", "Name a rock.", &markers), None);
    }

    #[test]
    fn short_apologies_are_refusals() {
        let task = "Prove it in three steps.";
        for output in [
            "Sorry, I cannot do that.",
            "I'm sorry, but there is no text.",
            "I am very sorry. No.",
        ] {
            assert_eq!(reason(task, output), Some(UNANSWERABLE), "{output}");
        }
        let long = format!("Sorry to say, {}", "it goes on and on. ".repeat(20));
        for output in [
            "Dear Ann, I am sorry to hear that.",
            "He was sorry to be late, and said so.",
            "It takes three steps.",
            &long,
        ] {
            assert_eq!(reason(task, output), None, "{output}");
        }
        assert_eq!(
            reason("Write an apology to a guest.", "Sorry that the soup was cold."),
            None
        );
    }

    #[test]
    fn function_words_and_signs_say_nothing() {
        let task = "Which of them is it?";
        for output in [
            "",
            "...",
            "- ",
            "It is the.",
            "\"and\" — or?",
            "***\n",
            "What is it?",
        ] {
            assert_eq!(reason(task, output), Some(NO_CONTENT), "{output}");
        }
        for output in ["No.", "both", "42", "+", "🙂", "It is red.", "是", "she", "x"] {
            assert_eq!(reason(task, output), None, "{output}");
        }
        assert_eq!(answer(task, true, "what", 80), None);
    }
}
