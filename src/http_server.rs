//! Connections of `ewe serve` and `ewe curate`: how many, how slow, how large a body, and how they
//! end. [`guard`] checks where requests come from.

pub mod guard;

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::text::clean;
use axum::{
    Router,
    extract::Request,
    http::{
        HeaderMap, StatusCode,
        header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT},
    },
};
use futures::StreamExt;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::Sleep,
};

/// The most connections at once. More wait in the operating system's queue.
const MOST_CONNECTIONS: usize = 1024;

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How long a client may leave written data unread.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Of a body that is too large, up to this many times the limit is read, so that a client that
/// writes all of it before it reads learns why it is refused.
const READ_BEYOND_LIMIT: usize = 8;

/// Connections that are still open when the server has stopped accepting. Dropping it leaves them
/// alone.
#[derive(Debug)]
pub struct OpenConnections {
    room: Arc<Semaphore>,
    /// Kept, since dropping it would close the channel.
    _last: watch::Sender<bool>,
}

impl OpenConnections {
    /// Waits until all have ended: each ends after its current response.
    pub async fn ended(&self) {
        let all = self.room.acquire_many(MOST_CONNECTIONS as u32).await;
        drop(all.expect("never closed"));
    }
}

/// Serves `router` until `stop` is ready, then stops accepting: idle connections are closed,
/// requests that were sent are answered. A client may take `head_time` to send a request's head,
/// and a connection may idle for as long.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    head_time: Duration,
    stop: impl Future<Output = ()>,
) -> OpenConnections {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (last, is_last) = watch::channel(false);
    let accept = async {
        loop {
            let place = room.clone().acquire_owned().await.expect("never closed");
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // The client has left already, or too many files are open, which passes.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (router, is_last) = (router.clone(), is_last.clone());
            tokio::spawn(async move {
                let _place = place;
                serve_connection(stream, router, head_time, is_last).await;
            });
        }
    };
    tokio::select! {
        () = accept => unreachable!("it goes on for ever"),
        () = stop => {}
    }
    let _ = last.send(true);
    OpenConnections { room, _last: last }
}

/// Answers the requests of a connection until it ends or, once `is_last`, after its current
/// response.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    head_time: Duration,
    mut is_last: watch::Receiver<bool>,
) {
    // Events of a stream are small, and must not be delayed.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(
            TokioIo::new(TimedStream::new(stream)),
            TowerToHyperService::new(router),
        );
    let mut connection = pin!(connection);
    // A client that is too slow, disconnects, or speaks no HTTP concerns no other.
    tokio::select! {
        _ = connection.as_mut() => return,
        Ok(_) = is_last.wait_for(|is_last| *is_last) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It has more bytes than allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It took longer than [`BODY_TIME`].
    #[error("the body took longer than {} s", BODY_TIME.as_secs())]
    TooSlow,
    /// It is compressed, for instance with `gzip`: its size would be known too late.
    #[error("the body is packed as `{0}`, and is read only as it is\nhint: leave `content-encoding` away")]
    Compressed(String),
    /// The client disconnected, or violated HTTP.
    #[error("the body cannot be read: {0}")]
    Broken(String),
}

impl BodyError {
    /// Returns the status of the response.
    pub fn status(&self) -> StatusCode {
        match self {
            BodyError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            BodyError::TooSlow => StatusCode::REQUEST_TIMEOUT,
            BodyError::Compressed(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            BodyError::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// When it is larger, too slow, compressed, or incomplete.
pub async fn body(request: Request, limit: usize) -> Result<Vec<u8>, BodyError> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = request.headers().contains_key(EXPECT);
    if length.is_some_and(|length| length > READ_BEYOND_LIMIT * limit || (asks_first && length > limit)) {
        return Err(BodyError::TooLarge(limit));
    }
    if let Some(encoding) = compression(request.headers()) {
        return Err(BodyError::Compressed(encoding));
    }
    let read = async {
        let (mut body, mut size) = (Vec::new(), 0);
        let mut data = request.into_body().into_data_stream();
        while let Some(chunk) = data.next().await {
            let chunk = chunk.map_err(|error| BodyError::Broken(error.to_string()))?;
            size += chunk.len();
            if size > READ_BEYOND_LIMIT * limit {
                break;
            }
            if size <= limit {
                body.extend_from_slice(&chunk);
            }
        }
        if size > limit {
            Err(BodyError::TooLarge(limit))
        } else {
            Ok(body)
        }
    };
    tokio::time::timeout(BODY_TIME, read)
        .await
        .unwrap_or(Err(BodyError::TooSlow))
}

/// Returns the compression of a body, if any.
fn compression(headers: &HeaderMap) -> Option<String> {
    headers.get_all(CONTENT_ENCODING).iter().find_map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut names = value.split(',').map(str::trim);
        let is_plain = names.all(|name| name.is_empty() || name.eq_ignore_ascii_case("identity"));
        (!is_plain).then(|| clean(&value).chars().take(40).collect())
    })
}

/// A stream whose writes fail if the client reads nothing for [`WRITE_TIME`].
struct TimedStream {
    stream: TcpStream,
    /// The timer of a pending write.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    fn new(stream: TcpStream) -> TimedStream {
        TimedStream {
            stream,
            waiting: None,
        }
    }

    /// Turns a poll of a write that is pending for too long into an error.
    fn bounded<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let waiting = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_TIME)));
        waiting
            .as_mut()
            .poll(context)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.bounded(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.bounded(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
