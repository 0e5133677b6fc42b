//! What the page asks and tells: JSON over the store.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::view::TaskView;
use crate::{
    report::{Figures, chart},
    store::{Actor, Edit, Error, Filter, Position, Sort, Store},
    task::{Origin, Review},
};

/// The most tasks in one answer.
const MOST: i64 = 500;

/// What every answer needs.
#[derive(Debug, Clone)]
pub struct Room {
    /// The dataset.
    pub store: Store,
    /// The name that the history notes.
    pub who: Arc<str>,
}

/// An answer that is an error.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    body: Value,
}

type Answer = std::result::Result<Json<Value>, Failure>;

impl Failure {
    fn new(status: StatusCode, what: impl ToString) -> Failure {
        Failure {
            status,
            body: json!({ "error": what.to_string() }),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match error {
            Error::NoTask { .. } | Error::NoInstance { .. } | Error::NoGroup { .. } => StatusCode::NOT_FOUND,
            Error::NotAnAction => StatusCode::BAD_REQUEST,
            Error::ChangedMeanwhile { .. }
            | Error::ChangedSince { .. }
            | Error::UndoneAlready { .. }
            | Error::NothingToUndo
            | Error::NothingToRedo => StatusCode::CONFLICT,
            Error::Locked => StatusCode::SERVICE_UNAVAILABLE,
            Error::DiskFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // Hints speak of commands; the page has keys instead.
        let text = error.to_string();
        Failure::new(status, text.lines().next().unwrap_or_default())
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Which part of the queue is asked for. Empty texts are what the page's form sends for "any".
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    review: String,
    origin: String,
    text: String,
    sort: Sort,
    limit: Option<i64>,
    after: Option<i64>,
}

/// `GET /api/tasks`
pub async fn list(State(room): State<Room>, page: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(page) = page?;
    let wrong = |what: String| Failure::new(StatusCode::BAD_REQUEST, what);
    let filter = Filter {
        review: some(&page.review)
            .map(str::parse::<Review>)
            .transpose()
            .map_err(wrong)?,
        origin: some(&page.origin)
            .map(str::parse::<Origin>)
            .transpose()
            .map_err(wrong)?,
        run_id: None,
        text: some(&page.text).map(str::to_owned),
        ..Filter::default()
    };
    let limit = page.limit.unwrap_or(100).clamp(0, MOST);
    let tasks = room
        .store
        .list(
            &filter,
            page.sort,
            page.after.map_or(Position::Start, Position::After),
            limit,
        )
        .await?;
    let count = room.store.count(&filter, None).await?;
    Ok(Json(json!({ "count": count, "tasks": tasks })))
}

fn some(text: &str) -> Option<&str> {
    (!text.trim().is_empty()).then_some(text)
}

/// `GET /api/tasks/{id}`
pub async fn show(State(room): State<Room>, id: Result<Path<i64>, PathRejection>) -> Answer {
    let Path(id) = id?;
    Ok(Json(json!(TaskView::load(&room.store, id).await?)))
}

/// `POST /api/tasks/{id}/edit`. When the task was changed meanwhile, the answer has it as it is now.
pub async fn edit(
    State(room): State<Room>,
    id: Result<Path<i64>, PathRejection>,
    edit: Result<Json<Edit>, JsonRejection>,
) -> Answer {
    let (Path(id), Json(edit)) = (id?, edit?);
    if edit
        .instruction
        .as_deref()
        .is_some_and(|instruction| instruction.trim().is_empty())
    {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "the instruction is empty"));
    }
    match room
        .store
        .edit(
            id,
            &edit,
            Actor {
                who: &room.who,
                note: None,
            },
        )
        .await
    {
        Ok(change) => Ok(Json(json!({ "change": change }))),
        Err(error @ Error::ChangedMeanwhile { .. }) => {
            let mut failure = Failure::from(error);
            failure.body["current"] = json!(TaskView::load(&room.store, id).await?);
            Err(failure)
        }
        Err(error) => Err(error.into()),
    }
}

/// What a review says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    ids: Vec<i64>,
    review: Review,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/review`
pub async fn review(State(room): State<Room>, verdict: Result<Json<Verdict>, JsonRejection>) -> Answer {
    let Json(Verdict { ids, review, note }) = verdict?;
    let note = note.as_deref().and_then(some);
    let change = room
        .store
        .review(&ids, review, Actor { who: &room.who, note })
        .await?;
    Ok(Json(json!({ "change": change })))
}

/// `POST /api/undo`; the body is `{}`, so that no form can send it.
pub async fn undo(State(room): State<Room>, body: Result<Json<Value>, JsonRejection>) -> Answer {
    let Json(_) = body?;
    let change = room
        .store
        .undo(Actor {
            who: &room.who,
            note: None,
        })
        .await?;
    Ok(Json(json!({ "change": change })))
}

/// `POST /api/redo`
pub async fn redo(State(room): State<Room>, body: Result<Json<Value>, JsonRejection>) -> Answer {
    let Json(_) = body?;
    let change = room
        .store
        .redo(Actor {
            who: &room.who,
            note: None,
        })
        .await?;
    Ok(Json(json!({ "change": change })))
}

/// `GET /api/dashboard`
pub async fn dashboard(State(room): State<Room>) -> Answer {
    let figures = Figures::load(&room.store).await?;
    Ok(Json(
        json!({ "charts": chart::all(&figures), "figures": figures }),
    ))
}
