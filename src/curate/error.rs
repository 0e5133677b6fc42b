//! Error responses of the API: a status and `{"error": …}`.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::store::{Error, FieldError};

/// The result of a handler.
pub type ApiResult = std::result::Result<Json<Value>, ApiError>;

/// An error response.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    /// The JSON body.
    pub body: Value,
}

impl ApiError {
    /// Makes an error with a sentence for people.
    pub fn new(status: StatusCode, what: impl ToString) -> ApiError {
        ApiError {
            status,
            body: json!({ "error": what.to_string() }),
        }
    }

    /// Makes an error for a malformed request.
    pub fn bad(what: impl ToString) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, what)
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        let status = match error {
            Error::NoTask { .. }
            | Error::NoCandidate { .. }
            | Error::NoInstance { .. }
            | Error::NoTurn { .. }
            | Error::NoGroup { .. }
            | Error::NoPair { .. }
            | Error::NoComparison { .. } => StatusCode::NOT_FOUND,
            Error::Field(FieldError::None { .. }) => StatusCode::NOT_FOUND,
            Error::NotAnAction
            | Error::NotAQuestion { .. }
            | Error::EmptyTurn { .. }
            | Error::Field(_)
            | Error::Team(_) => StatusCode::BAD_REQUEST,
            Error::ChangedMeanwhile { .. }
            | Error::AnotherCount { .. }
            | Error::ChangedSince { .. }
            | Error::UndoneAlready { .. }
            | Error::NothingToUndo
            | Error::NothingToRedo => StatusCode::CONFLICT,
            Error::Locked => StatusCode::SERVICE_UNAVAILABLE,
            Error::MayNotWrite { .. } | Error::ReadOnly { .. } => StatusCode::FORBIDDEN,
            Error::DiskFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // Hints mention commands; the page has keys instead.
        let text = error.to_string();
        let mut api_error = ApiError::new(status, text.lines().next().unwrap_or_default());
        if let Error::AnotherCount { found, .. } = error {
            api_error.body["count"] = json!(found);
        }
        api_error
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> ApiError {
        ApiError::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> ApiError {
        ApiError::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> ApiError {
        ApiError::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
