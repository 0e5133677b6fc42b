//! Access to the page: [`http_server::guard`] decides who is admitted, and the headers of every
//! response restrict what a browser does with it.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::error::ApiError;
use crate::http_server::{
    self,
    guard::{self, BearerToken},
};

/// The largest request body in bytes; an edit of a long task is far below it.
const BODY_LIMIT: usize = 4 << 20;

/// Who is admitted.
#[derive(Debug)]
pub struct PageAccess {
    origins: guard::OriginGuard,
    token: Option<BearerToken>,
}

/// Headers of every response: nothing is loaded from elsewhere, no text becomes a script, nobody
/// frames the page.
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

impl PageAccess {
    /// Makes the access rules of a server at `address`, with a token if one is required.
    pub fn new(address: SocketAddr, token: Option<&str>) -> PageAccess {
        PageAccess {
            origins: guard::OriginGuard::new(address),
            token: token.map(BearerToken::new),
        }
    }
}

/// Checks the origin of every request, and sets the headers of every response.
pub async fn check_origin(State(access): State<Arc<PageAccess>>, request: Request, next: Next) -> Response {
    let mut response = match access.origins.admit(request.uri(), request.headers()) {
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

/// Checks the token of requests that read or change the dataset. The page itself has no secrets and
/// is open.
pub async fn check_token(State(access): State<Arc<PageAccess>>, request: Request, next: Next) -> Response {
    let known = access
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
    ApiError::new(status, reason).into_response()
}

/// Reads the body, which must be neither large nor slow. Only clients with the token get this far.
pub async fn limit_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let head = Request::from_parts(parts.clone(), body);
    match http_server::body(head, BODY_LIMIT).await {
        Ok(body) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(unread) => refuse(unread.status(), &unread.to_string()),
    }
}
