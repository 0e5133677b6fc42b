//! How many request bodies are held and processed at once. Sizes are checked before any work:
//! parsing JSON takes a multiple of its bytes, encoding a text some 300 bytes for each of its
//! bytes.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use ewe::http_server;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// The largest body, in bytes. A million token ids take some 7 MB.
const BODY_LIMIT: usize = 8 << 20;

/// Bodies of up to this many bytes are read without a permit.
const SMALL: usize = 64 << 10;

/// The most larger bodies that are held at once.
const MOST_LARGE: usize = 8;

/// Permits for parsing and encoding: a small body takes one, a large one half of them.
const PLACES: u32 = 4;

/// The longest wait for a permit of either kind.
const PATIENCE: Duration = Duration::from_secs(20);

/// The deepest nesting of lists and objects. The parser would refuse a deeper one as invalid JSON,
/// but only after reading all of it.
const DEEPEST: usize = 128;

/// The most values in a body, and the most of them that contain others or have a name. A million
/// token ids are within these limits.
const MOST_VALUES: usize = 1 << 20;
const MOST_NESTED: usize = 1 << 16;

/// The permits for reading bodies.
#[derive(Debug)]
pub struct BodyLimits {
    large: Arc<Semaphore>,
    work: Arc<Semaphore>,
}

/// A body, with its permit.
#[derive(Debug)]
pub struct Body {
    /// JSON with at most [`MOST_VALUES`] values.
    pub json: Vec<u8>,
    _held: Option<OwnedSemaphorePermit>,
}

impl BodyLimits {
    /// Returns all permits free.
    pub fn new() -> BodyLimits {
        BodyLimits {
            large: Arc::new(Semaphore::new(MOST_LARGE)),
            work: Arc::new(Semaphore::new(PLACES as usize)),
        }
    }

    /// Reads a body of JSON.
    ///
    /// Fails on another media type (a browser sends some of them from foreign pages without a
    /// preflight), on a body that is too large or too slow, when too many large ones are held, and
    /// when the client disconnects.
    pub async fn body(&self, request: Request) -> Result<Body, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the body must be JSON\nhint: the header `content-type: application/json`",
            ));
        }
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        let held = match length {
            Some(length) if length <= SMALL => None,
            _ => Some(permitted(&self.large, 1).await?),
        };
        let json = http_server::body(request, BODY_LIMIT)
            .await
            .map_err(|unread| ApiError::new(unread.status(), unread.to_string()))?;
        check_size(&json)?;
        Ok(Body { json, _held: held })
    }

    /// Runs `work`, which takes long and much memory, while few others do.
    ///
    /// Fails as `work` does, and when no permit is free for too long.
    pub async fn work<T>(
        &self,
        body: &Body,
        work: impl FnOnce(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let places = if body.json.len() <= SMALL { 1 } else { PLACES / 2 };
        let _place = permitted(&self.work, places).await?;
        tokio::task::block_in_place(|| work(&body.json))
    }
}

/// Waits for permits. Fails after [`PATIENCE`].
async fn permitted(semaphore: &Arc<Semaphore>, places: u32) -> Result<OwnedSemaphorePermit, ApiError> {
    let permit = semaphore.clone().acquire_many_owned(places);
    match tokio::time::timeout(PATIENCE, permit).await {
        Ok(permit) => Ok(permit.expect("never closed")),
        Err(_) => Err(ApiError::busy(
            "too many large requests are being read\nhint: try again later",
        )),
    }
}

/// Whether the media type is JSON.
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

/// Fails on JSON with too many values, or with values nested too deeply, at any size. Bytes that
/// are not JSON may pass.
fn check_size(json: &[u8]) -> Result<(), ApiError> {
    let (mut values, mut nested, mut depth) = (1, 0, 0usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b',' => values += 1,
            b':' => nested += 1,
            b'[' | b'{' => (nested, depth) = (nested + 1, depth + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(ApiError::bad(format!(
                "the body has lists or objects within one another more than {DEEPEST} deep"
            )));
        }
    }
    for (count, most, what) in [
        (values, MOST_VALUES, "values"),
        (nested, MOST_NESTED, "lists, objects and fields"),
    ] {
        if count > most {
            return Err(ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has {count} {what}, want at most {most}"),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_before_they_are_read() {
        let ids = |count: usize| format!(r#"{{"prompt": [{}1]}}"#, "1,".repeat(count - 1));
        assert!(check_size(ids(1_000_000).as_bytes()).is_ok());
        assert!(check_size(ids(1_100_000).as_bytes()).is_err());
        // Not within a text, whatever the text contains.
        let text = format!(r#"{{"prompt": "{}"}}"#, r#"\",[{:\\"#.repeat(300_000));
        assert!(check_size(text.as_bytes()).is_ok());
        let status = |json: &str| check_size(json.as_bytes()).err().map(|refusal| refusal.status);
        for unit in ["[],", "{},", "{\"a\":1},", "[[1]],"] {
            let many = format!("[{}1]", unit.repeat(100_000));
            assert_eq!(status(&many), Some(StatusCode::PAYLOAD_TOO_LARGE), "{unit}");
        }
        // Depth is another error than size, whether the nesting ends or not.
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
            assert_eq!(status(&deep(128)), None, "{open}");
            for levels in [129, 100_000] {
                assert_eq!(status(&deep(levels)), Some(StatusCode::BAD_REQUEST), "{open}");
            }
            let endless = open.repeat(100_000);
            assert_eq!(status(&endless), Some(StatusCode::BAD_REQUEST), "{open}");
        }
        let map = format!(r#"{{"logit_bias": {{{}"x": 1}}}}"#, r#""1": 1, "#.repeat(100_000));
        let refusal = check_size(map.as_bytes()).unwrap_err();
        assert!(
            refusal
                .message
                .contains("lists, objects and fields, want at most 65536"),
            "{}",
            refusal.message
        );
    }
}
