//! How the tasks of a filter are found without reading all tasks.

use super::{
    Filter, Result, Store,
    filter::{Column, Condition},
    sql::{Sql, Value},
};

/// So many ids, found through an index, are looked at one by one rather than a whole list in the order of ids.
const FEW: i64 = 4_000;

/// And so many rather than a list in another order, which may have all of them at its end: classification tasks are
/// short.
const SOME: i64 = 25_000;

/// So far the tasks of a condition are counted before a query is made.
const MANY: i64 = 50_000;

/// The order in which rows are wanted, as an index has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    /// The index on the column alone; none for the order of ids.
    pub all: Option<&'static str>,
    /// The index on review and the column.
    pub of_review: &'static str,
}

/// The order of ids.
pub(super) const BY_ID: Order = Order {
    all: None,
    of_review: "task_by_review",
};

/// How the rows of a filter are found.
#[derive(Debug)]
pub(super) struct Way {
    conditions: Vec<Condition>,
    /// The condition whose ids are looked at one by one.
    driver: Option<usize>,
    /// The condition whose column has an index in the wanted order.
    along: Option<usize>,
}

impl Store {
    /// Decides how to find the rows of a filter: those of a rare condition one by one, or all in order until there are
    /// enough. SQLite does not count before it decides, and one wrong choice is a second.
    pub(super) async fn way(&self, filter: &Filter, by_id: bool) -> Result<Way> {
        let mut conditions = filter.conditions();
        // A review alone is read along its index, whatever the order.
        if conditions
            .iter()
            .any(|condition| condition.column != Column::Review)
        {
            self.count_each(&mut conditions).await?;
        }
        let most = if by_id { FEW } else { SOME };
        let few = |&(_, condition): &(usize, &Condition)| condition.count.is_some_and(|count| count <= most);
        let driver = conditions
            .iter()
            .enumerate()
            .filter(few)
            .min_by_key(|(_, condition)| condition.count)
            .map(|(place, _)| place);
        // The index of any of these columns has its rows in the order of ids; only that of review has other orders.
        let along = conditions
            .iter()
            .enumerate()
            .filter(|(_, condition)| match condition.column {
                Column::Review => true,
                Column::Origin | Column::Run => by_id,
                _ => false,
            })
            // Of those that are many, a run is likely to be the rarest.
            .min_by_key(|(_, condition)| {
                (
                    condition.count.unwrap_or(i64::MAX),
                    condition.column != Column::Run,
                )
            })
            .map(|(place, _)| place);
        Ok(Way {
            conditions,
            driver,
            along: along.filter(|_| driver.is_none()),
        })
    }

    async fn count_each(&self, conditions: &mut [Condition]) -> Result<()> {
        let mut sql = Sql::default();
        let mut counted = Vec::new();
        for condition in conditions.iter_mut() {
            if let Some(rows) = condition.counted() {
                sql.push(if counted.is_empty() {
                    "SELECT "
                } else {
                    " UNION ALL SELECT "
                })
                .push("count(*) FROM (SELECT 1 FROM (")
                .push(rows)
                .values(&condition.values)
                .push(") LIMIT ?)")
                .values(&[Value::Integer(MANY + 1)]);
                counted.push(condition);
            }
        }
        if counted.is_empty() {
            return Ok(());
        }
        let (text, values) = sql.finish();
        let counts = sqlx::query_scalar_with::<_, i64, _>(text, values)
            .fetch_all(&self.pool)
            .await?;
        for (condition, count) in counted.into_iter().zip(counts) {
            condition.count = Some(count).filter(|&count| count <= MANY);
        }
        Ok(())
    }
}

impl Way {
    /// The one condition, as a query for ids, where there is no other and an index has them.
    pub(super) fn only(&self) -> Option<Sql> {
        match &self.conditions[..] {
            [condition] => {
                let mut sql = Sql::default();
                sql.push(condition.ids?).values(&condition.values);
                Some(sql)
            }
            _ => None,
        }
    }

    /// Adds `FROM task`, what is joined to it, and every condition, `WHERE 1 …`; more may follow with `AND`.
    pub(super) fn push(&self, sql: &mut Sql, order: Order, join: &str) {
        sql.push(" FROM task");
        if self.driver.is_none() {
            let index = match self.along.map(|place| self.conditions[place].column) {
                Some(Column::Review) => Some(order.of_review),
                Some(Column::Origin) => Some("task_by_origin"),
                Some(Column::Run) => Some("task_by_run"),
                _ => order.all,
            };
            match index {
                Some(index) => sql.push(" INDEXED BY ").push(index),
                // Where nothing is asked, the smallest index has all rows, too.
                None if self.conditions.is_empty() => sql,
                None => sql.push(" NOT INDEXED"),
            };
        }
        sql.push(join).push(" WHERE 1");
        for (place, condition) in self.conditions.iter().enumerate() {
            sql.push(" AND ");
            match condition.ids {
                Some(ids) if self.driver == Some(place) => sql.push("task.id IN (").push(ids).push(")"),
                // To look each row up in the index of words takes longer than to collect all that have them, unless
                // these are very many.
                Some(ids) if condition.column == Column::Text && condition.count.is_some() => {
                    sql.push("+task.id IN (").push(ids).push(")")
                }
                _ if self.along == Some(place) => sql.push(condition.row.trim_start_matches('+')),
                _ => sql.push(condition.row),
            }
            .values(&condition.values);
        }
    }
}
