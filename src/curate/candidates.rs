//! The page's rejected candidates: a list, one of them, and their rescue.

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    error::{ApiError, ApiResult},
    queue::title,
    state::AppState,
};
use crate::store::CandidateFilter;
use crate::task::Reason;

/// The most candidates in one response.
const MOST: i64 = 200;

/// How far candidates are counted.
const COUNTED: i64 = 10_000;

/// The query of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CandidateQuery {
    /// A [`CandidateFilter`] as JSON; empty for none.
    filter: String,
    /// The candidates before this one, which came later.
    before: Option<i64>,
    limit: Option<i64>,
}

impl CandidateQuery {
    fn filter(&self) -> Result<CandidateFilter, ApiError> {
        match self.filter.as_str() {
            "" => Ok(CandidateFilter::default()),
            text => serde_json::from_str(text).map_err(|error| ApiError::bad(format!("the filter: {error}"))),
        }
    }
}

/// `GET /api/candidates`: rejected candidates, the latest first, with the beginnings of their
/// texts.
pub async fn list(
    State(state): State<AppState>,
    query: Result<Query<CandidateQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query?;
    let limit = query.limit.unwrap_or(50).clamp(0, MOST);
    let filter = query.filter()?;
    // One more says whether there are others.
    let mut rows = state.store.candidates(&filter, query.before, limit + 1).await?;
    let whole = rows.len() as i64 <= limit;
    rows.truncate(limit as usize);
    for row in &mut rows {
        row.instruction = title(std::mem::take(&mut row.instruction));
        row.input = row.input.take().map(title);
        row.output = row.output.take().map(title);
        row.nearest = row.nearest.take().map(title);
    }
    Ok(Json(json!({ "candidates": rows, "whole": whole })))
}

/// `GET /api/candidates/counts`: how many pass the filter, and how many there are of each reason,
/// each counted up to `most`.
pub async fn counts(
    State(state): State<AppState>,
    query: Result<Query<CandidateQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query?;
    let filter = query.filter()?;
    let (passing, reasons) = tokio::try_join!(
        state.store.count_candidates(&filter, COUNTED),
        state.store.candidate_reasons(COUNTED)
    )?;
    let reasons: Vec<Value> = reasons
        .into_iter()
        .map(|count| {
            let about = Reason::of_code(&count.reason).map(Reason::about);
            json!({ "reason": count.reason, "candidates": count.candidates, "about": about })
        })
        .collect();
    Ok(Json(
        json!({ "passing": passing, "reasons": reasons, "most": COUNTED }),
    ))
}

/// `GET /api/candidates/{id}`: one with its instances, and what its reason means.
pub async fn show(State(state): State<AppState>, id: Result<Path<i64>, PathRejection>) -> ApiResult {
    let Path(id) = id?;
    let view = state.store.candidate(id).await?;
    let about = Reason::of_code(&view.candidate.reason).map(Reason::about);
    let mut answer = json!(view);
    answer["about"] = json!(about);
    Ok(Json(answer))
}

/// The candidates to rescue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RescueRequest {
    ids: Vec<i64>,
}

/// `POST /api/candidates/rescue`: makes pending tasks of them.
pub async fn rescue(
    State(state): State<AppState>,
    request: Result<Json<RescueRequest>, JsonRejection>,
) -> ApiResult {
    let Json(request) = request?;
    let rescue = state.store.rescue(&request.ids, state.actor(None)).await?;
    Ok(Json(json!(rescue)))
}
