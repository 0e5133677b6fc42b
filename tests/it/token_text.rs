//! The text of an answer equals its tokens decoded together.

use serde_json::{Value, json};

use crate::server::Server;
use crate::templates::model;

/// Decodes tokens after a text as sentencepiece's decoder does. Special tokens, and those that the
/// vocabulary lacks, yield nothing. Consecutive byte tokens are text together, or one replacement
/// character each. The only byte of the tiny vocabularies that is text by itself is the line break.
fn decoded(tokens: &[&str]) -> String {
    let mut text = String::new();
    let mut bytes = Vec::new();
    let is_nothing = |token: &str| token.is_empty() || (token.len() > 1 && token.starts_with('<'));
    let seen = tokens.iter().filter(|token| !is_nothing(token));
    for &token in seen.chain([&"end"]) {
        let byte = token.strip_prefix("bytes:\\x");
        match byte.map(|byte| u8::from_str_radix(byte, 16).unwrap()) {
            Some(byte) => bytes.push(byte),
            None if token == "\n" => bytes.push(b'\n'),
            None => {
                let unreadable = || "\u{FFFD}".repeat(bytes.len());
                text += &String::from_utf8(bytes.clone()).unwrap_or_else(|_| unreadable());
                text += token;
                bytes.clear();
            }
        }
    }
    text.strip_suffix("end").unwrap().to_owned()
}

#[test]
fn the_text_of_an_answer_is_its_tokens_decoded_together() {
    for name in ["llama2", "mistral", "metaspace_always", "gemma"] {
        let base = model(name);
        let server = Server::with(base.path(), &[]);
        let mut every = String::new();
        for seed in 0..8 {
            let ask = json!({ "prompt": "B:\n", "max_tokens": 60, "seed": seed, "ignore_eos": true, "temperature": 5,
                "logprobs": 0 });
            let (status, whole) = server.complete(ask.clone());
            assert_eq!(status, 200, "{whole}");
            let choice = &whole["choices"][0];
            let tokens: Vec<&str> = choice["logprobs"]["tokens"]
                .as_array()
                .unwrap()
                .iter()
                .map(|token| token.as_str().unwrap())
                .collect();
            assert_eq!(tokens.len(), 60, "{name} {seed}");
            assert_eq!(choice["text"], decoded(&tokens), "{name} {seed} {tokens:?}");
            every += &format!("{tokens:?}");
            let events = server.stream("/v1/completions", ask.clone());
            let pieces = events
                .iter()
                .filter_map(|event| event["choices"][0]["text"].as_str());
            assert_eq!(json!(pieces.collect::<String>()), choice["text"], "{name} {seed}");
            // With a line break as stop string, the answer ends at the token that contains it.
            let broken = (1..=tokens.len()).find(|&count| decoded(&tokens[..count]).contains('\n'));
            let Some(count) = broken else { continue };
            let mut until = ask;
            until["stop"] = json!("\n");
            let (_, stopped) = server.complete(until);
            let line = decoded(&tokens[..count]);
            assert_eq!(
                stopped["choices"][0]["text"],
                line.trim_end_matches('\n'),
                "{name} {seed}"
            );
            assert_eq!(
                (
                    &stopped["choices"][0]["finish_reason"],
                    &stopped["usage"]["completion_tokens"]
                ),
                (&Value::from("stop"), &json!(count)),
                "{name} {seed}"
            );
        }
        // Special tokens (`<s>`, `<eos>`), tokens beyond the vocabulary, and bytes all occurred.
        for token in ["s>\"", "\"\"", "bytes:", "\\n"] {
            assert!(every.contains(token), "{name}: {token} never came");
        }
    }
}
