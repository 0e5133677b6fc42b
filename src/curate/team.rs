//! Reviewers on the page: their opinions and comments, and what waits for whom.

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
};
use serde::Deserialize;
use serde_json::json;

use super::{api::outcome, error::ApiResult, state::AppState};
use crate::store::teams::assignment::Chosen;
use crate::store::teams::opinion::NewOpinion;
use crate::task::Stance;

/// An opinion on one task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpinionRequest {
    verdict: Stance,
    /// The version that was seen.
    version: i64,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/tasks/{id}/opinion`: what the person of this page thinks of a task that is assigned
/// to the person.
pub async fn opinion(
    State(state): State<AppState>,
    id: Result<Path<i64>, PathRejection>,
    request: Result<Json<OpinionRequest>, JsonRejection>,
) -> ApiResult {
    let (Path(id), Json(request)) = (id?, request?);
    let reviewer = state.store.reviewer(&state.who).await?;
    let new = NewOpinion {
        reviewer: &reviewer,
        verdict: request.verdict,
        note: state.actor(request.note.as_deref()).note,
    };
    let ids = [id];
    let given = state
        .store
        .give_opinion(Chosen::Ids(&ids), None, Some(request.version), &new)
        .await;
    match given {
        Ok(given) => {
            let review = state.store.task(id).await?.review;
            Ok(Json(json!({ "change": given, "review": review })))
        }
        Err(error) => outcome(&state, id, Err(error)).await,
    }
}

/// A comment on one task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommentRequest {
    text: String,
}

/// `POST /api/tasks/{id}/comment`
pub async fn comment(
    State(state): State<AppState>,
    id: Result<Path<i64>, PathRejection>,
    request: Result<Json<CommentRequest>, JsonRejection>,
) -> ApiResult {
    let (Path(id), Json(request)) = (id?, request?);
    let change = state.store.comment(&[id], &state.who, &request.text).await?;
    Ok(Json(json!({ "change": change })))
}

/// `GET /api/team`: the person of this page, all reviewers with what waits for them, and how many
/// tasks somebody has to settle.
pub async fn team(State(state): State<AppState>) -> ApiResult {
    Ok(Json(json!({
        "who": &*state.who,
        "reviewers": state.store.workloads().await?,
        "counts": state.store.team_counts().await?,
    })))
}
