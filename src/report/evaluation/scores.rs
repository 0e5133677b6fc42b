//! Evaluations of one suite: the latest of each model, and a pair of them, before and after.

use std::collections::BTreeMap;

use serde_json::Value;

use super::html::MOST_CHARACTERS;
use crate::store::query::evaluation::{
    ChangedAnswer, ComparedScore, FoundItem, PairedScores, StoredEvaluation,
};
use crate::store::{Result, Store};
use crate::suite::interval::{Interval, PairedSums, bootstrap_ratio_difference};

/// The most suites, from the latest on, and the most models of each.
const MOST_SUITES: usize = 8;
const MOST_MODELS: usize = 12;
/// The most items whose scores are compared.
const MOST_PAIRED: i64 = 20_000;
/// How many answers are shown that became better, and how many that became worse.
const MOST_ANSWERS: i64 = 10;
/// How many items are shown that were found in the training rows.
const MOST_FOUND: i64 = 10;
/// The seed of intervals, which are so the same in every report.
const SEED: u64 = 0;

/// What there is of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct SuitePart {
    /// Its kind.
    pub suite: String,
    /// Its file or directory; empty for held-out tasks.
    pub source: String,
    /// The latest evaluation of each model, in order.
    pub evaluations: Vec<Evaluation>,
    /// Two of them that are compared.
    pub pair: Option<Pair>,
    /// Items of the last one shown that were found in the training rows.
    pub found: Vec<FoundItem>,
}

/// An evaluation with its figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// As it is stored.
    pub stored: StoredEvaluation,
    /// Its figures.
    pub result: Value,
}

/// Two evaluations of the same suite.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The index of the one before.
    pub before: usize,
    /// The index of the one after.
    pub after: usize,
    /// Items that both answered.
    pub items: usize,
    /// By figure, the value after less that before, of these items.
    pub differences: BTreeMap<&'static str, Interval>,
    /// The score by which answers are ordered; none if there is none.
    pub score: Option<ComparedScore>,
    /// Answers that became better, most of all first.
    pub better: Vec<ChangedAnswer>,
    /// Answers that became worse.
    pub worse: Vec<ChangedAnswer>,
}

impl Evaluation {
    /// Returns a figure with its interval.
    pub fn figure(&self, name: &str) -> Option<Interval> {
        figure(&self.result, name)
    }

    /// Returns the name of the model, with the run that trained it.
    pub fn label(&self) -> String {
        match self.stored.train_run_id {
            Some(run) => format!("{} (trained by run {run})", self.stored.model),
            None => self.stored.model.clone(),
        }
    }
}

impl SuitePart {
    /// The evaluation whose figures are shown alone, or as those after.
    pub fn shown(&self) -> &Evaluation {
        let at = self
            .pair
            .as_ref()
            .map_or(self.evaluations.len() - 1, |pair| pair.after);
        &self.evaluations[at]
    }
}

/// Returns a figure of a result, with its interval if it has one.
pub fn figure(result: &Value, name: &str) -> Option<Interval> {
    let mean = result[name].as_f64()?;
    let end = |at: usize| result["interval"][name][at].as_f64().unwrap_or(mean);
    Some(Interval {
        mean,
        low: end(0),
        high: end(1),
    })
}

/// Reads what is shown of the suites of these evaluations, which are in order; the suite that was
/// asked last comes first.
pub async fn load(store: &Store, evaluations: &[StoredEvaluation]) -> Result<Vec<SuitePart>> {
    let mut suites: Vec<SuitePart> = Vec::new();
    for stored in evaluations.iter().rev() {
        let known = suites
            .iter_mut()
            .find(|part| part.suite == stored.suite && part.source == stored.source);
        let evaluation = Evaluation {
            stored: stored.clone(),
            result: serde_json::from_str(&stored.result).unwrap_or_default(),
        };
        match known {
            Some(part) => {
                let is_older = part.evaluations.iter().any(|newer| {
                    newer.stored.model == stored.model && newer.stored.train_run_id == stored.train_run_id
                });
                if !is_older && part.evaluations.len() < MOST_MODELS {
                    part.evaluations.push(evaluation);
                }
            }
            None => suites.push(SuitePart {
                suite: stored.suite.clone(),
                source: stored.source.clone(),
                evaluations: vec![evaluation],
                pair: None,
                found: Vec::new(),
            }),
        }
    }
    suites.truncate(MOST_SUITES);
    for part in &mut suites {
        part.evaluations.reverse();
        if let Some((before, after)) = choose(&part.evaluations) {
            part.pair = Some(pair(store, part, before, after).await?);
        }
        let id = part.shown().stored.id;
        part.found = store.found_items(id, MOST_FOUND, MOST_CHARACTERS).await?;
    }
    Ok(suites)
}

/// Chooses two evaluations: after, the latest of a model that a run of this dataset trained, or the
/// latest of all; before, the latest of a model that none did, or the earliest other.
fn choose(evaluations: &[Evaluation]) -> Option<(usize, usize)> {
    let is_trained = |evaluation: &Evaluation| evaluation.stored.train_run_id.is_some();
    let after = evaluations.iter().rposition(is_trained);
    let after = after.or(evaluations.len().checked_sub(1))?;
    let untrained = (0..evaluations.len()).rfind(|&at| at != after && !is_trained(&evaluations[at]));
    let before = untrained.or_else(|| (0..evaluations.len()).find(|&at| at != after))?;
    Some((before, after))
}

async fn pair(store: &Store, part: &SuitePart, before: usize, after: usize) -> Result<Pair> {
    let ids = (
        part.evaluations[before].stored.id,
        part.evaluations[after].stored.id,
    );
    let scores = store.paired_scores(ids.0, ids.1, MOST_PAIRED).await?;
    let has = |of: fn(&PairedScores) -> [Option<f64>; 2]| {
        let both = |scores: &PairedScores| of(scores).iter().all(Option::is_some);
        scores.iter().any(both)
    };
    let score = if has(|scores| scores.rouge_l) {
        Some(ComparedScore::RougeL)
    } else if has(|scores| scores.nll) {
        Some(ComparedScore::Nll)
    } else {
        has(|scores| scores.passed).then_some(ComparedScore::Passed)
    };
    let (mut better, mut worse) = (Vec::new(), Vec::new());
    if let Some(score) = score {
        let size = (MOST_ANSWERS, MOST_CHARACTERS);
        better = store.most_changed(ids, score, true, size).await?;
        worse = store.most_changed(ids, score, false, size).await?;
    }
    Ok(Pair {
        before,
        after,
        items: scores.len(),
        differences: differences(&part.suite, &scores),
        score,
        better,
        worse,
    })
}

/// Returns the differences of the figures that items have. Items of one task are resampled
/// together, as in the figures themselves.
fn differences(suite: &str, scores: &[PairedScores]) -> BTreeMap<&'static str, Interval> {
    let passed = if suite == "ifeval" {
        "strict_prompt"
    } else {
        "passed"
    };
    let ones = [Some(1.0), Some(1.0)];
    let percent = |of: [Option<f64>; 2]| of.map(|value| value.map(|value| value * 100.0));
    let mut differences = BTreeMap::new();
    for name in ["rougeL", "nll", passed] {
        let mut groups: BTreeMap<&str, PairedSums> = BTreeMap::new();
        for of in scores {
            let (values, counts) = match name {
                "rougeL" => (of.rouge_l, ones),
                "nll" => (of.nll, of.tokens),
                _ => (percent(of.passed), ones),
            };
            if let ([Some(a), Some(b)], [Some(n), Some(m)]) = (values, counts) {
                let sums = groups.entry(group(suite, &of.item)).or_default();
                *sums = [[sums[0][0] + a, sums[0][1] + n], [sums[1][0] + b, sums[1][1] + m]];
            }
        }
        if !groups.is_empty() {
            let groups: Vec<PairedSums> = groups.into_values().collect();
            differences.insert(name, bootstrap_ratio_difference(&groups, SEED));
        }
    }
    differences
}

/// The task of an item, as far as its name tells it.
fn group<'a>(suite: &str, item: &'a str) -> &'a str {
    let task = match suite {
        "superni" => item.rsplit_once('-'),
        _ => item.split_once(", instance "),
    };
    task.map_or(item, |(task, _)| task)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(id: i64, model: &str, train_run_id: Option<i64>) -> Evaluation {
        Evaluation {
            stored: StoredEvaluation {
                id,
                run_id: id,
                suite: "held-out".into(),
                source: String::new(),
                model: model.into(),
                train_run_id,
                result: String::new(),
                created_at: String::new(),
            },
            result: Value::Null,
        }
    }

    #[test]
    fn the_base_model_is_before_and_the_trained_one_after() {
        let base = |id| evaluation(id, "base", None);
        let tuned = |id, run| evaluation(id, "tuned", Some(run));
        assert_eq!(choose(&[base(1)]), None);
        assert_eq!(choose(&[base(1), tuned(2, 7)]), Some((0, 1)));
        // The base model may be asked later.
        assert_eq!(choose(&[tuned(1, 7), base(2)]), Some((1, 0)));
        assert_eq!(choose(&[base(1), tuned(2, 7), tuned(3, 8)]), Some((0, 2)));
        assert_eq!(choose(&[tuned(2, 7), tuned(3, 8)]), Some((0, 1)));
        assert_eq!(choose(&[base(1), evaluation(2, "other", None)]), Some((0, 1)));
    }

    #[test]
    fn differences_are_paired_and_of_whole_tasks() {
        let scores = |item: &str, rouge_l, nll| PairedScores {
            item: item.into(),
            rouge_l,
            nll,
            tokens: [Some(2.0), Some(2.0)],
            passed: [None, None],
        };
        let all = [
            scores(
                "task 1, instance 1",
                [Some(10.0), Some(30.0)],
                [Some(4.0), Some(2.0)],
            ),
            scores(
                "task 1, instance 2",
                [Some(0.0), Some(0.0)],
                [Some(4.0), Some(2.0)],
            ),
            scores("task 2, instance 3", [Some(50.0), Some(60.0)], [Some(6.0), None]),
        ];
        let found = differences("held-out", &all);
        let names: Vec<&str> = found.keys().copied().collect();
        assert_eq!(names, ["nll", "rougeL"]);
        assert_eq!(found["rougeL"].mean, 10.0);
        // Both tasks became better by ten on average, so every resample did.
        assert!(
            found["rougeL"].low >= 9.99 && found["rougeL"].high <= 10.01,
            "{found:?}"
        );
        assert_eq!((found["nll"].mean, found["nll"].low), (-1.0, -1.0));
        assert_eq!(group("superni", "task001_x-y-12"), "task001_x-y");
    }
}
