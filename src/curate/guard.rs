//! Who may talk to the page. A browser runs other people's pages too: those must neither read the dataset (DNS
//! rebinding: their name suddenly means this machine) nor write to it (a form of theirs sent here).

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use super::failure::Failure;
use crate::connections;

/// The largest body that is read, in bytes: an edit of a long task is far below it.
const BODY_LIMIT: usize = 4 << 20;

/// What is let in.
#[derive(Debug)]
pub struct Guard {
    /// The values of `Host` that mean us; none when other machines may come, which know us by names that we don't.
    hosts: Option<Vec<String>>,
    /// Of the token.
    digest: Option<[u8; 32]>,
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
    pub fn new(address: SocketAddr, token: Option<String>) -> Guard {
        let port = address.port();
        let hosts = address.ip().is_loopback().then(|| {
            vec![
                address.to_string(),
                format!("127.0.0.1:{port}"),
                format!("localhost:{port}"),
                format!("[::1]:{port}"),
            ]
        });
        Guard {
            hosts,
            digest: token.map(|token| Sha256::digest(token.as_bytes()).into()),
        }
    }

    fn turns_away(&self, uri: &Uri, headers: &HeaderMap) -> Option<&'static str> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let Some(host) = hosts.next().and_then(|host| host.to_str().ok()) else {
            return Some("the request names no host");
        };
        // A request that contradicts itself means something else to whoever stands between.
        if hosts.next().is_some()
            || uri
                .authority()
                .is_some_and(|authority| authority.as_str() != host)
        {
            return Some("the request names several hosts");
        }
        if self
            .hosts
            .as_ref()
            .is_some_and(|hosts| !hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host)))
        {
            return Some("the request is for another host");
        }
        // Browsers say where a request that changes something comes from; other programs do not, and need not.
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin
                .to_str()
                .ok()
                .and_then(|origin| origin.split_once("://"))
                .is_some_and(|(_, from)| from == host);
            if !same {
                return Some("the request comes from another site");
            }
        }
        match headers.get("sec-fetch-site").map(|site| site.as_bytes()) {
            None | Some(b"same-origin" | b"none") => None,
            Some(_) => Some("the request comes from another site"),
        }
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.digest else { return true };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Comparing digests takes the same time however many characters are right.
        given.is_some_and(|given| <[u8; 32]>::from(Sha256::digest(given)) == *expected)
    }
}

/// Checks every request, and puts the headers on every answer.
pub async fn door(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let mut response = match guard.turns_away(request.uri(), request.headers()) {
        Some(reason) => refuse(StatusCode::FORBIDDEN, reason),
        None => next.run(request).await,
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
    if guard.knows_token(request.headers()) {
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
    match connections::body(head, BODY_LIMIT).await {
        Ok(body) => next.run(Request::from_parts(parts, Body::from(body))).await,
        Err(unread) => refuse(unread.status(), &unread.to_string()),
    }
}
