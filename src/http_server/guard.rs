//! Who may talk to a server of ours. A browser runs other people's pages too: those must neither read from us (DNS
//! rebinding: their name suddenly means this machine) nor write to us (a form or a script of theirs that sends here).

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use sha2::{Digest, Sha256};

/// What is let in.
#[derive(Debug, Clone)]
pub struct Guard {
    /// The values of `Host` that mean us; none when other machines may come, which know us by names that we don't.
    hosts: Option<Vec<String>>,
    /// The sites whose pages may ask; `*` is any.
    origins: Vec<String>,
}

/// Why a request is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stranger {
    /// It has no `Host`.
    #[error("the request names no host")]
    NoHost,
    /// A request that contradicts itself means something else to whoever stands between.
    #[error("the request names several hosts")]
    SeveralHosts,
    /// Its `Host` is not ours.
    #[error("the request is for another host")]
    OtherHost,
    /// A page of another site sent it.
    #[error("the request comes from another site")]
    OtherSite,
}

impl Guard {
    /// For a server at `address`.
    pub fn new(address: SocketAddr) -> Guard {
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
            origins: Vec::new(),
        }
    }

    /// Lets in who knows us by these names as well, each with its port where it has one.
    #[must_use]
    pub fn named(mut self, names: &[String]) -> Guard {
        if let Some(hosts) = &mut self.hosts {
            hosts.extend_from_slice(names);
        }
        self
    }

    /// Lets pages of these sites ask, each as `http://localhost:3000`; `*` is any.
    #[must_use]
    pub fn with_origins(mut self, origins: &[String]) -> Guard {
        let plain = origins
            .iter()
            .map(|origin| origin.trim_end_matches('/').to_string());
        self.origins.extend(plain);
        self
    }

    /// Whether a request comes from where it should; browsers say so, other programs do not and need not.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Stranger> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let Some(host) = hosts.next().and_then(|host| host.to_str().ok()) else {
            return Err(Stranger::NoHost);
        };
        if hosts.next().is_some()
            || uri
                .authority()
                .is_some_and(|authority| authority.as_str() != host)
        {
            return Err(Stranger::SeveralHosts);
        }
        if self
            .hosts
            .as_ref()
            .is_some_and(|hosts| !hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host)))
        {
            return Err(Stranger::OtherHost);
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
                return Err(Stranger::OtherSite);
            }
        }
        match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(Stranger::OtherSite),
        }
    }

    /// The request's `Origin`, where it is one of those whose pages may ask.
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

/// What those who may come have to know.
#[derive(Clone)]
pub struct Token([u8; 32]);

impl Token {
    /// Keeps a digest only.
    pub fn new(token: &str) -> Token {
        Token(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether a request sends it, as `Authorization: Bearer …`.
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        // Comparing digests takes the same time however many characters are right.
        given.is_some_and(|given| <[u8; 32]>::from(Sha256::digest(given)) == self.0)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}
