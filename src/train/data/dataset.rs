//! Turns rows into examples: lays them out by the template, encodes them, holds some out, and lists
//! those that do not fit.

use crate::model::text::chat_template::ChatMessage;
use crate::model::text::conversation_template::{ConversationTemplate, TokenizedConversation};
use crate::model::text::tokenizer::Tokenizer;
use anyhow::{Context, Result};
use ewe::finetune::AnswerLoss;
use ewe::text::{chosen, counted};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ops::Range;

/// One row, before any template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Name in messages: `line 12`, or `task 7 instance 9`.
    pub id: String,
    /// Name that all rows of one task share; they are held out together.
    pub group: String,
    /// System message; may be empty.
    pub system: String,
    /// Instruction; in rows of prompt and completion, the prompt.
    pub instruction: String,
    /// Input of the instruction; may be empty.
    pub input: String,
    /// Output; in rows of prompt and completion, the completion.
    pub output: String,
    /// The messages from the output on, if the row is a conversation of several turns, or its
    /// answer has reasoning.
    pub said: Vec<ChatMessage>,
}

/// The rows of a run.
#[derive(Debug)]
pub struct Rows {
    /// In the order of the files or of the view.
    pub rows: Vec<Row>,
    /// Rows to evaluate on; none holds some of `rows` out.
    pub eval: Option<Vec<Row>>,
    /// Whether the rows hold finished prompts, so that only [`Template::Completion`] fits them.
    pub are_completions: bool,
}

/// One row in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Name of the row.
    pub id: String,
    /// Token ids of the prompt, the completion and the token that ends it.
    pub ids: Vec<u32>,
    /// Positions of the targets, in order; never 0, since no token precedes it.
    pub targets: Vec<Range<usize>>,
}

impl Example {
    /// Makes an example whose targets are all tokens from `first` on.
    pub fn with_targets_from(first: usize, id: String, ids: Vec<u32>) -> Example {
        let targets = vec![first..ids.len()];
        Example { id, ids, targets }
    }

    /// Returns the number of positions that pass through the model: all but the last, which
    /// predicts nothing.
    pub fn positions(&self) -> usize {
        self.ids.len() - 1
    }

    /// Returns the number of tokens that the loss is computed on.
    pub fn target_count(&self) -> usize {
        self.targets.iter().map(Range::len).sum()
    }
}

/// A row that is neither trained on nor held out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LeftOut {
    /// Name of the row.
    pub id: String,
    /// Reason.
    pub reason: String,
}

/// The encoded dataset.
#[derive(Debug)]
pub struct Encoded {
    /// Training examples, in the order of the rows.
    pub train: Vec<Example>,
    /// Held-out examples.
    pub eval: Vec<Example>,
    /// Rows that do not fit or have no answer.
    pub left_out: Vec<LeftOut>,
    /// Warnings about the encoding.
    pub remarks: Vec<String>,
}

/// How rows become examples.
#[derive(Clone)]
pub struct Layout<'a> {
    /// Chat template; none for prompt and completion as they are.
    pub template: Option<&'a ConversationTemplate>,
    /// Which answers of a conversation are targets.
    pub loss: AnswerLoss,
    /// Most tokens of an example, end-of-text included.
    pub max_length: usize,
    /// Share of the groups that is held out, in [0, 1).
    pub eval_fraction: f64,
    /// Seed of the choice of groups.
    pub seed: u64,
}

/// Lays out and encodes all rows. Rows beyond `max_length` and rows without an answer are left out,
/// never cut.
///
/// Groups are held out as a whole, so that two instances of one task are never on both sides.
pub fn encode(rows: &[Row], layout: &Layout, tokenizer: &Tokenizer) -> Result<Encoded> {
    let held_out = held_out_groups(rows, layout);
    let mut encoded = Encoded {
        train: Vec::new(),
        eval: Vec::new(),
        left_out: Vec::new(),
        remarks: Vec::new(),
    };
    let mut remarks = Remarks::default();
    for row in rows {
        let reason = if row.said.is_empty() && row.output.trim().is_empty() {
            "empty answer".to_owned()
        } else if row.said.len() > 1 && layout.template.is_none() {
            "a conversation of several turns, which only a template can lay out".to_owned()
        } else {
            let tokens = tokenize(row, layout, tokenizer)
                .with_context(|| format!("cannot encode the row {:?}", row.id))?;
            if tokens.ids.len() <= layout.max_length {
                remarks.look_at(row, layout, &tokens);
                let side = if held_out.contains(row.group.as_str()) {
                    &mut encoded.eval
                } else {
                    &mut encoded.train
                };
                side.push(example(row, tokens));
                continue;
            }
            format!(
                "{}, more than {}",
                counted(tokens.ids.len(), "token"),
                layout.max_length
            )
        };
        encoded.left_out.push(LeftOut {
            id: row.id.clone(),
            reason,
        });
    }
    encoded.remarks = remarks.texts();
    Ok(encoded)
}

/// Like [`encode`], with rows of their own to evaluate on, if there are any.
pub fn encode_both(rows: &Rows, layout: &Layout, tokenizer: &Tokenizer) -> Result<Encoded> {
    let Some(eval) = &rows.eval else {
        return encode(&rows.rows, layout, tokenizer);
    };
    let whole = Layout {
        eval_fraction: 0.0,
        ..layout.clone()
    };
    let mut encoded = encode(&rows.rows, &whole, tokenizer)?;
    let beside = encode(eval, &whole, tokenizer)?;
    encoded.eval = beside.train;
    encoded.left_out.extend(beside.left_out);
    // The same template is at fault on both sides.
    if encoded.remarks.is_empty() {
        encoded.remarks = beside.remarks;
    }
    Ok(encoded)
}

/// Encodes a row: as the chat template lays it out, or as one text with the end-of-text token after
/// it.
fn tokenize(row: &Row, layout: &Layout, tokenizer: &Tokenizer) -> Result<TokenizedConversation> {
    let mut messages = ChatMessage::of_row(&row.system, &row.instruction, &row.input);
    let Some(template) = layout.template else {
        // Joins the messages as the chat template `completion` does.
        let texts = messages
            .iter()
            .flat_map(|message| [Some(message.content.as_str()), message.input()]);
        let prompt = texts.flatten().collect::<Vec<_>>().join("\n\n");
        return plain(&prompt, &row.output, tokenizer);
    };
    match row.said.is_empty() {
        true => messages.push(ChatMessage::new("assistant", &row.output)),
        false => messages.extend_from_slice(&row.said),
    }
    match layout.loss {
        AnswerLoss::All => template.tokenize(tokenizer, &messages),
        AnswerLoss::Last => template.tokenize_last(tokenizer, &messages),
    }
}

/// Encodes prompt and completion as one text.
fn plain(prompt: &str, completion: &str, tokenizer: &Tokenizer) -> Result<TokenizedConversation> {
    let (whole, from) = (format!("{prompt}{completion}"), prompt.len());
    let encoded = tokenizer.encode_marked(&whole, true, &[from..whole.len()])?;
    let (mut ids, end) = (encoded.ids, tokenizer.required_end_token()?);
    let first = encoded.marked[0].start;
    if ids.last() != Some(&end) || ids.len() <= first {
        ids.push(end);
    }
    Ok(TokenizedConversation {
        targets: vec![first..ids.len()],
        ids,
        splits_token: encoded.splits_token,
        unanswered: None,
    })
}

fn example(row: &Row, tokens: TokenizedConversation) -> Example {
    let mut targets = tokens.targets;
    if let Some(first) = targets.first_mut() {
        first.start = first.start.max(1);
    }
    Example {
        id: row.id.clone(),
        ids: tokens.ids.into_iter().map(|id| id as u32).collect(),
        targets,
    }
}

/// What is no error, but may not be what was meant.
#[derive(Default)]
struct Remarks {
    /// The first row whose answer begins within a token, and the number of such rows.
    split: Option<(String, usize)>,
    no_end: bool,
    /// What the template's prompt ends with that answers do not begin with.
    unanswered: Option<String>,
}

impl Remarks {
    fn look_at(&mut self, row: &Row, layout: &Layout, tokens: &TokenizedConversation) {
        if tokens.splits_token {
            self.split.get_or_insert_with(|| (row.id.clone(), 0)).1 += 1;
        }
        if self.unanswered.is_none() {
            self.unanswered.clone_from(&tokens.unanswered);
        }
        self.no_end |= layout
            .template
            .is_some_and(|template| template.omits_end_token(tokens));
    }

    fn texts(self) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some((first, count)) = self.split {
            remarks.push(format!(
                "{} within a token of the answer, {first} first: without the answer, the prompt is encoded into other \
                 tokens than were trained on\nhint: a space between the two belongs to the answer",
                chosen(count, "prompt ends", "prompts end")
            ));
        }
        if let Some(opening) = self.unanswered {
            remarks.push(format!(
                "the template's prompt for an answer ends with {opening:?}, which answers do not begin with: the model learns \
                 to answer without it\nhint: give rows their reasoning as `reasoning_content`, or ask the trained model with \
                 `enable_thinking` false"
            ));
        }
        if self.no_end {
            remarks.push(
                "{% generation %} leaves out the token that ends a turn, so the model does not learn to end its answers"
                    .to_owned(),
            );
        }
        remarks
    }
}

fn held_out_groups<'a>(rows: &'a [Row], layout: &Layout) -> std::collections::HashSet<&'a str> {
    use rand::seq::SliceRandom;
    // Sorted by name, so that the choice does not depend on the order of the rows.
    let groups: BTreeMap<&str, ()> = rows.iter().map(|row| (row.group.as_str(), ())).collect();
    let mut groups: Vec<&str> = groups.into_keys().collect();
    groups.shuffle(&mut crate::train::rng(layout.seed, "evaluation split", 0));
    let count = (groups.len() as f64 * layout.eval_fraction) as usize;
    groups.into_iter().take(count).collect()
}

impl Encoded {
    /// Returns a digest of everything that training depends on: tokens and targets of all examples,
    /// in order. A resumed run must have the same.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for side in [&self.train, &self.eval] {
            hash.update((side.len() as u64).to_le_bytes());
            for example in side {
                hash.update((example.ids.len() as u64).to_le_bytes());
                for range in &example.targets {
                    hash.update((range.start as u64).to_le_bytes());
                    hash.update((range.end as u64).to_le_bytes());
                }
                for id in &example.ids {
                    hash.update(id.to_le_bytes());
                }
            }
        }
        ewe::text::hex(&hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::golden;

    /// A tokenizer that begins texts with `<bos>`, token 1, and ends them with token 0; most
    /// letters are a token each.
    fn tokenizer() -> Tokenizer {
        Tokenizer::read(&golden("gemma3")).unwrap()
    }

    fn layout(max_length: usize, eval_fraction: f64) -> Layout<'static> {
        Layout {
            template: None,
            loss: AnswerLoss::All,
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
            said: Vec::new(),
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
        assert_eq!(example.targets, [3..6]);
        assert_eq!((example.target_count(), example.positions()), (3, 5));
        assert!(encoded.remarks.is_empty());
        // `Ġt` is one token: across the boundary it is a target, and there is a warning.
        let encoded = of("a ", "ta");
        let example = &encoded.train[0];
        assert_eq!(text(&example.ids[example.targets[0].start..]), " ta");
        assert!(
            encoded.remarks[0].contains("within a token"),
            "{:?}",
            encoded.remarks
        );
        // An end that the answer has already is not added again.
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
    fn rows_to_evaluate_on_stay_apart() {
        let rows = |eval| Rows {
            rows: (0..20).map(|n| row(n, "p", "c")).collect(),
            eval,
            are_completions: true,
        };
        let of = |rows: &Rows| {
            let encoded = encode_both(rows, &layout(9, 0.1), &tokenizer()).unwrap();
            (
                encoded.train.len(),
                encoded.eval.len(),
                encoded.left_out.len(),
                encoded.fingerprint(),
            )
        };
        let shared = of(&rows(None));
        assert_eq!((shared.0, shared.1, shared.2), (18, 2, 0));
        let own = of(&rows(Some(vec![row(1, "q", "d"), row(2, "too long", "it is")])));
        assert_eq!((own.0, own.1, own.2), (20, 1, 1));
        let other = of(&rows(Some(vec![row(1, "q", "e")])));
        assert_ne!(own.3, other.3);
        assert_eq!(of(&rows(Some(Vec::new()))).1, 0);
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

    /// Every tokenizer against the ids of `transformers` for prompt and completion as one text
    /// (`scripts/make_goldens.py`).
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
                assert_eq!((&got.ids, got.targets[0].start), (&case.ids, case.first), "{at}");
                assert_eq!(tokenizer.encode(&case.user, true).unwrap(), case.prompt, "{at}");
                count += 1;
            }
        }
        assert!(count >= 140);
    }
}
