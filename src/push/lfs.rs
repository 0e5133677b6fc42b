//! Large files, by Git LFS (<https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md>): the
//! hub says where a file goes, in one piece (`basic`) or in parts (`multipart`, the hub's own), or
//! that its storage has it already.
//!
//! Each file is asked for just before it is sent, since the addresses expire.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use anyhow::{Context, Result, bail};
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};

use super::file::PushFile;
use super::http::{Answer, Call};
use super::repository::{BRANCH, Repository};
use crate::text::one_line;

/// The media type of Git LFS.
const MEDIA: &str = "application/vnd.git-lfs+json";
/// Most parts of a file, the limit of S3.
const MOST_PARTS: u64 = 10_000;

/// What is to be done for a file.
#[derive(Debug, PartialEq, Eq)]
enum Actions {
    /// Nothing: the storage has it.
    There,
    /// To be sent in one piece.
    Basic {
        href: String,
        headers: BTreeMap<String, String>,
        verify: Option<String>,
    },
    /// To be sent in parts of `bytes`; then `href` is told their tags.
    Multipart {
        href: String,
        parts: Vec<String>,
        bytes: u64,
        verify: Option<String>,
    },
}

/// Sends a file with this SHA-256 unless the storage has it. Returns whether it was sent.
/// `progress` is told the bytes that were sent so far.
///
/// # Errors
///
/// If the file cannot be sent, or changes meanwhile, or the hub wants what is unknown here.
pub(super) async fn send(
    to: &Repository<'_>,
    file: &PushFile,
    oid: &str,
    progress: &mut dyn FnMut(u64),
) -> Result<bool> {
    let verify = match actions(to, file, oid).await? {
        Actions::There => return Ok(false),
        Actions::Basic {
            href,
            headers,
            verify,
        } => {
            let headers =
                checked(&headers).with_context(|| to.is_unknown(&format!("where to send {}", file.path)))?;
            let with = |request: RequestBuilder| {
                let all = headers.iter().cloned();
                Ok(all.fold(request, |request, (name, value)| request.header(name, value)))
            };
            put(to, file, &href, (0, file.size), &with, progress).await?;
            verify
        }
        Actions::Multipart {
            href,
            parts,
            bytes,
            verify,
        } => {
            send_parts(to, file, oid, (&href, &parts, bytes), progress).await?;
            verify
        }
    };
    if let Some(href) = verify {
        let url = to.hub.given(&href)?;
        let body = json!({"oid": oid, "size": file.size});
        let to_hub = to.hub.is_home(&url);
        let answer = tell(to, url, to_hub, &body).await?;
        accepted(to, file, "take", &answer)?;
    }
    Ok(true)
}

async fn send_parts(
    to: &Repository<'_>,
    file: &PushFile,
    oid: &str,
    (href, parts, bytes): (&str, &[String], u64),
    progress: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut tags = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let from = at as u64 * bytes;
        let length = bytes.min(file.size - from);
        let mut so_far = |sent: u64| progress(from + sent);
        let answer = put(to, file, part, (from, length), &Ok, &mut so_far).await?;
        let tag = answer.headers.get("etag").and_then(|tag| tag.to_str().ok());
        let Some(tag) = tag.filter(|tag| !tag.is_empty()) else {
            bail!(
                "the storage of {} gives no tag of part {} of {}",
                to.hub.endpoint(),
                at + 1,
                file.path
            );
        };
        tags.push(json!({"partNumber": at + 1, "etag": tag}));
    }
    let body = json!({"oid": oid, "parts": tags});
    // The address itself says who may do it.
    let answer = tell(to, to.hub.given(href)?, false, &body).await?;
    accepted(to, file, "put together", &answer)
}

/// Sends a part of a file: the first byte, and the number of bytes.
async fn put(
    to: &Repository<'_>,
    file: &PushFile,
    href: &str,
    (from, length): (u64, u64),
    with: &dyn Fn(RequestBuilder) -> Result<RequestBuilder>,
    progress: &mut dyn FnMut(u64),
) -> Result<Answer> {
    let sent: Arc<AtomicU64> = Arc::default();
    // Before each attempt: of a file that became shorter, no other one would succeed.
    let body = |request: RequestBuilder| {
        file.check_unchanged()?;
        Ok(with(request)?.body(file.body(from, length, &sent)?))
    };
    let call = Call {
        method: Method::PUT,
        url: to.hub.given(href)?,
        to_hub: false,
        with: &body,
        sent: sent.clone(),
    };
    let answer = to.hub.call(&call, progress).await;
    // A file that became shorter breaks the request; that it did so is the reason.
    file.check_unchanged()?;
    let answer = answer?;
    if !answer.status.is_success() {
        bail!(
            "the storage of {} does not take {} ({})\nhint: push again; what is in the storage already is not sent again",
            to.hub.endpoint(),
            file.path,
            answer.status
        );
    }
    Ok(answer)
}

/// Sends JSON of Git LFS.
async fn tell(to: &Repository<'_>, url: Url, to_hub: bool, body: &Value) -> Result<Answer> {
    let text = body.to_string();
    let call = Call {
        method: Method::POST,
        url,
        to_hub,
        with: &|request| {
            let request = request.header("accept", MEDIA).header("content-type", MEDIA);
            Ok(request.body(text.clone()))
        },
        sent: Arc::default(),
    };
    to.hub.call(&call, &mut |_| ()).await
}

fn accepted(to: &Repository<'_>, file: &PushFile, what: &str, answer: &Answer) -> Result<()> {
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(to.hub.refused(&format!("{what} {}", file.path), answer)),
    }
}

/// Asks what is to be done for a file.
async fn actions(to: &Repository<'_>, file: &PushFile, oid: &str) -> Result<Actions> {
    let body = json!({
        "operation": "upload",
        "transfers": ["basic", "multipart"],
        "objects": [{"oid": oid, "size": file.size}],
        "hash_algo": "sha256",
        "ref": {"name": BRANCH},
    });
    let answer = tell(to, to.hub.url(&to.lfs())?, true, &body).await?;
    accepted(to, file, "take", &answer)?;
    let json = answer.json().unwrap_or_default();
    if let Some(transfer) = json["transfer"].as_str()
        && !["basic", "multipart"].contains(&transfer)
    {
        bail!(
            "{} is to be sent by `{}`, says {}, and only basic and multipart are known here\nhint: `hf upload` may know it",
            file.path,
            one_line(transfer, 40),
            to.hub.endpoint()
        );
    }
    let objects = json["objects"].as_array();
    let object = objects.and_then(|objects| objects.iter().find(|object| object["oid"] == oid));
    if let Some(error) = object.and_then(|object| object["error"].as_object()) {
        let message = error.get("message").and_then(Value::as_str);
        bail!(
            "{} does not take {}: {}",
            to.hub.endpoint(),
            file.path,
            message.map_or("it gives no reason".to_owned(), |message| to.hub.quoted(message))
        );
    }
    object
        .and_then(|object| Actions::read(object, file.size))
        .with_context(|| to.is_unknown(&format!("where to send {}", file.path)))
}

impl Actions {
    /// Reads what a batch says of an object of `size` bytes; none if it is unknown.
    fn read(object: &Value, size: u64) -> Option<Actions> {
        let actions = &object["actions"];
        if actions.as_object().is_none_or(serde_json::Map::is_empty) {
            return Some(Actions::There);
        }
        let href = actions["upload"]["href"].as_str()?.to_owned();
        let verify = match &actions["verify"] {
            Value::Null => None,
            verify => Some(verify["href"].as_str()?.to_owned()),
        };
        let empty = serde_json::Map::new();
        let header = match &actions["upload"]["header"] {
            Value::Null => &empty,
            header => header.as_object()?,
        };
        let text = |value: &Value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let Some(bytes) = header.get("chunk_size") else {
            let headers = header
                .iter()
                .map(|(name, value)| Some((name.clone(), text(value)?)))
                .collect::<Option<_>>()?;
            return Some(Actions::Basic {
                href,
                headers,
                verify,
            });
        };
        let bytes: u64 = text(bytes)?.parse().ok().filter(|bytes| *bytes > 0)?;
        let numbered: BTreeMap<u64, String> = header
            .iter()
            .filter_map(|(number, href)| Some((number.parse().ok()?, text(href)?)))
            .collect();
        let wanted = size.div_ceil(bytes);
        let is_whole = wanted <= MOST_PARTS && numbered.len() as u64 == wanted;
        is_whole.then(|| Actions::Multipart {
            href,
            parts: numbered.into_values().collect(),
            bytes,
            verify,
        })
    }
}

/// Returns headers as they are sent.
fn checked(headers: &BTreeMap<String, String>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    headers
        .iter()
        .map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: Value, size: u64) -> Option<Actions> {
        let upload = json!({"href": "http://s/u", "header": header});
        Actions::read(
            &json!({"oid": "o", "size": size, "actions": {"upload": upload}}),
            size,
        )
    }

    #[test]
    fn what_is_there_already_is_known() {
        assert_eq!(
            Actions::read(&json!({"oid": "o", "size": 3}), 3),
            Some(Actions::There)
        );
        assert_eq!(Actions::read(&json!({"actions": {}}), 3), Some(Actions::There));
    }

    #[test]
    fn a_file_is_sent_as_the_hub_says() {
        let basic = |headers: BTreeMap<String, String>| Actions::Basic {
            href: "http://s/u".into(),
            headers,
            verify: None,
        };
        assert_eq!(read(Value::Null, 3), Some(basic(BTreeMap::new())));
        let one = BTreeMap::from([("x-part".to_owned(), "1".to_owned())]);
        assert_eq!(read(json!({"x-part": 1}), 3), Some(basic(one.clone())));
        assert!(checked(&one).is_some());
        let parts = read(
            json!({"chunk_size": "4", "10": "http://s/10", "2": "http://s/2", "1": "http://s/1"}),
            11,
        );
        let Some(Actions::Multipart { parts, bytes, .. }) = parts else {
            panic!("{parts:?}");
        };
        assert_eq!(
            (parts, bytes),
            (
                vec!["http://s/1".into(), "http://s/2".into(), "http://s/10".into()],
                4
            )
        );
        let verified = json!({"actions": {"upload": {"href": "u"}, "verify": {"href": "v"}}});
        let Some(Actions::Basic { verify, .. }) = Actions::read(&verified, 3) else {
            panic!("it is one piece");
        };
        assert_eq!(verify.as_deref(), Some("v"));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        // Parts that do not make up the file, sizes that are none, and headers that are none.
        for (header, size) in [
            (json!({"chunk_size": "4", "1": "u"}), 11),
            (json!({"chunk_size": "0", "1": "u"}), 11),
            (json!({"chunk_size": "four", "1": "u"}), 3),
            (json!({"chunk_size": -4, "1": "u"}), 3),
            (json!({"chunk_size": 1}), u64::MAX),
            (json!({"x": []}), 3),
            (json!("x"), 3),
        ] {
            assert_eq!(read(header.clone(), size), None, "{header}");
        }
        assert_eq!(Actions::read(&json!({"actions": {"upload": {}}}), 3), None);
        assert_eq!(Actions::read(&json!({"actions": {"download": {}}}), 3), None);
        let odd = BTreeMap::from([("no header".to_owned(), "1".to_owned())]);
        assert!(checked(&odd).is_none());
    }
}
