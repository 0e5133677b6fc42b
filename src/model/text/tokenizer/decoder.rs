//! Incremental decoding: token ids, one after another, to whole characters.

use anyhow::Result;

use super::Tokenizer;

/// Tokens of the prompt that are decoded with what follows, besides the byte tokens at its end.
const CONTEXT: usize = 6;

/// Decodes a growing list of tokens into text that grows by whole characters only.
///
/// In the end, the returned text is what the prompt and all pushed tokens decode to together,
/// without what the prompt decodes to alone. The latter may be no prefix of the former, because a
/// character or a run of bytes continues behind the prompt; then a character that the prompt only
/// begins belongs to the returned text.
///
/// The cost of a token does not depend on how many there were: only the tokens returned last are
/// decoded with it, and tokens that wait for others are decoded once, with the last of them.
pub struct Decoder {
    tokenizer: Tokenizer,
    /// Whether the vocabulary has byte tokens such as `<0x0A>`.
    falls_back: bool,
    /// Tokens that have a text. The first `given` were returned already or belong to the prompt:
    /// new tokens are decoded with them, because decoders treat the first token of a text
    /// differently. They begin at the beginning of the text, or have a character.
    ids: Vec<i64>,
    given: usize,
    /// The byte tokens at the end of `ids`.
    run: ByteRun,
}

impl Decoder {
    /// Makes a decoder of the tokens after `prompt`.
    pub fn after(tokenizer: &Tokenizer, prompt: &[i64]) -> Decoder {
        let mut decoder = Decoder {
            tokenizer: tokenizer.clone(),
            falls_back: falls_back_to_bytes(tokenizer),
            ids: Vec::new(),
            given: 0,
            run: ByteRun::default(),
        };
        let mut others = 0;
        let mut bytes = Vec::new();
        for &id in prompt.iter().rev() {
            let Some(token) = decoder.written(id) else {
                continue;
            };
            match decoder.byte(&token).filter(|_| others == 0) {
                Some(byte) => bytes.push(byte),
                None => others += 1,
            }
            if others > CONTEXT {
                break;
            }
            decoder.ids.push(id);
        }
        decoder.ids.reverse();
        decoder.given = decoder.ids.len();
        bytes.iter().rev().for_each(|&byte| decoder.run.push(byte));
        decoder.run.of_prompt = bytes.len();
        decoder
    }

    /// Adds a token. Returns the text that is final now, often none within a character.
    pub fn push(&mut self, id: i64) -> Result<String> {
        let Some(token) = self.written(id) else {
            return Ok(String::new());
        };
        self.ids.push(id);
        if let Some(byte) = self.byte(&token) {
            self.run.push(byte);
            return Ok(String::new());
        }
        if !self.falls_back && self.ends_within_a_character()? {
            return Ok(String::new());
        }
        self.give()
    }

    /// Returns the rest of the text, with U+FFFD for an incomplete character.
    pub fn finish(&mut self) -> Result<String> {
        if self.given == self.ids.len() {
            return Ok(String::new());
        }
        self.give()
    }

    /// Returns characters that are complete but not final: they are made of byte tokens, and a
    /// following byte that is no UTF-8 would make them unreadable as well.
    pub fn held(&self) -> &str {
        let text = &self.run.text;
        &text[text.floor_char_boundary(self.run.of_prompt)..]
    }

    /// Returns a token as the vocabulary writes it. None for special tokens and unknown ids, which
    /// have no text and are ignored.
    fn written(&self, id: i64) -> Option<String> {
        let added = self.tokenizer.inner.get_added_vocabulary();
        let token = self.tokenizer.token(id)?;
        (!added.is_special_token(&token)).then_some(token)
    }

    /// Returns the byte that a byte token stands for.
    fn byte(&self, token: &str) -> Option<u8> {
        let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
        (self.falls_back && digits.len() == 2)
            .then(|| u8::from_str_radix(digits, 16).ok())
            .flatten()
    }

    /// Returns whether the tokens end in bytes that may yet become a character. A character has at
    /// most four bytes, and a token at least one.
    fn ends_within_a_character(&self) -> Result<bool> {
        let last = &self.ids[self.ids.len().saturating_sub(4)..];
        Ok(self.decode(last)?.ends_with(char::REPLACEMENT_CHARACTER))
    }

    /// Returns the text of all tokens that wait.
    fn give(&mut self) -> Result<String> {
        let mut text = self.decode(&self.ids)?;
        let new = text.split_off(self.begin_of_new(&text)?);
        self.run = ByteRun::default();
        // Tokens without text are no context: a space at the beginning of a text, say, which is
        // dropped.
        if !new.is_empty() {
            self.ids.drain(..self.given);
        }
        self.given = self.ids.len();
        Ok(new)
    }

    /// Returns where in `text`, the text of all tokens, the text of the waiting ones begins.
    fn begin_of_new(&self, text: &str) -> Result<usize> {
        let run = &self.run;
        if (1..run.len()).contains(&run.of_prompt) {
            // The run of byte tokens at the end of the prompt was continued.
            let start = self.given - run.of_prompt;
            let characters = run.text.floor_char_boundary(run.of_prompt);
            return Ok(if run.is_text() {
                self.decode(&self.ids[..start + characters])?.len()
            } else {
                let unreadable = run.of_prompt * char::REPLACEMENT_CHARACTER.len_utf8();
                self.decode(&self.ids[..start])?.len() + unreadable
            });
        }
        let before = self.decode(&self.ids[..self.given])?;
        let pairs = before.bytes().zip(text.bytes());
        Ok(text.floor_char_boundary(pairs.take_while(|(a, b)| a == b).count()))
    }

    fn decode(&self, ids: &[i64]) -> Result<String> {
        match ids {
            // Some decoders panic without tokens.
            [] => Ok(String::new()),
            _ => self.tokenizer.decode(ids),
        }
    }
}

/// Bytes of consecutive byte tokens. The tokenizer decodes them together, or, if they are no UTF-8,
/// as one U+FFFD each.
#[derive(Default)]
struct ByteRun {
    /// Characters at its beginning.
    text: String,
    /// Bytes after these characters: part of a character, or invalid UTF-8 and everything after it.
    rest: Vec<u8>,
    /// Number of bytes that belong to the prompt.
    of_prompt: usize,
}

impl ByteRun {
    fn push(&mut self, byte: u8) {
        self.rest.push(byte);
        // More than four bytes will not become a character.
        if self.rest.len() <= 4
            && let Ok(character) = str::from_utf8(&self.rest)
        {
            self.text.push_str(character);
            self.rest.clear();
        }
    }

    fn len(&self) -> usize {
        self.text.len() + self.rest.len()
    }

    fn is_text(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Returns whether tokens such as `<0x0A>` stand for bytes.
fn falls_back_to_bytes(tokenizer: &Tokenizer) -> bool {
    let decoder = serde_json::to_string(&tokenizer.inner.get_decoder()).unwrap_or_default();
    decoder.contains("\"ByteFallback\"")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::test_runner::TestRunner;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::tests::golden;

    /// Returns a tokenizer of every class, and Llama 2's with the decoders of others.
    fn tokenizers() -> Vec<(String, Tokenizer)> {
        let mut all = vec![(
            "gpt2_files".to_owned(),
            Tokenizer::read(&golden("gpt2_files")).unwrap(),
        )];
        for entry in std::fs::read_dir(golden("tokenizers")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                let name = path.file_name().unwrap().to_string_lossy();
                all.push((name.into_owned(), Tokenizer::read(&path).unwrap()));
            }
        }
        let metaspace = json!({ "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always" });
        for decoder in [
            json!({ "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, metaspace] }),
            metaspace,
            json!({ "type": "WordPiece", "prefix": "t", "cleanup": true }),
            json!({ "type": "BPEDecoder", "suffix": ">" }),
            Value::Null,
        ] {
            let dir = tempfile::tempdir().unwrap();
            let file = std::fs::read_to_string(golden("tokenizers").join("llama2/tokenizer.json")).unwrap();
            let mut file: Value = serde_json::from_str(&file).unwrap();
            file["decoder"] = decoder;
            std::fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();
            all.push((file["decoder"].to_string(), Tokenizer::read(dir.path()).unwrap()));
        }
        all
    }

    fn llama2() -> Tokenizer {
        Tokenizer::read(&golden("tokenizers").join("llama2")).unwrap()
    }

    /// Returns the ids of tokens as the vocabulary writes them.
    fn ids(tokenizer: &Tokenizer, tokens: &str) -> Vec<i64> {
        let id = |token| i64::from(tokenizer.inner.token_to_id(token).unwrap());
        tokens.split_whitespace().map(id).collect()
    }

    /// Returns the text of `answer` after `prompt`.
    fn streamed(tokenizer: &Tokenizer, prompt: &[i64], answer: &[i64]) -> String {
        let mut decoder = Decoder::after(tokenizer, prompt);
        let mut text: String = answer.iter().map(|&id| decoder.push(id).unwrap()).collect();
        text += &decoder.finish().unwrap();
        text
    }

    /// Random ids; those of bytes, of spaces and without text (special or unknown) are more
    /// frequent.
    fn sequences(tokenizer: &Tokenizer) -> impl Strategy<Value = Vec<i64>> + use<> {
        let often = |token: &str| {
            let bytes = ["<0x", "\u{e7}", "\u{be}", "\u{12c}"];
            bytes.iter().any(|byte| token.starts_with(byte)) || "\u{2581}\u{120}ate".contains(token)
        };
        let chosen = (0..100).filter(|&id| tokenizer.token(id).is_none_or(|token| often(&token)));
        let chosen: Vec<i64> = chosen.chain([0, 1, 2]).collect();
        proptest::collection::vec(prop_oneof![0..100i64, proptest::sample::select(chosen)], 0..40)
    }

    #[test]
    fn what_is_given_is_what_the_whole_decodes_to() {
        let config = ProptestConfig {
            cases: 300,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        for (name, tokenizer) in tokenizers() {
            let cases = (sequences(&tokenizer), any::<prop::sample::Index>());
            let check = |(ids, at): (Vec<i64>, prop::sample::Index)| {
                let decode = |ids: &[i64]| {
                    if ids.is_empty() {
                        Ok(String::new())
                    } else {
                        tokenizer.decode(ids)
                    }
                };
                // Some decoders panic at a text without a token.
                let Ok(whole) = decode(&ids) else { return Ok(()) };
                prop_assert_eq!(streamed(&tokenizer, &[], &ids), whole.clone(), "{}", name);
                let (prompt, answer) = ids.split_at(at.index(ids.len() + 1));
                let Ok(before) = decode(prompt) else { return Ok(()) };
                if let Some(new) = whole.strip_prefix(&before) {
                    prop_assert_eq!(streamed(&tokenizer, prompt, answer), new, "{} {:?}", name, prompt);
                }
                Ok(())
            };
            TestRunner::new(config.clone()).run(&cases, check).unwrap();
        }
    }

    #[test]
    fn tokens_without_a_text_take_none_away() {
        let tokenizer = llama2();
        let prompt = ids(&tokenizer, "<s> B :");
        let mut answer = ids(&tokenizer, "<unk> \u{2581}a n <unk> \u{2581}a");
        assert_eq!(streamed(&tokenizer, &prompt, &answer), " an a");
        answer.splice(3..3, [i64::from(u32::MAX), 90, -1]);
        assert_eq!(streamed(&tokenizer, &prompt, &answer), " an a");
        // However many tokens have no text, the tokens before them are remembered.
        let nothing = vec![0; 100];
        let answer = [
            &nothing[..],
            &ids(&tokenizer, "\u{2581}a"),
            &nothing,
            &ids(&tokenizer, "\u{2581}a"),
        ]
        .concat();
        assert_eq!(streamed(&tokenizer, &prompt, &answer), " a a");
        assert_eq!(
            streamed(&tokenizer, &[&prompt[..], &nothing].concat(), &answer),
            " a a"
        );
        assert_eq!(streamed(&tokenizer, &[], &answer), "a a");
    }

    #[test]
    fn bytes_that_go_on_behind_the_prompt_take_no_letter_away() {
        let tokenizer = llama2();
        let given = |prompt: &str, answer: &str| {
            streamed(&tokenizer, &ids(&tokenizer, prompt), &ids(&tokenizer, answer))
        };
        assert_eq!(given("a <0x0A>", "<0xE7> <0xBE> I i i"), "\u{FFFD}\u{FFFD}Iii");
        assert_eq!(given("a <0x0A>", "<0xE7> <0xBE> <0x8A> i"), "羊i");
        assert_eq!(given("a <0x0A> <0xE7>", "<0xBE> <0x8A> i"), "羊i");
        assert_eq!(given("a <0x0A> <0xE7>", "<0xBE> i"), "\u{FFFD}i");
        assert_eq!(given("a <0x0A> <0xE7>", "i"), "i");
        assert_eq!(given("<0x0A>", "<0x0A> a"), "\na");
        let bytes = Tokenizer::read(&golden("tokenizers").join("gptj")).unwrap();
        let (begun, rest) = (ids(&bytes, "a \u{e7}"), ids(&bytes, "\u{be} \u{12c} a"));
        assert_eq!(streamed(&bytes, &begun, &rest), "羊a");
        assert_eq!(streamed(&bytes, &begun, &rest[2..]), "a");
    }

    #[test]
    fn only_what_may_yet_change_waits() {
        let tokenizer = llama2();
        let mut decoder = Decoder::after(&tokenizer, &ids(&tokenizer, "a <0xE7>"));
        let steps = ids(&tokenizer, "<0xBE> <0x8A> <0x0A> <0xE7> a \u{2581}a");
        let told: Vec<(String, String)> = steps
            .iter()
            .map(|&id| (decoder.push(id).unwrap(), decoder.held().to_owned()))
            .collect();
        let told: Vec<(&str, &str)> = told.iter().map(|(new, held)| (&new[..], &held[..])).collect();
        let unreadable = "\u{FFFD}".repeat(4);
        assert_eq!(
            told,
            [
                ("", ""),
                ("", "羊"),
                ("", "羊\n"),
                ("", "羊\n"),
                (&format!("{unreadable}a"), ""),
                (" a", "")
            ]
        );
    }
}
