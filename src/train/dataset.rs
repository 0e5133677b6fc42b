//! Rows become examples: read, laid out by a template, encoded, and those that do not fit listed.

use super::jinja::UserTemplate;
use anyhow::{Context, Result, bail};
use ewe::prompt::template::{Spans, Template};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// A row as it is read, before any template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What messages call it: `line 12`, or `task 7 instance 9`.
    pub id: String,
    /// Rows of one task share it and are held out together.
    pub group: String,
    /// What is to be done; the prompt, in rows of prompt and completion.
    pub instruction: String,
    /// What it is to be done to; may be empty.
    pub input: String,
    /// The answer; the completion, in rows of prompt and completion.
    pub output: String,
}

/// Rows, and whether they are of the kind `prompt`, `completion`.
#[derive(Debug)]
pub struct Rows {
    /// In the order of the file or of the view.
    pub rows: Vec<Row>,
    /// The rows hold a finished prompt, so only [`Template::Completion`] suits them.
    pub are_completions: bool,
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Line {
    Instruction {
        instruction: String,
        #[serde(default)]
        input: String,
        output: String,
    },
    Completion {
        prompt: String,
        completion: String,
    },
}

/// Reads JSON lines: `{"instruction","input","output"}` (`input` may be missing) or `{"prompt","completion"}`, one
/// kind a file. Other fields are ignored, empty lines skipped.
///
/// Fails on an unreadable file, a malformed line (named by its number) and a mixture of the two kinds.
pub fn read_jsonl(path: &Path) -> Result<Rows> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = Vec::new();
    let mut kinds = [None::<usize>; 2];
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line)) {
        if line.trim().is_empty() {
            continue;
        }
        let at = || format!("{}:{number}", path.display());
        let value: serde_json::Value =
            serde_json::from_str(line).with_context(|| format!("{}: not a JSON object", at()))?;
        let line: Line = serde_json::from_value(value).map_err(|_| {
            anyhow::anyhow!(
                "{}: neither instruction and output nor prompt and completion\nhint: each line is \
                 {{\"instruction\":…,\"input\":…,\"output\":…}} or {{\"prompt\":…,\"completion\":…}}, all strings",
                at()
            )
        })?;
        let (kind, instruction, input, output) = match line {
            Line::Instruction {
                instruction,
                input,
                output,
            } => (0, instruction, input, output),
            Line::Completion { prompt, completion } => (1, prompt, String::new(), completion),
        };
        kinds[kind].get_or_insert(number);
        let id = format!("line {number}");
        rows.push(Row {
            group: id.clone(),
            id,
            instruction,
            input,
            output,
        });
    }
    if let [Some(instruction), Some(completion)] = kinds {
        bail!(
            "{}: line {instruction} holds an instruction, line {completion} a finished prompt\nhint: keep the two \
             kinds in separate files",
            path.display()
        );
    }
    Ok(Rows {
        rows,
        are_completions: kinds[1].is_some(),
    })
}

/// What turns text into token ids.
pub trait Encoder {
    /// Token ids of `text`, with the tokenizer's special tokens around it or without.
    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>>;
    /// The end-of-text token.
    fn end_of_text(&self) -> Result<u32>;
    /// Lays a row out with the model's own chat template; the prompt's text already holds its special tokens.
    /// Fails when the model has none.
    fn chat(&self, user: &str, assistant: &str) -> Result<Spans>;
}

/// What the model sees of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row's id.
    pub id: String,
    /// Prompt, completion, end-of-text.
    pub ids: Vec<u32>,
    /// The first position that is a target; never 0, for nothing precedes it.
    pub first_target: usize,
}

impl Example {
    /// Positions that go through the model: all but the last, which nothing follows.
    pub fn positions(&self) -> usize {
        self.ids.len() - 1
    }

    /// Tokens that the loss falls on.
    pub fn targets(&self) -> usize {
        self.ids.len() - self.first_target
    }
}

/// A row that is not trained on.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// The row's id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// The encoded dataset.
#[derive(Debug)]
pub struct Encoded {
    /// Trained on, in the rows' order.
    pub train: Vec<Example>,
    /// Held out.
    pub eval: Vec<Example>,
    /// Neither.
    pub left_out: Vec<LeftOut>,
}

/// How rows become examples.
#[derive(Debug, Clone)]
pub struct Layout<'a> {
    /// The template.
    pub template: Template,
    /// The user's own, in place of that.
    pub own: Option<&'a UserTemplate>,
    /// Most tokens of an example, end-of-text included.
    pub max_length: usize,
    /// Part of the groups held out, in [0, 1).
    pub eval_fraction: f64,
    /// Chooses which.
    pub seed: u64,
}

/// Lays out and encodes every row: encode(prompt, with special tokens) ++ encode(completion, without) ++
/// end-of-text. What exceeds `max_length` or has no answer is left out, never cut.
///
/// Whole groups are held out, so that two instances of one task are never on both sides.
pub fn encode(rows: &[Row], layout: &Layout, encoder: &dyn Encoder) -> Result<Encoded> {
    let held_out = held_out_groups(rows, layout);
    let mut encoded = Encoded {
        train: Vec::new(),
        eval: Vec::new(),
        left_out: Vec::new(),
    };
    for row in rows {
        let reason = if row.output.trim().is_empty() {
            "empty answer".to_owned()
        } else {
            let example = encode_row(row, layout, encoder)
                .with_context(|| format!("cannot encode the row {:?}", row.id))?;
            if example.ids.len() <= layout.max_length {
                let side = if held_out.contains(row.group.as_str()) {
                    &mut encoded.eval
                } else {
                    &mut encoded.train
                };
                side.push(example);
                continue;
            }
            format!("{} tokens, more than {}", example.ids.len(), layout.max_length)
        };
        encoded.left_out.push(LeftOut {
            id: row.id.clone(),
            reason,
        });
    }
    Ok(encoded)
}

fn encode_row(row: &Row, layout: &Layout, encoder: &dyn Encoder) -> Result<Example> {
    let end = encoder.end_of_text()?;
    let own = layout.own.map(|own| own.render(row)).transpose()?;
    let laid_out = own.or_else(|| layout.template.render(&row.instruction, &row.input, &row.output));
    let (spans, special) = match laid_out {
        Some(spans) => (spans, true),
        None => {
            let user = match row.input.trim() {
                "" => row.instruction.clone(),
                _ => format!("{}\n\n{}", row.instruction, row.input),
            };
            (encoder.chat(&user, &row.output)?, false)
        }
    };
    let mut ids = encoder.encode(&spans.prompt, special)?;
    let first_target = ids.len().max(1);
    ids.extend(encoder.encode(&spans.completion, false)?);
    if ids.last() != Some(&end) || ids.len() <= first_target {
        ids.push(end);
    }
    Ok(Example {
        id: row.id.clone(),
        ids,
        first_target,
    })
}

fn held_out_groups<'a>(rows: &'a [Row], layout: &Layout) -> std::collections::HashSet<&'a str> {
    use rand::seq::SliceRandom;
    // A map in order of first appearance would do; sorted by name the choice does not depend on the rows' order.
    let groups: BTreeMap<&str, ()> = rows.iter().map(|row| (row.group.as_str(), ())).collect();
    let mut groups: Vec<&str> = groups.into_keys().collect();
    groups.shuffle(&mut super::rng(layout.seed, "evaluation split", 0));
    let count = (groups.len() as f64 * layout.eval_fraction) as usize;
    groups.into_iter().take(count).collect()
}

impl Encoded {
    /// A digest of everything training depends on: every example's tokens and targets, in order. A resumed run must
    /// find the same.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for side in [&self.train, &self.eval] {
            hash.update((side.len() as u64).to_le_bytes());
            for example in side {
                hash.update((example.ids.len() as u64).to_le_bytes());
                hash.update((example.first_target as u64).to_le_bytes());
                for id in &example.ids {
                    hash.update(id.to_le_bytes());
                }
            }
        }
        super::hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token a byte, 256 before the text, 257 as end-of-text.
    struct Bytes;

    impl Encoder for Bytes {
        fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
            Ok(special
                .then_some(256)
                .into_iter()
                .chain(text.bytes().map(u32::from))
                .collect())
        }
        fn end_of_text(&self) -> Result<u32> {
            Ok(257)
        }
        fn chat(&self, _: &str, _: &str) -> Result<Spans> {
            bail!("no chat template")
        }
    }

    fn layout(max_length: usize, eval_fraction: f64) -> Layout<'static> {
        Layout {
            template: Template::Completion,
            own: None,
            max_length,
            eval_fraction,
            seed: 1,
        }
    }

    fn row(number: usize, prompt: &str, completion: &str) -> Row {
        Row {
            id: format!("line {number}"),
            group: format!("line {number}"),
            instruction: prompt.to_owned(),
            input: String::new(),
            output: completion.to_owned(),
        }
    }

    #[test]
    fn spans_are_encoded_apart_and_end_of_text_is_a_target() {
        let encoded = encode(&[row(1, "ab", "cd")], &layout(99, 0.0), &Bytes).unwrap();
        assert_eq!(encoded.train[0].ids, [256, 97, 98, 99, 100, 257]);
        assert_eq!(encoded.train[0].first_target, 3);
        assert_eq!((encoded.train[0].targets(), encoded.train[0].positions()), (3, 5));
    }

    #[test]
    fn what_does_not_fit_is_listed_not_cut() {
        let rows = [row(1, "ab", "cd"), row(2, "ab", "cde"), row(3, "ab", " \n")];
        let encoded = encode(&rows, &layout(6, 0.0), &Bytes).unwrap();
        assert_eq!(encoded.train.len(), 1);
        let reasons: Vec<_> = encoded
            .left_out
            .iter()
            .map(|row| (row.id.as_str(), row.reason.as_str()))
            .collect();
        assert_eq!(
            reasons,
            [("line 2", "7 tokens, more than 6"), ("line 3", "empty answer")]
        );
    }

    #[test]
    fn groups_are_held_out_whole() {
        let mut rows: Vec<Row> = (0..100).map(|n| row(n, "p", "c")).collect();
        for (n, row) in rows.iter_mut().enumerate() {
            row.group = format!("task {}", n / 2);
        }
        let encoded = encode(&rows, &layout(99, 0.1), &Bytes).unwrap();
        assert_eq!((encoded.train.len(), encoded.eval.len()), (90, 10));
        for pair in encoded.eval.chunks(2) {
            let number = |example: &Example| example.id[5..].parse::<usize>().unwrap() / 2;
            assert_eq!(number(&pair[0]), number(&pair[1]));
        }
    }

    #[test]
    fn the_fingerprint_sees_targets_and_order() {
        let rows = [row(1, "ab", "cd"), row(2, "x", "y")];
        let swapped = [rows[1].clone(), rows[0].clone()];
        let moved = [row(1, "abc", "d"), rows[1].clone()];
        let of = |rows: &[Row]| encode(rows, &layout(99, 0.0), &Bytes).unwrap().fingerprint();
        assert_eq!(of(&rows), of(&rows));
        assert_ne!(of(&rows), of(&swapped));
        assert_ne!(of(&rows), of(&moved));
    }

    #[test]
    fn malformed_lines_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "{\"prompt\":\"a\",\"completion\":\"b\"}\n\n{\"prompt\":1}\n",
        )
        .unwrap();
        let error = read_jsonl(file.path()).unwrap_err().to_string();
        assert!(
            error.contains(":3: neither") && error.contains("hint:"),
            "{error}"
        );
        std::fs::write(
            file.path(),
            "{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"instruction\":\"a\",\"output\":\"b\"}",
        )
        .unwrap();
        let error = read_jsonl(file.path()).unwrap_err().to_string();
        assert!(
            error.contains("line 2 holds an instruction, line 1 a finished prompt"),
            "{error}"
        );
    }
}
