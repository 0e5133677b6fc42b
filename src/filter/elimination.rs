//! The elimination step of Evol-Instruct (Xu et al. 2023, section 3.2), which its released code
//! lacks: further checks of a task that was rewritten from another one.
//!
//! Whether the two ask for the same in other words is a question for a model. All other checks are
//! here.

use super::words::{each_word, units, words};
use super::{Index, Threshold};
use crate::task::{Reason, Verdict};

/// The reasons of this step, in the order in which runs record them.
pub const REASONS: [Reason; 5] = [
    Reason::NoGain,
    Reason::UnclearEquality,
    Reason::PromptLeak,
    Reason::Unanswerable,
    Reason::NoContent,
];

/// Words that may precede the apology at the beginning of a refusal, as in "I am very sorry". The
/// published test finds the apology anywhere, and so also rejects a letter with "Dear Ann, I am
/// sorry to hear" and a story in which "he was sorry".
const BEFORE_APOLOGY: [&str; 13] = [
    "i", "am", "m", "we", "are", "re", "very", "so", "really", "oh", "but", "and", "no",
];

/// Words of tasks about apologies. Their answers may well begin with one.
const APOLOGETIC: [&str; 7] = [
    "sorry",
    "apolog",
    "regret",
    "refus",
    "declin",
    "excuse",
    "condolence",
];

/// English words that carry no meaning of their own. Words that can answer a question alone, such
/// as "yes", "both" and "never", are not among them.
pub(super) const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "again", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
    "been", "before", "being", "but", "by", "can", "could", "d", "did", "do", "does", "doing", "during",
    "for", "from", "further", "had", "has", "have", "having", "her", "here", "hers", "him", "his", "how",
    "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "may", "me", "might", "must", "my", "of",
    "on", "or", "our", "ours", "re", "s", "shall", "should", "so", "some", "such", "t", "than", "that",
    "the", "their", "theirs", "them", "then", "there", "these", "this", "those", "through", "to", "too",
    "until", "ve", "very", "was", "were", "what", "when", "where", "which", "while", "who", "whom", "whose",
    "why", "will", "with", "would", "you", "your", "yours",
];

/// Whether two texts have the same words in the same order. Then nothing was gained, and no model
/// has to be asked.
pub fn same_words(task: &str, other: &str) -> bool {
    units(task) == units(other)
}

/// The first of the lower-case `markers` that is in `text` but not in its parent.
pub fn leak<'a>(text: &str, parent: &str, markers: &[&'a str]) -> Option<&'a str> {
    let (text, parent) = (text.to_lowercase(), parent.to_lowercase());
    let found = markers
        .iter()
        .find(|marker| text.contains(**marker) && !parent.contains(**marker));
    found.copied()
}

/// The first of the texts that a prompt shows as examples that `text` is a near-duplicate of, as
/// people are told.
pub fn example(text: &str, shown: impl Iterator<Item = &'static str>) -> Option<String> {
    let shown: Vec<&str> = shown.collect();
    let mut examples = Index::new(Threshold::SELF_INSTRUCT);
    examples.extend(&shown);
    let found = examples.duplicate(text, shown.len())?;
    Some(format!("an example of the prompt: '{}'", shown[found.position]))
}

/// Rejects an answer that is a refusal of fewer than `refusal_words` words, or that says nothing.
/// The label of a classification task may be any word.
pub fn check_answer(
    instruction: &str,
    is_classification: bool,
    output: &str,
    refusal_words: usize,
) -> Verdict {
    let rejected = |reason| Verdict::rejected(reason, super::rules::shown(output));
    if is_refusal(instruction, output, refusal_words) {
        rejected(Reason::Unanswerable)
    } else if !is_classification && says_nothing(output) {
        rejected(Reason::NoContent)
    } else {
        Verdict::accepted()
    }
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

/// Whether a text has only function words, white space, and signs that end, join or quote. Other
/// signs, such as an operator or an emoji, may be the answer.
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

    fn reason(instruction: &str, output: &str) -> Option<Reason> {
        check_answer(instruction, false, output, 80).reason
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
            assert_eq!(reason(task, output), Some(Reason::Unanswerable), "{output}");
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
            assert_eq!(reason(task, output), Some(Reason::NoContent), "{output}");
        }
        for output in ["No.", "both", "42", "+", "🙂", "It is red.", "是", "she", "x"] {
            assert_eq!(reason(task, output), None, "{output}");
        }
        assert_eq!(check_answer(task, true, "what", 80), Verdict::accepted());
    }
}
