//! How often values of fields occur, and which values tasks have.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ranges::{RangeCount, ranges};
use super::{Field, Values};
use crate::store::query::query_plan::{BY_ID, Goal};
use crate::store::query::sql::Sql;
use crate::store::rows::{json_rows, rows_of};
use crate::store::{Filter, Result, Store};
use crate::task::FieldType;

/// More different numbers than these are counted in ranges as well.
const MOST_NUMBERS: usize = 14;

/// A value of a field, and how many tasks have it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ValueCount {
    /// The value, as [`Field::to_json`] has it; of tags one.
    pub value: Value,
    /// How many tasks.
    pub tasks: i64,
}

/// The values of a field among some tasks.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FieldCounts {
    /// The field.
    #[serde(flatten)]
    pub field: Field,
    /// How many tasks have a value.
    pub tasks: i64,
    /// How many different values there are.
    pub different: i64,
    /// The most frequent values; of a choice in the order of its choices, all of them.
    pub values: Vec<ValueCount>,
    /// Of numbers with too many values to look at each, how many tasks have one in each range.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ranges: Vec<RangeCount>,
}

impl ValueCount {
    /// The value as people read it.
    pub fn label(&self) -> String {
        match &self.value {
            Value::String(text) => text.clone(),
            Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
            other => other.to_string(),
        }
    }
}

impl FieldCounts {
    /// What people are shown: the ranges of numbers where there are some, else the values; each
    /// with how many tasks.
    pub fn shown(&self) -> Vec<(String, i64)> {
        let ranges = self.ranges.iter().map(|one| (one.label(), one.tasks));
        let values = self.values.iter().map(|one| (one.label(), one.tasks));
        match self.ranges.is_empty() {
            true => values.collect(),
            false => ranges.collect(),
        }
    }
}

impl Store {
    /// Counts the values of each field among the tasks that pass the filter; of each the `most`
    /// frequent.
    pub async fn field_counts(&self, filter: &Filter, most: usize) -> Result<Vec<FieldCounts>> {
        let mut counts = Vec::new();
        for field in self.fields().await? {
            // Every choice is counted under the rest of the filter.
            let mut rest = filter.clone();
            rest.fields.0.retain(|test| !field.is_called(&test.name));
            counts.push(self.counts_of(field, &rest, most).await?);
        }
        Ok(counts)
    }

    async fn counts_of(&self, field: Field, filter: &Filter, most: usize) -> Result<FieldCounts> {
        let mut sql = Sql::default();
        // As JSON, with all digits of numbers.
        sql.push(
            "SELECT '[' || coalesce(group_concat('[' || iif(
                typeof(value) = 'real', printf('%!.17g', value), json_quote(value)
            ) || ',' || tasks || ']'), '') || ']'
            FROM (SELECT value, count(*) AS tasks",
        );
        if filter.is_empty() {
            sql.push(" FROM field_value WHERE field_id = ?")
                .values(&[field.id.into()]);
        } else {
            let plan = self.query_plan(filter, Goal::All).await?;
            sql.push(" FROM (SELECT task.id AS id");
            plan.push(&mut sql, BY_ID, "");
            sql.push(
                ") AS chosen CROSS JOIN field_value INDEXED BY field_value_by_task
                ON field_value.task_id = chosen.id AND field_value.field_id = ?",
            )
            .values(&[field.id.into()]);
        }
        sql.push(" GROUP BY value ORDER BY tasks DESC, value)");
        let text = self.texts(sql).await?.pop().unwrap_or_default();
        let all: Vec<(Value, i64)> = rows_of(&text)?;
        let is_tags = field.kind == FieldType::Tags;
        let ranges = match field.kind == FieldType::Number && all.len() > most.min(MOST_NUMBERS) {
            true => ranges(&all),
            false => Vec::new(),
        };
        let tasks = match is_tags {
            true => self.tasks_with(&field, filter).await?,
            false => all.iter().map(|(_, tasks)| tasks).sum(),
        };
        let value = |value: &Value| match is_tags {
            true => value.clone(),
            false => field.to_json(&Values(vec![value.clone()])),
        };
        let values = match field.choices.as_slice() {
            [] => all
                .iter()
                .take(most)
                .map(|(one, tasks)| ValueCount {
                    value: value(one),
                    tasks: *tasks,
                })
                .collect(),
            choices => choices
                .iter()
                .map(|choice| ValueCount {
                    value: choice.as_str().into(),
                    tasks: all
                        .iter()
                        .find(|(one, _)| one == choice)
                        .map_or(0, |(_, tasks)| *tasks),
                })
                .collect(),
        };
        Ok(FieldCounts {
            tasks,
            different: all.len() as i64,
            values,
            ranges,
            field,
        })
    }

    /// Counts the tasks with any value of a field.
    async fn tasks_with(&self, field: &Field, filter: &Filter) -> Result<i64> {
        let mut sql = Sql::default();
        sql.push("SELECT count(*)");
        self.query_plan(filter, Goal::All)
            .await?
            .push(&mut sql, BY_ID, "");
        sql.push(
            " AND EXISTS (SELECT 1 FROM field_value WHERE field_id = ? AND field_value.task_id = task.id)",
        )
        .values(&[field.id.into()]);
        Ok(self.numbers(sql).await?.iter().sum())
    }

    /// Returns the values of fields that these tasks have, by task and name.
    pub async fn values_of(&self, ids: &[i64]) -> Result<BTreeMap<i64, Vec<(Field, Values)>>> {
        let fields = self.fields().await?;
        let mut found: BTreeMap<i64, Vec<(Field, Values)>> = BTreeMap::new();
        if fields.is_empty() {
            return Ok(found);
        }
        let ids = json_rows(ids);
        let rows = sqlx::query!(
            r#"
            SELECT task_id AS "task_id!", field_id AS "field_id!", json_group_array(value) AS "list!: String"
            FROM (
                SELECT had.task_id, had.field_id, had.value
                FROM json_each(?) AS wanted
                CROSS JOIN field_value AS had INDEXED BY field_value_by_task ON had.task_id = wanted.value
                ORDER BY had.task_id, had.field_id, had.value
            )
            GROUP BY task_id, field_id
            "#,
            ids
        )
        .fetch_all(&mut *self.acquire().await?)
        .await?;
        for row in rows {
            if let Some(field) = fields.iter().find(|field| field.id == row.field_id) {
                let values = Values::of_column(&row.list);
                found
                    .entry(row.task_id)
                    .or_default()
                    .push((field.clone(), values));
            }
        }
        Ok(found)
    }
}
