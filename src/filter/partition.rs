//! Near-duplicates among more rows than memory holds: the rows kept are parted in their order, and
//! each part is compared with all rows behind it while it alone is in memory.
//!
//! A row is kept if it is no near-duplicate of a row kept before it. So a part is filled in order
//! until it is at its limit, and is final then: nothing behind it changes what is in it. Every
//! later row is compared with the whole part, and goes on to the next one with the most similar row
//! found so far. A row that was found similar is never kept, but goes on, too: its verdict names
//! the most similar of all. Two rows meet in the part of the earlier one, whatever their words, and
//! each pair that the search in memory looks at is looked at once.

use super::index::Stay;
use super::kept::Kept;
use super::rouge::RougeL;
use crate::task::{TaskRef, Verdict};

/// A row of the filtered file whose verdict depends on rows before it.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenRow {
    /// Its number, from 0.
    pub row: u32,
    /// The text that is compared: its instruction, or the whole conversation.
    pub text: String,
    /// Its inputs, by [`inputs`](super::kept::inputs).
    pub inputs: Vec<u64>,
    /// The most similar task of the parts before, if there is one above the threshold.
    pub best: Option<Match>,
}

/// A task that a row is a near-duplicate of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// The task.
    pub task: TaskRef,
    /// ROUGE-L F1 of the two.
    pub score: RougeL,
}

impl OpenRow {
    fn task(&self) -> TaskRef {
        TaskRef::Row {
            file: 0,
            row: self.row,
        }
    }
}

/// One part of the rows kept.
#[derive(Debug)]
pub struct Partition {
    kept: Kept,
    /// Whether a row that may be kept is behind it, so that there will be another part.
    is_followed: bool,
}

impl Partition {
    /// Starts a part. Tasks in `kept` come before all rows.
    pub fn new(kept: Kept) -> Partition {
        Partition {
            kept,
            is_followed: false,
        }
    }

    /// How many rows are in it.
    pub fn len(&self) -> usize {
        self.kept.tasks.len()
    }

    /// Whether no row is in it.
    pub fn is_empty(&self) -> bool {
        self.kept.tasks.is_empty()
    }

    /// How many words its rows have.
    pub fn words(&self) -> usize {
        self.kept.index.words()
    }

    /// About how many bytes of memory it takes.
    pub fn bytes(&self) -> usize {
        self.kept.bytes()
    }

    /// Compares the next rows and adds those that are kept. No part behind this one changes their
    /// verdicts, which are returned in order.
    pub fn admit(&mut self, rows: &[OpenRow]) -> Vec<Verdict> {
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let near = self.kept.index.admit_as(&texts, |i| match rows[i].best {
            Some(_) => Stay::Never,
            None => Stay::IfNew,
        });
        let mut verdicts = Vec::with_capacity(rows.len());
        for (row, near) in rows.iter().zip(near) {
            let found = near.filter(|near| row.best.is_none_or(|best| near.score > best.score));
            verdicts.push(match (found, row.best) {
                (None, None) => {
                    self.kept.keep_inputs(self.kept.tasks.len(), &row.inputs);
                    self.kept.tasks.push(row.task());
                    Verdict::accepted()
                }
                (Some(near), _) if self.kept.is_another_instance(row.task(), &row.inputs, &near) => {
                    Verdict::accepted()
                }
                (Some(near), _) => Verdict::near_duplicate(self.kept.tasks[near.position], near.score.f1()),
                (None, Some(best)) => Verdict::near_duplicate(best.task, best.score.f1()),
            });
        }
        verdicts
    }

    /// Compares rows behind this part, in order, which is at its limit. Returns the verdicts that
    /// no later part can change; the other rows have the most similar task so far.
    pub fn compare(&mut self, rows: &mut [OpenRow]) -> Vec<Option<Verdict>> {
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let near = self.kept.index.duplicates(&texts, self.kept.index.len());
        let mut verdicts = Vec::with_capacity(rows.len());
        for (row, near) in rows.iter_mut().zip(near) {
            let found = near.filter(|near| row.best.is_none_or(|best| near.score > best.score));
            if let Some(near) = found {
                row.best = Some(Match {
                    task: self.kept.tasks[near.position],
                    score: near.score,
                });
            }
            let Some(best) = row.best else {
                self.is_followed = true;
                verdicts.push(None);
                continue;
            };
            // Nothing is more similar than the same words, and the earliest of equals counts.
            let has_same_words = 2 * best.score.lcs == best.score.total;
            verdicts.push(match found {
                Some(near) if self.kept.is_another_instance(row.task(), &row.inputs, &near) => {
                    Some(Verdict::accepted())
                }
                _ if has_same_words || !self.is_followed => {
                    Some(Verdict::near_duplicate(best.task, best.score.f1()))
                }
                _ => None,
            });
        }
        verdicts
    }
}

/// Gives verdicts on rows by parts of at most `most` rows kept, without a disk: how the parts are
/// meant to be used, and what tests compare. Returns the verdicts, and how many parts there were.
#[cfg(test)]
fn verdicts_by_parts(
    threshold: super::Threshold,
    rows: Vec<OpenRow>,
    batch: usize,
    most: usize,
) -> (Vec<Verdict>, usize) {
    let mut verdicts = vec![None; rows.len()];
    let (mut open, mut parts) = (rows, 0);
    while !open.is_empty() {
        parts += 1;
        let mut part = Partition::new(Kept::new(threshold));
        let mut later = Vec::new();
        for some in open.chunks_mut(batch) {
            let decided = match part.len() >= most {
                true => part.compare(some),
                false => part.admit(some).into_iter().map(Some).collect(),
            };
            for (row, verdict) in some.iter().zip(decided) {
                match verdict {
                    Some(verdict) => verdicts[row.row as usize] = Some(verdict),
                    None => later.push(row.clone()),
                }
            }
        }
        open = later;
    }
    (
        verdicts
            .into_iter()
            .map(|verdict| verdict.expect("each row has one"))
            .collect(),
        parts,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Threshold;
    use crate::filter::kept::inputs;
    use crate::filter::rules::RuleSet;
    use crate::filter::screen::{Screen, Submission};
    use crate::task::{Instance, Task};
    use proptest::prelude::*;

    /// Tasks of a few words with few inputs, many of them changed copies of earlier ones, in
    /// chains: a copy of a copy of a copy.
    fn tasks(most: usize) -> impl Strategy<Value = Vec<Task>> {
        let word = || (0u32..30).prop_map(|n| format!("w{n}"));
        let fresh = prop::collection::vec(word(), 0..12);
        let change = prop::collection::vec((any::<prop::sample::Index>(), word(), 0u8..3), 0..3);
        let copied = (any::<prop::sample::Index>(), change, 0u8..4);
        let input = prop::collection::vec(0u8..3, 0..3);
        prop::collection::vec((fresh, copied, input), 1..most).prop_map(|drawn| {
            let mut texts: Vec<Vec<String>> = Vec::new();
            let mut tasks = Vec::new();
            for (fresh, (of, changes, how), inputs) in drawn {
                let mut text = match how {
                    0 => fresh,
                    _ if texts.is_empty() => fresh,
                    // Most often a copy of the last one, so that there are long chains.
                    1 | 2 => texts[texts.len() - 1].clone(),
                    _ => of.get(&texts).clone(),
                };
                for (place, word, what) in changes {
                    if text.is_empty() {
                        break;
                    }
                    let place = place.index(text.len());
                    match what {
                        0 => drop(text.remove(place)),
                        1 => text.insert(place, word),
                        _ => text[place] = word,
                    }
                }
                let instance = |input: &u8| Instance {
                    input: format!("input {input}"),
                    output: "x".into(),
                };
                tasks.push(Task {
                    instruction: text.join(" "),
                    instances: inputs.iter().map(instance).collect(),
                    ..Task::default()
                });
                texts.push(text);
            }
            tasks
        })
    }

    fn in_memory(threshold: Threshold, tasks: &[Task]) -> Vec<Verdict> {
        let rules = RuleSet::named("none").expect("it is built in");
        let mut screen = Screen::new(rules, threshold, false);
        let submissions: Vec<Submission<'_>> = (0..)
            .zip(tasks)
            .map(|(row, task)| Submission {
                task_ref: TaskRef::Row { file: 0, row },
                task,
                is_certain: false,
            })
            .collect();
        screen.verdicts(&submissions)
    }

    fn open(tasks: &[Task]) -> Vec<OpenRow> {
        let row = |(row, task): (u32, &Task)| OpenRow {
            row,
            text: task.instruction.clone(),
            inputs: inputs(task),
            best: None,
        };
        (0..).zip(tasks).map(row).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        /// With a row kept in each part, there are as many parts as rows kept.
        #[test]
        fn parts_give_the_verdicts_of_memory(
            tasks in tasks(250),
            threshold in prop_oneof![Just("0.7"), Just("0.5"), Just("0.9"), Just("1"), Just("0.05")],
            batch in 1usize..40,
            parts in prop_oneof![Just(1usize), Just(2), Just(7), Just(64)],
        ) {
            let threshold: Threshold = threshold.parse().unwrap();
            let expected = in_memory(threshold, &tasks);
            let kept = expected.iter().filter(|verdict| verdict.is_accepted()).count();
            let most = kept.div_ceil(parts).max(1);
            let (verdicts, _) = verdicts_by_parts(threshold, open(&tasks), batch, most);
            prop_assert_eq!(verdicts, expected);
        }
    }

    #[test]
    fn a_chain_across_parts_is_that_of_memory() {
        // Each is a near-duplicate of its neighbors only: every other one stays.
        let words: Vec<String> = (0..60).map(|n| format!("w{n}")).collect();
        let text = |i: usize| words[i..i + 10].join(" ");
        let tasks: Vec<Task> = (0..50)
            .map(|i| Task {
                instruction: text(i),
                ..Task::default()
            })
            .collect();
        let threshold: Threshold = "0.85".parse().unwrap();
        let expected = in_memory(threshold, &tasks);
        let kept: Vec<bool> = expected.iter().map(Verdict::is_accepted).collect();
        assert_eq!(kept, (0..50).map(|i| i % 2 == 0).collect::<Vec<_>>());
        for most in [1, 2, 7, 64] {
            let (verdicts, parts) = verdicts_by_parts(threshold, open(&tasks), 1, most);
            assert_eq!(verdicts, expected);
            assert_eq!(parts, 25usize.div_ceil(most));
        }
    }

    #[test]
    fn rows_that_are_all_alike_take_one_part() {
        let alike = |i: usize, word: &str| Task {
            instruction: format!("name the capital of a country that begins with {word}"),
            instances: vec![Instance {
                input: format!("{}", i % 5),
                output: "x".into(),
            }],
            ..Task::default()
        };
        let same: Vec<Task> = (0..3000).map(|i| alike(i, "A")).collect();
        let one_word_apart: Vec<Task> = (0..3000).map(|i| alike(i, &format!("w{i}"))).collect();
        for (tasks, kept) in [(same, 5), (one_word_apart, 1)] {
            let expected = in_memory(Threshold::SELF_INSTRUCT, &tasks);
            assert_eq!(
                expected.iter().filter(|verdict| verdict.is_accepted()).count(),
                kept
            );
            let (verdicts, parts) = verdicts_by_parts(Threshold::SELF_INSTRUCT, open(&tasks), 64, 1);
            assert_eq!(verdicts, expected);
            assert_eq!(parts, 1);
        }
    }
}
