//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` and a status.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ewe::backend::BackendError;
use serde_json::{Value, json};

/// Why a request is not served.
#[derive(Debug, Clone, PartialEq)]
pub struct ApiError {
    /// The status of the response.
    pub status: StatusCode,
    /// The message, for people.
    pub message: String,
    /// The parameter at fault.
    pub param: Option<String>,
    /// The code, for programs.
    pub code: Option<&'static str>,
}

impl ApiError {
    /// Returns an error with only a message.
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError {
            status,
            message: message.into(),
            param: None,
            code: None,
        }
    }

    /// Returns the error of a bad request.
    pub fn bad(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// Returns the error of a parameter.
    pub fn parameter(name: &str, message: impl Into<String>) -> ApiError {
        ApiError {
            param: Some(name.to_string()),
            ..ApiError::bad(message)
        }
    }

    /// Adds a code for programs.
    pub fn coded(self, code: &'static str) -> ApiError {
        ApiError {
            code: Some(code),
            ..self
        }
    }

    /// Returns the error of a server that has too much to do.
    pub fn busy(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).coded("too_many_requests")
    }

    /// Returns the error of a server that takes no new requests.
    pub fn stopping() -> ApiError {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is stopping and takes no new requests",
        )
        .coded("stopping")
    }

    /// Returns the error of an answer that failed after the model had begun, which is not the fault
    /// of the request.
    pub fn midway(error: &BackendError) -> ApiError {
        match error {
            BackendError::Overloaded(message) => {
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).coded("overloaded")
            }
            other => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }

    /// Returns the body. It is also the last event of a stream that fails.
    pub fn body(&self) -> Value {
        let kind = if self.status.is_server_error() {
            "server_error"
        } else {
            "invalid_request_error"
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        let mut add = |name, value| {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static(value));
        };
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => add(header::RETRY_AFTER, "1"),
            StatusCode::SERVICE_UNAVAILABLE if self.code == Some("stopping") => {
                add(header::RETRY_AFTER, "5");
                add(header::CONNECTION, "close");
            }
            StatusCode::SERVICE_UNAVAILABLE if self.code == Some("overloaded") => {
                add(header::RETRY_AFTER, "1");
            }
            StatusCode::UNAUTHORIZED => add(header::WWW_AUTHENTICATE, "Bearer"),
            _ => {}
        }
        response
    }
}

impl From<BackendError> for ApiError {
    fn from(error: BackendError) -> ApiError {
        match error {
            BackendError::Request(message) => ApiError::bad(message),
            other => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
        }
    }
}
