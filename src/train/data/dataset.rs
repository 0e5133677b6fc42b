//! Rows become examples: read, laid out by a template, encoded, and those that do not fit listed.

use crate::model::chat_template::Message;
use crate::model::conversation_template::{ConversationTemplate, Exchange};
use crate::model::tokenizer::Tokenizer;
use anyhow::{Context, Result};
use ewe::text::{chosen, counted};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;

/// A row as it is read, before any template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What messages call it: `line 12`, or `task 7 instance 9`.
    pub id: String,
    /// Rows of one task share it and are held out together.
    pub group: String,
    /// What the model is told to be before it is asked; may be empty.
    pub system: String,
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

/// What the model sees of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The row's id.
    pub id: String,
    /// Prompt, completion, what ends it.
    pub ids: Vec<u32>,
    /// Positions that are targets, in order; never 0, for nothing precedes it.
    pub learnt: Vec<Range<usize>>,
}

impl Example {
    /// One of which everything from `first` on is learnt.
    pub fn learnt_from(first: usize, id: String, ids: Vec<u32>) -> Example {
        let learnt = vec![first..ids.len()];
        Example { id, ids, learnt }
    }

    /// Positions that go through the model: all but the last, which nothing follows.
    pub fn positions(&self) -> usize {
        self.ids.len() - 1
    }

    /// Tokens that the loss falls on.
    pub fn targets(&self) -> usize {
        self.learnt.iter().map(Range::len).sum()
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
    /// What a person should know of how they were encoded.
    pub remarks: Vec<String>,
}

/// How rows become examples.
#[derive(Clone)]
pub struct Layout<'a> {
    /// By which chat template; none for prompt and completion as they are.
    pub form: Option<&'a ConversationTemplate>,
    /// Most tokens of an example, end-of-text included.
    pub max_length: usize,
    /// Part of the groups held out, in [0, 1).
    pub eval_fraction: f64,
    /// Chooses which.
    pub seed: u64,
}

/// Lays out and encodes every row. What exceeds `max_length` or has no answer is left out, never cut.
///
/// Whole groups are held out, so that two instances of one task are never on both sides.
pub fn encode(rows: &[Row], layout: &Layout, tokenizer: &Tokenizer) -> Result<Encoded> {
    let held_out = held_out_groups(rows, layout);
    let mut encoded = Encoded {
        train: Vec::new(),
        eval: Vec::new(),
        left_out: Vec::new(),
        remarks: Vec::new(),
    };
    let mut oddities = Oddities::default();
    for row in rows {
        let reason = if row.output.trim().is_empty() {
            "empty answer".to_owned()
        } else {
            let exchange = exchange(row, layout, tokenizer)
                .with_context(|| format!("cannot encode the row {:?}", row.id))?;
            if exchange.ids.len() <= layout.max_length {
                oddities.look_at(row, layout, &exchange);
                let side = if held_out.contains(row.group.as_str()) {
                    &mut encoded.eval
                } else {
                    &mut encoded.train
                };
                side.push(example(row, exchange));
                continue;
            }
            format!(
                "{}, more than {}",
                counted(exchange.ids.len(), "token"),
                layout.max_length
            )
        };
        encoded.left_out.push(LeftOut {
            id: row.id.clone(),
            reason,
        });
    }
    encoded.remarks = oddities.remarks();
    Ok(encoded)
}

/// A row in tokens: as the chat template has it, or as one text with the end-of-text token behind it.
fn exchange(row: &Row, layout: &Layout, tokenizer: &Tokenizer) -> Result<Exchange> {
    let mut messages = Message::of_row(&row.system, &row.instruction, &row.input);
    let Some(form) = layout.form else {
        // As the chat template `completion` has them.
        let texts = messages
            .iter()
            .flat_map(|message| [Some(message.content.as_str()), message.input()]);
        let prompt = texts.flatten().collect::<Vec<_>>().join("\n\n");
        return plain(&prompt, &row.output, tokenizer);
    };
    messages.push(Message::new("assistant", &row.output));
    form.exchange(tokenizer, &messages)
}

/// Prompt and completion as one text.
fn plain(prompt: &str, completion: &str, tokenizer: &Tokenizer) -> Result<Exchange> {
    let (whole, from) = (format!("{prompt}{completion}"), prompt.len());
    let encoded = tokenizer.encode_marked(&whole, true, &[from..whole.len()])?;
    let (mut ids, end) = (encoded.ids, tokenizer.required_end_token()?);
    let first = encoded.marked[0].start;
    if ids.last() != Some(&end) || ids.len() <= first {
        ids.push(end);
    }
    Ok(Exchange {
        learnt: vec![first..ids.len()],
        ids,
        parts_a_token: encoded.parts_a_token,
    })
}

fn example(row: &Row, exchange: Exchange) -> Example {
    let mut learnt = exchange.learnt;
    if let Some(first) = learnt.first_mut() {
        first.start = first.start.max(1);
    }
    Example {
        id: row.id.clone(),
        ids: exchange.ids.into_iter().map(|id| id as u32).collect(),
        learnt,
    }
}

/// What is no error, but may not be what was meant.
#[derive(Default)]
struct Oddities {
    /// The first row whose answer begins within a token, and how many there are.
    parted: Option<(String, usize)>,
    endless: bool,
}

impl Oddities {
    fn look_at(&mut self, row: &Row, layout: &Layout, exchange: &Exchange) {
        if exchange.parts_a_token {
            self.parted.get_or_insert_with(|| (row.id.clone(), 0)).1 += 1;
        }
        self.endless |= layout.form.is_some_and(|form| form.leaves_the_end_out(exchange));
    }

    fn remarks(self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some((first, count)) = self.parted {
            remarks.push(format!(
                "{} within a token of the answer's, {first} first: whoever asks with the prompt alone asks with \
                 other tokens than were learnt\nhint: a space between the two belongs to the answer",
                chosen(count, "prompt ends", "prompts end")
            ));
        }
        if self.endless {
            remarks.push(
                "{% generation %} leaves out what ends a turn, so the model does not learn to end its answers".to_owned(),
            );
        }
        remarks
    }
}

fn held_out_groups<'a>(rows: &'a [Row], layout: &Layout) -> std::collections::HashSet<&'a str> {
    use rand::seq::SliceRandom;
    // A map in order of first appearance would do; sorted by name the choice does not depend on the rows' order.
    let groups: BTreeMap<&str, ()> = rows.iter().map(|row| (row.group.as_str(), ())).collect();
    let mut groups: Vec<&str> = groups.into_keys().collect();
    groups.shuffle(&mut crate::train::rng(layout.seed, "evaluation split", 0));
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
                for range in &example.learnt {
                    hash.update((range.start as u64).to_le_bytes());
                    hash.update((range.end as u64).to_le_bytes());
                }
                for id in &example.ids {
                    hash.update(id.to_le_bytes());
                }
            }
        }
        crate::train::hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::golden;

    /// One that puts `<bos>` in front, token 1, and ends with token 0; most letters are a token each.
    fn tokenizer() -> Tokenizer {
        Tokenizer::read(&golden("gemma3")).unwrap()
    }

    fn layout(max_length: usize, eval_fraction: f64) -> Layout<'static> {
        Layout {
            form: None,
            max_length,
            eval_fraction,
            seed: 1,
        }
    }

    fn row(number: usize, prompt: &str, completion: &str) -> Row {
        Row {
            id: format!("line {number}"),
            group: format!("line {number}"),
            system: String::new(),
            instruction: prompt.to_owned(),
            input: String::new(),
            output: completion.to_owned(),
        }
    }

    #[test]
    fn a_row_is_one_text_and_end_of_text_is_a_target() {
        let of = |prompt: &str, completion: &str| {
            let rows = [row(1, prompt, completion)];
            encode(&rows, &layout(99, 0.0), &tokenizer()).unwrap()
        };
        let text = |ids: &[u32]| {
            let ids: Vec<i64> = ids.iter().map(|&id| id.into()).collect();
            tokenizer().decode(&ids).unwrap()
        };
        let encoded = of("ab", "cd");
        let example = &encoded.train[0];
        assert_eq!((example.ids[0], example.ids[5], example.ids.len()), (1, 0, 6));
        assert_eq!(example.learnt, [3..6]);
        assert_eq!((example.targets(), example.positions()), (3, 5));
        assert!(encoded.remarks.is_empty());
        // `Ġt` is a token: where it lies across the boundary it is learnt, and that is said.
        let encoded = of("a ", "ta");
        let example = &encoded.train[0];
        assert_eq!(text(&example.ids[example.learnt[0].start..]), " ta");
        assert!(
            encoded.remarks[0].contains("within a token"),
            "{:?}",
            encoded.remarks
        );
        // An end that is written in the answer is not written twice.
        assert_eq!(of("a", "b<eos>").train[0].ids, of("a", "b").train[0].ids);
    }

    #[test]
    fn what_does_not_fit_is_listed_not_cut() {
        let rows = [row(1, "ab", "cd"), row(2, "ab", "cdb"), row(3, "ab", " \n")];
        let encoded = encode(&rows, &layout(6, 0.0), &tokenizer()).unwrap();
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
        let encoded = encode(&rows, &layout(99, 0.1), &tokenizer()).unwrap();
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
        let of = |rows: &[Row]| {
            encode(rows, &layout(99, 0.0), &tokenizer())
                .unwrap()
                .fingerprint()
        };
        assert_eq!(of(&rows), of(&rows));
        assert_ne!(of(&rows), of(&swapped));
        assert_ne!(of(&rows), of(&moved));
    }

    /// Every tokenizer, and the ids that `transformers` has for prompt and completion as one text (`scripts/make_goldens.py`).
    #[test]
    fn prompt_and_completion_are_encoded_as_the_reference_encodes_their_text() {
        #[derive(serde::Deserialize)]
        struct Golden {
            plain: Vec<Case>,
        }
        #[derive(serde::Deserialize)]
        struct Case {
            user: String,
            answer: String,
            ids: Vec<i64>,
            first: usize,
            prompt: Vec<i64>,
        }
        let mut count = 0;
        for entry in std::fs::read_dir(golden("tokenizers")).unwrap() {
            let dir = entry.unwrap().path();
            let Ok(text) = std::fs::read_to_string(dir.join("expected.json")) else {
                continue;
            };
            let tokenizer = Tokenizer::read(&dir).unwrap();
            let golden: Golden = serde_json::from_str(&text).unwrap();
            for case in golden.plain {
                let got = plain(&case.user, &case.answer, &tokenizer).unwrap();
                let at = format!("{} {:?} {:?}", dir.display(), case.user, case.answer);
                assert_eq!((&got.ids, got.learnt[0].start), (&case.ids, case.first), "{at}");
                assert_eq!(tokenizer.encode(&case.user, true).unwrap(), case.prompt, "{at}");
                count += 1;
            }
        }
        assert!(count >= 140);
    }
}
