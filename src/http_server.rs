//! Connections of our servers: how many, how slow, how large a body, and how they end. [`guard`] says who may come.

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

/// The most connections at once; more wait in the system's queue.
const MOST_CONNECTIONS: usize = 1024;

/// How long a client may take to send a body.
const BODY_TIME: Duration = Duration::from_secs(30);

/// How long a client may leave what we write unread.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// So many times the limit is read of a body that is too large, so that a client that writes it all before it reads hears
/// why it is refused.
const PATIENCE: usize = 8;

/// Connections that are still open once nobody may come any more. Dropping it leaves them to themselves.
#[derive(Debug)]
pub struct Open {
    room: Arc<Semaphore>,
    /// Closed when this is dropped, which tells nobody anything.
    _last: watch::Sender<bool>,
}

impl Open {
    /// Waits until they have ended: each when what it asked is answered.
    pub async fn ended(&self) {
        let all = self.room.acquire_many(MOST_CONNECTIONS as u32).await;
        drop(all.expect("never closed"));
    }
}

/// Serves `router` until `stop` is ready, then lets nobody in any more: connections that wait for a request are closed, those that
/// have sent one are answered. A client may take `head_time` to send a request's head, and a connection may idle for as long.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    head_time: Duration,
    stop: impl Future<Output = ()>,
) -> Open {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let (last, is_last) = watch::channel(false);
    let accept = async {
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
            let (router, is_last) = (router.clone(), is_last.clone());
            tokio::spawn(async move {
                let _place = place;
                converse(stream, router, head_time, is_last).await;
            });
        }
    };
    tokio::select! {
        () = accept => unreachable!("it goes on for ever"),
        () = stop => {}
    }
    let _ = last.send(true);
    Open { room, _last: last }
}

/// Answers what comes over a connection, until it ends or, once `is_last`, what it asked is answered.
async fn converse(
    stream: TcpStream,
    router: Router,
    head_time: Duration,
    mut is_last: watch::Receiver<bool>,
) {
    // Pieces of a stream are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .serve_connection(
            TokioIo::new(Patient::new(stream)),
            TowerToHyperService::new(router),
        );
    let mut connection = pin!(connection);
    // A client that is too slow, leaves, or speaks no HTTP concerns nobody else.
    tokio::select! {
        _ = connection.as_mut() => return,
        Ok(_) = is_last.wait_for(|is_last| *is_last) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It has more bytes than it may.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// It took longer than [`BODY_TIME`].
    #[error("the body took longer than {} s", BODY_TIME.as_secs())]
    TooSlow,
    /// It is packed, as `gzip` say: how large it is would be known too late.
    #[error("the body is packed as `{0}`, and is read only as it is\nhint: leave `content-encoding` away")]
    Packed(String),
    /// The client left, or broke the rules of HTTP.
    #[error("the body cannot be read: {0}")]
    Broken(String),
}

impl Unread {
    /// What HTTP calls it.
    pub fn status(&self) -> StatusCode {
        match self {
            Unread::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Unread::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Unread::Packed(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Unread::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// When it is larger, comes too slowly, is packed, or breaks off.
pub async fn body(request: Request, limit: usize) -> Result<Vec<u8>, Unread> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let asks_first = request.headers().contains_key(EXPECT);
    if length.is_some_and(|length| length > PATIENCE * limit || (asks_first && length > limit)) {
        return Err(Unread::TooLarge(limit));
    }
    if let Some(packed) = packing(request.headers()) {
        return Err(Unread::Packed(packed));
    }
    let read = async {
        let (mut body, mut size) = (Vec::new(), 0);
        let mut data = request.into_body().into_data_stream();
        while let Some(piece) = data.next().await {
            let piece = piece.map_err(|error| Unread::Broken(error.to_string()))?;
            size += piece.len();
            if size > PATIENCE * limit {
                break;
            }
            if size <= limit {
                body.extend_from_slice(&piece);
            }
        }
        if size > limit {
            Err(Unread::TooLarge(limit))
        } else {
            Ok(body)
        }
    };
    tokio::time::timeout(BODY_TIME, read)
        .await
        .unwrap_or(Err(Unread::TooSlow))
}

/// What a body is packed with, if anything.
fn packing(headers: &HeaderMap) -> Option<String> {
    headers.get_all(CONTENT_ENCODING).iter().find_map(|value| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut names = value.split(',').map(str::trim);
        let is_plain = names.all(|name| name.is_empty() || name.eq_ignore_ascii_case("identity"));
        (!is_plain).then(|| clean(&value).chars().take(40).collect())
    })
}

/// A stream that gives up when nobody takes what it writes.
struct Patient {
    stream: TcpStream,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream) -> Patient {
        Patient {
            stream,
            waiting: None,
        }
    }

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

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
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
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
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
