//! Parses a judge's answer: a score from 1 to 5, and a reason. Only the continuation is read, never
//! the prompt, and an unclear score is not guessed.

use crate::backend::FinishReason;
use regex::Regex;
use std::sync::LazyLock;

/// Characters of a reason that are kept.
const LONGEST_REASON: usize = 2000;

/// A parsed answer of a judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedJudgment {
    /// From 1 to 5.
    pub score: u8,
    /// Where its digit stands, in bytes of the answer.
    pub at: usize,
    /// The reason on one line; may be empty.
    pub reason: String,
}

/// The label of the score, if the model repeats it, with Markdown around it; then a number.
static START: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^(?i:[\s*_#>`"']*(?:score[\s*_`]*[:=]?[\s*_`]*)?)([0-9]+(?:[.,][0-9]+)?)"#)
        .expect("a fixed pattern")
});

/// The scale after a score, such as `/5`.
static SCALE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[ *_]*(?i:/|out of)[ *_]*([0-9]+(?:[.,][0-9]+)?)").expect("a fixed pattern")
});

/// The rest of a score's line: nothing, the reason with its label, or a sign and words without a
/// number.
static REST: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"^(?:[\s*_.,;:!)\]`"'…–—-]*(?:(?i:reason)\b.*)?|\s*[.,;:)–—-][^0-9]*)$"#)
        .expect("a fixed pattern")
});

/// Signs and the label before the text of a reason.
static BEFORE_REASON: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\s*_.,;:!)\]`…–—-]*(?i:reason(?:ing)?[\s*_`]*[:=][\s*_`]*)?").expect("a fixed pattern")
});

/// A line that ends the reason: a blank one, or one with a label.
static NEXT_LABEL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\n\s*(?:\n|(?i:score|instruction|input|answer)\s*:)").expect("a fixed pattern")
});

/// Parses a continuation of [`crate::prompt::judge::prompt`].
///
/// # Errors
///
/// Says why there is no clear score.
pub fn read(text: &str, finish: FinishReason) -> Result<ParsedJudgment, String> {
    let shown = || {
        let line = text.trim().lines().next().unwrap_or_default();
        match line.char_indices().nth(80) {
            Some((end, _)) => format!("'{}…'", &line[..end]),
            None => format!("'{line}'"),
        }
    };
    let Some(found) = START.captures(text) else {
        return Err(format!("it does not begin with a score: {}", shown()));
    };
    let number = &found[1];
    let at = found.get(1).map_or(0, |number| number.start());
    let mut rest = &text[found[0].len()..];
    if let Some(scale) = SCALE.captures(rest) {
        if &scale[1] != "5" {
            return Err(format!("its score is out of {}, not 5: {}", &scale[1], shown()));
        }
        rest = &rest[scale[0].len()..];
    }
    if rest.is_empty() && finish == FinishReason::Length {
        return Err(format!("it ends in the score: {}", shown()));
    }
    let line = rest.lines().next().unwrap_or_default();
    if !REST.is_match(line) {
        return Err(format!(
            "what it says behind the number may change it: {}",
            shown()
        ));
    }
    let score = match number {
        "1" | "2" | "3" | "4" | "5" => number.as_bytes()[0] - b'0',
        _ => return Err(format!("{number} is no whole score from 1 to 5: {}", shown())),
    };
    Ok(ParsedJudgment {
        score,
        at,
        reason: reason(rest),
    })
}

fn reason(text: &str) -> String {
    let before = BEFORE_REASON.find(text).map_or(0, |found| found.end());
    let text = &text[before..];
    let text = NEXT_LABEL.find(text).map_or(text, |next| &text[..next.start()]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::judge::{REASON, SCORE};

    fn judged(text: &str) -> Result<(u8, String), String> {
        read(text, FinishReason::Stop).map(|parsed| (parsed.score, parsed.reason))
    }

    #[test]
    fn scores_are_read_in_the_forms_that_models_use() {
        for (text, score, reason) in [
            (" 4\nReason: It is right.", 4, "It is right."),
            ("Score: 4\nReason: It is right.", 4, "It is right."),
            ("4", 4, ""),
            (" 5 \n", 5, ""),
            ("Score: 4.", 4, ""),
            ("4/5", 4, ""),
            ("4 / 5\nReason: Short.", 4, "Short."),
            ("4 out of 5. Reason: Short.", 4, "Short."),
            (
                "**Score:** 2\n\n**Reason:** Too short\nby far.\n\nInstruction",
                2,
                "Too short by far.",
            ),
            ("**Score: 1/5**\n*Reason*: Nonsense.", 1, "Nonsense."),
            ("score = 3 reason: half", 3, "half"),
            ("3 - useful in part", 3, "useful in part"),
            ("3. Useful in part.\nScore: 5", 3, "Useful in part."),
            ("4\nThe answer is right.", 4, "The answer is right."),
            ("4\nReason: a\nScore: 1\nReason: b", 4, "a"),
            ("4\nReason: a\nInstruction:\n> x", 4, "a"),
            ("> 5", 5, ""),
        ] {
            assert_eq!(judged(text), Ok((score, reason.to_string())), "{text}");
        }
    }

    #[test]
    fn what_is_no_score_is_not_guessed() {
        for text in [
            "",
            " ",
            "\n",
            "4.5",
            "4,5",
            "10",
            "0",
            "6",
            "-3",
            "05",
            "4/10",
            "4 out of 10",
            "45",
            "4-5",
            "4 - 5",
            "4 to 5",
            "4 or 5",
            "4 stars",
            "4%",
            "four",
            "Reason: good\nScore: 4",
            "The answer is good.\nScore: 4",
            "Score:\nReason: none",
            "4th",
            "٤",
            "4e1",
            "1, 2, 3, 4, 5",
            "4, or rather 3",
            "5 is too much",
            "Score: N",
            "4/5/3",
        ] {
            assert!(judged(text).is_err(), "{text}");
        }
        assert!(read("1", FinishReason::Length).is_err());
        assert!(read("1\nReason: It is", FinishReason::Length).is_ok());
        let long = judged(&"x".repeat(1000)).unwrap_err();
        assert!(long.len() < 200, "{long}");
        assert_eq!(
            judged(&format!("3\n{}", "é".repeat(9000)))
                .unwrap()
                .1
                .chars()
                .count(),
            2000
        );
    }

    #[test]
    fn the_place_of_the_digit_is_told() {
        for text in [" 4\nReason: 4", "**Score: 4/5**", "4"] {
            let parsed = read(text, FinishReason::Stop).unwrap();
            assert_eq!(Some(parsed.at), text.find('4'), "{text}");
        }
    }

    #[test]
    fn the_worked_form_is_read() {
        let text = format!("{SCORE} 2\n{REASON} No.");
        assert_eq!(judged(&text), Ok((2, "No.".to_string())));
    }
}
