//! How far judges agree with people, and with each other.
//!
//! With people: the area under the ROC curve, which is how often an instance of a task that
//! somebody accepted scores above one of a task that somebody rejected; ties count half. 0.5 is
//! chance. With each other: Cohen's kappa with quadratic weights (Cohen 1968) over scores from 1 to
//! 5, rounded; 0 is chance.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::store::query::tally::opinions::OpinionTally;
use crate::text::{counted, one_line};

/// The most pairs of judges that are compared.
const MOST_PAIRS: usize = 45;

/// What can be said of the judges of a dataset.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Agreement {
    /// Each judge with people, as a whole and by criterion.
    pub with_people: Vec<WithPeople>,
    /// Judges with each other.
    pub between_judges: Vec<BetweenJudges>,
}

/// A judge, and people's reviews of what it judged.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct WithPeople {
    /// The judge.
    pub judge: String,
    /// The criterion; `None` for the whole score.
    pub criterion: Option<String>,
    /// Instances of tasks that people accepted.
    pub accepted: u64,
    /// Instances of tasks that people rejected.
    pub rejected: u64,
    /// The area under the ROC curve.
    pub auroc: f64,
}

/// Two judges of the same instances.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct BetweenJudges {
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// Instances that both have scored.
    pub instances: u64,
    /// Cohen's kappa with quadratic weights; `None` where both have one score only.
    pub kappa: Option<f64>,
    /// The share of instances with the same score.
    pub same: f64,
}

impl Agreement {
    /// Computes the agreement.
    pub fn of(opinions: &OpinionTally) -> Agreement {
        let mut with_people = Vec::new();
        for (judge, criteria) in &opinions.reviewed {
            for (criterion, scores) in criteria {
                let parsed = scores
                    .iter()
                    .filter_map(|(score, &counts)| Some((score.parse::<f64>().ok()?, counts)));
                let scores: Vec<_> = parsed.collect();
                if let Some(auroc) = auroc(&scores) {
                    with_people.push(WithPeople {
                        judge: judge.clone(),
                        criterion: (!criterion.is_empty()).then(|| criterion.clone()),
                        accepted: scores.iter().map(|(_, (accepted, _))| *accepted as u64).sum(),
                        rejected: scores.iter().map(|(_, (_, rejected))| *rejected as u64).sum(),
                        auroc,
                    });
                }
            }
        }
        let pairs = opinions
            .both
            .iter()
            .flat_map(|(a, others)| others.iter().map(move |(b, scores)| (a, b, scores)));
        let between_judges = pairs.take(MOST_PAIRS).map(|(a, b, scores)| {
            let parsed = scores.iter().filter_map(|(both, &instances)| {
                let (of_a, of_b) = both.split_once(' ')?;
                Some(((of_a.parse().ok()?, of_b.parse().ok()?), instances))
            });
            let both: Vec<((i64, i64), i64)> = parsed.collect();
            let sum = |is_counted: fn(&(i64, i64)) -> bool| -> i64 {
                let some = both.iter().filter(|(scores, _)| is_counted(scores));
                some.map(|(_, instances)| instances).sum()
            };
            let instances = sum(|_| true);
            BetweenJudges {
                a: a.clone(),
                b: b.clone(),
                instances: instances as u64,
                kappa: kappa(&both),
                same: sum(|(a, b)| a == b) as f64 / instances as f64,
            }
        });
        Agreement {
            between_judges: between_judges.collect(),
            with_people,
        }
    }

    /// Writes it as text; nothing if there is none.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if !self.with_people.is_empty() {
            writeln!(
                out,
                "\n{:>9} {:>9} {:>6}  judge and people's reviews",
                "accepted", "rejected", "AUROC"
            )?;
        }
        for of in &self.with_people {
            let criterion = of
                .criterion
                .as_ref()
                .map_or(String::new(), |name| format!(", {name}"));
            writeln!(
                out,
                "{:>9} {:>9} {:>6.2}  {}{criterion}",
                of.accepted,
                of.rejected,
                of.auroc,
                one_line(&of.judge, 60)
            )?;
        }
        if !self.between_judges.is_empty() {
            writeln!(
                out,
                "\n{:>9} {:>9} {:>6}  judges of the same instances",
                "instances", "same", "kappa"
            )?;
        }
        for of in &self.between_judges {
            let kappa = of.kappa.map_or("-".to_string(), |kappa| format!("{kappa:.2}"));
            writeln!(
                out,
                "{:>9} {:>8.0}% {kappa:>6}  {} and {}",
                of.instances,
                100.0 * of.same,
                one_line(&of.a, 40),
                one_line(&of.b, 40)
            )?;
        }
        Ok(())
    }

    /// Says of how many instances people and judges have spoken.
    pub fn reviewed(&self) -> Option<String> {
        let most = self
            .with_people
            .iter()
            .map(|of| of.accepted + of.rejected)
            .max()?;
        Some(counted(most, "reviewed instance"))
    }
}

/// The share of pairs in which the accepted one scores higher, ties as half; `None` without pairs.
/// Of each score, how many are accepted and rejected.
fn auroc(scores: &[(f64, (i64, i64))]) -> Option<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut wins, mut accepted, mut below) = (0.0, 0, 0);
    for (_, (with, against)) in sorted {
        wins += with as f64 * (below as f64 + against as f64 / 2.0);
        accepted += with;
        below += against;
    }
    (accepted > 0 && below > 0).then(|| wins / (accepted as f64 * below as f64))
}

/// Cohen's kappa with quadratic weights, of pairs of scores and how often each occurs; `None` where
/// chance alone explains everything.
fn kappa(pairs: &[((i64, i64), i64)]) -> Option<f64> {
    let count = pairs.iter().map(|(_, times)| times).sum::<i64>() as f64;
    let square = |a: i64, b: i64| ((a - b) * (a - b)) as f64;
    let squares = pairs.iter().map(|((a, b), times)| square(*a, *b) * *times as f64);
    let seen = squares.sum::<f64>() / count;
    let mut of_a = BTreeMap::<i64, f64>::new();
    let mut of_b = BTreeMap::<i64, f64>::new();
    for ((a, b), times) in pairs {
        *of_a.entry(*a).or_default() += *times as f64 / count;
        *of_b.entry(*b).or_default() += *times as f64 / count;
    }
    let by_chance: f64 = of_a
        .iter()
        .flat_map(|(a, share)| of_b.iter().map(move |(b, other)| share * other * square(*a, *b)))
        .sum();
    (by_chance > 0.0).then(|| 1.0 - seen / by_chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Figures of `sklearn.metrics`: `roc_auc_score` and `cohen_kappa_score(weights="quadratic")`.
    #[test]
    fn figures_are_those_of_scikit_learn() {
        let scores = [
            (3.0, (1, 0)),
            (4.0, (2, 1)),
            (5.0, (1, 0)),
            (1.0, (0, 1)),
            (2.0, (0, 1)),
        ];
        assert_eq!(auroc(&scores), Some(10.0 / 12.0));
        assert_eq!(auroc(&[(2.0, (1, 2))]), Some(0.5));
        assert_eq!(auroc(&[(1.0, (0, 1))]), None);
        let a = [1, 2, 3, 4, 5, 5, 2, 1];
        let b = [1, 2, 3, 4, 4, 5, 4, 2];
        let pairs: Vec<((i64, i64), i64)> = a.into_iter().zip(b).map(|pair| (pair, 1)).collect();
        let found = kappa(&pairs).unwrap();
        assert!((found - 0.813_953_488).abs() < 1e-6, "{found}");
        assert_eq!(kappa(&[((3, 3), 2)]), None);
    }
}
