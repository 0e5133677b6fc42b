//! From the scores of answers to figures of a suite, each with an interval.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::interval::{Interval, bootstrap_ratio};
use super::item::{Item, SuiteKind};
use super::superni;

/// The scores of one answer. A field that does not apply is none and left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Scores {
    /// ROUGE-L F1 with stemming, times 100, the best over the references.
    #[serde(rename = "rougeL", skip_serializing_if = "Option::is_none")]
    pub rouge_l: Option<f64>,
    /// Whether the answer is one of the references in normal form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact_match: Option<bool>,
    /// Negative log-likelihood of the first reference, in nats, summed over its tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll: Option<f64>,
    /// The tokens of that reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_tokens: Option<usize>,
    /// The judge's grade: 4 for A, 3 for B, 2 for C, 1 for D.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
    /// Whether each instruction of IFEval is followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<Vec<bool>>,
    /// The same by the loose criterion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loose: Option<Vec<bool>>,
    /// Whether the answer passed all checks of its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// Why checks did not pass, and why there is no grade.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Words of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub words: Option<usize>,
    /// Whether the model ended the answer itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,
}

/// A figure over all answers: a ratio of two sums.
struct Metric {
    name: &'static str,
    /// The part of an answer in both sums.
    of: fn(&Scores) -> Option<(f64, f64)>,
}

/// All figures, in the order in which they are shown. Those without any value are left out.
const METRICS: [Metric; 11] = [
    Metric {
        name: "rougeL",
        of: |scores| Some((scores.rouge_l?, 1.0)),
    },
    Metric {
        name: "exact_match",
        of: |scores| Some((percent(scores.exact_match?), 1.0)),
    },
    Metric {
        name: "nll",
        of: |scores| Some((scores.nll?, scores.reference_tokens? as f64)),
    },
    Metric {
        name: "rating",
        of: |scores| Some((f64::from(scores.rating?), 1.0)),
    },
    Metric {
        name: "strict_prompt",
        of: |scores| {
            Some((
                percent(scores.strict.as_ref()?.iter().all(|followed| *followed)),
                1.0,
            ))
        },
    },
    Metric {
        name: "strict_instruction",
        of: |scores| Some(share(scores.strict.as_ref()?)),
    },
    Metric {
        name: "loose_prompt",
        of: |scores| {
            Some((
                percent(scores.loose.as_ref()?.iter().all(|followed| *followed)),
                1.0,
            ))
        },
    },
    Metric {
        name: "loose_instruction",
        of: |scores| Some(share(scores.loose.as_ref()?)),
    },
    Metric {
        name: "passed",
        of: |scores| Some((percent(scores.passed?), 1.0)),
    },
    Metric {
        name: "words",
        of: |scores| Some((scores.words? as f64, 1.0)),
    },
    Metric {
        name: "stop_rate",
        of: |scores| Some((percent(scores.stopped?), 1.0)),
    },
];

fn percent(is_so: bool) -> f64 {
    if is_so { 100.0 } else { 0.0 }
}

fn share(all: &[bool]) -> (f64, f64) {
    (all.iter().map(|&is_so| percent(is_so)).sum(), all.len() as f64)
}

/// Figures of some answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The number of answers.
    pub n: usize,
    /// Name and value of each figure: `nll` in nats a token, `words` a number, `rating` from 1 to
    /// 4, all others in percent.
    pub metrics: Vec<(&'static str, Interval)>,
}

impl Figures {
    /// Computes the figures of items with their scores. Items of one group are resampled together.
    pub fn of<'a>(scored: impl IntoIterator<Item = (&'a Item, &'a Scores)>, seed: u64) -> Figures {
        let scored: Vec<(&Item, &Scores)> = scored.into_iter().collect();
        let mut metrics = Vec::new();
        for metric in &METRICS {
            let mut groups: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
            for (item, scores) in &scored {
                if let Some((sum, count)) = (metric.of)(scores) {
                    let group = groups.entry(&item.group).or_default();
                    *group = (group.0 + sum, group.1 + count);
                }
            }
            if !groups.is_empty() {
                let groups: Vec<(f64, f64)> = groups.into_values().collect();
                metrics.push((metric.name, bootstrap_ratio(&groups, seed)));
            }
        }
        Figures {
            n: scored.len(),
            metrics,
        }
    }

    /// Returns a figure by name.
    pub fn get(&self, name: &str) -> Option<Interval> {
        let found = self.metrics.iter().find(|(known, _)| *known == name)?;
        Some(found.1)
    }

    /// Returns `{"n", "rougeL": 41.2, …, "interval": {"rougeL": [38.9, 43.5], …}}`.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut json = Map::new();
        json.insert("n".into(), self.n.into());
        let mut intervals = Map::new();
        for (name, interval) in &self.metrics {
            json.insert((*name).into(), json!(interval.mean));
            intervals.insert((*name).into(), json!([interval.low, interval.high]));
        }
        json.insert("interval".into(), Value::Object(intervals));
        json
    }
}

/// Figures of each category, by name. Of SuperNI, each says which metric Tk-Instruct's table has.
pub fn by_category<'a>(
    kind: SuiteKind,
    scored: impl IntoIterator<Item = (&'a Item, &'a Scores)>,
    seed: u64,
) -> BTreeMap<String, Value> {
    let mut categories: BTreeMap<&str, Vec<(&Item, &Scores)>> = BTreeMap::new();
    for (item, scores) in scored {
        if let Some(category) = &item.category {
            categories.entry(category).or_default().push((item, scores));
        }
    }
    let json = |(name, scored): (&str, Vec<(&Item, &Scores)>)| {
        let mut json = Figures::of(scored, seed).to_json();
        if kind == SuiteKind::Superni {
            json.insert("metric".into(), superni::metric(name).into());
        }
        (name.to_owned(), Value::Object(json))
    };
    categories.into_iter().map(json).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Question;

    fn item(group: &str, category: Option<&str>) -> Item {
        Item {
            category: category.map(str::to_owned),
            ..Item::of_row("k".into(), group.into(), Question::new("q"), vec!["r".into()])
        }
    }

    #[test]
    fn losses_are_per_token_and_instructions_are_counted_each() {
        let items = [item("a", Some("x")), item("b", None)];
        let scores = [
            Scores {
                nll: Some(2.0),
                reference_tokens: Some(1),
                strict: Some(vec![true, false, true]),
                stopped: Some(true),
                ..Scores::default()
            },
            Scores {
                nll: Some(4.0),
                reference_tokens: Some(3),
                strict: Some(vec![true]),
                stopped: Some(false),
                ..Scores::default()
            },
        ];
        let figures = Figures::of(items.iter().zip(&scores), 1);
        let mean = |name: &str| figures.get(name).map(|interval| interval.mean);
        assert_eq!(mean("nll"), Some(1.5));
        assert_eq!(mean("strict_prompt"), Some(50.0));
        assert_eq!(mean("strict_instruction"), Some(75.0));
        assert_eq!(mean("stop_rate"), Some(50.0));
        assert_eq!(mean("rougeL"), None);
        let json = figures.to_json();
        assert_eq!((&json["n"], &json["nll"]), (&json!(2), &json!(1.5)));
        let nll = &json["interval"]["nll"];
        assert!(
            nll[0].as_f64() < Some(1.5) && nll[1].as_f64() > Some(1.5),
            "{nll}"
        );
        let categories = by_category(SuiteKind::Superni, items.iter().zip(&scores), 1);
        assert_eq!(categories.len(), 1);
        assert_eq!(
            (&categories["x"]["n"], &categories["x"]["metric"]),
            (&json!(1), &json!("rougeL"))
        );
    }
}
