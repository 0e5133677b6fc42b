//! The check on real text: the documentation of ewe, as documents.

use std::path::Path;

use super::*;
use crate::documents::passage::{self, Cut};
use crate::documents::plain;
use crate::task::Reason;

const LIMITS: Limits = Limits {
    support: 0.6,
    copied: Some(25),
    names_of_instruction: true,
};

const PASSAGE: &str = "The server waits 20 seconds before it closes a connection, and keeps 10 files open. Ada Byron wrote \
    the first version in 1998.";

fn reason(instruction: &str, answer: &str) -> Option<Reason> {
    check(&Source::new(&[PASSAGE]), instruction, answer, &LIMITS).reason
}

#[test]
fn answers_are_compared_with_their_passage() {
    let ungrounded = Some(Reason::Ungrounded);
    let question = "How long does the server wait?";
    assert_eq!(
        reason(
            question,
            "It waits for twenty seconds before closing the connection."
        ),
        None
    );
    assert_eq!(reason(question, "It waits for 30 seconds."), ungrounded);
    // There is a 10, but not of seconds.
    assert_eq!(reason("What is kept?", "Ten files are kept open."), None);
    assert_eq!(reason("Who wrote it?", "It was written by Ada Byron."), None);
    assert_eq!(
        reason("Who wrote it?", "It was written by Grace Hopper."),
        ungrounded
    );
    assert_eq!(
        reason("Who wrote it?", "Bananas ripen quickly in warm rooms."),
        ungrounded
    );
    assert_eq!(reason("Who in Paris wrote it?", "Ada Byron."), ungrounded);
    assert_eq!(
        reason(question, PASSAGE),
        None,
        "{} words",
        longest_copy(&Source::new(&[PASSAGE]), PASSAGE)
    );
    let long = format!("{PASSAGE} {PASSAGE}");
    let verdict = check(&Source::new(&[&long]), question, &long, &LIMITS);
    assert_eq!(verdict.reason, Some(Reason::CopiesPassage));
}

#[test]
fn questions_that_the_passage_answers_are_found() {
    let source = Source::new(&[PASSAGE]);
    assert!(is_in_passage(
        &source,
        "How long does the server wait?",
        "20 seconds"
    ));
    assert!(!is_in_passage(
        &source,
        "Where was the server built?",
        "In Geneva, by a team of physicists"
    ));
    assert!(!is_in_passage(
        &source,
        "Where was the server built?",
        "The text does not say."
    ));
    assert!(is_about(&source, "Describe how the server closes connections."));
    assert!(!is_about(&source, "Write a poem about spring."));
}

/// Passages of the documentation, and sentences of them with a number: whole ones, of prose.
fn sentences() -> Vec<(String, String)> {
    prose(|word| !word.is_empty() && word.len() < 8 && word.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Passages of the documentation, and up to two sentences of each that have such a word.
fn prose(has: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut files: Vec<_> = [docs.clone(), docs.join("design"), docs.join("tutorials")]
        .iter()
        .flat_map(|folder| {
            std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        })
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .collect();
    files.sort();
    let cut = Cut {
        tokens: 300,
        overlap: 0,
    };
    let mut found = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        for passage in passage::cut(&plain::markdown(&text), &cut) {
            let flat = passage.text.split_whitespace().collect::<Vec<_>>().join(" ");
            let chosen = flat.split_inclusive(". ").filter(|sentence| {
                let words = sentence.split_whitespace().count();
                let bare = |word: &str| has(word.trim_matches(|c: char| !c.is_alphanumeric()));
                (8..=40).contains(&words)
                    && sentence.split_whitespace().any(bare)
                    && sentence.ends_with(". ")
                    && !sentence.contains(['`', '|', '#'])
            });
            found.extend(
                chosen
                    .take(2)
                    .map(|sentence| (passage.text.clone(), sentence.trim().to_string())),
            );
        }
    }
    found
}

/// The sentence with its first plain number changed, and in other words at its beginning.
fn falsified(sentence: &str, step: u64) -> String {
    let mut done = false;
    let words = sentence.split(' ').map(|word| {
        let digits = word.trim_matches(|c: char| !c.is_alphanumeric());
        if done || digits.is_empty() || digits.len() >= 8 || !digits.bytes().all(|byte| byte.is_ascii_digit())
        {
            return word.to_string();
        }
        done = true;
        let number: u64 = digits.parse().unwrap();
        word.replace(digits, &(number + step).to_string())
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Sentences of prose with a negation that is not their first word, each with its passage, and
/// without the negation.
fn denied() -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    for (passage, sentence) in prose(|word| ["not", "never", "cannot"].contains(&word)) {
        let mut removed = false;
        let words = sentence.split(' ').filter_map(|word| match word {
            "not" | "never" if !removed => {
                removed = true;
                None
            }
            "cannot" if !removed => {
                removed = true;
                Some("can")
            }
            _ => Some(word),
        });
        let without = words.collect::<Vec<_>>().join(" ");
        if without != sentence {
            found.push((passage, sentence, without));
        }
    }
    found
}

#[test]
fn planted_negations_are_found_and_true_denials_stay() {
    let limits = Limits {
        copied: None,
        ..LIMITS
    };
    let all = denied();
    assert!(all.len() >= 100, "{}", all.len());
    let is_lost = |passage: &str, answer: &str| {
        check(&Source::new(&[passage]), "What is said of it?", answer, &limits).is_rejected()
    };
    let missed: Vec<&String> = all
        .iter()
        .filter(|(passage, _, without)| !is_lost(passage, without))
        .map(|(_, _, without)| without)
        .collect();
    let lost = all
        .iter()
        .filter(|(passage, sentence, _)| is_lost(passage, sentence))
        .count();
    println!(
        "{} of {} missed, {lost} lost: {missed:#?}",
        missed.len(),
        all.len()
    );
    assert!(
        missed.len() * 20 <= all.len(),
        "{} of {}",
        missed.len(),
        all.len()
    );
    assert!(lost * 20 <= all.len(), "{lost} of {}", all.len());
}

#[test]
fn planted_falsehoods_are_found_and_true_answers_stay() {
    let limits = Limits {
        copied: None,
        ..LIMITS
    };
    let true_ones = sentences();
    assert!(true_ones.len() >= 100, "{}", true_ones.len());
    let (mut planted, mut found, mut lost) = (0, 0, 0);
    for (passage, sentence) in &true_ones {
        let source = Source::new(&[passage]);
        if check(&source, "What does the text say about it?", sentence, &limits).is_rejected() {
            lost += 1;
        }
        for step in [1, 7] {
            if planted < 200 {
                planted += 1;
                let answer = falsified(sentence, step);
                assert_ne!(&answer, sentence);
                let verdict = check(&source, "What does the text say about it?", &answer, &limits);
                if verdict.reason == Some(Reason::Ungrounded) {
                    found += 1;
                } else {
                    println!("missed: {answer}");
                }
            }
        }
    }
    let all = true_ones.len();
    println!("{found} of {planted} planted falsehoods found, {lost} of {all} true answers lost");
    assert_eq!(planted, 200);
    assert!(found >= 190, "{found} of {planted} falsehoods were found");
    assert!(lost * 20 <= all, "{lost} of {all} true answers were lost");
}
