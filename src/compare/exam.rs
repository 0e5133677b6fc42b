//! The judge is examined before it is believed: on pairs of answers whose better half is known,
//! because the other one was spoilt. Each is asked in both orders.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

use super::item::Item;
use super::verdict::Reply;
use crate::fold::folded;
use crate::suite::interval::{Interval, bootstrap};

/// The share of right replies below which a judge cannot tell. Half is what a coin gets.
pub const PASS: f64 = 0.65;

/// Words that a reference must have to be cut short: three are left, and three are gone.
const FEWEST_WORDS: usize = 6;

/// How the worse half of a pair is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spoilt {
    /// It is the reference of another question.
    OtherReference,
    /// It is the reference without its second half.
    CutShort,
    /// It repeats the instruction.
    InstructionRepeated,
}

impl Spoilt {
    /// All ways.
    pub const ALL: [Spoilt; 3] = [
        Spoilt::OtherReference,
        Spoilt::CutShort,
        Spoilt::InstructionRepeated,
    ];

    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Spoilt::OtherReference => "other_reference",
            Spoilt::CutShort => "cut_short",
            Spoilt::InstructionRepeated => "instruction_repeated",
        }
    }
}

/// A pair whose better half is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExamPair {
    /// How the worse half was made.
    pub spoilt: Spoilt,
    /// The place of the question among the items.
    pub item: usize,
    /// The reference.
    pub better: String,
    /// What is worse.
    pub worse: String,
}

/// Makes at most `per_kind` pairs of each kind, of items that have references. Which ones is a
/// function of the seed.
pub fn pairs(items: &[Item], per_kind: usize, seed: u64) -> Vec<ExamPair> {
    let known: Vec<(usize, &Item, &str)> = items
        .iter()
        .enumerate()
        .filter_map(|(at, item)| Some((at, item, item.reference.as_deref()?)))
        .collect();
    let known: Vec<_> = order(known.len(), seed).into_iter().map(|at| known[at]).collect();
    let mut pairs = Vec::new();
    for spoilt in Spoilt::ALL {
        let made = known
            .iter()
            .enumerate()
            .filter_map(|(place, &(at, item, reference))| {
                let worse = match spoilt {
                    Spoilt::OtherReference => other(&known, place),
                    Spoilt::CutShort => cut_short(reference),
                    Spoilt::InstructionRepeated => repeated(item, reference),
                };
                Some(ExamPair {
                    spoilt,
                    item: at,
                    better: reference.to_owned(),
                    worse: worse?.to_owned(),
                })
            });
        pairs.extend(made.take(per_kind));
    }
    pairs
}

/// The next reference in the order that answers another question, and in other words.
fn other<'a>(known: &[(usize, &Item, &'a str)], place: usize) -> Option<&'a str> {
    let (_, item, reference) = known[place];
    let behind = known[place + 1..].iter().chain(&known[..place]);
    let is_other = |candidate: &&(usize, &Item, &str)| {
        candidate.1.question != item.question && !same(candidate.2, reference)
    };
    // Nearly every row differs; a file of one label is not searched to its end for each of them.
    behind
        .take(100)
        .find(is_other)
        .map(|(_, _, reference)| *reference)
}

/// The first half of the words.
fn cut_short(reference: &str) -> Option<&str> {
    let words = reference.split_whitespace().count();
    if words < FEWEST_WORDS {
        return None;
    }
    let last = reference.split_whitespace().nth(words / 2 - 1)?;
    let end = last.as_ptr() as usize - reference.as_ptr() as usize + last.len();
    reference.get(..end)
}

fn repeated<'a>(item: &'a Item, reference: &str) -> Option<&'a str> {
    let instruction = item.question.instruction.as_str();
    (!same(instruction, reference)).then_some(instruction)
}

/// Whether two texts say the same in other cases and spaces.
fn same(one: &str, other: &str) -> bool {
    let letters = |text| folded(text).filter(|c| !c.is_whitespace());
    letters(one).eq(letters(other))
}

/// The numbers below `count` in an order that is a function of the seed.
fn order(count: usize, seed: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        let below = (u64::from(rng.next_u32()) * (at as u64 + 1)) >> 32;
        order.swap(at, below as usize);
    }
    order
}

/// How a judge did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExamFigures {
    /// Pairs, each of which was asked in both orders.
    pub pairs: usize,
    /// Replies, twice as many.
    pub replies: usize,
    /// Replies that could not be read, or did not come. They count as wrong, as ties do.
    pub errors: usize,
    /// Replies that neither half is better.
    pub ties: usize,
    /// The share of replies that chose the better half, with a 95 % interval over pairs.
    pub accuracy: Interval,
    /// The share of choices that fell on the half shown first: ½ is fair; none without choices.
    pub chose_first: Option<f64>,
    /// The same by how the worse half was made.
    pub by_kind: BTreeMap<&'static str, KindFigures>,
    /// Whether the accuracy is at least [`PASS`].
    pub passed: bool,
}

/// How a judge did on pairs of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KindFigures {
    /// Pairs.
    pub pairs: usize,
    /// The share of right replies.
    pub accuracy: Interval,
    /// Unreadable replies.
    pub errors: usize,
}

/// Grades the replies to each pair: with the better half shown first, and second. None without
/// pairs.
pub fn grade(pairs: &[ExamPair], replies: &[(Reply, Reply)], seed: u64) -> Option<ExamFigures> {
    if pairs.is_empty() {
        return None;
    }
    let right = |&(first, second): &(Reply, Reply)| {
        f64::from(u8::from(first == Reply::First) + u8::from(second == Reply::Second)) / 2.0
    };
    let count = |replies: &[(Reply, Reply)], wanted: Reply| {
        let each = replies.iter().flat_map(|&(first, second)| [first, second]);
        each.filter(|reply| *reply == wanted).count()
    };
    let marks: Vec<f64> = replies.iter().map(right).collect();
    let mut by_kind = BTreeMap::new();
    for spoilt in Spoilt::ALL {
        let ours: Vec<(Reply, Reply)> = pairs
            .iter()
            .zip(replies)
            .filter(|(pair, _)| pair.spoilt == spoilt)
            .map(|(_, replies)| *replies)
            .collect();
        if !ours.is_empty() {
            let figures = KindFigures {
                pairs: ours.len(),
                accuracy: bootstrap(&ours.iter().map(right).collect::<Vec<_>>(), seed),
                errors: count(&ours, Reply::Error),
            };
            by_kind.insert(spoilt.as_str(), figures);
        }
    }
    let (first, second) = (count(replies, Reply::First), count(replies, Reply::Second));
    let accuracy = bootstrap(&marks, seed);
    Some(ExamFigures {
        pairs: pairs.len(),
        replies: 2 * pairs.len(),
        errors: count(replies, Reply::Error),
        ties: count(replies, Reply::Tie),
        accuracy,
        chose_first: (first + second > 0).then(|| first as f64 / (first + second) as f64),
        by_kind,
        passed: accuracy.mean >= PASS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Question;

    fn item(instruction: &str, reference: Option<&str>) -> Item {
        Item {
            key: instruction.to_owned(),
            category: None,
            question: Question::new(instruction),
            reference: reference.map(str::to_owned),
        }
    }

    #[test]
    fn each_kind_has_pairs_whose_halves_differ() {
        let items: Vec<Item> = (0..20)
            .map(|at| {
                let words = format!("The answer to question {at} is number {}.", at * 7);
                item(
                    &format!("Question {at}?"),
                    (at % 4 != 0).then_some(words.as_str()),
                )
            })
            .collect();
        let made = pairs(&items, 60, 1);
        assert_eq!(made.len(), 3 * 15);
        assert_eq!(pairs(&items, 4, 1).len(), 3 * 4);
        assert_eq!(made, pairs(&items, 60, 1));
        assert_ne!(made, pairs(&items, 60, 2));
        for pair in &made {
            assert_eq!(Some(&pair.better), items[pair.item].reference.as_ref());
            assert_ne!(pair.better, pair.worse);
            match pair.spoilt {
                Spoilt::OtherReference => assert!(pair.worse.starts_with("The answer")),
                Spoilt::CutShort => {
                    assert_eq!(pair.worse, "The answer to question");
                }
                Spoilt::InstructionRepeated => {
                    assert_eq!(pair.worse, items[pair.item].question.instruction);
                }
            }
        }
    }

    #[test]
    fn what_may_be_as_good_is_no_pair() {
        // Labels, of which one is another's in other letters; too short to be cut; an instruction
        // that is its own answer.
        let items = [
            item("Is it good?", Some("Yes")),
            item("Is it bad?", Some(" yes ")),
            item("Say hello", Some("say  Hello")),
        ];
        let made = pairs(&items, 60, 0);
        assert!(made.iter().all(|pair| pair.spoilt != Spoilt::CutShort));
        for pair in &made {
            assert!(!same(&pair.better, &pair.worse), "{pair:?}");
        }
        assert!(pairs(&[item("One?", Some("Two"))], 60, 0).len() == 1);
        // The same question twice has two good answers.
        let twice = [
            item("Tell a joke.", Some("One.")),
            item("Tell a joke.", Some("Two.")),
        ];
        let kinds: Vec<Spoilt> = pairs(&twice, 60, 0).iter().map(|pair| pair.spoilt).collect();
        assert_eq!(kinds, [Spoilt::InstructionRepeated; 2]);
        assert!(pairs(&[], 60, 0).is_empty());
    }

    fn graded(reply: impl Fn(usize) -> (Reply, Reply)) -> ExamFigures {
        let items: Vec<Item> = (0..10)
            .map(|at| {
                item(
                    &format!("Q{at}"),
                    Some(&format!("one two three four five six {at}")),
                )
            })
            .collect();
        let made = pairs(&items, 60, 0);
        let replies: Vec<_> = (0..made.len()).map(reply).collect();
        grade(&made, &replies, 0).unwrap()
    }

    #[test]
    fn a_judge_that_is_right_passes() {
        let figures = graded(|_| (Reply::First, Reply::Second));
        assert!(figures.passed);
        assert_eq!((figures.pairs, figures.replies, figures.errors), (30, 60, 0));
        assert_eq!(figures.accuracy.mean, 1.0);
        assert_eq!(figures.chose_first, Some(0.5));
        assert_eq!(figures.by_kind.len(), 3);
        assert_eq!(figures.by_kind["cut_short"].pairs, 10);
    }

    #[test]
    fn a_judge_of_places_does_not_nor_one_of_ties_or_nonsense() {
        let places = graded(|_| (Reply::First, Reply::First));
        assert_eq!((places.accuracy.mean, places.chose_first), (0.5, Some(1.0)));
        assert!(!places.passed);
        let ties = graded(|_| (Reply::Tie, Reply::Tie));
        assert_eq!((ties.accuracy.mean, ties.ties, ties.chose_first), (0.0, 60, None));
        assert!(!ties.passed);
        let nonsense = graded(|_| (Reply::Error, Reply::Error));
        assert_eq!((nonsense.errors, nonsense.passed), (60, false));
        // Two thirds are right in both orders, the others in one: five sixths in all.
        let mixed = graded(|at| match at % 3 {
            0 => (Reply::First, Reply::First),
            _ => (Reply::First, Reply::Second),
        });
        assert!((mixed.accuracy.mean - 5.0 / 6.0).abs() < 1e-12 && mixed.passed);
        assert!(
            mixed.accuracy.low > 0.65 && mixed.accuracy.high < 0.95,
            "{mixed:?}"
        );
        assert_eq!(grade(&[], &[], 0), None);
    }
}
