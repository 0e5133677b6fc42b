//! Which requests are allowed: those of programs on this machine, or with the token; of web pages,
//! those of allowed sites.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ewe::http_server::guard::AccessError;

use super::error::ApiError;
use super::server::ServerState;

/// Checks where a request comes from, and adds the CORS headers that let allowed pages read the
/// answer.
pub async fn guard(State(server): State<Arc<ServerState>>, request: Request, next: Next) -> Response {
    let allowed = server.guard.allowed_origin(request.headers()).cloned();
    let mut response = match server.guard.admit(request.uri(), request.headers()) {
        Err(error) => refusal(&error).into_response(),
        Ok(()) if allowed.is_some() && is_preflight(&request) => preflight(request.headers()),
        Ok(()) if server.is_stopping() => ApiError::stopping().into_response(),
        Ok(()) => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("retry-after"),
        );
    }
    response
}

/// Whether a request is a CORS preflight: a browser asks what a page may do before it does it.
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers a preflight of an allowed site.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST"),
    );
    // Client libraries add headers of their own.
    let wanted = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        wanted.unwrap_or(HeaderValue::from_static("authorization, content-type")),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if asked.contains_key("access-control-request-private-network") {
        headers.insert(
            "access-control-allow-private-network",
            HeaderValue::from_static("true"),
        );
    }
    response
}

/// Returns the error for a request from elsewhere.
fn refusal(error: &AccessError) -> ApiError {
    let hint = match error {
        AccessError::OtherHost => "\nhint: --allow-host lets in those who know this machine by that name",
        AccessError::OtherSite => "\nhint: --allow-origin lets pages of that site in",
        _ => "",
    };
    ApiError::new(StatusCode::FORBIDDEN, format!("{error}{hint}")).coded("forbidden")
}

/// Refuses requests without the token, if there is one.
pub async fn authorise(
    State(server): State<Arc<ServerState>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match &server.token {
        Some(token) if !token.is_known(request.headers()) => Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong",
        )
        .coded("invalid_api_key")),
        _ => Ok(next.run(request).await),
    }
}
