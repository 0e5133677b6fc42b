//! What the page asks and tells: JSON over the store.

use std::sync::Arc;

use axum::{
    Json,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, PathRejection, QueryRejection},
    },
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{export::Tickets, failure::Failure, view::TaskView};
use crate::report::{Figures, chart};
use crate::store::file::watch::Watch;
use crate::store::{Actor, Change, Edit, Error, Filter, ListRow, Position, Sort, Store};
use crate::task::{Origin, Review};

/// The most tasks in one answer.
const MOST: i64 = 500;

/// The queue shows so many characters of an instruction.
const TITLE: usize = 240;

/// Among so many actions the last one in force is looked for.
const RECENT: i64 = 100;

/// What every answer needs.
#[derive(Debug, Clone)]
pub struct Room {
    /// The dataset.
    pub store: Store,
    /// Sees when anybody writes to it.
    pub watch: Watch,
    /// The name that the history notes.
    pub who: Arc<str>,
    /// Exports that were asked for and not fetched yet.
    pub tickets: Tickets,
}

impl Room {
    fn actor<'a>(&'a self, note: Option<&'a str>) -> Actor<'a> {
        Actor {
            who: &self.who,
            note: note.filter(|note| !note.trim().is_empty()),
        }
    }
}

/// What handlers return.
pub type Answer = std::result::Result<Json<Value>, Failure>;

/// Which part of the queue is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Page {
    /// A [`Filter`] as JSON.
    filter: String,
    sort: Sort,
    limit: Option<i64>,
    after: Option<i64>,
}

/// A line of the queue.
#[derive(Debug, Serialize)]
struct Line {
    id: i64,
    review: Review,
    origin: Origin,
    is_classification: bool,
    instruction: String,
    nearest_rouge_l: Option<f64>,
    score: Option<f64>,
}

impl From<ListRow> for Line {
    fn from(row: ListRow) -> Line {
        Line {
            id: row.id,
            review: row.review,
            origin: row.origin,
            is_classification: row.is_classification,
            instruction: title(row.instruction),
            nearest_rouge_l: row.nearest_rouge_l,
            score: row.score,
        }
    }
}

/// As much of an instruction as the queue shows.
fn title(mut instruction: String) -> String {
    if let Some((end, _)) = instruction.char_indices().nth(TITLE) {
        instruction.truncate(end);
        instruction.push('…');
    }
    instruction
}

/// `GET /api/tasks`
pub async fn list(State(room): State<Room>, page: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(page) = page?;
    let filter = filter(&page.filter)?;
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
    let tasks: Vec<Line> = tasks.into_iter().map(Line::from).collect();
    Ok(Json(json!({ "tasks": tasks })))
}

/// Which tasks are counted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counted {
    /// A [`Filter`] as JSON.
    filter: String,
}

/// `GET /api/count`: how many tasks a filter lets through, which may take longer than to find the first of them.
pub async fn count(State(room): State<Room>, counted: Result<Query<Counted>, QueryRejection>) -> Answer {
    let Query(counted) = counted?;
    let count = room.store.count(&filter(&counted.filter)?, None).await?;
    Ok(Json(json!({ "count": count })))
}

/// The filter that a page sent; no text is none.
fn filter(text: &str) -> Result<Filter, Failure> {
    match text {
        "" => Ok(Filter::default()),
        text => serde_json::from_str(text).map_err(|error| Failure::bad(format!("the filter: {error}"))),
    }
}

/// Which tasks a page already shows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    ids: Vec<i64>,
}

/// `POST /api/glance`: tasks that a page shows, as they are now, whatever the filter.
pub async fn glance(State(room): State<Room>, shown: Result<Json<Shown>, JsonRejection>) -> Answer {
    let Json(shown) = shown?;
    let mut tasks = room.store.glance(&shown.ids).await?;
    for task in &mut tasks {
        task.instruction = title(std::mem::take(&mut task.instruction));
    }
    Ok(Json(json!({ "tasks": tasks })))
}

/// `GET /api/news`: a number that is another one when somebody has written to the file.
pub async fn news(State(room): State<Room>) -> Answer {
    Ok(Json(json!({ "commits": room.watch.commits().await? })))
}

/// `GET /api/choices`: what the filter can be set to.
pub async fn choices(State(room): State<Room>) -> Answer {
    Ok(Json(json!({
        "runs": room.store.runs(MOST).await?,
        "reasons": room.store.reasons().await?,
    })))
}

/// `GET /api/tasks/{id}`
pub async fn show(State(room): State<Room>, id: Result<Path<i64>, PathRejection>) -> Answer {
    let Path(id) = id?;
    Ok(Json(json!(TaskView::brief(&room.store, id).await?)))
}

/// `GET /api/tasks/{id}/trail`: where it came from, and what was done to it.
pub async fn trail(State(room): State<Room>, id: Result<Path<i64>, PathRejection>) -> Answer {
    let Path(id) = id?;
    Ok(Json(json!({
        "source": room.store.source_file(id).await?,
        "provenance": room.store.provenance(id).await?,
        "history": room.store.history(id).await?,
    })))
}

/// What became of an action on the task `id`. When the task was changed meanwhile, the answer has it as it is now.
async fn outcome(room: &Room, id: i64, changed: Result<Option<Change>, Error>) -> Answer {
    let version = room.store.version(id).await?;
    match changed {
        Ok(change) => Ok(Json(json!({ "change": change, "version": version }))),
        Err(error @ Error::ChangedMeanwhile { .. }) => {
            let mut failure = Failure::from(error);
            failure.body["current"] = json!(TaskView::brief(&room.store, id).await?);
            Err(failure)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /api/tasks/{id}/edit`
pub async fn edit(
    State(room): State<Room>,
    id: Result<Path<i64>, PathRejection>,
    edit: Result<Json<Edit>, JsonRejection>,
) -> Answer {
    let (Path(id), Json(edit)) = (id?, edit?);
    if edit.version.is_none() {
        return Err(Failure::new(
            StatusCode::PRECONDITION_REQUIRED,
            "the edit names no `version`: that of the task it was made from, which `GET /api/tasks/{id}` tells",
        ));
    }
    if edit
        .instruction
        .as_deref()
        .is_some_and(|instruction| instruction.trim().is_empty())
    {
        return Err(Failure::bad("the instruction is empty"));
    }
    let changed = room.store.edit(id, &edit, room.actor(None)).await;
    outcome(&room, id, changed).await
}

/// What somebody decided about a task.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    review: Review,
    /// The version that was looked at.
    version: i64,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/tasks/{id}/review`
pub async fn review(
    State(room): State<Room>,
    id: Result<Path<i64>, PathRejection>,
    verdict: Result<Json<Verdict>, JsonRejection>,
) -> Answer {
    let (Path(id), Json(verdict)) = (id?, verdict?);
    let actor = room.actor(verdict.note.as_deref());
    let changed = room
        .store
        .review_seen(id, verdict.version, verdict.review, actor)
        .await;
    outcome(&room, id, changed).await
}

/// What somebody decided about all tasks of a filter.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bulk {
    filter: Filter,
    review: Review,
    /// How many tasks that was to be.
    count: i64,
    #[serde(default)]
    note: Option<String>,
}

/// `POST /api/bulk`. When it would be another number of tasks by now, nothing happens and the answer has the number.
pub async fn bulk(State(room): State<Room>, bulk: Result<Json<Bulk>, JsonRejection>) -> Answer {
    let Json(bulk) = bulk?;
    let actor = room.actor(bulk.note.as_deref());
    let change = room
        .store
        .review_all(&bulk.filter, Some(bulk.count), bulk.review, actor)
        .await?;
    Ok(Json(json!({ "change": change })))
}

/// Which action is taken back.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// The latest one where none is named.
    #[serde(default)]
    group: Option<i64>,
}

/// `POST /api/undo`; the body is at least `{}`, so that no form can send it.
pub async fn undo(State(room): State<Room>, which: Result<Json<Which>, JsonRejection>) -> Answer {
    let Json(which) = which?;
    let change = match which.group {
        Some(group) => room.store.undo_group(group, room.actor(None)).await?,
        None => room.store.undo(room.actor(None)).await?,
    };
    Ok(Json(json!({ "change": change })))
}

/// `GET /api/latest`: the last action in force, whoever did it.
pub async fn latest(State(room): State<Room>) -> Answer {
    let actions = room.store.actions(RECENT).await?;
    let action = actions
        .into_iter()
        .find(|action| action.undoes.is_none() && !action.undone);
    Ok(Json(json!({ "action": action })))
}

/// `POST /api/redo`
pub async fn redo(State(room): State<Room>, body: Result<Json<Value>, JsonRejection>) -> Answer {
    let Json(_) = body?;
    let change = room.store.redo(room.actor(None)).await?;
    Ok(Json(json!({ "change": change })))
}

/// `GET /api/dashboard`
pub async fn dashboard(State(room): State<Room>) -> Answer {
    let figures = Figures::load(&room.store).await?;
    Ok(Json(
        json!({ "charts": chart::all(&figures), "figures": figures }),
    ))
}
