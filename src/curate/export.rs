//! Exports from the page. A browser saves a file well when it is told to follow a link, and then sends no token along; so
//! the page, which knows the token, asks for a ticket, and the link has the ticket. No file is written on this side.

use std::{
    collections::VecDeque,
    io::Write,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::Body,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use rand::{TryRng, rngs::SysRng};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    api::{Answer, Room},
    failure::Failure,
};
use crate::{
    interchange::write::{self, Options, Target},
    store::{Filter, Store},
};

/// How long a ticket is good for.
const VALID: Duration = Duration::from_secs(120);

/// So many tickets are kept; the oldest goes first.
const MOST: usize = 32;

/// A file goes out in pieces of at least so many bytes, but for the last one.
const PIECE: usize = 1 << 16;

/// What is to be exported.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    format: String,
    filter: Filter,
    /// Only examples that were judged and have at least this score themselves.
    #[serde(default)]
    min_score: Option<f64>,
}

/// Takes pieces of a file, or the error that ends it.
type Sender = mpsc::Sender<std::io::Result<Vec<u8>>>;

#[derive(Debug)]
struct Ticket {
    name: String,
    until: Instant,
    target: Target,
    order: Order,
}

/// Exports that were asked for and not fetched yet.
#[derive(Debug, Clone, Default)]
pub struct Tickets(Arc<Mutex<VecDeque<Ticket>>>);

impl Tickets {
    fn add(&self, target: Target, order: Order) -> Result<String, Failure> {
        let number = SysRng
            .try_next_u64()
            .and_then(|high| Ok((high, SysRng.try_next_u64()?)));
        let (high, low) = number.map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, error))?;
        let name = format!("{high:016x}{low:016x}");
        let mut tickets = self.0.lock().expect("nobody panics with the tickets");
        if tickets.len() == MOST {
            tickets.pop_front();
        }
        tickets.push_back(Ticket {
            name: name.clone(),
            until: Instant::now() + VALID,
            target,
            order,
        });
        Ok(name)
    }

    /// A ticket is good for one export.
    fn take(&self, name: &str) -> Option<Ticket> {
        let mut tickets = self.0.lock().expect("nobody panics with the tickets");
        let at = tickets.iter().position(|ticket| ticket.name == name)?;
        tickets.remove(at).filter(|ticket| Instant::now() < ticket.until)
    }
}

/// `POST /api/export`: where to fetch it.
pub async fn order(State(room): State<Room>, order: Result<Json<Order>, JsonRejection>) -> Answer {
    let Json(order) = order?;
    let target = Target::named(&order.format)
        .ok_or_else(|| Failure::bad(format!("no such format: `{}`", order.format)))?;
    let name = room.tickets.add(target, order)?;
    Ok(Json(json!({ "url": format!("/export/{name}") })))
}

/// `GET /export/{ticket}`
pub async fn fetch(
    State(room): State<Room>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Failure> {
    let Path(name) = name?;
    let ticket = room
        .tickets
        .take(&name)
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "this link was used, or is too old"))?;
    let disposition = format!("attachment; filename=\"{}\"", ticket.target.file_name());
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_string()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, pieces(room.store, ticket)).into_response())
}

/// The file, as the client takes it.
fn pieces(store: Store, ticket: Ticket) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let buffer = Buffer::default();
        let written = written(&store, &ticket, &buffer, &sender).await;
        // An error ends the file before its end, and the browser says that the download failed.
        let last = written.map(|()| buffer.take()).map_err(std::io::Error::other);
        let _ = sender.send(last).await;
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

/// Writes the file to the buffer, and sends what is in it as soon as it is much.
async fn written(store: &Store, ticket: &Ticket, buffer: &Buffer, sender: &Sender) -> anyhow::Result<()> {
    let rows = store
        .export_rows(&ticket.order.filter, ticket.order.min_score)
        .await?
        // Who left is noticed here: the channel has no other end then, and the export is over.
        .take_while(|_| {
            let (buffer, sender) = (buffer.clone(), sender.clone());
            async move { buffer.len() < PIECE || sender.send(Ok(buffer.take())).await.is_ok() }
        });
    let needs = store.export_needs().await?;
    let options = Options::default();
    write::write(
        ticket.target,
        None,
        needs,
        options,
        Box::pin(rows),
        buffer.clone(),
    )
    .await?;
    Ok(())
}

/// What was written and not sent yet.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn len(&self) -> usize {
        self.0.lock().expect("nobody panics with the buffer").len()
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().expect("nobody panics with the buffer"))
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("nobody panics with the buffer")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
