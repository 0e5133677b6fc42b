//! What a comparison found: wins, rates with intervals, categories, and the winner, if there is
//! one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exam::ExamFigures;
use super::kappa::kappa;
use super::length::{LengthControlled, Preference, controlled};
use super::verdict::{Choice, Judging};
use crate::suite::interval::{Interval, bootstrap};

/// A pair of answers, and what the judge thinks of it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// What kind of question it is.
    pub category: Option<&'a str>,
    /// Model a's answer; empty if it gave none.
    pub answer_a: &'a str,
    /// Model b's.
    pub answer_b: &'a str,
    /// What the judge thinks; none without a judge.
    pub judging: Option<Judging>,
}

/// What people said of pairs, the latest vote of each person.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PeopleFigures {
    /// Votes.
    pub votes: usize,
    /// People.
    pub voters: usize,
    /// Votes for model a's answer.
    pub wins_a: usize,
    /// Votes for model b's.
    pub wins_b: usize,
    /// Votes for neither.
    pub ties: usize,
    /// Cohen's kappa of votes and the judge's verdicts; none without both.
    pub kappa: Option<f64>,
    /// The pairs of vote and verdict behind it.
    pub compared: usize,
}

/// Wins of both models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wins {
    /// Pairs.
    pub n: usize,
    /// Pairs that model a won.
    pub wins_a: usize,
    /// Pairs that model b won.
    pub wins_b: usize,
    /// Pairs that neither won.
    pub ties: usize,
    /// Pairs without a verdict. The rate does not count them.
    pub errors: usize,
    /// Model b's wins and half of the ties, as a share of the pairs with a verdict, with a 95 %
    /// interval over pairs; none if there are no such pairs.
    pub win_rate: Option<Interval>,
}

/// How the judge behaved on the pairs of both models.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Conduct {
    /// The share of its choices that fell on the answer shown first.
    pub chose_first: Option<f64>,
    /// The share of pairs, of those with two readable replies, on which its orders disagreed.
    pub disagreed: Option<f64>,
}

/// Means of both models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Both<T> {
    /// Model a's.
    pub a: T,
    /// Model b's.
    pub b: T,
}

/// All figures of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Wins over all pairs.
    #[serde(flatten)]
    pub wins: Wins,
    /// By likelihood, the mean probability that b's answer is better, with a 95 % interval over
    /// pairs; equal answers count one half.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub win_probability: Option<Interval>,
    /// The same if answers were equally long.
    pub length_controlled: Option<LengthControlled>,
    /// Wins by category, of those with two pairs or more.
    pub by_category: BTreeMap<String, Wins>,
    /// How the judge behaved; none without a judge.
    pub conduct: Option<Conduct>,
    /// Words of an answer.
    pub mean_words: Both<f64>,
    /// Answers without any text.
    pub empty_answers: Both<usize>,
    /// `a` or `b`, if the judge can be believed and the interval leaves no doubt.
    pub winner: Option<&'static str>,
    /// Why no winner is named.
    pub no_winner_because: Option<String>,
}

impl Figures {
    /// Computes the figures. `exam` is how the judge did, if it was examined.
    pub fn of(pairs: &[Pair<'_>], exam: Option<&ExamFigures>, seed: u64) -> Figures {
        let wins = Wins::of(pairs, seed);
        let (winner, no_winner_because) = match named(&wins, pairs, exam) {
            Ok(winner) => (Some(winner), None),
            Err(why) => (None, Some(why)),
        };
        Figures {
            win_probability: win_probability(pairs, seed),
            length_controlled: controlled(&preferences(pairs), seed),
            by_category: by_category(pairs, seed),
            conduct: Conduct::of(pairs),
            mean_words: Both {
                a: mean_words(pairs.iter().map(|pair| pair.answer_a)),
                b: mean_words(pairs.iter().map(|pair| pair.answer_b)),
            },
            empty_answers: Both {
                a: pairs.iter().filter(|pair| pair.answer_a.is_empty()).count(),
                b: pairs.iter().filter(|pair| pair.answer_b.is_empty()).count(),
            },
            wins,
            winner,
            no_winner_because,
        }
    }
}

impl Wins {
    fn of(pairs: &[Pair<'_>], seed: u64) -> Wins {
        let verdicts: Vec<Choice> = pairs
            .iter()
            .filter_map(|pair| Some(pair.judging?.verdict()))
            .collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count();
        let gains: Vec<f64> = verdicts.iter().filter_map(|verdict| verdict.gain()).collect();
        Wins {
            n: pairs.len(),
            wins_a: count(Choice::A),
            wins_b: count(Choice::B),
            ties: count(Choice::Tie),
            errors: count(Choice::Error),
            win_rate: (!gains.is_empty()).then(|| bootstrap(&gains, seed)),
        }
    }
}

impl Conduct {
    fn of(pairs: &[Pair<'_>]) -> Option<Conduct> {
        pairs.iter().find_map(|pair| pair.judging)?;
        let orders = || pairs.iter().filter_map(|pair| pair.judging?.orders());
        let firsts = orders().flat_map(|(a_first, b_first)| {
            let is_first = |choice, first| match choice {
                Choice::A | Choice::B => Some(choice == first),
                Choice::Tie | Choice::Error => None,
            };
            [is_first(a_first, Choice::A), is_first(b_first, Choice::B)]
        });
        let readable = orders().filter(|(one, other)| ![one, other].contains(&&Choice::Error));
        Some(Conduct {
            chose_first: share(firsts.flatten()),
            disagreed: share(readable.map(|(one, other)| one != other)),
        })
    }
}

/// The winner, or why there is none.
fn named(wins: &Wins, pairs: &[Pair<'_>], exam: Option<&ExamFigures>) -> Result<&'static str, String> {
    if pairs.iter().all(|pair| pair.judging.is_none()) {
        return Err("there was no judge".to_owned());
    }
    match exam {
        None => return Err("the judge was not examined: no row has a reference to examine it on".to_owned()),
        Some(exam) if !exam.passed => {
            return Err(format!(
                "this judge cannot tell: {:.1} % of its replies about pairs whose better half is known were right",
                100.0 * exam.accuracy.mean
            ));
        }
        Some(_) => {}
    }
    match wins.win_rate {
        None => Err("no pair has a verdict".to_owned()),
        Some(_) if 2 * wins.errors > wins.n => Err("most pairs have no verdict".to_owned()),
        Some(rate) if rate.low > 0.5 => Ok("b"),
        Some(rate) if rate.high < 0.5 => Ok("a"),
        Some(_) => {
            Err("the difference may be chance: the interval of the win rate includes one half".to_owned())
        }
    }
}

/// The mean probability that b's answer is better.
fn win_probability(pairs: &[Pair<'_>], seed: u64) -> Option<Interval> {
    let judgings = || pairs.iter().filter_map(|pair| pair.judging);
    judgings().find_map(Judging::b_wins)?;
    let odds = judgings().filter_map(|judging| match judging {
        Judging::Same => Some(0.5),
        other => other.b_wins(),
    });
    Some(bootstrap(&odds.collect::<Vec<_>>(), seed))
}

fn preferences(pairs: &[Pair<'_>]) -> Vec<Preference> {
    let characters = |text: &str| text.chars().count() as f64;
    pairs
        .iter()
        .filter_map(|pair| {
            Some(Preference {
                gain: pair.judging?.verdict().gain()?,
                longer: characters(pair.answer_b) - characters(pair.answer_a),
            })
        })
        .collect()
}

fn by_category(pairs: &[Pair<'_>], seed: u64) -> BTreeMap<String, Wins> {
    let mut groups: BTreeMap<&str, Vec<Pair<'_>>> = BTreeMap::new();
    for pair in pairs {
        if let Some(category) = pair.category {
            groups.entry(category).or_default().push(*pair);
        }
    }
    groups
        .into_iter()
        .filter(|(_, pairs)| pairs.len() > 1)
        .map(|(category, pairs)| (category.to_owned(), Wins::of(&pairs, seed)))
        .collect()
}

/// The mean number of words; 0 without answers.
fn mean_words<'a>(answers: impl Iterator<Item = &'a str> + Clone) -> f64 {
    let count = answers.clone().count().max(1) as f64;
    answers.map(|text| text.split_whitespace().count()).sum::<usize>() as f64 / count
}

/// The share of what is true; none of nothing.
fn share(all: impl Iterator<Item = bool>) -> Option<f64> {
    let (mut count, mut yes) = (0.0, 0.0);
    for is in all {
        count += 1.0;
        yes += f64::from(u8::from(is));
    }
    (count > 0.0).then(|| yes / count)
}

impl PeopleFigures {
    /// Counts votes, in the words of the database: who voted, the vote, and the judge's verdict on
    /// the same pair if there is one.
    pub fn of<'a>(votes: impl Iterator<Item = (&'a str, &'a str, Option<&'a str>)>) -> PeopleFigures {
        let votes: Vec<(&str, Choice, Option<Choice>)> = votes
            .filter_map(|(who, vote, verdict)| {
                Some((who, Choice::of_str(vote)?, verdict.and_then(Choice::of_str)))
            })
            .collect();
        let count = |wanted| votes.iter().filter(|(_, vote, _)| *vote == wanted).count();
        let mut people: Vec<&str> = votes.iter().map(|(who, ..)| *who).collect();
        people.sort_unstable();
        people.dedup();
        let both: Vec<(Choice, Choice)> = votes
            .iter()
            .filter_map(|&(_, vote, verdict)| {
                Some((vote, verdict.filter(|verdict| *verdict != Choice::Error)?))
            })
            .collect();
        PeopleFigures {
            votes: votes.len(),
            voters: people.len(),
            wins_a: count(Choice::A),
            wins_b: count(Choice::B),
            ties: count(Choice::Tie),
            kappa: kappa(&both),
            compared: both.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::exam::ExamFigures;

    fn exam(mean: f64) -> ExamFigures {
        ExamFigures {
            pairs: 10,
            replies: 20,
            errors: 0,
            ties: 0,
            accuracy: Interval {
                mean,
                low: mean,
                high: mean,
            },
            chose_first: Some(0.5),
            by_kind: BTreeMap::new(),
            passed: mean >= 0.65,
        }
    }

    fn pair(judging: Judging) -> Pair<'static> {
        Pair {
            category: None,
            answer_a: "one two",
            answer_b: "one two three",
            judging: Some(judging),
        }
    }

    fn won(choice: Choice, times: usize) -> Vec<Pair<'static>> {
        vec![pair(Judging::Orders(choice, choice)); times]
    }

    #[test]
    fn ties_are_half_a_win_and_errors_are_counted_apart() {
        let mut pairs = [won(Choice::B, 5), won(Choice::A, 2), won(Choice::Tie, 2)].concat();
        pairs.push(pair(Judging::Same));
        pairs.push(pair(Judging::Orders(Choice::A, Choice::B)));
        pairs.push(pair(Judging::Orders(Choice::Error, Choice::B)));
        pairs.push(pair(Judging::Unanswered));
        let figures = Figures::of(&pairs, Some(&exam(0.9)), 1);
        let wins = &figures.wins;
        assert_eq!(
            (wins.n, wins.wins_a, wins.wins_b, wins.ties, wins.errors),
            (13, 2, 5, 4, 2)
        );
        assert!((wins.win_rate.unwrap().mean - 7.0 / 11.0).abs() < 1e-12);
        assert_eq!(figures.mean_words, Both { a: 2.0, b: 3.0 });
        let conduct = figures.conduct.unwrap();
        // Of 5 + 2 pairs each choice was first once and second once; one pair was decided by order.
        assert_eq!(conduct.disagreed, Some(1.0 / 10.0));
        assert!((conduct.chose_first.unwrap() - 10.0 / 17.0).abs() < 1e-12);
    }

    #[test]
    fn a_winner_is_named_only_beyond_doubt() {
        let clear = [won(Choice::B, 40), won(Choice::A, 5)].concat();
        assert_eq!(Figures::of(&clear, Some(&exam(0.9)), 1).winner, Some("b"));
        let turned = [won(Choice::A, 40), won(Choice::B, 5)].concat();
        assert_eq!(Figures::of(&turned, Some(&exam(0.9)), 1).winner, Some("a"));
        let because = |pairs: &[Pair<'_>], exam: Option<&ExamFigures>| {
            let figures = Figures::of(pairs, exam, 1);
            assert_eq!(figures.winner, None);
            figures.no_winner_because.unwrap()
        };
        assert!(because(&clear, Some(&exam(0.6))).contains("cannot tell: 60.0 %"));
        assert!(because(&clear, None).contains("not examined"));
        let close = [won(Choice::B, 6), won(Choice::A, 5)].concat();
        assert!(because(&close, Some(&exam(0.9))).contains("chance"));
        let silent = [clear.clone(), vec![pair(Judging::Unanswered); 60]].concat();
        assert!(because(&silent, Some(&exam(0.9))).contains("most pairs"));
        assert!(because(&[pair(Judging::Unanswered)], Some(&exam(0.9))).contains("no pair"));
        let mut alone = clear.clone();
        alone.iter_mut().for_each(|pair| pair.judging = None);
        let figures = Figures::of(&alone, None, 1);
        assert_eq!((figures.winner, figures.wins.win_rate), (None, None));
        assert!(figures.no_winner_because.unwrap().contains("no judge"));
        assert_eq!(figures.conduct, None);
    }

    #[test]
    fn categories_of_one_pair_are_left_out() {
        let mut pairs = [won(Choice::B, 3), won(Choice::A, 1)].concat();
        for (pair, category) in pairs.iter_mut().zip(["qa", "qa", "rare", "qa"]) {
            pair.category = Some(category);
        }
        let figures = Figures::of(&pairs, Some(&exam(0.9)), 1);
        assert_eq!(figures.by_category.len(), 1);
        let qa = &figures.by_category["qa"];
        assert_eq!((qa.n, qa.wins_a, qa.wins_b), (3, 1, 2));
        let json = serde_json::to_value(&figures).unwrap();
        assert_eq!(json["by_category"]["qa"]["n"], 3);
        assert_eq!(json["wins_b"], 3);
    }

    #[test]
    fn votes_are_compared_with_verdicts() {
        let votes = [
            ("ann", "a", Some("a")),
            ("ann", "b", Some("b")),
            ("ben", "b", Some("tie")),
            ("ben", "tie", Some("error")),
            ("ben", "a", None),
        ];
        let people = PeopleFigures::of(votes.into_iter());
        assert_eq!((people.votes, people.voters, people.compared), (5, 2, 3));
        assert_eq!((people.wins_a, people.wins_b, people.ties), (2, 2, 1));
        assert!((people.kappa.unwrap() - 0.5).abs() < 1e-12, "{people:?}");
        assert_eq!(PeopleFigures::of(std::iter::empty()).kappa, None);
    }
}
