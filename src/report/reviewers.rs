//! How far people agree who review the same tasks.
//!
//! Two reviewers: the share of tasks of which both said the same, and Cohen's kappa (Cohen 1960),
//! unweighted over accepted, rejected and unsure: 0 is chance, 1 is perfect. Its 95 % interval is
//! 1.96 standard errors wide on each side, by the large-sample variance of Fleiss, Cohen and
//! Everitt (1969). All reviewers: Krippendorff's alpha for nominal data, in which each task counts
//! by how many have spoken of it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::store::teams::assignment::Workload;
use crate::store::teams::rating::{Rating, TeamCounts};
use crate::store::{Filter, Result, Store};
use crate::task::Stance;
use crate::text::{counted, noun, one_line};

/// The quantile of the normal distribution that has 97.5 % below it.
const Z: f64 = 1.959_963_984_540_054;

/// How often the row's verdict of one reviewer met the column's of the other, in the order of
/// [`Stance::ALL`].
type Table = [[u64; 3]; 3];

/// How far reviewers agree.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ReviewerAgreement {
    /// Every two reviewers who have spoken of the same tasks.
    pub pairs: Vec<Pair>,
    /// Tasks of which two reviewers or more have spoken.
    pub tasks: u64,
    /// Krippendorff's alpha over these; `None` where all said the same word.
    pub alpha: Option<f64>,
}

/// Two reviewers.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Pair {
    /// The one.
    pub a: String,
    /// The other.
    pub b: String,
    /// Tasks of which both have spoken.
    pub tasks: u64,
    /// The share of them of which both said the same.
    pub same: f64,
    /// Cohen's kappa; `None` where both always said one and the same word.
    pub kappa: Option<f64>,
    /// The lower end of its 95 % interval.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

/// What a team has done, and how far it agrees.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct TeamFigures {
    /// Numbers of tasks.
    #[serde(flatten)]
    pub counts: TeamCounts,
    /// The work of each reviewer.
    pub reviewers: Vec<Workload>,
    /// How far they agree.
    #[serde(flatten)]
    pub agreement: ReviewerAgreement,
}

impl TeamFigures {
    /// Counts everything about the tasks that pass a filter; counts and work are of all tasks.
    ///
    /// # Errors
    ///
    /// When the dataset cannot be read.
    pub async fn load(store: &Store, filter: &Filter) -> Result<TeamFigures> {
        Ok(TeamFigures {
            counts: store.team_counts().await?,
            reviewers: store.workloads().await?,
            agreement: ReviewerAgreement::of(&store.ratings(filter).await?),
        })
    }

    /// Writes it as text; nothing if nothing was assigned, nor said.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let counts = &self.counts;
        if counts.assigned > 0 {
            writeln!(
                out,
                "\nassigned      {}, {} with two opinions or more, {} to settle",
                counted(counts.assigned, "task"),
                counts.reviewed_twice,
                counted(counts.disagreements, "disagreement")
            )?;
        }
        if counts.commented > 0 {
            let commented = counts.commented;
            writeln!(
                out,
                "{:<14}{commented:>9} {}",
                "commented",
                noun(commented, "task")
            )?;
        }
        if !self.reviewers.is_empty() {
            writeln!(out, "\n{:>9} {:>9}  reviewer", "assigned", "waiting")?;
        }
        for of in &self.reviewers {
            let name = one_line(&of.reviewer, 64);
            writeln!(out, "{:>9} {:>9}  {name}", of.assigned, of.waiting)?;
        }
        self.agreement.write(out)
    }
}

impl ReviewerAgreement {
    /// Computes it. The ratings of an item stand together.
    pub fn of(ratings: &[Rating]) -> ReviewerAgreement {
        let items: Vec<&[Rating]> = ratings
            .chunk_by(|a, b| a.item == b.item)
            .filter(|item| item.len() > 1)
            .collect();
        let mut tables: BTreeMap<(&str, &str), Table> = BTreeMap::new();
        for item in &items {
            for (at, a) in item.iter().enumerate() {
                for b in &item[at + 1..] {
                    let (a, b) = match a.reviewer <= b.reviewer {
                        true => (a, b),
                        false => (b, a),
                    };
                    let table = tables
                        .entry((a.reviewer.as_str(), b.reviewer.as_str()))
                        .or_default();
                    table[place(a.verdict)][place(b.verdict)] += 1;
                }
            }
        }
        ReviewerAgreement {
            pairs: tables
                .iter()
                .map(|((a, b), table)| Pair::of(a, b, table))
                .collect(),
            tasks: items.len() as u64,
            alpha: alpha(&items),
        }
    }

    /// Writes it as text; nothing if no two reviewers have spoken of the same task.
    ///
    /// # Errors
    ///
    /// When `out` fails.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        if self.pairs.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n{:>9} {:>9} {:>6}  {:<14} reviewers of the same tasks",
            "tasks", "same", "kappa", "95% interval"
        )?;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        for of in &self.pairs {
            let interval = match (of.low, of.high) {
                (Some(low), Some(high)) => format!("{low:.2} to {high:.2}"),
                _ => "-".to_owned(),
            };
            writeln!(
                out,
                "{:>9} {:>8.0}% {:>6}  {interval:<14} {} and {}",
                of.tasks,
                100.0 * of.same,
                number(of.kappa),
                one_line(&of.a, 40),
                one_line(&of.b, 40)
            )?;
        }
        writeln!(
            out,
            "all of them: Krippendorff's alpha {} over {}",
            number(self.alpha),
            counted(self.tasks, "task")
        )
    }
}

impl Pair {
    fn of(a: &str, b: &str, table: &Table) -> Pair {
        let tasks: u64 = table.iter().flatten().sum();
        let same: u64 = (0..3).map(|at| table[at][at]).sum();
        let found = kappa(table);
        Pair {
            a: a.to_owned(),
            b: b.to_owned(),
            tasks,
            same: same as f64 / tasks as f64,
            kappa: found.map(|(kappa, _)| kappa),
            low: found.map(|(kappa, error)| (kappa - Z * error).max(-1.0)),
            high: found.map(|(kappa, error)| (kappa + Z * error).min(1.0)),
        }
    }
}

fn place(verdict: Stance) -> usize {
    match verdict {
        Stance::Accepted => 0,
        Stance::Rejected => 1,
        Stance::Unsure => 2,
    }
}

/// Cohen's kappa and its standard error. None without ratings, and where both always say the same
/// word, since any agreement is then expected.
fn kappa(table: &Table) -> Option<(f64, f64)> {
    let count = table.iter().flatten().sum::<u64>() as f64;
    let share = |a: usize, b: usize| table[a][b] as f64 / count;
    let of_a = [0, 1, 2].map(|at| (0..3).map(|other| share(at, other)).sum::<f64>());
    let of_b = [0, 1, 2].map(|at| (0..3).map(|other| share(other, at)).sum::<f64>());
    let observed: f64 = (0..3).map(|at| share(at, at)).sum();
    let expected: f64 = (0..3).map(|at| of_a[at] * of_b[at]).sum();
    // Without ratings it is no number.
    if count == 0.0 || 1.0 - expected < 1e-12 {
        return None;
    }
    let kappa = (observed - expected) / (1.0 - expected);
    let on: f64 = (0..3)
        .map(|at| share(at, at) * (1.0 - (of_a[at] + of_b[at]) * (1.0 - kappa)).powi(2))
        .sum();
    let off: f64 = (0..3)
        .flat_map(|a| (0..3).filter(move |&b| b != a).map(move |b| (a, b)))
        .map(|(a, b)| share(a, b) * (of_b[a] + of_a[b]).powi(2))
        .sum::<f64>()
        * (1.0 - kappa).powi(2);
    let variance =
        (on + off - (kappa - expected * (1.0 - kappa)).powi(2)) / (count * (1.0 - expected).powi(2));
    Some((kappa, variance.max(0.0).sqrt()))
}

/// Krippendorff's alpha for nominal data: 1 − observed / expected disagreement of pairs of ratings.
/// None where all ratings are the same word.
fn alpha(items: &[&[Rating]]) -> Option<f64> {
    let mut totals = [0.0; 3];
    let mut differ = 0.0;
    for item in items {
        let mut counts = [0.0; 3];
        for rating in *item {
            counts[place(rating.verdict)] += 1.0;
        }
        let ratings = item.len() as f64;
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count;
            differ += count * (ratings - count) / (ratings - 1.0);
        }
    }
    let all: f64 = totals.iter().sum();
    let by_chance: f64 = totals.iter().map(|total| total * (all - total)).sum();
    (by_chance > 0.0).then(|| 1.0 - (all - 1.0) * differ / by_chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-9, "{found}, not {wanted}");
    }

    /// The example of Cohen (1960), table 1, in numbers of 200 subjects: kappa 0.492.
    #[test]
    fn kappa_is_that_of_cohen() {
        let (found, _) = kappa(&[[88, 14, 18], [10, 40, 10], [2, 6, 12]]).unwrap();
        assert!((found - 0.492).abs() < 5e-4, "{found}");
        let rated: Vec<(usize, usize)> = [(0, 0, 88), (0, 1, 14), (0, 2, 18), (1, 0, 10), (1, 1, 40)]
            .into_iter()
            .chain([(1, 2, 10), (2, 0, 2), (2, 1, 6), (2, 2, 12)])
            .flat_map(|(a, b, times)| vec![(a, b); times])
            .collect();
        near(crate::compare::kappa::kappa(&rated).unwrap(), found);
    }

    /// Numbers of statsmodels, `cohens_kappa`: `kappa` and `std_kappa`.
    #[test]
    fn errors_are_those_of_statsmodels() {
        let known = [
            (
                [[88, 14, 18], [10, 40, 10], [2, 6, 12]],
                0.491_525_423_728_813_47,
                0.051_001_815_576_077_86,
            ),
            (
                [[20, 5, 0], [10, 15, 0], [0, 0, 0]],
                0.4,
                0.126_996_062_931_100_33,
            ),
        ];
        for (table, wanted, error) in known {
            let found = kappa(&table).unwrap();
            near(found.0, wanted);
            near(found.1, error);
        }
        assert_eq!(kappa(&Table::default()), None);
        assert_eq!(kappa(&[[7, 0, 0], [0; 3], [0; 3]]), None);
        let (whole, error) = kappa(&[[7, 0, 0], [0, 2, 0], [0; 3]]).unwrap();
        near(whole, 1.0);
        assert!(error < 1e-6, "{error}");
    }

    fn ratings(rows: &[&str]) -> Vec<Rating> {
        let mut ratings = Vec::new();
        for item in 0..rows[0].len() {
            for (at, row) in rows.iter().enumerate() {
                let verdict = match row.as_bytes()[item] {
                    b'a' => Stance::Accepted,
                    b'r' => Stance::Rejected,
                    b'u' => Stance::Unsure,
                    _ => continue,
                };
                ratings.push(Rating {
                    item: item as i64,
                    reviewer: format!("r{at}"),
                    verdict,
                });
            }
        }
        ratings
    }

    /// Numbers of the package `krippendorff`, `alpha(level_of_measurement="nominal")`.
    #[test]
    fn alpha_is_that_of_the_package() {
        let rows = ["aaruaarrau-a", "aaruarrrau-r", "-arraarua-ua", "aa-uaarrauur"];
        let found = ReviewerAgreement::of(&ratings(&rows));
        near(found.alpha.unwrap(), 0.689_419_795_221_843);
        assert_eq!((found.tasks, found.pairs.len()), (12, 6));
        let pair = &found.pairs[0];
        assert_eq!((pair.a.as_str(), pair.b.as_str(), pair.tasks), ("r0", "r1", 11));
        near(pair.same, 9.0 / 11.0);
        assert_eq!(ReviewerAgreement::of(&ratings(&["aaa", "aaa"])).alpha, None);
        assert_eq!(ReviewerAgreement::of(&[]), ReviewerAgreement::default());
    }
}
