//! Which requests a server answers. A browser also runs pages of other sites. They must neither
//! read from the server (by DNS rebinding, which makes their host name mean this machine) nor write
//! to it (by a form or a script that sends requests to it).

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};

/// Checks where requests come from.
#[derive(Debug, Clone)]
pub struct OriginGuard {
    /// The allowed values of `Host`; none if other machines may connect, which may use any name.
    hosts: Option<Vec<String>>,
    /// The sites whose pages may send requests; `*` is any.
    origins: Vec<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// It has no `Host`.
    #[error("the request names no host")]
    NoHost,
    /// It has several, or another one in its target. A proxy in between could read it otherwise.
    #[error("the request names several hosts")]
    SeveralHosts,
    /// Its `Host` is not one of the server.
    #[error("the request is for another host")]
    OtherHost,
    /// A page of another site sent it.
    #[error("the request comes from another site")]
    OtherSite,
}

impl OriginGuard {
    /// Returns the checks of a server at `address`.
    pub fn new(address: SocketAddr) -> OriginGuard {
        let port = address.port();
        let hosts = address.ip().is_loopback().then(|| {
            vec![
                address.to_string(),
                format!("127.0.0.1:{port}"),
                format!("localhost:{port}"),
                format!("[::1]:{port}"),
            ]
        });
        OriginGuard {
            hosts,
            origins: Vec::new(),
        }
    }

    /// Also allows these values of `Host`, each with its port where it has one.
    #[must_use]
    pub fn named(mut self, names: &[String]) -> OriginGuard {
        if let Some(hosts) = &mut self.hosts {
            hosts.extend_from_slice(names);
        }
        self
    }

    /// Also allows pages of these sites, each as `http://localhost:3000`; `*` is any.
    #[must_use]
    pub fn with_origins(mut self, origins: &[String]) -> OriginGuard {
        let plain = origins
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_string());
        self.origins.extend(plain);
        self
    }

    /// Checks `Host`, `Origin` and `Sec-Fetch-Site`. Browsers send the latter two; other programs
    /// need not.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the request.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), AccessError> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let Some(host) = hosts.next().and_then(|host| host.to_str().ok()) else {
            return Err(AccessError::NoHost);
        };
        if hosts.next().is_some()
            || uri
                .authority()
                .is_some_and(|authority| authority.as_str() != host)
        {
            return Err(AccessError::SeveralHosts);
        }
        if self
            .hosts
            .as_ref()
            .is_some_and(|hosts| !hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host)))
        {
            return Err(AccessError::OtherHost);
        }
        if self.allowed_origin(headers).is_some() {
            return Ok(());
        }
        if let Some(origin) = headers.get(header::ORIGIN) {
            let same = origin
                .to_str()
                .ok()
                .and_then(|origin| origin.split_once("://"))
                .is_some_and(|(_, from)| from == host);
            if !same {
                return Err(AccessError::OtherSite);
            }
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(AccessError::OtherSite),
        }
    }

    /// Returns the request's `Origin` if it is one of the allowed sites.
    pub fn allowed_origin<'a>(&self, headers: &'a HeaderMap) -> Option<&'a HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        let text = origin.to_str().ok()?;
        let allowed = self
            .origins
            .iter()
            .any(|allowed| allowed == "*" || allowed.eq_ignore_ascii_case(text));
        allowed.then_some(origin)
    }
}

/// What stands before a token.
const BEARER: &[u8] = b"Bearer ";

/// The token that clients must send, as its digest.
#[derive(Clone)]
pub struct BearerToken([u8; 32]);

impl BearerToken {
    /// Keeps only the digest of `token`.
    pub fn new(token: &str) -> BearerToken {
        BearerToken(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether a request has the token, as `Authorization: Bearer …`.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(BEARER.len()))
            // The name of a scheme has no case.
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
            .map(|(_, given)| given);
        // The time to compare digests does not show how many characters are right.
        given.is_some_and(|given| <[u8; 32]>::from(Sha256::digest(given)) == self.0)
    }
}

impl std::fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}
