//! The API of the view `/compare`. Models are named only to those who have voted on every pair.

use std::collections::HashMap;

use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::sides::{Side, a_is_left};
use crate::compare::figures::PeopleFigures;
use crate::curate::error::{ApiError, ApiResult};
use crate::curate::state::AppState;
use crate::store::asked::comparison::Vote;

/// `GET /api/compare`: the comparisons on which somebody can vote, the latest first.
pub async fn list(State(state): State<AppState>) -> ApiResult {
    let comparisons = state.store.comparisons(&state.who).await?;
    Ok(Json(json!({ "comparisons": comparisons })))
}

/// `GET /api/compare/{id}`: the pairs in order, each with the person's choice, if there is one.
pub async fn pairs(State(state): State<AppState>, id: Result<Path<i64>, PathRejection>) -> ApiResult {
    let Path(id) = id?;
    // An unknown comparison is told from one without pairs.
    state.store.compared_models(id).await?;
    let voted = voted(&state, &state.store.votes(id).await?);
    let pairs = state.store.comparable_pairs(id).await?;
    let pairs: Vec<Value> = pairs
        .into_iter()
        .map(|id| json!({ "id": id, "choice": voted.get(&id) }))
        .collect();
    Ok(Json(json!({ "id": id, "pairs": pairs })))
}

/// What the person chose, by pair.
fn voted(state: &AppState, votes: &[Vote]) -> HashMap<i64, Side> {
    let ours = votes.iter().filter(|vote| *vote.who == *state.who);
    ours.map(|vote| {
        let is_left = a_is_left(vote.pair_id, &state.who);
        (vote.pair_id, Side::of_choice(&vote.choice, is_left))
    })
    .collect()
}

/// `GET /api/pairs/{id}`: a question and two answers.
pub async fn pair(State(state): State<AppState>, id: Result<Path<i64>, PathRejection>) -> ApiResult {
    let Path(id) = id?;
    let pair = state.store.comparison_pair(id).await?;
    let (left, right) = match a_is_left(id, &state.who) {
        true => (pair.answer_a, pair.answer_b),
        false => (pair.answer_b, pair.answer_a),
    };
    Ok(Json(
        json!({ "id": id, "prompt": pair.prompt, "left": left, "right": right }),
    ))
}

/// A vote.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteRequest {
    choice: Side,
}

/// `POST /api/pairs/{id}/vote`. A later vote counts in place of an earlier one.
pub async fn vote(
    State(state): State<AppState>,
    id: Result<Path<i64>, PathRejection>,
    request: Result<Json<VoteRequest>, JsonRejection>,
) -> ApiResult {
    let (Path(id), Json(request)) = (id?, request?);
    let choice = request.choice.choice(a_is_left(id, &state.who));
    state.store.vote(id, &state.who, choice).await?;
    Ok(Json(json!({ "choice": request.choice })))
}

/// `GET /api/compare/{id}/end`: the models, what the person and all people chose, and how far the
/// judge agrees. Refused before the last vote, since it would tell which answers are whose.
pub async fn end(State(state): State<AppState>, id: Result<Path<i64>, PathRejection>) -> ApiResult {
    let Path(id) = id?;
    let models = state.store.compared_models(id).await?;
    let votes = state.store.votes(id).await?;
    let pairs = state.store.comparable_pairs(id).await?;
    let voted = voted(&state, &votes);
    let left = pairs.iter().filter(|pair| !voted.contains_key(pair)).count();
    if left > 0 {
        let mut early = ApiError::new(StatusCode::CONFLICT, "the models are named behind the last pair");
        early.body["left"] = json!(left);
        return Err(early);
    }
    let mine = votes.iter().filter(|vote| *vote.who == *state.who);
    let result: Value = serde_json::from_str(&models.result).unwrap_or_default();
    Ok(Json(json!({
        "model_a": models.model_a,
        "model_b": models.model_b,
        "judge": models.judge,
        "mine": PeopleFigures::of(mine.map(Vote::words)),
        "all": PeopleFigures::of(votes.iter().map(Vote::words)),
        "win_rate": result["win_rate"],
        "winner": result["winner"],
        "no_winner_because": result["no_winner_because"],
    })))
}
