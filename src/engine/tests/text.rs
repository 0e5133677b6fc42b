//! Text from tokens: stop strings, and characters of several tokens.

use crate::engine::text::TextStream;
use crate::model::tests::{golden, loaded};
use crate::model::text::tokenizer::Tokenizer;

/// Pushes the tokens of `text` one by one. Returns the texts, and whether a stop string was found.
fn stream(text: &str, stop: &[&str]) -> (Vec<String>, bool) {
    let tokenizer = loaded("gptj").tokenizer;
    let stop: Vec<String> = stop.iter().map(|s| s.to_string()).collect();
    let mut stream = TextStream::after(&tokenizer, &[], &stop);
    let mut pieces = Vec::new();
    for id in tokenizer.encode(text, false).unwrap() {
        pieces.push(stream.push(id).unwrap());
        if stream.stopped() {
            return (pieces, true);
        }
    }
    pieces.push(stream.finish().unwrap());
    (pieces, stream.stopped())
}

#[test]
fn stop_strings_are_met_across_tokens_and_never_shown() {
    assert_eq!(stream("in the end", &[]).0.concat(), "in the end");
    let (pieces, stopped) = stream("one\n\n## two", &["\n\n#"]);
    assert_eq!((pieces.concat().as_str(), stopped), ("one", true));
    // The beginning of a stop string is shown once it turns out not to be one.
    let (pieces, stopped) = stream("a\n\nb\n", &["\n\n#", "\n?"]);
    assert_eq!((pieces.concat().as_str(), stopped), ("a\n\nb\n", false));
    // The earliest of several wins, whatever their order.
    assert_eq!(stream("abcdef", &["ef", "cd", ""]).0.concat(), "ab");
    let every: String = "thinking there".to_string();
    for from in 0..every.len() {
        for to in from + 1..=every.len() {
            let stop = &every[from..to];
            let (pieces, stopped) = stream(&every, &[stop]);
            assert!(stopped, "{stop:?}");
            assert_eq!(pieces.concat(), every[..every.find(stop).unwrap()], "{stop:?}");
        }
    }
}

#[test]
fn characters_of_several_tokens_come_whole() {
    let (pieces, _) = stream("caf\u{e9} \u{7f8a}!", &[]);
    assert_eq!(pieces.concat(), "caf\u{e9} \u{7f8a}!");
    assert!(
        pieces.iter().all(|piece| !piece.contains('\u{FFFD}')),
        "{pieces:?}"
    );
    // If the text ends within a character, the rest is shown as U+FFFD, not dropped.
    let tokenizer = loaded("gptj").tokenizer;
    let ids = tokenizer.encode("a\u{7f8a}", false).unwrap();
    let mut stream = TextStream::after(&tokenizer, &[], &[]);
    let mut text: String = ids[..ids.len() - 1]
        .iter()
        .map(|&id| stream.push(id).unwrap())
        .collect();
    text += &stream.finish().unwrap();
    assert!(text.starts_with('a') && text.contains('\u{FFFD}'), "{text:?}");
}

/// A line break that is a byte token is held back until the next token, but a stop string is found
/// at once.
#[test]
fn stop_strings_are_met_in_bytes_at_once() {
    let tokenizer = Tokenizer::read(&golden("tokenizers").join("llama2")).unwrap();
    let after = |min_tokens: usize, stop: &str, text: &str| {
        let stop = [stop.to_owned()];
        let prompt = tokenizer.encode("B:", true).unwrap();
        let mut stream = TextStream::after(&tokenizer, &prompt, &stop).stopping_behind(min_tokens);
        // Without the space that the tokenizer puts in front.
        let ids = tokenizer.encode(text, false).unwrap();
        let mut told = Vec::new();
        for id in &ids[1..] {
            told.push(stream.push(*id).unwrap());
            if stream.stopped() {
                break;
            }
        }
        let pushed = told.len();
        told.push(stream.finish().unwrap());
        (pushed, told.concat(), stream.characters())
    };
    assert_eq!(after(0, "\n", "i\ni"), (2, "i".to_owned(), 2));
    assert_eq!(after(0, "\n\n", "i\n\ni"), (3, "i".to_owned(), 3));
    assert_eq!(after(0, "i\n羊", "bi\n羊\n"), (6, "b".to_owned(), 4));
    assert_eq!(after(0, "\ni", "i\nii"), (3, "i".to_owned(), 3));
    // Text of the first tokens is not part of a stop string.
    assert_eq!(after(2, "\n", "i\ni\ni"), (4, "i\ni".to_owned(), 4));
    assert_eq!(after(2, "\n", "i\n\ni"), (3, "i\n".to_owned(), 3));
    assert_eq!(after(2, "\n\n", "i\n\ni"), (4, "i\n\ni".to_owned(), 4));
}
