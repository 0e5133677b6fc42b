//! Query plans: how the tasks of a filter are found without reading all tasks.

use std::time::Duration;

use super::condition::{Condition, FilterField};
use super::sql::{Sql, SqlValue};
use crate::store::{Filter, Result, Store};

/// The ids of a condition are counted up to this number before a query is made.
const MANY: i64 = 50_000;

/// The same, where the number matters more.
const VERY_MANY: i64 = 400_000;

/// How long a list in the requested order is read before an alternative is tried beside it: all
/// matches may be at its end, as short tasks are where the longest come first.
pub(in crate::store) const PATIENCE: Duration = Duration::from_millis(4);

/// Which rows of a filter a query needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Goal {
    /// The first few in order of ids.
    FirstById,
    /// The first few in order of this column.
    FirstSorted(FilterField),
    /// All, or their number.
    All,
}

impl Goal {
    /// Returns up to how many ids from an index are looked up one by one, rather than reading all
    /// tasks in the requested order.
    fn few(self, field: FilterField) -> i64 {
        match self {
            Goal::All => MANY,
            // Looking up whether a task has one takes longer than most queries for all of them.
            _ if field == FilterField::Reason => MANY,
            // Ids are read in their order; for another order every row is read.
            Goal::FirstById => 20_000,
            Goal::FirstSorted(_) => 4_000,
        }
    }
}

/// The indexes that have rows in a requested order.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct SortIndexes {
    /// The index on the column alone; `None` for the order of ids.
    pub all: Option<&'static str>,
    /// The index on review and the column.
    pub of_review: &'static str,
}

/// The order of ids.
pub(in crate::store) const BY_ID: SortIndexes = SortIndexes {
    all: None,
    of_review: "task_by_review",
};

/// How the rows are reached. Conditions are named by their position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// All rows in the requested order, or those of a condition with an index in that order.
    InOrder,
    /// The ids of this condition, one by one.
    IdsOf(usize),
    /// The full-text index, which has the matches of any words in order of their ids.
    FullText(usize),
}

/// How the rows of a filter are found.
#[derive(Debug, Clone)]
pub(in crate::store) struct QueryPlan {
    conditions: Vec<Condition>,
    access: Access,
    /// The condition with an index in the requested order.
    along: Option<usize>,
    /// The condition on the column of the order.
    range: Option<usize>,
    /// Whether all rows are wanted, and not only the first few.
    wants_all: bool,
}

impl Store {
    /// Plans how to find the rows of a filter: those of a rare condition one by one, or all in
    /// order until there are enough. SQLite does not count before it decides, and one wrong choice
    /// costs a second.
    pub(in crate::store) async fn query_plan(&self, filter: &Filter, goal: Goal) -> Result<QueryPlan> {
        let mut conditions = filter.conditions();
        let fields: Vec<FilterField> = conditions.iter().map(|condition| condition.field).collect();
        let of_field = |field| fields.iter().position(|&other| other == field);
        let words = of_field(FilterField::Text).filter(|_| goal == Goal::FirstById);
        // A review alone is read along its index in any order, and words alone along theirs.
        let alone = words.or(of_field(FilterField::Review));
        if conditions.len() > 1 || alone.is_none() {
            self.count_each(&mut conditions, MANY, words).await?;
        }
        let range = match goal {
            Goal::FirstSorted(field) => of_field(field),
            _ => None,
        };
        // The indexes of run, review and origin have rows in order of ids. Other orders exist for
        // one review, and for the lengths of classification tasks.
        let along = match goal {
            Goal::FirstSorted(FilterField::Length) => conditions
                .iter()
                .position(|condition| {
                    condition.field == FilterField::Classification && condition.ids.is_some()
                })
                .or_else(|| of_field(FilterField::Review)),
            Goal::FirstSorted(_) => of_field(FilterField::Review),
            // Among frequent conditions, a run is likely to be the rarest.
            _ => [FilterField::Run, FilterField::Review, FilterField::Origin]
                .into_iter()
                .filter_map(of_field)
                .min_by_key(|&place| conditions[place].count.unwrap_or(i64::MAX)),
        };
        let rarest = rarest(&conditions, |condition| {
            condition
                .count
                .is_some_and(|count| count <= goal.few(condition.field))
        });
        let access = match (words, rarest.filter(|&place| Some(place) != range)) {
            (Some(place), _) => Access::FullText(place),
            (None, Some(place)) => Access::IdsOf(place),
            (None, None) => Access::InOrder,
        };
        Ok(QueryPlan {
            conditions,
            access,
            along,
            range,
            wants_all: goal == Goal::All,
        })
    }

    /// Returns the plan to try when a guess takes long: the ids one by one, even if there are many.
    /// `None` if no index has them.
    pub(in crate::store) async fn alternative(&self, plan: &QueryPlan) -> Result<Option<QueryPlan>> {
        let mut plan = plan.clone();
        if plan.conditions.iter().all(|condition| condition.count.is_none()) {
            let words = match plan.access {
                Access::FullText(place) => Some(place),
                _ => None,
            };
            self.count_each(&mut plan.conditions, VERY_MANY, words).await?;
        }
        let rarest = rarest(&plan.conditions, |condition| condition.count.is_some());
        Ok(rarest
            .filter(|&place| Some(place) != plan.range)
            .map(|place| QueryPlan {
                access: Access::IdsOf(place),
                ..plan
            }))
    }

    /// Returns all plans for the rows of a filter, whatever they cost.
    #[cfg(test)]
    pub(in crate::store) async fn all_plans(&self, filter: &Filter, goal: Goal) -> Result<Vec<QueryPlan>> {
        let usual = self.query_plan(filter, goal).await?;
        let with_ids = (0..usual.conditions.len()).filter(|&place| usual.conditions[place].ids.is_some());
        let mut all = vec![Access::InOrder];
        all.extend(with_ids.map(Access::IdsOf));
        if matches!(usual.access, Access::FullText(_)) {
            all.push(usual.access);
        }
        let plan = |access| QueryPlan {
            access,
            ..usual.clone()
        };
        Ok(all.into_iter().map(plan).collect())
    }

    /// Counts the ids of all conditions except `but`, each up to `most`.
    async fn count_each(&self, conditions: &mut [Condition], most: i64, but: Option<usize>) -> Result<()> {
        let mut sql = Sql::default();
        let mut counted = Vec::new();
        for (place, condition) in conditions.iter_mut().enumerate() {
            if let Some(rows) = condition.counted().filter(|_| Some(place) != but) {
                sql.push(if counted.is_empty() {
                    "SELECT "
                } else {
                    " UNION ALL SELECT "
                })
                .push("count(*) FROM (SELECT 1 FROM (")
                .push(rows)
                .values(&condition.values)
                .push(") LIMIT ?)")
                .values(&[SqlValue::Integer(most + 1)]);
                counted.push(condition);
            }
        }
        if counted.is_empty() {
            return Ok(());
        }
        let counts = self.numbers(sql).await?;
        for (condition, count) in counted.into_iter().zip(counts) {
            condition.count = Some(count).filter(|&count| count <= most);
        }
        Ok(())
    }
}

impl Condition {
    /// Whether its ids are few enough to be collected for any goal.
    fn is_rare(&self) -> bool {
        self.count.is_some_and(|count| count <= MANY)
    }
}

/// Returns the position of the condition with the fewest ids among those that `will_do`.
fn rarest(conditions: &[Condition], will_do: impl Fn(&Condition) -> bool) -> Option<usize> {
    let places = (0..conditions.len()).filter(|&place| will_do(&conditions[place]));
    places.min_by_key(|&place| conditions[place].count)
}

impl QueryPlan {
    /// Whether rows are read that may not match, in the hope of finding enough soon.
    pub(in crate::store) fn is_guess(&self) -> bool {
        match self.access {
            Access::IdsOf(_) => false,
            Access::FullText(_) => self.conditions.len() > 1,
            Access::InOrder => (0..self.conditions.len()).any(|place| !self.is_in_order(place)),
        }
    }

    /// Whether the rows of this condition are adjacent in the requested order.
    fn is_in_order(&self, place: usize) -> bool {
        [self.along, self.range].contains(&Some(place))
    }

    /// Whether tasks without a value in the column of the order are excluded.
    pub(in crate::store) fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// Returns the query for the ids of the only condition, if an index has them.
    pub(in crate::store) fn only(&self) -> Option<Sql> {
        match &self.conditions[..] {
            [condition] => {
                let mut sql = Sql::default();
                sql.push(condition.ids.as_deref()?).values(&condition.values);
                Some(sql)
            }
            _ => None,
        }
    }

    /// Returns the id's name for `ORDER BY`.
    pub(in crate::store) fn id(&self) -> &'static str {
        match self.access {
            Access::FullText(_) => "task_fts.rowid",
            _ => "task.id",
        }
    }

    /// Appends `FROM task`, `join`, and every condition as `WHERE 1 …`; more may follow with `AND`.
    pub(in crate::store) fn push(&self, sql: &mut Sql, indexes: SortIndexes, join: &str) {
        sql.push(match self.access {
            Access::FullText(_) => " FROM task_fts CROSS JOIN task ON task.id = task_fts.rowid",
            _ => " FROM task",
        });
        if self.access == Access::InOrder {
            let index = match self.along.map(|place| self.conditions[place].field) {
                Some(FilterField::Review) => Some(indexes.of_review),
                Some(FilterField::Origin) => Some("task_by_origin"),
                Some(FilterField::Run) => Some("task_by_run"),
                Some(FilterField::Classification) => Some("task_of_classification"),
                _ => indexes.all,
            };
            match index {
                Some(index) => sql.push(" INDEXED BY ").push(index),
                // Without conditions, the smallest index has all rows, too.
                None if self.conditions.is_empty() => sql,
                None => sql.push(" NOT INDEXED"),
            };
        }
        sql.push(join).push(" WHERE 1");
        for (place, condition) in self.conditions.iter().enumerate() {
            sql.push(" AND ");
            match (self.access, condition.ids.as_deref()) {
                (Access::IdsOf(driver), Some(ids)) if driver == place => {
                    sql.push("task.id IN (").push(ids).push(")")
                }
                (Access::FullText(words), _) if words == place => sql.push("task_fts MATCH ?"),
                (Access::InOrder, _) if self.is_in_order(place) => {
                    sql.push(condition.row.trim_start_matches('+'))
                }
                // Looking each row up in the full-text index takes longer than collecting all
                // matches, unless these are very many and few rows are read.
                (access, Some(ids))
                    if condition.field == FilterField::Text
                        && (condition.is_rare() || self.wants_all || matches!(access, Access::IdsOf(_))) =>
                {
                    sql.push("+task.id IN (").push(ids).push(")")
                }
                _ => sql.push(&condition.row),
            }
            .values(&condition.values);
        }
    }
}
