//! Counts one block.

use std::{borrow::Cow, collections::HashSet};

use serde::Deserialize;
use sqlx::SqliteConnection;

use super::{CandidateTally, Roots, TaskTally, opinions};
use crate::store::Result;
use crate::store::query::filter::LONGEST_LABEL;
use crate::store::rows::rows_of;
use crate::task::{Origin, Review};

/// The ids of a block of tasks differ in these last bits only.
const TASK_BITS: u32 = 12;

/// The rounds of a block of candidates differ in these last bits only.
const ROUND_BITS: u32 = 9;

/// The most spans of rounds in a block of candidates.
const MOST_SPANS: i64 = 64;

/// Returns the first and the last number of a block.
fn range(block: i64, bits: u32) -> (i64, i64) {
    let first = block << bits;
    (first, first + (1 << bits) - 1)
}

/// A block of tasks, as SQLite returned it.
pub(super) struct TaskRows {
    /// A JSON array of [`TallyTaskRow`].
    tasks: String,
    /// A JSON array of [`TallyInstanceRow`].
    instances: String,
    /// As [`opinions::read`] returns them.
    opinions: String,
}

/// `origin`, `review`, `length`, the start of the instruction unless the task was rejected,
/// `similarity`
#[derive(Deserialize)]
struct TallyTaskRow<'a>(
    Origin,
    Review,
    i64,
    #[serde(borrow)] Option<Cow<'a, str>>,
    Option<i64>,
);

/// `task_id`, `review`, `is_classification`, whether there is an input, its length, the length of
/// the output, the label
#[derive(Deserialize)]
struct TallyInstanceRow<'a>(
    i64,
    Review,
    u8,
    u8,
    i64,
    i64,
    #[serde(borrow)] Option<Cow<'a, str>>,
);

impl TaskRows {
    pub async fn read(connection: &mut SqliteConnection, block: i64) -> Result<TaskRows> {
        let (first, last) = range(block, TASK_BITS);
        let tasks = sqlx::query_scalar!(
            r#"
            SELECT
                json_group_array(
                    json_array(
                        origin,
                        review,
                        length(instruction),
                        CASE WHEN review <> 'rejected' THEN substr(instruction, 1, 400) END,
                        CAST(nearest_rouge_l * 20 AS INTEGER) * 5
                    )
                ) AS "rows!: String"
            FROM task
            WHERE id BETWEEN ? AND ?
            "#,
            first,
            last
        )
        .fetch_one(&mut *connection)
        .await?;
        let longest = LONGEST_LABEL as i64;
        let instances = sqlx::query_scalar!(
            r#"
            SELECT
                json_group_array(
                    json_array(
                        task.id,
                        task.review,
                        task.is_classification,
                        instance.input <> '',
                        length(instance.input),
                        length(instance.output),
                        CASE WHEN task.is_classification AND length(instance.output) <= ?3 THEN instance.output END
                    )
                ) AS "rows!: String"
            FROM task
            JOIN instance ON instance.task_id = task.id
            WHERE task.id BETWEEN ?1 AND ?2 AND task.review <> 'rejected'
            "#,
            first,
            last,
            longest
        )
        .fetch_one(&mut *connection)
        .await?;
        let opinions = opinions::read(connection, first, last).await?;
        Ok(TaskRows {
            tasks,
            instances,
            opinions,
        })
    }

    pub fn count(self, roots: Roots) -> Result<TaskTally> {
        let mut tally = TaskTally::default();
        let mut reviews = [[0; Review::ALL.len()]; Origin::ALL.len()];
        for TallyTaskRow(origin, review, length, start, similarity) in rows_of(&self.tasks)? {
            reviews[origin as usize][review as usize] += 1;
            let Some(start) = start else { continue };
            *tally.instruction_lengths.entry(length / 25 * 25).or_default() += 1;
            if let Some(similarity) = similarity {
                *tally.similarities.entry(similarity).or_default() += 1;
            }
            match (roots.of)(&start) {
                Some((verb, noun)) => {
                    let nouns = tally.roots.entry(verb).or_default();
                    *nouns.entry(noun.unwrap_or_default()).or_default() += 1;
                }
                None => tally.rootless += 1,
            }
        }
        for origin in Origin::ALL {
            for review in Review::ALL {
                let count = reviews[origin as usize][review as usize];
                if count > 0 {
                    let reviews = tally.tasks.entry(origin.to_string()).or_default();
                    reviews.insert(review.to_string(), count);
                }
            }
        }
        count_instances(&mut tally, rows_of(&self.instances)?);
        opinions::count(&mut tally, &self.opinions)?;
        Ok(tally)
    }
}

fn count_instances(tally: &mut TaskTally, instances: Vec<TallyInstanceRow<'_>>) {
    let mut seen = HashSet::new();
    let mut examples = [0; Review::ALL.len()];
    for TallyInstanceRow(task_id, review, is_classification, has_input, input, output, label) in instances {
        if seen.insert(task_id) {
            tally.classification += i64::from(is_classification);
            tally.other += i64::from(1 - is_classification);
        }
        examples[review as usize] += 1;
        if has_input == 0 {
            tally.without_input += 1;
        } else {
            tally.with_input += 1;
            *tally.input_lengths.entry(input / 100 * 100).or_default() += 1;
        }
        *tally.output_lengths.entry(output / 100 * 100).or_default() += 1;
        match label {
            Some(label) => *tally.labels.entry(label.to_ascii_lowercase()).or_default() += 1,
            None => tally.long_labels += i64::from(is_classification),
        }
    }
    for review in Review::ALL {
        if examples[review as usize] > 0 {
            tally
                .examples
                .insert(review.to_string(), examples[review as usize]);
        }
    }
}

/// Counts the candidates of a block of rounds, from an index.
pub(super) async fn candidates(connection: &mut SqliteConnection, block: i64) -> Result<CandidateTally> {
    let (first, last) = range(block, ROUND_BITS);
    let rows = sqlx::query!(
        r#"
        SELECT kind, verdict, coalesce(reason, '') AS "reason!: String", round, count(*) AS "candidates!: i64"
        FROM candidate
        WHERE round BETWEEN ? AND ?
        GROUP BY round, kind, verdict, reason
        "#,
        first,
        last
    )
    .fetch_all(connection)
    .await?;
    let mut tally = CandidateTally::default();
    for row in rows {
        // A reason may remain on a candidate that was accepted after all; the verdict decides.
        let reason = if row.verdict == "accepted" {
            String::new()
        } else {
            row.reason
        };
        if row.kind == "instruction" {
            let counts = tally.rounds.entry(row.round).or_default();
            *counts.entry(reason.clone()).or_default() += row.candidates;
        }
        let verdicts = tally.verdicts.entry(row.kind).or_default();
        let reasons = verdicts.entry(row.verdict).or_default();
        *reasons.entry(reason).or_default() += row.candidates;
    }
    tally.widen_to(MOST_SPANS);
    Ok(tally)
}
