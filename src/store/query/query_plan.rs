//! How the tasks of a filter are found without reading all tasks.

use std::time::Duration;

use super::filter::{Column, Condition};
use super::sql::{Sql, Value};
use crate::store::{Filter, Result, Store};

/// So far the tasks of a condition are counted before a query is made.
const MANY: i64 = 50_000;

/// So far where that has to be known better.
const VERY_MANY: i64 = 400_000;

/// So long a list in the wanted order is looked through before another way is tried beside it: what is looked for may all
/// be at its end, as short tasks are where the longest come first.
pub(in crate::store) const PATIENCE: Duration = Duration::from_millis(4);

/// What is wanted of the rows of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Wanted {
    /// The first few in the order of ids.
    Ids,
    /// The first few in the order of this column.
    Sorted(Column),
    /// All, or how many there are.
    All,
}

impl Wanted {
    /// So many ids, found through an index, are looked at one by one rather than all tasks in the wanted order.
    fn few(self, column: Column) -> i64 {
        match self {
            Wanted::All => MANY,
            // To look up whether a task has one takes longer than most queries for all of them.
            _ if column == Column::Reason => MANY,
            // Ids are gone through in their order; for another one every row is read.
            Wanted::Ids => 20_000,
            Wanted::Sorted(_) => 4_000,
        }
    }
}

/// The order in which rows are wanted, as an index has it.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Order {
    /// The index on the column alone; none for the order of ids.
    pub all: Option<&'static str>,
    /// The index on review and the column.
    pub of_review: &'static str,
}

/// The order of ids.
pub(in crate::store) const BY_ID: Order = Order {
    all: None,
    of_review: "task_by_review",
};

/// What leads to the rows. Conditions go by their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    /// All of them in the wanted order, or those of the conditions that have an index in it.
    Order,
    /// The ids of this condition, one by one.
    Ids(usize),
    /// The index of words, which has the tasks of any words in the order of their ids.
    Words(usize),
}

/// How the rows of a filter are found.
#[derive(Debug, Clone)]
pub(in crate::store) struct QueryPlan {
    conditions: Vec<Condition>,
    through: Through,
    /// The condition whose column has an index in the wanted order.
    along: Option<usize>,
    /// The condition on the column that the order is of.
    range: Option<usize>,
    /// Whether every row is wanted, and not only the first few.
    wants_all: bool,
}

impl Store {
    /// Decides how to find the rows of a filter: those of a rare condition one by one, or all in order until there are
    /// enough. SQLite does not count before it decides, and one wrong choice is a second.
    pub(in crate::store) async fn way(&self, filter: &Filter, wanted: Wanted) -> Result<QueryPlan> {
        let mut conditions = filter.conditions();
        let columns: Vec<Column> = conditions.iter().map(|condition| condition.column).collect();
        let of_column = |column| columns.iter().position(|&other| other == column);
        let words = of_column(Column::Text).filter(|_| wanted == Wanted::Ids);
        // A review alone is read along its index, whatever the order, and words alone along theirs.
        let alone = words.or(of_column(Column::Review));
        if conditions.len() > 1 || alone.is_none() {
            self.count_each(&mut conditions, MANY, words).await?;
        }
        let range = match wanted {
            Wanted::Sorted(column) => of_column(column),
            _ => None,
        };
        // The indexes of run, review and origin have their rows in the order of ids; other orders are those of a review, and
        // the lengths of classification tasks.
        let along = match wanted {
            Wanted::Sorted(Column::Length) => conditions
                .iter()
                .position(|condition| condition.column == Column::Classification && condition.ids.is_some())
                .or_else(|| of_column(Column::Review)),
            Wanted::Sorted(_) => of_column(Column::Review),
            // Of those that are many, a run is likely to be the rarest.
            _ => [Column::Run, Column::Review, Column::Origin]
                .into_iter()
                .filter_map(of_column)
                .min_by_key(|&place| conditions[place].count.unwrap_or(i64::MAX)),
        };
        let rarest = rarest(&conditions, |condition| {
            condition
                .count
                .is_some_and(|count| count <= wanted.few(condition.column))
        });
        let through = match (words, rarest.filter(|&place| Some(place) != range)) {
            (Some(place), _) => Through::Words(place),
            (None, Some(place)) => Through::Ids(place),
            (None, None) => Through::Order,
        };
        Ok(QueryPlan {
            conditions,
            through,
            along,
            range,
            wants_all: wanted == Wanted::All,
        })
    }

    /// The way to try when a guess takes long: one by one even if they are many. None where no index has them.
    pub(in crate::store) async fn other_way(&self, way: &QueryPlan) -> Result<Option<QueryPlan>> {
        let mut way = way.clone();
        if way.conditions.iter().all(|condition| condition.count.is_none()) {
            let words = match way.through {
                Through::Words(place) => Some(place),
                _ => None,
            };
            self.count_each(&mut way.conditions, VERY_MANY, words).await?;
        }
        let rarest = rarest(&way.conditions, |condition| condition.count.is_some());
        Ok(rarest
            .filter(|&place| Some(place) != way.range)
            .map(|place| QueryPlan {
                through: Through::Ids(place),
                ..way
            }))
    }

    /// Every way to find the rows of a filter, whatever it costs.
    #[cfg(test)]
    pub(in crate::store) async fn ways(&self, filter: &Filter, wanted: Wanted) -> Result<Vec<QueryPlan>> {
        let usual = self.way(filter, wanted).await?;
        let with_ids = (0..usual.conditions.len()).filter(|&place| usual.conditions[place].ids.is_some());
        let mut all = vec![Through::Order];
        all.extend(with_ids.map(Through::Ids));
        if matches!(usual.through, Through::Words(_)) {
            all.push(usual.through);
        }
        let way = |through| QueryPlan {
            through,
            ..usual.clone()
        };
        Ok(all.into_iter().map(way).collect())
    }

    /// Counts the ids of each condition but one, no more than `most`.
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
                .values(&[Value::Integer(most + 1)]);
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
    /// Whether its ids are so few that they may be collected for whatever is wanted.
    fn is_rare(&self) -> bool {
        self.count.is_some_and(|count| count <= MANY)
    }
}

/// The place of the condition with the fewest ids, among those that will do.
fn rarest(conditions: &[Condition], will_do: impl Fn(&Condition) -> bool) -> Option<usize> {
    let places = (0..conditions.len()).filter(|&place| will_do(&conditions[place]));
    places.min_by_key(|&place| conditions[place].count)
}

impl QueryPlan {
    /// Whether rows are looked at that nobody may want, in the hope of finding enough soon.
    pub(in crate::store) fn is_a_guess(&self) -> bool {
        match self.through {
            Through::Ids(_) => false,
            Through::Words(_) => self.conditions.len() > 1,
            Through::Order => (0..self.conditions.len()).any(|place| !self.is_in_order(place)),
        }
    }

    /// Whether the rows of this condition are together where they are read in the wanted order.
    fn is_in_order(&self, place: usize) -> bool {
        [self.along, self.range].contains(&Some(place))
    }

    /// Whether tasks that have no value in the column of the order are left out.
    pub(in crate::store) fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// The one condition, as a query for ids, where there is no other and an index has them.
    pub(in crate::store) fn only(&self) -> Option<Sql> {
        match &self.conditions[..] {
            [condition] => {
                let mut sql = Sql::default();
                sql.push(condition.ids?).values(&condition.values);
                Some(sql)
            }
            _ => None,
        }
    }

    /// The id of a task, as an order by it should name it.
    pub(in crate::store) fn id(&self) -> &'static str {
        match self.through {
            Through::Words(_) => "task_fts.rowid",
            _ => "task.id",
        }
    }

    /// Adds `FROM task`, what is joined to it, and every condition, `WHERE 1 …`; more may follow with `AND`.
    pub(in crate::store) fn push(&self, sql: &mut Sql, order: Order, join: &str) {
        sql.push(match self.through {
            Through::Words(_) => " FROM task_fts CROSS JOIN task ON task.id = task_fts.rowid",
            _ => " FROM task",
        });
        if self.through == Through::Order {
            let index = match self.along.map(|place| self.conditions[place].column) {
                Some(Column::Review) => Some(order.of_review),
                Some(Column::Origin) => Some("task_by_origin"),
                Some(Column::Run) => Some("task_by_run"),
                Some(Column::Classification) => Some("task_of_classification"),
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
            match (self.through, condition.ids) {
                (Through::Ids(driver), Some(ids)) if driver == place => {
                    sql.push("task.id IN (").push(ids).push(")")
                }
                (Through::Words(words), _) if words == place => sql.push("task_fts MATCH ?"),
                (Through::Order, _) if self.is_in_order(place) => {
                    sql.push(condition.row.trim_start_matches('+'))
                }
                // To look each row up in the index of words takes longer than to collect all that have them, unless
                // these are very many and few rows are looked at.
                (through, Some(ids))
                    if condition.column == Column::Text
                        && (condition.is_rare() || self.wants_all || matches!(through, Through::Ids(_))) =>
                {
                    sql.push("+task.id IN (").push(ids).push(")")
                }
                _ => sql.push(condition.row),
            }
            .values(&condition.values);
        }
    }
}
