//! How far judges agree with people, and with each other.
//!
//! With people: the area under the ROC curve, which is how often an instance of a task that
//! somebody accepted scores above one of a task that somebody rejected; ties count half. 0.5 is
//! chance. With each other: Cohen's kappa with quadratic weights (Cohen 1968) over scores from 1 to
//! 5, rounded; 0 is chance.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::store::query::opinions::Opinion;
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
    pub fn of(opinions: &[Opinion]) -> Agreement {
        let mut whole: BTreeMap<&str, BTreeMap<i64, f64>> = BTreeMap::new();
        let mut with_people = Vec::new();
        for of in opinions.chunk_by(|a, b| (&a.judge, &a.criterion) == (&b.judge, &b.criterion)) {
            let scores = |accepted: bool| -> Vec<f64> {
                let some = of.iter().filter(|opinion| opinion.accepted == Some(accepted));
                some.map(|opinion| opinion.score).collect()
            };
            let (accepted, rejected) = (scores(true), scores(false));
            if let Some(auroc) = auroc(&accepted, &rejected) {
                with_people.push(WithPeople {
                    judge: of[0].judge.clone(),
                    criterion: of[0].criterion.clone(),
                    accepted: accepted.len() as u64,
                    rejected: rejected.len() as u64,
                    auroc,
                });
            }
            if of[0].criterion.is_none() {
                let scores = of.iter().map(|opinion| (opinion.instance_id, opinion.score));
                whole.insert(&of[0].judge, scores.collect());
            }
        }
        let judges: Vec<_> = whole.iter().collect();
        let pairs = judges
            .iter()
            .enumerate()
            .flat_map(|(at, a)| judges[at + 1..].iter().map(move |b| (*a, *b)));
        let between_judges = pairs
            .take(MOST_PAIRS)
            .filter_map(|((a, of_a), (b, of_b))| {
                let rounded = |score: f64| (score.round() as i64).clamp(1, 5);
                let both: Vec<(i64, i64)> = of_a
                    .iter()
                    .filter_map(|(instance, score)| Some((rounded(*score), rounded(*of_b.get(instance)?))))
                    .collect();
                let same = both.iter().filter(|(a, b)| a == b).count();
                (!both.is_empty()).then(|| BetweenJudges {
                    a: a.to_string(),
                    b: b.to_string(),
                    instances: both.len() as u64,
                    kappa: kappa(&both),
                    same: same as f64 / both.len() as f64,
                })
            })
            .collect();
        Agreement {
            with_people,
            between_judges,
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
fn auroc(accepted: &[f64], rejected: &[f64]) -> Option<f64> {
    if accepted.is_empty() || rejected.is_empty() {
        return None;
    }
    let mut sorted = rejected.to_vec();
    sorted.sort_by(f64::total_cmp);
    let wins: f64 = accepted
        .iter()
        .map(|score| {
            let below = sorted.partition_point(|other| other < score);
            let up_to = sorted.partition_point(|other| other <= score);
            below as f64 + (up_to - below) as f64 / 2.0
        })
        .sum();
    Some(wins / (accepted.len() * rejected.len()) as f64)
}

/// Cohen's kappa with quadratic weights; `None` where chance alone explains everything.
fn kappa(pairs: &[(i64, i64)]) -> Option<f64> {
    let count = pairs.len() as f64;
    let square = |a: i64, b: i64| ((a - b) * (a - b)) as f64;
    let seen: f64 = pairs.iter().map(|(a, b)| square(*a, *b)).sum::<f64>() / count;
    let mut of_a = BTreeMap::<i64, f64>::new();
    let mut of_b = BTreeMap::<i64, f64>::new();
    for (a, b) in pairs {
        *of_a.entry(*a).or_default() += 1.0 / count;
        *of_b.entry(*b).or_default() += 1.0 / count;
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
        assert_eq!(auroc(&[3.0, 4.0, 5.0, 4.0], &[1.0, 4.0, 2.0]), Some(10.0 / 12.0));
        assert_eq!(auroc(&[2.0], &[2.0, 2.0]), Some(0.5));
        assert_eq!(auroc(&[], &[1.0]), None);
        let a = [1, 2, 3, 4, 5, 5, 2, 1];
        let b = [1, 2, 3, 4, 4, 5, 4, 2];
        let pairs: Vec<(i64, i64)> = a.into_iter().zip(b).collect();
        let found = kappa(&pairs).unwrap();
        assert!((found - 0.813_953_488).abs() < 1e-6, "{found}");
        assert_eq!(kappa(&[(3, 3), (3, 3)]), None);
    }
}
