//! Values of fields on the page: `POST /api/tasks/{id}/label`, and how often each occurs.

use std::time::Duration;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::{
    api::outcome,
    error::ApiResult,
    queue::{CountQuery, filter},
    state::AppState,
};
use crate::store::Error;
use crate::store::fields::{
    self,
    assign::{Assignment, How},
};

/// How many values of a field the filter offers.
const OFFERED: usize = 50;

/// How long values are counted. They are offered without counts if it takes longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A value for a task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRequest {
    /// The field's name.
    field: String,
    /// The value, as it was typed; empty for none.
    value: String,
    /// The version that was seen.
    version: i64,
}

/// `POST /api/tasks/{id}/label`
pub async fn label(
    State(state): State<AppState>,
    id: Result<Path<i64>, PathRejection>,
    request: Result<Json<LabelRequest>, JsonRejection>,
) -> ApiResult {
    let (Path(id), Json(request)) = (id?, request?);
    let known = state.store.fields().await?;
    let field = fields::named(&known, &request.field).map_err(Error::from)?;
    let assignment = Assignment {
        values: field.typed(&request.value).map_err(Error::from)?,
        field: field.clone(),
        how: How::Set,
    };
    let changed = state
        .store
        .label(&[id], Some(request.version), &[assignment], state.actor(None))
        .await;
    outcome(&state, id, changed).await
}

/// `GET /api/fields`: the fields, and how many tasks of a filter have each value.
pub async fn counts(
    State(state): State<AppState>,
    query: Result<Query<CountQuery>, QueryRejection>,
) -> ApiResult {
    let Query(query) = query?;
    let filter = filter(&state.store, &query.filter).await?;
    let counted = timeout(PATIENCE, state.store.field_counts(&filter, OFFERED)).await;
    Ok(Json(match counted {
        Ok(counts) => json!({ "fields": counts?, "counted": true }),
        Err(_) => json!({ "fields": state.store.fields().await?, "counted": false }),
    }))
}
