//! Every error of HTTP: a status and `{"error": …}`.

use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::command::Refusal;

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    pub(super) const fn bad_request(text: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, text }
    }

    pub(super) const fn forbidden(text: String) -> Self {
        Self { status: StatusCode::FORBIDDEN, text }
    }

    pub(super) const fn not_found(text: String) -> Self {
        Self { status: StatusCode::NOT_FOUND, text }
    }

    pub(super) const fn method(text: String) -> Self {
        Self { status: StatusCode::METHOD_NOT_ALLOWED, text }
    }
}

impl From<Refusal> for Problem {
    /// The first word of a refusal says what kind it is.
    fn from(refusal: Refusal) -> Self {
        let line = refusal.to_string();
        let (code, sentence) = line.split_once(' ').unwrap_or(("", &line));
        let (status, text) = match code {
            "OOM" => (StatusCode::INSUFFICIENT_STORAGE, sentence),
            "LOADING" | "MISCONF" => (StatusCode::SERVICE_UNAVAILABLE, sentence),
            "IOERR" => (StatusCode::INTERNAL_SERVER_ERROR, sentence),
            "ERR" => (StatusCode::BAD_REQUEST, sentence),
            _ => (StatusCode::BAD_REQUEST, &*line),
        };
        Self { status, text: text.to_owned() }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Self { status: rejection.status(), text: rejection.body_text() }
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Self::bad_request(format!("the body is not what was expected: {error}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Json(self.status, json!({ "error": self.text })).into_response()
    }
}

/// An answer.
pub(super) struct Json(pub(super) StatusCode, pub(super) Value);

impl Json {
    pub(super) const fn ok(value: Value) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        let content_type = [(header::CONTENT_TYPE, "application/json")];
        (self.0, content_type, self.1.to_string()).into_response()
    }
}
