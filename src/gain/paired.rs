//! Differences between two models that answered the same held-out tasks.
//!
//! Figures are those of `ewe eval`: nats over tokens, and means over answers. Their differences are
//! paired: tasks are resampled with the answers of both models, so that what makes a task hard for
//! both does not widen the interval.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::store::query::evaluation::AnswerScores;
use crate::suite::interval::{Interval, PairedSums, bootstrap_ratio_difference};

/// The seed of intervals, which is that of the report.
const SEED: u64 = 0;
/// Half of a 95 % interval in standard errors.
const HALF_IN_ERRORS: f64 = 1.96;
/// How many standard errors more a difference must be to be told in four experiments of five.
const POWER_IN_ERRORS: f64 = 0.84;
/// More tasks than this are no advice.
const MOST_NEEDED: f64 = 1e6;

/// An answer with the scores that are compared.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredAnswer {
    /// The item.
    pub item: String,
    /// Its held-out task.
    pub task: i64,
    /// The training task in which it was found.
    pub found_in: Option<i64>,
    scores: Scores,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Scores {
    nll: Option<f64>,
    reference_tokens: Option<f64>,
    #[serde(rename = "rougeL")]
    rouge_l: Option<f64>,
    stopped: Option<bool>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Negative log-likelihood of the references, in nats a token.
    Nll,
    /// ROUGE-L times 100.
    RougeL,
    /// Answers that the model ended itself, in percent.
    StopRate,
}

/// A figure of two models on the same tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is.
    pub measure: Measure,
    /// Of the first model.
    pub before: f64,
    /// Of the second.
    pub after: f64,
    /// After less before.
    pub difference: Interval,
    /// The tasks that have it from both.
    pub tasks: usize,
}

/// What a difference says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The interval is on the better side of zero.
    Better,
    /// It is on the worse side.
    Worse,
    /// It includes zero.
    Undecided,
    /// There is one task, and no interval.
    OneTask,
    /// There is nothing to compare.
    Nothing,
}

/// Two models on the held-out tasks.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Tasks that both answered.
    pub tasks: usize,
    /// Held-out tasks that one of them did not answer.
    pub left_out: Vec<i64>,
    /// Tasks that are in the training rows, with the task in which each was found.
    pub contaminated: BTreeMap<i64, i64>,
    /// The figures that there are.
    pub figures: Vec<Figure>,
    /// The same without contaminated tasks, if there are any.
    pub without_contaminated: Vec<Figure>,
}

impl Measure {
    const ALL: [Measure; 3] = [Measure::Nll, Measure::RougeL, Measure::StopRate];

    /// The name in results, as in those of `ewe eval`.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Nll => "nll",
            Measure::RougeL => "rougeL",
            Measure::StopRate => "stop_rate",
        }
    }

    /// An answer's part of the two sums whose ratio the figure is.
    fn of(self, scores: &Scores) -> Option<[f64; 2]> {
        match self {
            Measure::Nll => Some([scores.nll?, scores.reference_tokens?]),
            Measure::RougeL => Some([scores.rouge_l?, 1.0]),
            Measure::StopRate => Some([if scores.stopped? { 100.0 } else { 0.0 }, 1.0]),
        }
    }
}

impl Figure {
    /// The difference, above zero if the second model is better.
    pub fn gain(&self) -> Interval {
        let Interval { mean, low, high } = self.difference;
        match self.measure {
            Measure::Nll => Interval {
                mean: -mean,
                low: -high,
                high: -low,
            },
            Measure::RougeL | Measure::StopRate => self.difference,
        }
    }

    /// What it says.
    pub fn verdict(&self) -> Verdict {
        let gain = self.gain();
        match self.tasks {
            _ if gain.mean.is_nan() => Verdict::Nothing,
            0 => Verdict::Nothing,
            1 => Verdict::OneTask,
            _ if gain.low > 0.0 => Verdict::Better,
            _ if gain.high < 0.0 => Verdict::Worse,
            _ => Verdict::Undecided,
        }
    }

    /// Half of the interval's width.
    pub fn half(&self) -> f64 {
        (self.difference.high - self.difference.low) / 2.0
    }

    /// How many tasks like these would show such a difference in four experiments of five, if it is
    /// the true one. The error of a mean falls with the root of their number.
    pub fn tasks_needed(&self) -> Option<u64> {
        let errors = (HALF_IN_ERRORS + POWER_IN_ERRORS) / HALF_IN_ERRORS;
        let times = errors * self.half() / self.difference.mean.abs();
        let needed = (self.tasks as f64 * times * times).ceil();
        let is_advice = needed > self.tasks as f64 && needed <= MOST_NEEDED;
        is_advice.then_some(needed as u64)
    }
}

impl Comparison {
    /// The figure by which it is said whether the model is better: the likelihood, which says more
    /// from few tasks, or else ROUGE-L.
    pub fn headline(&self) -> Option<&Figure> {
        let known = |measure| {
            let mut figures = self.figures.iter();
            figures.find(|figure| figure.measure == measure)
        };
        known(Measure::Nll).or_else(|| known(Measure::RougeL))
    }

    /// The same figure without contaminated tasks.
    pub fn clean_headline(&self) -> Option<&Figure> {
        let measure = self.headline()?.measure;
        let mut figures = self.without_contaminated.iter();
        figures.find(|figure| figure.measure == measure)
    }
}

/// Reads the answers to held-out tasks. Scores that are no numbers are none.
pub fn read(rows: Vec<AnswerScores>) -> Vec<ScoredAnswer> {
    let answer = |row: AnswerScores| {
        Some(ScoredAnswer {
            task: row.task_id?,
            scores: serde_json::from_str(&row.scores).unwrap_or_default(),
            item: row.item,
            found_in: row.found_in,
        })
    };
    rows.into_iter().filter_map(answer).collect()
}

/// Compares two models on the held-out tasks. Items count that both answered.
pub fn compare(before: &[ScoredAnswer], after: &[ScoredAnswer], held_out: &[i64]) -> Comparison {
    let known: BTreeMap<&str, &ScoredAnswer> = before
        .iter()
        .map(|answer| (answer.item.as_str(), answer))
        .collect();
    let pairs: Vec<(&ScoredAnswer, &ScoredAnswer)> = after
        .iter()
        .filter_map(|answer| Some((*known.get(answer.item.as_str())?, answer)))
        .collect();
    let tasks: BTreeSet<i64> = pairs.iter().map(|(_, after)| after.task).collect();
    let contaminated: BTreeMap<i64, i64> = pairs
        .iter()
        .filter_map(|(_, after)| Some((after.task, after.found_in?)))
        .collect();
    let clean: Vec<_> = pairs
        .iter()
        .copied()
        .filter(|(_, after)| !contaminated.contains_key(&after.task))
        .collect();
    Comparison {
        tasks: tasks.len(),
        left_out: held_out
            .iter()
            .copied()
            .filter(|task| !tasks.contains(task))
            .collect(),
        figures: figures(&pairs),
        without_contaminated: match contaminated.is_empty() {
            true => Vec::new(),
            false => figures(&clean),
        },
        contaminated,
    }
}

/// The figures that some pairs have.
fn figures(pairs: &[(&ScoredAnswer, &ScoredAnswer)]) -> Vec<Figure> {
    let figure = |measure: Measure| {
        let mut tasks: BTreeMap<i64, PairedSums> = BTreeMap::new();
        for (before, after) in pairs {
            let both = measure.of(&before.scores).zip(measure.of(&after.scores));
            // Nothing is a mean over no token.
            let Some((before, of_after)) = both.filter(|(a, b)| a[1] > 0.0 && b[1] > 0.0) else {
                continue;
            };
            let sums = tasks.entry(after.task).or_default();
            for (sums, part) in sums.iter_mut().zip([before, of_after]) {
                *sums = [sums[0] + part[0], sums[1] + part[1]];
            }
        }
        let tasks: Vec<PairedSums> = tasks.into_values().collect();
        let value = |side: usize| {
            let sum = |at: usize| tasks.iter().map(|sums| sums[side][at]).sum::<f64>();
            sum(0) / sum(1)
        };
        (!tasks.is_empty()).then(|| Figure {
            measure,
            before: value(0),
            after: value(1),
            difference: bootstrap_ratio_difference(&tasks, SEED),
            tasks: tasks.len(),
        })
    };
    Measure::ALL.into_iter().filter_map(figure).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Answers to tasks with one instance each: nats of ten tokens, ROUGE-L.
    pub fn answers(scores: &[(f64, f64)]) -> Vec<ScoredAnswer> {
        let answer = |(task, (nll, rouge_l)): (i64, &(f64, f64))| AnswerScores {
            item: format!("task {task}, instance {task}"),
            task_id: Some(task),
            scores: serde_json::json!({
                "nll": nll, "reference_tokens": 10, "rougeL": rouge_l, "stopped": task % 2 == 0,
            })
            .to_string(),
            found_in: None,
        };
        read((1..).zip(scores).map(answer).collect())
    }

    /// Tasks whose loss a model halves, more or less.
    pub fn halved(tasks: usize) -> [Vec<ScoredAnswer>; 2] {
        let before: Vec<(f64, f64)> = (0..tasks).map(|task| (30.0 + task as f64, 10.0)).collect();
        let after: Vec<(f64, f64)> = before
            .iter()
            .map(|(nll, rouge)| (nll / 2.0, rouge + 5.0))
            .collect();
        [answers(&before), answers(&after)]
    }

    fn held_out(tasks: usize) -> Vec<i64> {
        (1..=tasks as i64).collect()
    }

    #[test]
    fn what_makes_a_task_hard_for_both_does_not_widen_the_interval() {
        let wide: Vec<(f64, f64)> = (0..40).map(|task| (f64::from(task) * 10.0, 50.0)).collect();
        let lower: Vec<(f64, f64)> = wide.iter().map(|(nll, rouge)| (nll - 1.0, *rouge)).collect();
        let of = compare(&answers(&wide), &answers(&lower), &held_out(40));
        let nll = of.headline().unwrap();
        assert_eq!((nll.measure, nll.tasks), (Measure::Nll, 40));
        assert!(
            (nll.difference.mean + 0.1).abs() < 1e-9 && nll.half() < 1e-9,
            "{nll:?}"
        );
        assert_eq!(nll.verdict(), Verdict::Better);
        let swapped = compare(&answers(&lower), &answers(&wide), &held_out(40));
        assert_eq!(swapped.headline().unwrap().verdict(), Verdict::Worse);
        // ROUGE-L is the same, and the stop rate as well.
        let verdicts: Vec<Verdict> = of.figures.iter().map(Figure::verdict).collect();
        assert_eq!(verdicts[1..], [Verdict::Undecided, Verdict::Undecided]);
        assert_eq!(of.figures[1].tasks_needed(), None);
    }

    #[test]
    fn more_tasks_show_smaller_differences() {
        let before: Vec<(f64, f64)> = vec![(20.0, 10.0); 20];
        // Half of them better by 3 and half worse by 2.
        let after: Vec<(f64, f64)> = (0..20)
            .map(|at| (if at % 2 == 0 { 17.0 } else { 22.0 }, 10.0))
            .collect();
        let of = compare(&answers(&before), &answers(&after), &held_out(20));
        let nll = of.headline().unwrap();
        assert_eq!(nll.verdict(), Verdict::Undecided);
        assert!((nll.gain().mean - 0.05).abs() < 1e-9);
        // By theory: a deviation of 0.25 a task, so 2.8² · 25 tasks for 0.05.
        let needed = nll.tasks_needed().unwrap();
        assert!((150..260).contains(&needed), "{needed}");
    }

    #[test]
    fn instances_of_a_task_are_resampled_together() {
        let row = |task: i64, instance: i64, nll: f64| AnswerScores {
            item: format!("task {task}, instance {instance}"),
            task_id: Some(task),
            scores: format!("{{\"nll\": {nll}, \"reference_tokens\": 1}}"),
            found_in: None,
        };
        let all = |nll: [f64; 2]| {
            let rows = (0..30).map(|at| row(1 + at % 2, at, nll[at as usize % 2]));
            read(rows.collect())
        };
        let of = compare(&all([2.0, 2.0]), &all([1.0, 2.0]), &[1, 2]);
        let nll = of.headline().unwrap();
        // Two tasks, of which a resample has either, or both.
        assert_eq!((nll.tasks, of.figures.len()), (2, 1));
        assert_eq!(
            (nll.difference.low, nll.difference.mean, nll.difference.high),
            (-1.0, -0.5, 0.0)
        );
    }

    #[test]
    fn only_what_both_answered_counts() {
        let [before, mut after] = halved(5);
        after.remove(1);
        after[3].found_in = Some(77);
        let of = compare(&before, &after, &held_out(6));
        assert_eq!((of.tasks, &of.left_out[..]), (4, &[2, 6][..]));
        assert_eq!(of.contaminated, BTreeMap::from([(5, 77)]));
        assert_eq!(of.clean_headline().unwrap().tasks, 3);
        let none = compare(&before, &[], &held_out(5));
        assert_eq!((none.tasks, none.headline()), (0, None));
        let [before, after] = halved(1);
        let one = compare(&before, &after, &held_out(1));
        assert_eq!(one.headline().unwrap().verdict(), Verdict::OneTask);
    }

    #[test]
    fn scores_that_are_no_numbers_are_left_out() {
        let row = |scores: &str| AnswerScores {
            item: "i".into(),
            task_id: Some(1),
            scores: scores.into(),
            found_in: None,
        };
        // As NaN is stored, as no token is, and as something else.
        for scores in [
            "{\"nll\": null, \"reference_tokens\": 3}",
            "{\"nll\": 0.0, \"reference_tokens\": 0}",
            "[]",
        ] {
            let answers = read(vec![row(scores)]);
            let of = compare(&answers, &answers, &[1]);
            assert_eq!((of.tasks, of.headline()), (1, None), "{scores}");
        }
        let figure = Figure {
            measure: Measure::Nll,
            before: f64::NAN,
            after: 1.0,
            difference: Interval {
                mean: f64::NAN,
                low: f64::NAN,
                high: f64::NAN,
            },
            tasks: 9,
        };
        assert_eq!(
            (figure.verdict(), figure.tasks_needed()),
            (Verdict::Nothing, None)
        );
    }
}
