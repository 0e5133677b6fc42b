//! The page's queue: its rows, a page at a time, and how many tasks there are behind each choice.

use std::time::Duration;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    error::{ApiError, ApiResult},
    state::AppState,
};
use crate::store::query::expression::Expression;
use crate::store::{Error, FieldError, Filter, ListRow, Position, Sort, Store};
use crate::task::{Origin, Review};

/// The most tasks in one response.
const MOST: i64 = 500;

/// How many characters of an instruction the queue shows.
const TITLE: usize = 240;

/// How far tasks are counted behind each choice of the filter.
const COUNTED: i64 = 10_000;

/// How long they are counted.
const PATIENCE: Duration = Duration::from_millis(150);

/// The query of the queue: from its first task, or next to one that need not pass the filter.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListQuery {
    /// A [`Filter`] as JSON; empty for none.
    filter: String,
    /// The name of an order, or `field.NAME` and perhaps `:desc`.
    sort: String,
    limit: Option<i64>,
    /// The tasks after this one.
    after: Option<i64>,
    /// The tasks before this one, those nearest to it.
    before: Option<i64>,
    /// This task and those on both sides of it.
    around: Option<i64>,
}

/// A row of the queue.
#[derive(Debug, Serialize)]
struct QueueRow {
    id: i64,
    review: Review,
    origin: Origin,
    is_classification: bool,
    instruction: String,
    nearest_rouge_l: Option<f64>,
    score: Option<f64>,
    influence: Option<f64>,
    ifd: Option<f64>,
    is_held_out: bool,
}

impl From<ListRow> for QueueRow {
    fn from(row: ListRow) -> QueueRow {
        QueueRow {
            id: row.id,
            review: row.review,
            origin: row.origin,
            is_classification: row.is_classification,
            instruction: title(row.instruction),
            nearest_rouge_l: row.nearest_rouge_l,
            score: row.score,
            influence: row.influence,
            ifd: row.ifd,
            is_held_out: row.is_held_out,
        }
    }
}

/// A part of the queue, in its order.
struct Part {
    rows: Vec<ListRow>,
    /// The task that comes before the first row; `None` if none does.
    after: Option<i64>,
    /// Whether the queue ends with the last row.
    whole: bool,
}

/// Cuts an instruction to the length that the queue shows.
pub(super) fn title(mut instruction: String) -> String {
    if let Some((end, _)) = instruction.char_indices().nth(TITLE) {
        instruction.truncate(end);
        instruction.push('…');
    }
    instruction
}

/// `GET /api/tasks`
pub async fn list(
    State(state): State<AppState>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query?;
    let store = &state.store;
    let filter = filter(store, &query.filter).await?;
    let sort = sort(store, &query.sort).await?;
    let limit = query.limit.unwrap_or(100).clamp(0, MOST);
    let mut outside = false;
    let part = match (query.around, query.before, query.after) {
        (Some(id), None, None) => {
            let found = around(store, &filter, sort, id, limit).await?;
            outside = found.1;
            found.0
        }
        (None, Some(id), None) => before(store, &filter, sort, id, limit).await?,
        (None, None, after) => {
            let from = after.map_or(Position::Start, Position::After);
            let rows = store.list(&filter, sort, from, limit).await?;
            let whole = (rows.len() as i64) < limit;
            Part { rows, after, whole }
        }
        _ => return Err(ApiError::bad("only one of `after`, `before` and `around`")),
    };
    let tasks: Vec<QueueRow> = part.rows.into_iter().map(QueueRow::from).collect();
    Ok(Json(json!({
        "tasks": tasks, "after": part.after, "whole": part.whole, "outside": outside,
    })))
}

/// Returns the tasks before `id`, at most `limit`.
async fn before(store: &Store, filter: &Filter, sort: Sort, id: i64, limit: i64) -> Result<Part, ApiError> {
    // The nearest first, and one more: whether others come before them.
    let mut rows = store.list(filter, sort, Position::Before(id), limit + 1).await?;
    let after = (rows.len() as i64 > limit).then(|| rows.pop()).flatten();
    rows.reverse();
    Ok(Part {
        rows,
        after: after.map(|row| row.id),
        whole: false,
    })
}

/// Returns the task `id` with those before and after it, about `limit`, and whether it is outside
/// of the filter: then it stands where it would be in this order.
async fn around(
    store: &Store,
    filter: &Filter,
    sort: Sort,
    id: i64,
    limit: i64,
) -> Result<(Part, bool), ApiError> {
    let mut part = before(store, filter, sort, id, limit / 2).await?;
    let last = part.rows.last().map(|row| row.id).or(part.after);
    let limit = limit - part.rows.len() as i64;
    // It comes next, if it passes the filter.
    let from = last.map_or(Position::Start, Position::After);
    let rest = store.list(filter, sort, from, limit).await?;
    part.whole = (rest.len() as i64) < limit;
    let outside = rest.first().is_none_or(|row| row.id != id);
    if outside {
        let only = Filter {
            expression: Some(Expression::parse(&format!("id = {id}")).map_err(ApiError::bad)?),
            ..Filter::default()
        };
        part.rows
            .extend(store.list(&only, Sort::Id, Position::Start, 1).await?);
    }
    part.rows.extend(rest);
    Ok((part, outside))
}

/// The query of a count.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountQuery {
    /// A [`Filter`] as JSON; empty for none.
    #[serde(default)]
    pub(super) filter: String,
}

/// `GET /api/count`: the number of tasks that pass a filter, which may take longer than finding the
/// first of them.
pub async fn count(
    State(state): State<AppState>,
    query: Result<Query<CountQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query?;
    let count = state
        .store
        .count(&filter(&state.store, &query.filter).await?, None)
        .await?;
    Ok(Json(json!({ "count": count })))
}

/// `GET /api/facets`: how many tasks there are behind each choice, under the rest of a filter,
/// counted or estimated.
pub async fn facets(
    State(state): State<AppState>,
    query: Result<Query<CountQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query?;
    let filter = filter(&state.store, &query.filter).await?;
    let facets = state.store.facets(&filter, COUNTED, PATIENCE).await?;
    Ok(Json(json!(facets)))
}

/// Parses the order of a page; an empty text is that of ids.
async fn sort(store: &Store, text: &str) -> Result<Sort, ApiError> {
    if text.is_empty() {
        return Ok(Sort::Id);
    }
    if let Some(name) = text.strip_prefix("field.") {
        let (name, descending) = match name.strip_suffix(":desc") {
            Some(name) => (name, true),
            None => (name, false),
        };
        return Ok(store.sort_by_field(name, descending).await?);
    }
    serde_json::from_value(json!(text)).map_err(|error| ApiError::bad(format!("the order: {error}")))
}

/// Parses the filter of a page; an empty text is no filter.
pub(super) async fn filter(store: &Store, text: &str) -> Result<Filter, ApiError> {
    if text.is_empty() {
        return Ok(Filter::default());
    }
    let bad = |error: serde_json::Error| ApiError::bad(format!("the filter: {error}"));
    let value: Value = serde_json::from_str(text).map_err(bad)?;
    // Apart, since people type it: the page shows the error at its field.
    if let Some(Err(error)) = value["where"].as_str().map(Expression::parse) {
        let mut error = ApiError::bad(error);
        error.body["field"] = json!("where");
        return Err(error);
    }
    let filter: Filter = serde_json::from_value(value).map_err(bad)?;
    match store.check_fields(&filter).await {
        Err(Error::Field(error @ FieldError::Where { .. })) => {
            let mut wrong = ApiError::from(Error::Field(error));
            wrong.body["field"] = json!("where");
            Err(wrong)
        }
        checked => Ok(checked.map(|()| filter)?),
    }
}
