//! Tasks that read like held-out ones, which a model must not be trained on either: their answers
//! would tell it those that it is asked for.

use std::collections::{BTreeMap, HashSet};

use crate::filter::{Index, RougeL, Threshold};
use crate::fold::folded;
use crate::store::DatasetRow;

/// ROUGE-L F1 of two instructions from which on they are near-duplicates, as a fraction:
/// Self-Instruct's 0.7.
const LEAST: RougeL = RougeL { lcs: 7, total: 20 };

/// Returns the tasks of `rows` whose instruction has a ROUGE-L of at least 0.7 with one of
/// `held_out`, or whose instruction, or instruction with input, is the same text.
pub fn near(held_out: &[DatasetRow], rows: &[DatasetRow]) -> HashSet<i64> {
    let (ours, theirs) = (instructions(rows), instructions(held_out));
    let texts: HashSet<String> = held_out.iter().flat_map(texts_of).collect();
    let mut found: HashSet<i64> = rows
        .iter()
        .filter(|row| texts_of(row).iter().any(|text| texts.contains(text)))
        .map(|row| row.task_id)
        .collect();
    let mut index = Index::new(Threshold::SELF_INSTRUCT);
    index.extend(&theirs.values().collect::<Vec<_>>());
    let queries: Vec<(&str, usize)> = ours.values().map(|text| (*text, theirs.len())).collect();
    let nearest = index.nearest(&queries, 1);
    let near = ours.keys().zip(nearest);
    found.extend(
        near.filter(|(_, nearest)| nearest.iter().any(|near| near.score >= LEAST))
            .map(|(id, _)| *id),
    );
    found
}

/// The instruction of each task.
fn instructions(rows: &[DatasetRow]) -> BTreeMap<i64, &str> {
    rows.iter()
        .map(|row| (row.task_id, row.instruction.as_str()))
        .collect()
}

/// The texts by which a row is the same as another: also if one has in its instruction what the
/// other has in its input.
fn texts_of(row: &DatasetRow) -> [String; 2] {
    [same(&[&row.instruction]), same(&[&row.instruction, &row.input])]
}

/// Returns texts as one, as they are compared: in normal form, without differences of white space.
pub fn same(texts: &[&str]) -> String {
    let mut text = String::new();
    for part in texts {
        let part: String = folded(part).collect();
        for word in part.split_whitespace() {
            text.push_str(word);
            text.push(' ');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Origin, Review};

    fn row(task_id: i64, instruction: &str, input: &str) -> DatasetRow {
        DatasetRow {
            task_id,
            instance_id: task_id,
            instruction: instruction.to_owned(),
            input: input.to_owned(),
            output: "o".to_owned(),
            is_classification: false,
            origin: Origin::Machine,
            review: Review::Pending,
            run_id: None,
            created_at: String::new(),
            system: None,
            extra: None,
            turns: None,
        }
    }

    #[test]
    fn what_reads_like_a_held_out_task_is_found() {
        let held_out = [
            row(1, "a b c d e f g h i j", ""),
            row(2, "Translate: good morning", ""),
            row(3, "!?", ""),
        ];
        let rows = [
            // 14 / 20 is enough, 12 / 20 is not.
            row(11, "a b c d e f g x y z", ""),
            row(12, "a b c d e f w x y z", ""),
            row(13, "TRANSLATE:", "good\n morning"),
            row(14, "Translate:", "good night"),
            // Without words, texts are alike whatever white space is in them.
            row(15, "! ?", ""),
            row(16, "!?", "with an input"),
            row(17, "Something else", ""),
        ];
        let mut found: Vec<i64> = near(&held_out, &rows).into_iter().collect();
        found.sort_unstable();
        assert_eq!(found, [11, 13, 15, 16]);
        assert!(near(&[], &rows).is_empty() && near(&held_out, &[]).is_empty());
    }
}
