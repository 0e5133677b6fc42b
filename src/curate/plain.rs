//! Text for people at a terminal. Rows are hostile: a model wrote them.

/// The text with everything that a terminal would obey made visible, line breaks and tabs excepted.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\t' => character,
            // The pictures of control characters, ␀ to ␟.
            '\0'..='\x1f' => char::from_u32(0x2400 + character as u32).unwrap_or('\u{fffd}'),
            '\x7f'..='\u{9f}' => '\u{fffd}',
            // Marks that turn the direction of the text around them, and ends of lines that few expect.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                '\u{fffd}'
            }
            _ => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn escape_sequences_are_shown_and_not_obeyed() {
        assert_eq!(
            clean("\x1b[2Jhi\r\n\u{202e}x\u{9b}m\u{2028}"),
            "␛[2Jhi␍\n\u{fffd}x\u{fffd}m\u{fffd}"
        );
    }
}
