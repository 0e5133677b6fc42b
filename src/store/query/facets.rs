//! Facets: how many tasks there are behind each choice of a filter. What would take longer than
//! people wait is estimated from a sample, and said to be.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::{StreamExt, stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::query_plan::{BY_ID, Goal};
use super::sql::Sql;
use crate::store::query::filter::LONGEST_LABEL;
use crate::store::rows::{json_rows, rows_of};
use crate::store::{Filter, Result, Store};
use crate::task::{Origin, Review, Split};

/// So many tasks that pass are counted one by one.
const COUNTED: i64 = 20_000;

/// The sample: so many places, at each of which so many ids are looked at.
const PLACES: usize = 160;
const AT_EACH: i64 = 16;

/// The most labels.
const LABELS: usize = 30;

/// How many tasks there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// The number.
    pub tasks: i64,
    /// Whether it is an estimate.
    pub is_about: bool,
}

/// The tasks behind each choice. Every choice is counted under the rest of the filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facets {
    /// Tasks by origin and review.
    pub tasks: BTreeMap<String, BTreeMap<String, Amount>>,
    /// Tasks by run.
    pub runs: BTreeMap<i64, Amount>,
    /// Tasks by label, that of their first instance in lower case; the most frequent first.
    pub labels: Vec<(String, Amount)>,
    /// Tasks by split.
    pub splits: BTreeMap<String, Amount>,
    /// Classification tasks, by `true`, and the others.
    pub classification: BTreeMap<bool, Amount>,
}

/// Tasks that are alike in what facets are of.
#[derive(Deserialize)]
struct Group {
    origin: Origin,
    review: Review,
    run_id: Option<i64>,
    label: Option<String>,
    split: Split,
    is_classification: i64,
    /// Their number.
    tasks: i64,
}

impl Group {
    fn is_classification(&self) -> bool {
        self.is_classification != 0
    }

    /// Whether it passes the parts of a filter that facets are of, but one of them.
    fn passes(&self, filter: &Filter, but: Part) -> bool {
        let is = |part, passes: bool| but == part || passes;
        let of_kind = |is: bool| is == self.is_classification();
        is(
            Part::Tasks,
            filter.origin.is_none_or(|origin| origin == self.origin),
        ) && is(
            Part::Tasks,
            filter.review.is_none_or(|review| review == self.review),
        ) && is(
            Part::Runs,
            filter.run_id.is_none_or(|run| Some(run) == self.run_id),
        ) && is(Part::Splits, filter.split.is_none_or(|split| split == self.split))
            && is(Part::Classification, filter.is_classification.is_none_or(of_kind))
    }
}

/// What a facet is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Tasks,
    Runs,
    Labels,
    Splits,
    Classification,
}

impl Store {
    /// Counts the tasks behind each choice within about `patience`. What may be more than `most`
    /// of an origin and a review is an estimate.
    pub async fn facets(&self, filter: &Filter, most: i64, patience: Duration) -> Result<Facets> {
        let deadline = Instant::now() + patience;
        let rest = Filter {
            origin: None,
            review: None,
            run_id: None,
            split: None,
            is_classification: None,
            ..filter.clone()
        };
        // Two thirds of the time are for the others.
        let soon = Instant::now() + patience / 3;
        if let Ok(found) = timeout_at(soon, self.groups(&rest)).await
            && let Some(groups) = found?
        {
            return Ok(collected(&groups, filter, 1.0));
        }
        let (sample, share) = self.sample(&rest).await?;
        let mut facets = collected(&sample, filter, share);
        self.count_by_review(filter, most, deadline, &mut facets).await;
        Ok(facets)
    }

    /// Returns the tasks that pass, in groups; `None` if they are too many.
    async fn groups(&self, rest: &Filter) -> Result<Option<Vec<Group>>> {
        let plan = self.query_plan(rest, Goal::All).await?;
        let mut sql = Sql::default();
        sql.push(HEAD).push(COLUMNS);
        plan.push(&mut sql, BY_ID, "");
        sql.push(" LIMIT ?").values(&[(COUNTED + 1).into()]).push(TAIL);
        let groups: Vec<Group> = self.parsed(sql).await?;
        let all: i64 = groups.iter().map(|group| group.tasks).sum();
        Ok((all <= COUNTED).then_some(groups))
    }

    /// Returns those of a sample that pass, and the share of all tasks that the sample is.
    async fn sample(&self, rest: &Filter) -> Result<(Vec<Group>, f64)> {
        let mut sql = Sql::default();
        sql.push("SELECT coalesce(max(id), 0) FROM task");
        let last: i64 = self.numbers(sql).await?.into_iter().sum();
        // The same for the same dataset, so that numbers do not jump about.
        let mut random = ChaCha8Rng::seed_from_u64(last as u64);
        let spread = (last - AT_EACH).max(1);
        // Looking a task up in the index of words takes as long as reading many.
        let places = if rest.text.is_some() { PLACES / 4 } else { PLACES };
        let starts: Vec<i64> = (0..places).map(|_| random.random_range(1..=spread)).collect();
        let mut sql = Sql::default();
        sql.push(HEAD).push(COLUMNS);
        sql.push(
            " FROM json_each(?) AS place CROSS JOIN task ON task.id BETWEEN place.value AND place.value + ?",
        );
        sql.values(&[json_rows(&starts).as_str().into(), (AT_EACH - 1).into()]);
        sql.push(" WHERE 1");
        rest.push_rows(&mut sql);
        sql.push(TAIL);
        let looked_at = (places as i64 * AT_EACH) as f64;
        Ok((self.parsed(sql).await?, looked_at / last.max(1) as f64))
    }

    /// Puts numbers in place of estimates, as far as there is time.
    async fn count_by_review(&self, filter: &Filter, most: i64, deadline: Instant, facets: &mut Facets) {
        let each = Origin::ALL
            .into_iter()
            .flat_map(|origin| Review::ALL.into_iter().map(move |review| (origin, review)));
        let counted = stream::iter(each).map(|(origin, review)| async move {
            let one = Filter {
                origin: Some(origin),
                review: Some(review),
                ..filter.clone()
            };
            let count = timeout_at(deadline, self.count(&one, Some(most))).await;
            (origin, review, count)
        });
        let counted: Vec<_> = counted.buffer_unordered(3).collect().await;
        for (origin, review, count) in counted {
            let reviews = facets.tasks.entry(origin.to_string()).or_default();
            let amount = reviews.entry(review.to_string()).or_default();
            match count {
                Ok(Ok(tasks)) if tasks < most => {
                    *amount = Amount {
                        tasks,
                        is_about: false,
                    }
                }
                // So many at least.
                Ok(Ok(_)) => amount.tasks = amount.tasks.max(most),
                _ => {}
            }
        }
    }

    async fn parsed(&self, sql: Sql) -> Result<Vec<Group>> {
        let text = self.texts(sql).await?.pop().unwrap_or_default();
        rows_of(&text)
    }
}

const HEAD: &str = "SELECT json_group_array(json_object('origin', origin, 'review', review, 'run_id', run_id,
        'label', label, 'split', split, 'is_classification', is_classification, 'tasks', tasks))
    FROM (SELECT origin, review, run_id, label, split, is_classification, count(*) AS tasks FROM (SELECT ";

/// Labels in lower case; only classification tasks have one.
const COLUMNS: &str = "task.origin, task.review, task.run_id,
    CASE WHEN task.is_classification THEN (
        SELECT lower(output) FROM instance WHERE instance.task_id = task.id AND ordinal = 0 AND length(output) <= 64
    ) END AS label,
    CASE WHEN EXISTS (SELECT 1 FROM held_out WHERE held_out.task_id = task.id) THEN 'eval' ELSE 'train' END AS split,
    task.is_classification AS is_classification";

const TAIL: &str = ") GROUP BY 1, 2, 3, 4, 5, 6)";

const _: () = assert!(LONGEST_LABEL == 64);

/// Adds the groups up; `share` is the part of all tasks that they are of.
fn collected(groups: &[Group], filter: &Filter, share: f64) -> Facets {
    let is_about = share < 1.0;
    let amount = |tasks: i64| Amount {
        tasks: match is_about {
            true => rounded(tasks as f64 / share),
            false => tasks,
        },
        is_about,
    };
    let (mut tasks, mut runs, mut labels) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut splits = BTreeMap::from(Split::ALL.map(|split| (split.as_str().to_owned(), 0)));
    let mut classification = BTreeMap::from([(false, 0), (true, 0)]);
    for origin in Origin::ALL {
        for review in Review::ALL {
            tasks.insert((origin.to_string(), review.to_string()), 0);
        }
    }
    for group in groups {
        if group.passes(filter, Part::Tasks) {
            *tasks
                .entry((group.origin.to_string(), group.review.to_string()))
                .or_default() += group.tasks;
        }
        if let Some(run) = group.run_id.filter(|_| group.passes(filter, Part::Runs)) {
            *runs.entry(run).or_default() += group.tasks;
        }
        if let Some(label) = group
            .label
            .as_ref()
            .filter(|_| group.passes(filter, Part::Labels))
        {
            *labels.entry(label.clone()).or_default() += group.tasks;
        }
        if group.passes(filter, Part::Splits) {
            *splits.entry(group.split.as_str().to_owned()).or_default() += group.tasks;
        }
        if group.passes(filter, Part::Classification) {
            *classification.entry(group.is_classification()).or_default() += group.tasks;
        }
    }
    let mut labels: Vec<(String, i64)> = labels.into_iter().collect();
    labels.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
    labels.truncate(LABELS);
    let mut facets = Facets {
        runs: runs
            .into_iter()
            .map(|(run, tasks)| (run, amount(tasks)))
            .collect(),
        labels: labels
            .into_iter()
            .map(|(label, tasks)| (label, amount(tasks)))
            .collect(),
        splits: splits
            .into_iter()
            .map(|(split, tasks)| (split, amount(tasks)))
            .collect(),
        classification: classification
            .into_iter()
            .map(|(is, tasks)| (is, amount(tasks)))
            .collect(),
        ..Facets::default()
    };
    for ((origin, review), count) in tasks {
        facets
            .tasks
            .entry(origin)
            .or_default()
            .insert(review, amount(count));
    }
    facets
}

/// Rounds an estimate to two digits.
fn rounded(number: f64) -> i64 {
    let unit = 10f64.powf((number.max(1.0).log10().floor() - 1.0).max(0.0));
    ((number / unit).round() * unit) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_is_counted_under_the_rest_of_the_filter() {
        let group = |origin, review, run, label: Option<&str>, tasks| Group {
            origin,
            review,
            run_id: Some(run),
            label: label.map(str::to_owned),
            split: if tasks == 2 { Split::Eval } else { Split::Train },
            is_classification: i64::from(label.is_some()),
            tasks,
        };
        let groups = [
            group(Origin::Import, Review::Pending, 2, None, 5),
            group(Origin::Import, Review::Accepted, 2, Some("yes"), 3),
            group(Origin::Machine, Review::Pending, 3, Some("no"), 2),
        ];
        let filter = Filter {
            review: Some(Review::Pending),
            run_id: Some(2),
            ..Filter::default()
        };
        let facets = collected(&groups, &filter, 1.0);
        let tasks = |origin: &str, review: &str| facets.tasks[origin][review].tasks;
        assert_eq!((tasks("import", "pending"), tasks("import", "accepted")), (5, 3));
        assert_eq!(tasks("machine", "pending"), 0);
        let runs: Vec<(i64, i64)> = facets.runs.iter().map(|(&run, of)| (run, of.tasks)).collect();
        assert_eq!(runs, [(2, 5), (3, 2)]);
        // No pending task of run 2 has a label.
        assert!(facets.labels.is_empty());
        let number = |of: &Amount| of.tasks;
        assert_eq!(facets.splits.values().map(number).collect::<Vec<_>>(), [0, 5]);
        assert_eq!(
            facets.classification.values().map(number).collect::<Vec<_>>(),
            [5, 0]
        );
        let of_eval = Filter {
            split: Some(Split::Eval),
            ..Filter::default()
        };
        let facets = collected(&groups, &of_eval, 1.0);
        assert_eq!(facets.splits.values().map(number).collect::<Vec<_>>(), [2, 8]);
        assert_eq!(
            facets.classification.values().map(number).collect::<Vec<_>>(),
            [0, 2]
        );
        let about = collected(&groups, &Filter::default(), 0.01);
        let many = about.tasks["import"]["pending"];
        assert_eq!((many.tasks, many.is_about), (500, true));
    }

    #[test]
    fn estimates_have_two_digits() {
        for (number, shown) in [(0.0, 0), (7.4, 7), (96.0, 96), (123.0, 120), (98_765.0, 99_000)] {
            assert_eq!(rounded(number), shown);
        }
    }
}
