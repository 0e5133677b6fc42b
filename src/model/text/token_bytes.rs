//! The bytes of single tokens. A token may be part of a character, so its own text may not be
//! UTF-8.

use std::collections::{HashMap, HashSet};

use super::tokenizer::Tokenizer;

/// The bytes that a vocabulary's tokens stand for.
pub struct TokenBytes {
    tokenizer: Tokenizer,
    /// GPT-2's characters for bytes, for vocabularies that use them.
    byte_level: Option<HashMap<char, u8>>,
    /// Tokens whose text is their bytes.
    literal: HashSet<i64>,
}

impl TokenBytes {
    /// Reads how the vocabulary of `tokenizer` writes bytes.
    pub fn of(tokenizer: &Tokenizer) -> TokenBytes {
        let byte_level = tokenizer.is_byte_level().then(gpt2_bytes);
        let added = tokenizer.added_tokens().into_iter();
        // SentencePiece's decoder replaces marks in added tokens, too.
        let literal = added.filter(|&(_, special)| special || byte_level.is_some());
        TokenBytes {
            tokenizer: tokenizer.clone(),
            literal: literal.map(|(id, _)| id).collect(),
            byte_level,
        }
    }

    /// Returns the bytes that token `id` adds to a text; none for an unknown id. A special token
    /// has the bytes of its name.
    pub fn bytes(&self, id: i64) -> Vec<u8> {
        let Some(token) = self.tokenizer.token(id) else {
            return Vec::new();
        };
        if self.literal.contains(&id) {
            return token.into_bytes();
        }
        if let Some(bytes) = &self.byte_level {
            let bytes: Option<Vec<u8>> = token.chars().map(|c| bytes.get(&c).copied()).collect();
            return bytes.unwrap_or_else(|| token.into_bytes());
        }
        // SentencePiece: one byte, or text with a mark for each space.
        let byte = token
            .strip_prefix("<0x")
            .and_then(|rest| rest.strip_suffix('>'))
            .filter(|digits| digits.len() == 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => vec![byte],
            None => token.replace('\u{2581}', " ").into_bytes(),
        }
    }
}

/// Returns the byte of each of GPT-2's characters: printable bytes are themselves, the others are
/// the characters from U+0100 on, in order.
fn gpt2_bytes() -> HashMap<char, u8> {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let mut next = 0x100;
    (0..=255u8)
        .map(|byte| {
            let character = if printable(byte) {
                u32::from(byte)
            } else {
                next += 1;
                next - 1
            };
            (char::from_u32(character).expect("below the surrogates"), byte)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{golden, loaded};

    #[test]
    fn the_bytes_of_tokens_join_to_the_text() {
        let text = " Caf\u{e9} \u{7f8a}! the\n inner  thing";
        for name in ["gptj", "gemma3", "llama", "qwen2"] {
            let tokenizer = loaded(name).tokenizer;
            let bytes = TokenBytes::of(&tokenizer);
            let ids = tokenizer.encode(text, false).unwrap();
            let joined: Vec<u8> = ids.iter().flat_map(|&id| bytes.bytes(id)).collect();
            let decoded = tokenizer.decode(&ids).unwrap();
            assert_eq!(
                String::from_utf8_lossy(&joined).trim_start(),
                decoded.trim_start(),
                "{name}"
            );
        }
        let old = Tokenizer::read(&golden("gpt2_files")).unwrap();
        let ids = old.encode(text, false).unwrap();
        let joined: Vec<u8> = ids
            .iter()
            .flat_map(|&id| TokenBytes::of(&old).bytes(id))
            .collect();
        assert_eq!(joined, text.as_bytes());
    }

    #[test]
    fn ids_without_a_token_have_no_bytes() {
        let bytes = TokenBytes::of(&loaded("gptj").tokenizer);
        assert_eq!(bytes.bytes(1 << 40), b"");
        assert_eq!(bytes.bytes(-1), b"");
    }
}
