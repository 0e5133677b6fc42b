//! The best of some tasks by a figure that models have given them.

use std::borrow::Cow;

use super::amount::Amount;
use super::condition::{Condition, FilterField};
use super::sql::SqlValue;

/// A figure of a task.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    /// How much its instances lowered the held-out loss: `ewe influence`.
    #[default]
    Influence,
    /// Score of the judges.
    Score,
    /// How little its instruction helps to predict its answer: `ewe score --db`.
    Ifd,
}

/// The tasks with the highest values. Tasks without a value are never among them; of equal ones,
/// those stored first are.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Top {
    /// How many; a share is one of the tasks that have a value.
    #[serde(serialize_with = "text")]
    pub amount: Amount,
    /// By what.
    pub by: Measure,
}

fn text<S: serde::Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(amount)
}

impl Measure {
    /// Returns its word on the command line, which is its column's name as well.
    pub fn as_str(self) -> &'static str {
        match self {
            Measure::Influence => "influence",
            Measure::Score => "score",
            Measure::Ifd => "ifd",
        }
    }
}

impl Top {
    /// Returns the condition to be among the best of the tasks that pass `others`.
    pub(super) fn condition(&self, others: &[Condition]) -> Condition {
        let column = self.by.as_str();
        let mut from = format!("FROM task WHERE +task.{column} IS NOT NULL");
        let mut values = Vec::new();
        for other in others {
            // All matches of words are collected faster than each task is looked up in the index.
            match (other.field, &other.ids) {
                (FilterField::Text, Some(ids)) => from += &format!(" AND +task.id IN ({ids})"),
                _ => from += &format!(" AND {}", other.row),
            }
            values.extend(other.values.iter().cloned());
        }
        let most = match self.amount {
            Amount::Count(count) => {
                values.push(SqlValue::Integer(i64::try_from(count).unwrap_or(i64::MAX)));
                "?".to_owned()
            }
            Amount::Percent(percent) => {
                values.push(SqlValue::Real(percent));
                values.extend_from_within(..values.len() - 1);
                // Rounded as `Amount::of` rounds.
                format!("(SELECT max(min(count(*), 1), CAST(round(count(*) * ? / 100.0) AS INTEGER)) {from})")
            }
        };
        let ids = format!(
            "SELECT best.id FROM (SELECT task.id {from} ORDER BY task.{column} DESC, task.id LIMIT {most}) AS best"
        );
        Condition {
            field: FilterField::Top,
            row: Cow::Owned(format!("+task.id IN ({ids})")),
            ids: Some(Cow::Owned(ids)),
            values,
            count: None,
        }
    }
}
