//! Answers that are errors: a status and `{"error": …}`.

use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::store::Error;

/// An answer that is an error.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    /// What the page is told.
    pub body: Value,
}

impl Failure {
    /// With a sentence for people.
    pub fn new(status: StatusCode, what: impl ToString) -> Failure {
        Failure {
            status,
            body: json!({ "error": what.to_string() }),
        }
    }

    /// The request makes no sense.
    pub fn bad(what: impl ToString) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, what)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match error {
            Error::NoTask { .. } | Error::NoInstance { .. } | Error::NoGroup { .. } => StatusCode::NOT_FOUND,
            Error::NotAnAction => StatusCode::BAD_REQUEST,
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
        // Hints speak of commands; the page has keys instead.
        let text = error.to_string();
        let mut failure = Failure::new(status, text.lines().next().unwrap_or_default());
        if let Error::AnotherCount { found, .. } = error {
            failure.body["count"] = json!(found);
        }
        failure
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Failure {
        Failure::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
