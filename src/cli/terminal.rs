//! Text for people at a terminal. Rows are hostile: a model wrote them.

/// The text with everything that a terminal would obey made visible, line breaks and tabs excepted.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            // The pictures of control characters, ␀ to ␟.
            '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
            '\x7f'..='\u{9f}' => '\u{fffd}',
            // Marks that turn the direction of the text around them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
            _ => character,
        })
        .collect()
}

/// The text on one line of at most `width` characters, with `…` for what does not fit.
pub fn one_line(text: &str, width: usize) -> String {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = clean(&joined);
    if line.chars().count() <= width {
        return line;
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The text with every line moved in by `by` spaces.
pub fn indent(text: &str, by: usize) -> String {
    let space = " ".repeat(by);
    let lines: Vec<_> = clean(text).lines().map(|line| format!("{space}{line}")).collect();
    lines.join("\n")
}

/// A number with its noun.
pub fn counted(number: i64, one: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{number} {one}s")
    }
}

/// A score of one judge, or the mean of several.
pub fn mean(score: f64) -> String {
    match score.fract() {
        0.0 => format!("{score:.0}"),
        _ => format!("{score:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(
            clean("\x1b[2Jhi\r\n\u{202e}x\u{9b}m"),
            "␛[2Jhi␍\n\u{fffd}x\u{fffd}m"
        );
        assert_eq!(one_line("a\n  b\tc", 10), "a b c");
        assert_eq!(one_line("abcdef", 4), "abc…");
    }
}
