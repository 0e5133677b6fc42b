//! What judges and people said of the same instances, counted.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use super::{Counts, TaskTally, add, add_nested};
use crate::store::Result;

/// By score, how many instances are of accepted tasks, and how many of rejected ones.
type Reviewed = BTreeMap<String, (i64, i64)>;

/// Counts of what judges and people said of the same instances. What ewe's own commands rejected is
/// no person's opinion.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct OpinionTally {
    /// Instances that a person reviewed by judge, criterion and score, the criterion empty for the
    /// whole score: how many are of accepted tasks, and how many of rejected ones.
    pub reviewed: BTreeMap<String, BTreeMap<String, Reviewed>>,
    /// Instances that two judges scored, by the one, the other, and both scores, rounded, as in
    /// `4 5`.
    pub both: BTreeMap<String, BTreeMap<String, Counts>>,
}

impl OpinionTally {
    pub(super) fn merge(&mut self, other: OpinionTally) {
        for (judge, criteria) in other.reviewed {
            let own = self.reviewed.entry(judge).or_default();
            for (criterion, scores) in criteria {
                let own = own.entry(criterion).or_default();
                for (score, (accepted, rejected)) in scores {
                    let count = own.entry(score).or_default();
                    *count = (count.0 + accepted, count.1 + rejected);
                }
            }
        }
        for (judge, others) in other.both {
            add_nested(self.both.entry(judge).or_default(), others);
        }
    }
}

/// `instance_id`, the judge, the criterion unless it is the whole score, the score unless it was
/// unreadable, whether the task is rejected, whether a person accepted it or rejected it
#[derive(Deserialize)]
struct OpinionRow<'a>(
    i64,
    #[serde(borrow)] Cow<'a, str>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    #[serde(borrow)] Option<Cow<'a, str>>,
    u8,
    Option<u8>,
);

/// Reads the scores that hold, of tasks with these ids, as a JSON array for [`count`].
pub(super) async fn read(connection: &mut SqliteConnection, first: i64, last: i64) -> Result<String> {
    Ok(sqlx::query_scalar!(
        r#"
        WITH reviewed (task_id, is_rejected, accepted) AS (
            SELECT
                id, review = 'rejected',
                CASE WHEN review IN ('accepted', 'rejected') AND EXISTS (
                    SELECT 1
                    FROM revision
                    WHERE revision.task_id = task.id
                        AND revision.action IN ('accept', 'reject')
                        AND revision.who NOT LIKE 'ewe %'
                ) THEN review = 'accepted' END
            FROM task
            WHERE id BETWEEN ?1 AND ?2
        )
        SELECT json_group_array(json_array(instance_id, model, criterion, score, is_rejected, accepted)) AS "rows!: String"
        FROM (
            SELECT
                judged.instance_id, judged.model, NULL AS criterion, CAST(judged.score AS TEXT) AS score,
                reviewed.is_rejected, reviewed.accepted
            FROM reviewed
            CROSS JOIN judged ON judged.task_id = reviewed.task_id
            UNION ALL
            SELECT
                criterion_score.instance_id, criterion_score.model, criterion_score.criterion,
                CAST(criterion_score.score AS TEXT), reviewed.is_rejected, reviewed.accepted
            FROM reviewed
            CROSS JOIN criterion_score ON criterion_score.task_id = reviewed.task_id
        )
        "#,
        first,
        last
    )
    .fetch_one(connection)
    .await?)
}

/// Counts what [`read`] returned.
pub(super) fn count(tally: &mut TaskTally, rows: &str) -> Result<()> {
    let mut of_instances: BTreeMap<i64, BTreeMap<Cow<str>, i64>> = BTreeMap::new();
    for OpinionRow(instance, judge, criterion, score, is_rejected, accepted) in
        crate::store::rows::rows_of::<OpinionRow>(rows)?
    {
        if criterion.is_none() && is_rejected == 0 {
            let scores = tally.scores.entry(judge.to_string()).or_default();
            *scores
                .entry(score.as_deref().unwrap_or_default().to_string())
                .or_default() += 1;
        }
        let Some(score) = score else { continue };
        if let Some(accepted) = accepted {
            let criteria = tally.opinions.reviewed.entry(judge.to_string()).or_default();
            let scores = criteria
                .entry(criterion.as_deref().unwrap_or_default().to_string())
                .or_default();
            let count = scores.entry(score.to_string()).or_default();
            match accepted {
                0 => count.1 += 1,
                _ => count.0 += 1,
            }
        }
        if let (None, Ok(score)) = (criterion, score.parse::<f64>()) {
            let rounded = (score.round() as i64).clamp(1, 5);
            of_instances.entry(instance).or_default().insert(judge, rounded);
        }
    }
    for judges in of_instances.values() {
        for (a, of_a) in judges {
            for (b, of_b) in
                judges.range::<Cow<str>, _>((std::ops::Bound::Excluded(a), std::ops::Bound::Unbounded))
            {
                let others = tally.opinions.both.entry(a.to_string()).or_default();
                let both = BTreeMap::from([(format!("{of_a} {of_b}"), 1)]);
                add(others.entry(b.to_string()).or_default(), both);
            }
        }
    }
    Ok(())
}
