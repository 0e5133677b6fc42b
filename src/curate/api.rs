//! The page's API: JSON over the store.

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

use super::{
    error::{ApiError, ApiResult},
    queue::title,
    state::AppState,
    view::TaskView,
};
use crate::report::{Figures, chart, evaluation};
use crate::store::{Change, Edit, Error, Filter};
use crate::task::Review;

/// The most runs that the filter offers.
const MOST_RUNS: i64 = 500;

/// For how many seconds after an action somebody is taken to be here.
const HERE: i64 = 120;

/// Among how many actions the last one in force is searched.
const RECENT: i64 = 100;

/// The tasks that a page shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GlanceRequest {
    ids: Vec<i64>,
}

/// `POST /api/glance`: tasks that a page shows, as they are now, whatever the filter.
pub async fn glance(
    State(state): State<AppState>,
    request: Result<Json<GlanceRequest>, JsonRejection>,
) -> ApiResult {
    let Json(request) = request?;
    let mut tasks = state.store.glance(&request.ids).await?;
    for task in &mut tasks {
        task.instruction = title(std::mem::take(&mut task.instruction));
    }
    Ok(Json(json!({ "tasks": tasks })))
}

/// `GET /api/news`: a number that changes when anybody has written to the file.
pub async fn news(State(state): State<AppState>) -> ApiResult {
    Ok(Json(json!({ "commits": state.watch.commits().await? })))
}

/// `GET /api/choices`: the dataset's name, and the choices of the filter.
pub async fn choices(State(state): State<AppState>) -> ApiResult {
    let file = state.store.path().file_name().unwrap_or_default();
    Ok(Json(json!({
        "file": file.to_string_lossy(),
        "runs": state.store.runs(MOST_RUNS).await?,
        "reasons": state.store.reasons_of_tasks().await?,
        "fields": state.store.fields().await?,
    })))
}

/// `GET /api/tasks/{id}`
pub async fn show(State(state): State<AppState>, id: Result<Path<i64>, PathRejection>) -> ApiResult {
    let Path(id) = id?;
    Ok(Json(json!(TaskView::brief(&state.store, id, &state.who).await?)))
}

/// `GET /api/tasks/{id}/trail`: where the task came from, and its history.
pub async fn trail(State(state): State<AppState>, id: Result<Path<i64>, PathRejection>) -> ApiResult {
    let Path(id) = id?;
    Ok(Json(json!({
        "source": state.store.source_file(id).await?,
        "provenance": state.store.provenance(id).await?,
        "history": state.store.history(id).await?,
    })))
}

/// Answers an action on the task `id`. If the task was changed meanwhile, the response has its
/// present state.
pub(super) async fn outcome(state: &AppState, id: i64, changed: Result<Option<Change>, Error>) -> ApiResult {
    let version = state.store.version(id).await?;
    match changed {
        Ok(change) => Ok(Json(json!({ "change": change, "version": version }))),
        Err(error @ Error::ChangedMeanwhile { .. }) => {
            let mut api_error = ApiError::from(error);
            api_error.body["current"] = json!(TaskView::brief(&state.store, id, &state.who).await?);
            Err(api_error)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /api/tasks/{id}/edit`
pub async fn edit(
    State(state): State<AppState>,
    id: Result<Path<i64>, PathRejection>,
    edit: Result<Json<Edit>, JsonRejection>,
) -> ApiResult {
    let (Path(id), Json(edit)) = (id?, edit?);
    if edit.version.is_none() {
        return Err(ApiError::new(
            StatusCode::PRECONDITION_REQUIRED,
            "the edit names no `version`: that of the task it was made from, which `GET /api/tasks/{id}` tells",
        ));
    }
    if edit
        .instruction
        .as_deref()
        .is_some_and(|instruction| instruction.trim().is_empty())
    {
        return Err(ApiError::bad("the instruction is empty"));
    }
    let changed = state.store.edit(id, &edit, state.actor(None)).await;
    outcome(&state, id, changed).await
}

/// A decision about one task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewRequest {
    review: Review,
    /// The version that was seen.
    version: i64,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/tasks/{id}/review`
pub async fn review(
    State(state): State<AppState>,
    id: Result<Path<i64>, PathRejection>,
    request: Result<Json<ReviewRequest>, JsonRejection>,
) -> ApiResult {
    let (Path(id), Json(request)) = (id?, request?);
    let actor = state.actor(request.note.as_deref());
    let changed = state
        .store
        .review_seen(id, request.version, request.review, actor)
        .await;
    outcome(&state, id, changed).await
}

/// A decision about tasks that were selected one by one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelectedRequest {
    ids: Vec<i64>,
    review: Review,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/selected`: decides about these tasks, as one action.
pub async fn selected(
    State(state): State<AppState>,
    request: Result<Json<SelectedRequest>, JsonRejection>,
) -> ApiResult {
    let Json(request) = request?;
    let actor = state.actor(request.note.as_deref());
    let change = state.store.review(&request.ids, request.review, actor).await?;
    Ok(Json(json!({ "change": change })))
}

/// A decision about all tasks of a filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkRequest {
    filter: Filter,
    review: Review,
    /// How many tasks the user saw.
    count: i64,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/bulk`. If the number of tasks has changed, nothing happens and the response has the
/// number.
pub async fn bulk(
    State(state): State<AppState>,
    request: Result<Json<BulkRequest>, JsonRejection>,
) -> ApiResult {
    let Json(request) = request?;
    state.store.check_fields(&request.filter).await?;
    let actor = state.actor(request.note.as_deref());
    let change = state
        .store
        .review_all(&request.filter, Some(request.count), request.review, actor)
        .await?;
    Ok(Json(json!({ "change": change })))
}

/// The action to take back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UndoRequest {
    /// `None` stands for the latest one.
    #[serde(default)]
    group: Option<i64>,
}

/// `POST /api/undo`. The body is at least `{}`, so that no HTML form can send it.
pub async fn undo(
    State(state): State<AppState>,
    request: Result<Json<UndoRequest>, JsonRejection>,
) -> ApiResult {
    let Json(request) = request?;
    let change = match request.group {
        Some(group) => state.store.undo_group(group, state.actor(None)).await?,
        None => state.store.undo(state.actor(None)).await?,
    };
    Ok(Json(json!({ "change": change })))
}

/// `GET /api/latest`: the last action in force, whoever did it.
pub async fn latest(State(state): State<AppState>) -> ApiResult {
    let actions = state.store.actions(RECENT).await?;
    let action = actions
        .into_iter()
        .find(|action| action.undoes.is_none() && !action.undone);
    Ok(Json(json!({ "action": action })))
}

/// `GET /api/others`: who else did something within the last minutes, and what.
pub async fn others(State(state): State<AppState>) -> ApiResult {
    let others = state.store.others(&state.who, HERE).await?;
    Ok(Json(json!({ "others": others })))
}

/// `POST /api/redo`
pub async fn redo(State(state): State<AppState>, body: Result<Json<Value>, JsonRejection>) -> ApiResult {
    let Json(_) = body?;
    let change = state.store.redo(state.actor(None)).await?;
    Ok(Json(json!({ "change": change })))
}

/// `GET /api/dashboard`
pub async fn dashboard(State(state): State<AppState>) -> ApiResult {
    let figures = Figures::load(&state.store).await?;
    Ok(Json(
        json!({ "charts": chart::all(&figures), "figures": figures }),
    ))
}

/// `GET /api/training`: the latest training runs, with charts of what they have done so far.
pub async fn training(State(state): State<AppState>) -> ApiResult {
    let runs = evaluation::training_runs(&state.store).await?;
    Ok(Json(json!({ "runs": runs })))
}
