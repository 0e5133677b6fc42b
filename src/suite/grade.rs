//! A judge's grade, a reply to [`crate::prompt::rating`], read strictly: what is unclear is not
//! guessed.

use std::sync::LazyLock;

use regex::Regex;

use crate::backend::FinishReason;

/// The whole first line: a letter from A to D, with the label, Markdown, brackets or a full stop
/// around it.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r#"^[\s*_#>`"'\[(]*(?:(?i:grade|rating)[\s*_`]*[:=])?[\s*_`"'\[(]*([A-Da-d])[\s*_`"'\])]*[.!]?[\s*_`"'\])]*$"#,
    )
    .expect("a fixed pattern")
});

/// Reads a reply: 4 for A, 3 for B, 2 for C, 1 for D.
///
/// # Errors
///
/// Says why it is not clear.
pub fn read(text: &str, finish: FinishReason) -> Result<u8, String> {
    let line = text.trim().lines().next().unwrap_or_default();
    let shown = crate::text::one_line(line, 60);
    let found = LINE
        .captures(line)
        .ok_or_else(|| format!("it is no grade from A to D: '{shown}'"))?;
    if finish == FinishReason::Length && text.trim() == line {
        return Err(format!("it was cut off: '{shown}'"));
    }
    Ok(4 - (found[1].to_ascii_uppercase().as_bytes()[0] - b'A'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_are_read_in_the_forms_that_models_use() {
        for (text, grade) in [
            (" A", 4),
            ("b\n", 3),
            ("Grade: C", 2),
            ("**D**.", 1),
            ("[[A]]", 4),
            ("Rating = B\nbecause", 3),
        ] {
            assert_eq!(read(text, FinishReason::Stop), Ok(grade), "{text}");
        }
        for text in ["", "E", "A or B", "An answer", "5", "A/B", "The grade is A."] {
            assert!(read(text, FinishReason::Stop).is_err(), "{text}");
        }
        assert!(read(" A", FinishReason::Length).is_err());
        assert_eq!(read("A\nsince", FinishReason::Length), Ok(4));
    }
}
