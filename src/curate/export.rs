//! Exports from the page. A browser saves files well when it follows a link, and then it sends no
//! token. So the page, which knows the token, requests a ticket, and the link has the ticket. No
//! file is written on this side.

use std::{
    io::Write,
    sync::{Arc, Mutex},
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
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    error::{ApiError, ApiResult},
    state::AppState,
    tickets::{ExportRequest, Ticket},
};
use crate::{
    interchange::write::{self, ExportFormat, ExportOptions},
    store::Store,
};

/// The smallest chunk of a file in bytes, except for the last one.
const CHUNK: usize = 1 << 16;

/// Receives chunks of a file, or the error that ends it.
type Sender = mpsc::Sender<std::io::Result<Vec<u8>>>;

/// `POST /api/export`: returns where to fetch the export.
pub async fn order(
    State(state): State<AppState>,
    request: Result<Json<ExportRequest>, JsonRejection>,
) -> ApiResult {
    let Json(request) = request?;
    let target = ExportFormat::named(&request.format)
        .ok_or_else(|| ApiError::bad(format!("no such format: `{}`", request.format)))?;
    let name = state.tickets.add(target, request)?;
    Ok(Json(json!({ "url": format!("/export/{name}") })))
}

/// `GET /export/{ticket}`
pub async fn fetch(
    State(state): State<AppState>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(name) = name?;
    let ticket = state
        .tickets
        .take(&name)
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "this link was used, or is too old"))?;
    let disposition = format!("attachment; filename=\"{}\"", ticket.target.file_name());
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_string()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, stream_file(state.store, ticket)).into_response())
}

/// Streams the file at the client's pace.
fn stream_file(store: Store, ticket: Ticket) -> Body {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        let buffer = Buffer::default();
        let written = write_to(&store, &ticket, &buffer, &sender).await;
        // An error cuts the file short, and the browser reports a failed download.
        let last = written.map(|()| buffer.take()).map_err(std::io::Error::other);
        let _ = sender.send(last).await;
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    }))
}

/// Writes the file to the buffer, and sends its content as soon as there is enough.
async fn write_to(store: &Store, ticket: &Ticket, buffer: &Buffer, sender: &Sender) -> anyhow::Result<()> {
    let rows = store
        .export_rows(&ticket.request.filter, ticket.request.min_score)
        .await?
        // If the client has left, the channel has no receiver, and the export ends here.
        .take_while(|_| {
            let (buffer, sender) = (buffer.clone(), sender.clone());
            async move { buffer.len() < CHUNK || sender.send(Ok(buffer.take())).await.is_ok() }
        });
    let needs = store.export_needs().await?;
    let options = ExportOptions::default();
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
