//! Rows as the model gets them, for people and programs: the text of all tokens, with the parts
//! that are trained on marked.

use ewe::streams::json;
use ewe::text::{clean, counted};
use serde::Serialize;

use super::dataset::Example;
use crate::model::text::token_bytes::TokenBytes;

/// Marks around what is trained on: characters that hardly any text has.
const MARKS: [char; 2] = ['⟦', '⟧'];

/// An example in words.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Shown {
    /// The row, as files of rows that are left out name it.
    id: String,
    /// Its parts, in order.
    parts: Vec<Part>,
}

/// Tokens that follow each other.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Part {
    /// Their text, with special tokens.
    text: String,
    tokens: Vec<u32>,
    /// Whether the loss covers them.
    trained: bool,
}

impl Shown {
    /// Puts an example into words.
    pub fn of(example: &Example, bytes: &TokenBytes) -> Shown {
        let part = |range: std::ops::Range<usize>, trained: bool| {
            let tokens = example.ids[range].to_vec();
            let text: Vec<u8> = tokens.iter().flat_map(|&id| bytes.bytes(id.into())).collect();
            Part {
                text: String::from_utf8_lossy(&text).into_owned(),
                tokens,
                trained,
            }
        };
        let (mut parts, mut at) = (Vec::new(), 0);
        for range in &example.targets {
            parts.push(part(at..range.start, false));
            parts.push(part(range.clone(), true));
            at = range.end;
        }
        parts.push(part(at..example.ids.len(), false));
        parts.retain(|part| !part.tokens.is_empty());
        Shown {
            id: example.id.clone(),
            parts,
        }
    }

    /// Returns it as text for a terminal.
    pub fn text(&self) -> String {
        let count = |of: &dyn Fn(&&Part) -> bool| -> usize {
            self.parts.iter().filter(of).map(|part| part.tokens.len()).sum()
        };
        let heading = format!(
            "{}: {}, {} of them trained on, between {} and {}\n",
            clean(&self.id),
            counted(count(&|_| true), "token"),
            count(&|part| part.trained),
            MARKS[0],
            MARKS[1],
        );
        let part = |part: &Part| match part.trained {
            true => format!("{}{}{}", MARKS[0], clean(&part.text), MARKS[1]),
            false => clean(&part.text),
        };
        heading + &self.parts.iter().map(part).collect::<String>() + "\n"
    }

    /// Returns it as a line of JSON.
    ///
    /// # Errors
    ///
    /// If `serde_json` fails.
    pub fn json(&self) -> serde_json::Result<String> {
        json::line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::golden;
    use crate::model::text::tokenizer::Tokenizer;

    #[test]
    fn what_is_trained_on_stands_between_marks() {
        let tokenizer = Tokenizer::read(&golden("tokenizers/qwen")).unwrap();
        let ids = tokenizer.encode("a羊<|im_end|>b", false).unwrap();
        let end = ids.len() - 1;
        let example = Example {
            id: "line 1".to_owned(),
            ids: ids.iter().map(|&id| id as u32).collect(),
            targets: vec![1..end],
        };
        let shown = Shown::of(&example, &TokenBytes::of(&tokenizer));
        assert_eq!(
            shown.text(),
            format!(
                "line 1: {} tokens, {} of them trained on, between ⟦ and ⟧\na⟦羊<|im_end|>⟧b\n",
                ids.len(),
                end - 1
            )
        );
        assert_eq!(shown.parts.len(), 3);
        assert!(shown.json().unwrap().contains(r#""trained":true"#));
    }
}
