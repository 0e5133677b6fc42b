//! Connections and bodies: how many, how large, how slow.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::refusal::Refusal;

/// The most connections at once; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 1024;

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(60);

/// The largest body, in bytes: a million token ids are some seven.
pub const BODY_LIMIT: usize = 8 << 20;

/// So much more is read of a larger body, so that a client that writes it all before it reads hears why it is refused.
const PATIENCE: usize = 8 * BODY_LIMIT;

/// Serves `router` until the future is dropped. A client may take `head_time` to send a request's head, and a connection
/// may idle for as long.
pub async fn serve(listener: TcpListener, router: Router, head_time: Duration) -> ! {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let place = room.clone().acquire_owned().await.expect("never closed");
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // A client that left already, or too many open files, which passes.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Pieces of a stream are small and wanted at once.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let _place = place;
            // A client that is too slow, leaves, or speaks no HTTP concerns nobody else.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head_time)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Reads a body of JSON.
///
/// Fails on another media type (which a browser may send to us from a stranger's page without asking), on a body that is
/// too large or comes too slowly, and when the client leaves.
pub async fn body(request: Request) -> Result<Vec<u8>, Refusal> {
    if !is_json(request.headers()) {
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the body must be JSON\nhint: the header `content-type: application/json`",
        ));
    }
    let too_large = || {
        Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {BODY_LIMIT} bytes"),
        )
    };
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = request.headers().contains_key(header::EXPECT);
    if length.is_some_and(|length| length > PATIENCE || (asks_first && length > BODY_LIMIT)) {
        return Err(too_large());
    }
    let read = async {
        let (mut body, mut size) = (Vec::new(), 0);
        let mut data = request.into_body().into_data_stream();
        while let Some(piece) = data.next().await {
            let piece = piece.map_err(|error| Refusal::bad(format!("the body cannot be read: {error}")))?;
            size += piece.len();
            if size > PATIENCE {
                break;
            }
            if size <= BODY_LIMIT {
                body.extend_from_slice(&piece);
            }
        }
        if size > BODY_LIMIT {
            Err(too_large())
        } else {
            Ok(body)
        }
    };
    tokio::time::timeout(BODY_TIME, read).await.unwrap_or_else(|_| {
        Err(Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body took longer than {} s", BODY_TIME.as_secs()),
        ))
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|kind| kind.trim().to_ascii_lowercase())
        .is_some_and(|kind| {
            kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
        })
}
