//! A judge's reply to [`crate::prompt::compare`], read strictly: what is unclear is not guessed.

use std::sync::LazyLock;

use regex::Regex;

use super::verdict::Reply;
use crate::backend::FinishReason;
use crate::choice::{self, ChoicePlace, NoLikelihood};

/// The whole first line: a letter or `tie`, with the label, Markdown, brackets or a full stop
/// around it.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"^(?i)[\s*_#>`"'\[(]*(?:better[\s*_`]*[:=])?[\s*_`"'\[(]*(?:answer\s+)?(a|b|tie)[\s*_`"'\])]*[.!]?[\s*_`"'\])]*$"#,
    )
    .expect("a fixed pattern")
});

/// The words that a reply may be.
pub const WORDS: [&str; 3] = ["A", "B", "tie"];

/// Reads a reply by how likely each word was in its place: with half of the probability of a tie,
/// that of the answer shown second.
///
/// # Errors
///
/// Says why it is not clear: the reply itself, or its likelihood.
pub fn likelihood(
    text: &str,
    finish: FinishReason,
    places: Option<&[ChoicePlace]>,
) -> Result<Result<f64, NoLikelihood>, String> {
    read(text, finish)?;
    let line = text.trim().lines().next().unwrap_or_default();
    let word = LINE.captures(line).and_then(|found| found.get(1));
    let before = line.as_ptr() as usize - text.as_ptr() as usize;
    let at = before + word.map_or(0, |word| word.start());
    let place = match choice::place_at(places, at) {
        Ok(place) => place,
        Err(why) => return Ok(Err(why)),
    };
    let shares = place.shares().ok_or(NoLikelihood::NoToken);
    Ok(shares.map(|shares| shares[1] + shares[2] / 2.0))
}

/// Reads a reply.
///
/// # Errors
///
/// Says why it is not clear.
pub fn read(text: &str, finish: FinishReason) -> Result<Reply, String> {
    let line = text.trim().lines().next().unwrap_or_default();
    let found = LINE
        .captures(line)
        .ok_or_else(|| format!("it is neither A nor B nor tie: {}", shown(line)))?;
    if finish == FinishReason::Length && text.trim() == line {
        return Err(format!("it was cut off: {}", shown(line)));
    }
    Ok(match found[1].to_ascii_lowercase().as_str() {
        "a" => Reply::First,
        "b" => Reply::Second,
        _ => Reply::Tie,
    })
}

/// The beginning of a line, in quotes.
fn shown(line: &str) -> String {
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("'{}…'", &line[..end]),
        None => format!("'{line}'"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_ties_are_read_in_the_forms_that_models_use() {
        for (text, reply) in [
            (" A", Reply::First),
            ("B\n", Reply::Second),
            (" tie\n\nInstruction", Reply::Tie),
            ("Tie.", Reply::Tie),
            ("Better: A", Reply::First),
            ("**Better:** B", Reply::Second),
            ("**B**", Reply::Second),
            ("[[A]]", Reply::First),
            ("Answer B", Reply::Second),
            ("\n\nA\nBecause it is right.", Reply::First),
            ("b", Reply::Second),
            ("`A`.", Reply::First),
            ("\"B.\"", Reply::Second),
        ] {
            assert_eq!(read(text, FinishReason::Stop), Ok(reply), "{text}");
        }
    }

    #[test]
    fn the_likelihood_is_that_of_the_word_s_place() {
        let place = |at| ChoicePlace {
            at,
            p: vec![0.2, 0.4, 0.2],
        };
        let places = [place(0), place(10)];
        let text = "\nBetter: **B**";
        let places = [&places[..], &[place(text.find('B').unwrap())], &[place(11)]].concat();
        let read = likelihood(text, FinishReason::Stop, Some(&places)).unwrap();
        assert!((read.unwrap() - 0.625).abs() < 1e-12);
        let none = likelihood(text, FinishReason::Stop, None).unwrap();
        assert_eq!(none, Err(NoLikelihood::NotTold));
        let elsewhere = likelihood(" B", FinishReason::Stop, Some(&[place(0)])).unwrap();
        assert_eq!(elsewhere, Err(NoLikelihood::NoToken));
        assert!(likelihood("both", FinishReason::Stop, Some(&places)).is_err());
    }

    #[test]
    fn what_is_unclear_is_not_guessed() {
        for text in [
            "",
            "\n",
            "C",
            "A or B",
            "A, B",
            "AB",
            "A is better",
            "Both",
            "It is a tie",
            "I think A",
            "Better:",
            "A better answer would be",
            "1",
            "neither",
            "As an assistant",
            "B+",
        ] {
            assert!(read(text, FinishReason::Stop).is_err(), "{text}");
        }
        assert!(read("A", FinishReason::Length).is_err());
        assert!(read("A\nBecause", FinishReason::Length).is_ok());
        let long = read(&"é".repeat(1000), FinishReason::Stop).unwrap_err();
        assert!(long.chars().count() < 120, "{long}");
    }
}
