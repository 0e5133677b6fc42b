//! The page's door: [`http_server::guard`] says who may come, and what is sent along with every answer keeps a browser from
//! doing with it what it should not.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::failure::Failure;
use crate::http_server::{
    self,
    guard::{self, Token},
};

/// The largest body that is read, in bytes: an edit of a long task is far below it.
const BODY_LIMIT: usize = 4 << 20;

/// What is let in.
#[derive(Debug)]
pub struct Guard {
    strangers: guard::Guard,
    token: Option<Token>,
}

/// Sent with every answer. Nothing is loaded from elsewhere, no text becomes a script, nobody frames the page.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

impl Guard {
    /// For a server at `address`; with a token, for those who know it.
    pub fn new(address: SocketAddr, token: Option<&str>) -> Guard {
        Guard {
            strangers: guard::Guard::new(address),
            token: token.map(Token::new),
        }
    }
}

/// Checks every request, and puts the headers on every answer.
pub async fn door(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.strangers.admit(request.uri(), request.headers()) {
        Err(reason) => refuse(StatusCode::FORBIDDEN, &reason.to_string()),
        Ok(()) => next.run(request).await,
    };
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Checks the token of what reads or changes the dataset. The page itself has no secrets and is open.
pub async fn token(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let known = guard
        .token
        .as_ref()
        .is_none_or(|token| token.is_known(request.headers()));
    if known {
        next.run(request).await
    } else {
        refuse(
            StatusCode::UNAUTHORIZED,
            "this page needs a token: open the address that `ewe curate` printed",
        )
    }
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    Failure::new(status, reason).into_response()
}

/// Reads the body, which may be neither large nor slow. Only those who know the token get so far.
pub async fn body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let head = Request::from_parts(parts.clone(), body);
    match http_server::body(head, BODY_LIMIT).await {
        Ok(body) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(unread) => refuse(unread.status(), &unread.to_string()),
    }
}
