//! Bodies: of which kind, how large.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use ewe::connections;

use super::refusal::Refusal;

/// The largest body, in bytes: a million token ids are some seven.
pub const BODY_LIMIT: usize = 8 << 20;

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
    connections::body(request, BODY_LIMIT)
        .await
        .map_err(|unread| Refusal::new(unread.status(), unread.to_string()))
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
