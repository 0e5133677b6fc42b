//! Finds end tokens that a server left in the text.

use regex::Regex;
use std::sync::LazyLock;

/// A token that ends a text or a message.
const END: &str = r"(?:</s>|<[|｜](?:im_end|end|return|eo[stdm](?:_id|_token)?|end[_▁]?of[_▁]?(?:text|turn|sentence|message|document|utterance)(?:_token)?|(?:assistant|message|turn|text)[_▁]end|end[_▁](?:assistant|turn|message))[|｜]>|<(?:end_of_turn|end_of_text|end_of_utterance|endoftext|eos|eot|eod|eom|turn\|)>)";
/// A token that begins another message.
const BEGIN: &str = r"(?:<\|im_start\|>|<start_of_turn>|<\|start_header_id\|>|<\|start\|>|<\|turn>|<[|｜](?:user|assistant|system)[|｜]>|\[INST\]|<s>|<bos>|<\|begin_of_text\|>)";

static ENDS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!(r"(?i){END}\s*(?:(?:{END}\s*)*$|{BEGIN})")).expect("a fixed pattern")
});

/// The byte at which a text ends, if it has end tokens at its end, or end tokens followed by
/// another message.
pub fn end(text: &str) -> Option<usize> {
    let found = ENDS.find(text)?;
    // In HTML, `</s>` ends struck-out text.
    let before = &text[..found.start()];
    let is_struck = found.as_str().starts_with("</s>") && (before.contains("<s>") || before.contains("<s "));
    (!is_struck).then_some(found.start())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_at_the_end_are_the_end() {
        for token in [
            "</s>",
            "<|im_end|>",
            "<|eot_id|>",
            "<|endoftext|>",
            "<end_of_turn>",
            "<|end|>",
            "<|end_of_text|>",
            "<eos>",
            "<｜end▁of▁sentence｜>",
            "<|END_OF_TURN_TOKEN|>",
            "<|return|>",
            "</s></s>\n",
            "<|im_end|>\n<|endoftext|>",
            "<|im_end|>\n<|im_start|>user\nAnd Paris?",
            "<end_of_turn>\n<start_of_turn>user\nAnd Paris?<end_of_turn>",
            "</s>[INST] And Paris?",
        ] {
            assert_eq!(end(&format!("Rome\n{token}")), Some(5), "{token}");
        }
        assert_eq!(end("</s>"), Some(0));
    }

    #[test]
    fn tokens_elsewhere_are_text() {
        for text in [
            "",
            "Rome",
            "The token `</s>` ends a text.",
            "It is called `<|im_end|>`",
            "Prices: <s>12</s>",
            "<b>Rome</b>",
            "Put <|endoftext|> between documents.",
        ] {
            assert_eq!(end(text), None, "{text}");
        }
    }
}
