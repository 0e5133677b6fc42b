//! Tasks as lists: what `list`, `search` and the page's queue show.

use super::{Result, Store, fts};
use crate::task::{Origin, Review};

/// Which tasks. Every field that is set narrows the choice.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// Only tasks of this review.
    pub review: Option<Review>,
    /// Only tasks of this origin.
    pub origin: Option<Origin>,
    /// Only tasks that this run brought in.
    pub run_id: Option<i64>,
    /// Only tasks with these words in instruction, input or output: see [`fts`].
    pub text: Option<String>,
    /// Only tasks whose score is at least this; see [`ListRow::score`].
    pub min_score: Option<f64>,
    /// Only tasks whose score is at most this.
    pub max_score: Option<f64>,
}

/// Which task comes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// In the order they were stored.
    #[default]
    Id,
    /// Latest first.
    Newest,
    /// Longest text of instruction, input and output first.
    Longest,
    /// Most like another task first, by ROUGE-L with the nearest.
    Similar,
    /// Lowest score first, tasks without one last.
    Score,
}

/// A line of a list.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct ListRow {
    /// The task's id.
    pub id: i64,
    /// What people think of it.
    pub review: Review,
    /// Where it came from.
    pub origin: Origin,
    /// Whether the answer is one of a few labels.
    pub is_classification: bool,
    /// The run that brought it in.
    pub run_id: Option<i64>,
    /// A short name for people.
    pub name: Option<String>,
    /// What is to be done.
    pub instruction: String,
    /// Input of the first instance; none where there is no instance.
    pub input: Option<String>,
    /// Output of the first instance.
    pub output: Option<String>,
    /// How many instances there are.
    pub instances: i64,
    /// ROUGE-L with the nearest task when it was admitted, 0 to 1.
    pub nearest_rouge_l: Option<f64>,
    /// What models think of it, 1 to 5: of its instances the one with the lowest mean over the models that judged it.
    pub score: Option<f64>,
}

/// A query over the tasks that a filter lets through, `FROM task` and what is joined to it in `head`, what follows the
/// conditions in `tail`. The macros of sqlx want each query as one literal sum.
macro_rules! filtered {
    ($query:ident!($($row:ident,)? $($head:literal)+ ; $($tail:literal)*), $filter:ident $(, $more:expr)*) => {{
        let text = $filter.text.as_deref().and_then(fts::query);
        sqlx::$query!(
            $($row,)?
            "" $(+ $head)+
                + "
            WHERE (?1 IS NULL OR task.review = ?1)
                AND (?2 IS NULL OR task.origin = ?2)
                AND (?3 IS NULL OR task.run_id = ?3)
                AND (?4 IS NULL OR task.id IN (SELECT rowid FROM task_fts WHERE task_fts MATCH ?4))
                AND (
                    (?5 IS NULL AND ?6 IS NULL)
                    OR (
                        SELECT min(score)
                        FROM (
                            SELECT avg(judged.score) AS score
                            FROM judged
                            WHERE judged.task_id = task.id
                            GROUP BY judged.instance_id
                        )
                    ) BETWEEN coalesce(?5, 0) AND coalesce(?6, 9)
                )
            " $(+ $tail)*,
            $filter.review,
            $filter.origin,
            $filter.run_id,
            text,
            $filter.min_score,
            $filter.max_score
            $(, $more)*
        )
    }};
}

/// A page of the list. The orders differ in one clause only.
macro_rules! list {
    ($self:ident, $filter:ident, $limit:ident, $offset:ident, $order:literal) => {
        filtered!(
            query_as!(
                ListRow,
                r#"
            SELECT
                task.id AS "id!", task.review AS "review: Review", task.origin AS "origin: Origin",
                task.is_classification AS "is_classification: bool", task.run_id, task.name, task.instruction,
                first.input AS "input?", first.output AS "output?",
                (SELECT count(*) FROM instance WHERE instance.task_id = task.id) AS "instances!: i64",
                neighbor.rouge_l AS "nearest_rouge_l?",
                (
                    SELECT min(score)
                    FROM (
                        SELECT avg(judged.score) AS score
                        FROM judged
                        WHERE judged.task_id = task.id
                        GROUP BY judged.instance_id
                    )
                ) AS "score?: f64"
            FROM task
            LEFT JOIN instance AS first ON first.task_id = task.id AND first.ordinal = 0
            LEFT JOIN neighbor ON neighbor.task_id = task.id AND neighbor.rank = 1
            "#; $order "
            LIMIT ?7
            OFFSET ?8
            "
            ),
            $filter,
            $limit,
            $offset
        )
        .fetch_all(&$self.pool)
        .await?
    };
}

impl Store {
    /// A page of the tasks that `filter` lets through.
    pub async fn list(&self, filter: &Filter, sort: Sort, limit: i64, offset: i64) -> Result<Vec<ListRow>> {
        Ok(match sort {
            Sort::Id => list!(self, filter, limit, offset, "ORDER BY task.id"),
            Sort::Newest => list!(self, filter, limit, offset, "ORDER BY task.id DESC"),
            Sort::Longest => list!(
                self,
                filter,
                limit,
                offset,
                "ORDER BY
                    length(task.instruction)
                    + (
                        SELECT coalesce(sum(length(each.input) + length(each.output)), 0)
                        FROM instance AS each
                        WHERE each.task_id = task.id
                    ) DESC,
                    task.id"
            ),
            Sort::Similar => {
                list!(
                    self,
                    filter,
                    limit,
                    offset,
                    "ORDER BY neighbor.rouge_l DESC NULLS LAST, task.id"
                )
            }
            Sort::Score => {
                // The score is the twelfth column.
                list!(self, filter, limit, offset, "ORDER BY 12 NULLS LAST, task.id")
            }
        })
    }

    /// The ids of all tasks that `filter` lets through, in order.
    pub async fn matching(&self, filter: &Filter) -> Result<Vec<i64>> {
        let ids = filtered!(
            query_scalar!("SELECT task.id FROM task"; "ORDER BY task.id"),
            filter
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids)
    }

    /// How many tasks `filter` lets through.
    pub async fn count(&self, filter: &Filter) -> Result<i64> {
        let count = filtered!(
            query_scalar!(r#"SELECT count(*) AS "count!: i64" FROM task"#;),
            filter
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(count)
    }
}
