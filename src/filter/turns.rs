//! Checks of a message that continues a conversation: whether it is its speaker's, and new.
//!
//! A follow-up need not refer to anything said before, and may be as short as "Why?": rules over
//! instructions are not asked about it.

use super::elimination::{leak, same_words};
use super::rules::shown;
use super::words::words;
use super::{Index, RougeL, Threshold};
use crate::task::{Reason, Verdict};
use regex::Regex;
use std::sync::LazyLock;

/// The reasons of these checks, in the order in which runs record them.
pub const REASONS: [Reason; 6] = [
    Reason::RoleConfusion,
    Reason::Echo,
    Reason::PromptLeak,
    Reason::RepeatedTurn,
    Reason::ClosingTurn,
    Reason::TooFewTurns,
];

/// The name of a speaker before a text, at the beginning of a line or behind a sentence.
static LABEL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?m)(?:^[ \t>*#]*|[.?!…][ \t]+\**)(?:AI|Assistant|ASSISTANT|Bot|Chatbot|ChatGPT|Human|HUMAN|User|USER)(?: \d+)?\**[ \t]*:",
    )
    .expect("a fixed pattern")
});
/// An answer that a user gives to a question of the same message.
static OWN_ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?mi)\?\s*^[ \t>*#]*(?:answer|response|reply|a)\**[ \t]*:").expect("a fixed pattern")
});
/// How an assistant begins to comply.
static COMPLIES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)^\W*(?:sure|certainly|of course|absolutely|gladly)\b\W*(?:here(?:'s| is| are)|i can\b|i'd\b|i'll\b|let me\b)")
        .expect("a fixed pattern")
});

/// What an assistant says, and a user does not.
const OF_ASSISTANTS: [&str; 20] = [
    "as an ai",
    "as a language model",
    "as a large language model",
    "as your assistant",
    "i'm an ai",
    "i am an ai",
    "i'm a language model",
    "i am a language model",
    "can i help you",
    "can i assist you",
    "may i help you",
    "may i assist you",
    "can i do for you",
    "may i do for you",
    "anything else i can",
    "i'd be happy to help",
    "i would be happy to help",
    "i'm happy to help",
    "you're welcome",
    "if you have any other questions",
];

/// What a user begins with, and an assistant does not. Further on it may be in a letter.
const OF_USERS: [&str; 16] = [
    "thanks for your help",
    "thank you for your help",
    "thanks for the help",
    "thank you for the help",
    "thanks for the answer",
    "thank you for the answer",
    "thanks for explaining",
    "thank you for explaining",
    "thank you for the explanation",
    "i have another question",
    "i have one more question",
    "my next question",
    "can you help me",
    "could you help me",
    "i'd like you to",
    "i want you to",
];

/// Words of messages that only end a conversation. One of the first group is in each of them.
const CLOSING: [&str; 36] = [
    "thanks",
    "thank",
    "thx",
    "thankyou",
    "ty",
    "cheers",
    "bye",
    "goodbye",
    "farewell",
    "great",
    "perfect",
    "excellent",
    "awesome",
    "wonderful",
    "nice",
    "cool",
    "good",
    "fine",
    "ok",
    "okay",
    "alright",
    "understood",
    "understand",
    "got",
    "helpful",
    "helps",
    "helped",
    "appreciate",
    "welcome",
    "danke",
    "merci",
    "gracias",
    "grazie",
    "obrigado",
    "obrigada",
    "clear",
];
/// Words that may be beside them.
const BESIDE_CLOSING: [&str; 58] = [
    "you",
    "a",
    "an",
    "so",
    "very",
    "much",
    "lot",
    "really",
    "it",
    "its",
    "that",
    "this",
    "s",
    "is",
    "was",
    "all",
    "now",
    "i",
    "m",
    "ve",
    "for",
    "the",
    "your",
    "help",
    "answer",
    "explanation",
    "information",
    "info",
    "reply",
    "advice",
    "to",
    "and",
    "have",
    "day",
    "one",
    "too",
    "me",
    "my",
    "makes",
    "sense",
    "see",
    "later",
    "again",
    "right",
    "job",
    "work",
    "know",
    "needed",
    "need",
    "everything",
    "what",
    "no",
    "more",
    "questions",
    "just",
    "am",
    "be",
    "will",
];

/// ROUGE-L F1 above which a message is a copy of one of the other speaker, who may well repeat its
/// words to say something else.
const COPIED: f64 = 0.9;
/// A text of fewer words is a copy only as it is: of five, one other word may be all that matters.
const FEWEST_COPIED: usize = 8;

/// What a conversation says before the message that is checked.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a> {
    /// The messages of the user.
    pub questions: &'a [String],
    /// The answers.
    pub answers: &'a [String],
    /// What the prompt shows as examples.
    pub examples: &'a [String],
}

impl Said<'_> {
    /// All of it as one text.
    fn text(&self) -> String {
        let both = self.questions.iter().chain(self.answers);
        both.map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Checks a message of the user, which repeats an earlier one if their ROUGE-L F1 is above `most`.
pub fn check_question(text: &str, said: Said<'_>, most: f64) -> Verdict {
    if !text.chars().any(char::is_alphanumeric) {
        return Verdict::rejected(Reason::Empty, shown(text));
    }
    if is_closing(text) {
        return Verdict::rejected(Reason::ClosingTurn, shown(text));
    }
    let straight = straight(text);
    let of_assistant = label(text, said)
        .or_else(|| found(&OWN_ANSWER, text))
        .or_else(|| found(&COMPLIES, &straight))
        .or_else(|| leak(&straight, &self::straight(&said.text()), &OF_ASSISTANTS).map(quoted))
        .or_else(|| {
            let answered = said.answers.iter().any(|answer| is_copy(answer, text));
            answered.then(|| "the words of an answer".to_owned())
        });
    match of_assistant {
        Some(found) => Verdict::rejected(Reason::RoleConfusion, found),
        None => check_new(text, said.questions, said.examples, most),
    }
}

/// Checks an answer, which repeats an earlier one if their ROUGE-L F1 is above `most`.
pub fn check_answer(text: &str, said: Said<'_>, most: f64) -> Verdict {
    let of_user = label(text, said)
        .or_else(|| leak(&straight(head(text)), &straight(&said.text()), &OF_USERS).map(quoted))
        .or_else(|| is_thanks(text).then(|| shown(text)));
    let asked = said.questions.last().filter(|asked| is_copy(asked, text));
    match (of_user, asked) {
        (Some(found), _) => Verdict::rejected(Reason::RoleConfusion, found),
        (None, Some(asked)) => Verdict::rejected(Reason::Echo, shown(asked)),
        (None, None) => check_new(text, said.answers, said.examples, most),
    }
}

/// The name of a speaker within a message, unless an earlier one has some: then they are its
/// subject.
fn label(text: &str, said: Said<'_>) -> Option<String> {
    let label = found(&LABEL, text)?;
    (!LABEL.is_match(&said.text())).then_some(label)
}

fn found(pattern: &Regex, text: &str) -> Option<String> {
    pattern.find(text).map(|found| shown(found.as_str()))
}

fn quoted(marker: &str) -> String {
    format!("'{marker}'")
}

/// The beginning of a text.
fn head(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}

/// With straight apostrophes.
fn straight(text: &str) -> String {
    text.replace('’', "'")
}

/// Whether a message asks for nothing: it thanks, agrees or says goodbye.
fn is_closing(text: &str) -> bool {
    let words = words(text);
    let all = |of: &[&str]| words.iter().any(|word| of.contains(&word.as_str()));
    !text.contains(['?', '？'])
        && all(&CLOSING)
        && words
            .iter()
            .all(|word| CLOSING.contains(&word.as_str()) || BESIDE_CLOSING.contains(&word.as_str()))
}

/// Whether an answer only thanks, as the user may.
fn is_thanks(text: &str) -> bool {
    let first = words(text).into_iter().next();
    is_closing(text) && first.is_some_and(|word| word.starts_with("than") || word == "thx")
}

/// Rejects a text that is too similar to what its speaker said before, or to an example.
fn check_new(text: &str, earlier: &[String], examples: &[String], most: f64) -> Verdict {
    let like = |others: &[String], reason| {
        let (other, f1) = others.iter().find_map(|other| {
            let f1 = similarity(other, text).f1();
            (same_words(other, text) || f1 > most).then_some((other, f1))
        })?;
        let found = format!("ROUGE-L {f1:.3} with {}", shown(other));
        Some(Verdict::rejected(reason, found))
    };
    like(earlier, Reason::RepeatedTurn)
        .or_else(|| like(examples, Reason::PromptLeak))
        .unwrap_or_else(Verdict::accepted)
}

/// Whether a text has the words of another, or nearly all of at least so many.
fn is_copy(one: &str, other: &str) -> bool {
    same_words(one, other) || words(one).len() >= FEWEST_COPIED && similarity(one, other).f1() > COPIED
}

fn similarity(one: &str, other: &str) -> RougeL {
    let mut pair = Index::new(Threshold::SELF_INSTRUCT);
    pair.extend(&[one, other]);
    pair.score(0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    const QUESTION: &str = "Name three rivers of Europe and say where each of them ends.";
    const ANSWER: &str =
        "The Rhine ends in the North Sea, the Rhone in the Mediterranean, the Danube in the Black Sea.";

    const EXAMPLE: &str = "Make it more formal, please. My boss is invited too.";

    #[test]
    fn examples_of_the_prompt_are_nothing_new() {
        for text in [EXAMPLE, "make it more formal, please! My boss is invited, too"] {
            assert_eq!(of_user(text), Some(Reason::PromptLeak), "{text}");
            assert_eq!(of_assistant(text), Some(Reason::PromptLeak), "{text}");
        }
        assert_eq!(of_user("Make it shorter, please."), None);
    }

    fn of_user(text: &str) -> Option<Reason> {
        let (questions, answers) = (texts(&[QUESTION]), texts(&[ANSWER]));
        let said = Said {
            questions: &questions,
            answers: &answers,
            examples: &texts(&[EXAMPLE]),
        };
        check_question(text, said, 0.7).reason
    }

    fn of_assistant(text: &str) -> Option<Reason> {
        let (questions, answers) = (
            texts(&[QUESTION, "Which of them is the longest?"]),
            texts(&[ANSWER]),
        );
        let said = Said {
            questions: &questions,
            answers: &answers,
            examples: &texts(&[EXAMPLE]),
        };
        check_answer(text, said, 0.9).reason
    }

    #[test]
    fn follow_ups_may_be_short_and_about_anything() {
        for text in [
            "Why?",
            "And in Asia?",
            "Put them in alphabetical order.",
            "Thanks! And which of them is the longest?",
            "Great, now as a table.",
            "Is that all you know?",
            "How do I descale a kettle?",
            "That is not right: the Rhone does not end there.",
            "Here is a list of mine: Elbe, Oder. Add where they end.",
            "I work as an assistant in a school. How can I help my class with this?",
            "System: Linux. Does that matter?",
            "你能再举一个例子吗?",
        ] {
            assert_eq!(of_user(text), None, "{text}");
        }
    }

    #[test]
    fn a_user_does_not_speak_as_an_assistant() {
        for text in [
            "As an AI language model, I cannot travel.",
            "How can I help you today?",
            "You’re welcome! Let me know if you need more.",
            "Which is the longest? Assistant: The Danube.",
            "Which is the longest?\n**Assistant:** The Danube.",
            "Which is the longest?\nAnswer: The Danube.",
            "AI: The Danube.",
            "Sure! Here are three more rivers.",
            ANSWER,
        ] {
            assert_eq!(of_user(text), Some(Reason::RoleConfusion), "{text}");
        }
    }

    #[test]
    fn a_user_who_only_thanks_says_nothing_new() {
        for text in [
            "Thanks!",
            "Thank you so much, that was very helpful.",
            "Perfect.",
            "Ok, got it. Thanks for the explanation!",
            "Merci!",
            "Great, that is all I needed to know. Bye!",
        ] {
            assert_eq!(of_user(text), Some(Reason::ClosingTurn), "{text}");
        }
        for text in ["", "...", "!?"] {
            assert_eq!(of_user(text), Some(Reason::Empty), "{text}");
        }
    }

    #[test]
    fn an_answer_does_not_speak_as_the_user() {
        for text in [
            "Thanks!",
            "Thank you for the explanation. I have another question.",
            "The Danube.\nUser: And the shortest?",
            "Could you help me with my homework?",
            "The Danube. Human: And the shortest?",
        ] {
            assert_eq!(of_assistant(text), Some(Reason::RoleConfusion), "{text}");
        }
        for text in [
            "The Danube, with 2,850 kilometres.",
            "You are welcome.",
            "Thank you for asking: it is the Danube.",
            "Which of its sources do you count from?",
            "Dear neighbours, the river is rising, and there is little time left. Could you help me with the sandbags?",
        ] {
            assert_eq!(of_assistant(text), None, "{text}");
        }
    }

    #[test]
    fn the_same_again_is_no_turn() {
        assert_eq!(of_user(QUESTION), Some(Reason::RepeatedTurn));
        let nearly = "Name three rivers of Asia and say where each of them ends.";
        assert_eq!(of_user(nearly), Some(Reason::RepeatedTurn));
        assert_eq!(of_assistant(&ANSWER.to_uppercase()), Some(Reason::RepeatedTurn));
        let changed = ANSWER.replace("Rhine", "Elbe").replace("Rhone", "Ebro");
        assert_eq!(of_assistant(&changed), None, "two words are other ones");
    }

    #[test]
    fn a_speaker_does_not_copy_the_other() {
        let with_a_word_less = ANSWER.replace("Black ", "");
        assert_eq!(of_user(&with_a_word_less), Some(Reason::RoleConfusion));
        assert_eq!(of_assistant("which of them is the longest"), Some(Reason::Echo));
        assert_eq!(
            of_assistant("Which of them is the shortest?"),
            None,
            "one word is another one"
        );
        assert_eq!(of_user("What can I do for you?"), Some(Reason::RoleConfusion));
        let question = texts(&["What is said of the lamp in the second of the three letters to him?"]);
        let said = Said {
            questions: &question,
            answers: &[],
            examples: &[],
        };
        let echo = "What is said of the lamp in the second of the three letters";
        assert_eq!(check_answer(echo, said, 0.9).reason, Some(Reason::Echo));
    }

    #[test]
    fn names_of_speakers_may_be_the_subject() {
        let (questions, answers) = (texts(&["Continue.\nUser: hello"]), texts(&["Assistant: hi"]));
        let said = Said {
            questions: &questions,
            answers: &answers,
            examples: &[],
        };
        assert_eq!(check_question("Go on.\nUser: bye now", said, 0.7).reason, None);
        assert_eq!(check_answer("Assistant: see you", said, 0.9).reason, None);
    }

    #[test]
    fn hostile_texts_cost_little() {
        for text in [
            "Thanks ".repeat(100_000),
            "? ".repeat(200_000),
            "> ".repeat(200_000),
        ] {
            of_user(&text);
            of_assistant(&text);
        }
    }
}
