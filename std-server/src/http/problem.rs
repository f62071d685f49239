//! Every error of HTTP: a kind, which fixes status and type, and a sentence.
//!
//! ```text
//!  Problem ─► {"error": …, "code": …}                         as Synap words it, on Synap's paths
//!        └──► {"type", "title", "status", "detail"}  RFC 9457, on every other path (`shape`)
//! ```

use axum::extract::Request;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use crate::command::Refusal;

/// Why a request was not carried out.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    pub(super) kind: Kind,
    pub(super) text: String,
}

/// What an error is about. The type of a problem document is its name and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    BadRequest,
    Unauthenticated,
    ForeignPage,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    BodyTooLarge,
    UriTooLong,
    HeadTooLarge,
    Conflict,
    Diverged,
    Internal,
    Loading,
    Halted,
    Unanswered,
    TooManyReaders,
    NoSpace,
}

impl Kind {
    /// Status, name, title.
    const fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad-request", "The request is not well formed"),
            Self::Unauthenticated => {
                (StatusCode::UNAUTHORIZED, "unauthenticated", "Nobody knows who you are")
            }
            Self::ForeignPage => {
                (StatusCode::FORBIDDEN, "foreign-page", "The request is from a page of another server")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Another method is taken here")
            }
            Self::RequestTimeout => {
                (StatusCode::REQUEST_TIMEOUT, "request-timeout", "The request took too long to arrive")
            }
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "The body is too large"),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "uri-too-long", "The address is too long"),
            Self::HeadTooLarge => {
                (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", "The header is too large")
            }
            Self::Conflict => (StatusCode::CONFLICT, "conflict", "The server is not set up for this"),
            Self::Diverged => (StatusCode::CONFLICT, "diverged", "What the cursor has seen is void"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal", "The server failed"),
            Self::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading", "Recovery is running"),
            Self::Halted => (StatusCode::SERVICE_UNAVAILABLE, "halted", "The log has halted"),
            Self::Unanswered => {
                (StatusCode::SERVICE_UNAVAILABLE, "unanswered", "The request took too long to answer")
            }
            Self::TooManyReaders => {
                (StatusCode::SERVICE_UNAVAILABLE, "too-many-readers", "There are too many readers of events")
            }
            Self::NoSpace => (StatusCode::INSUFFICIENT_STORAGE, "no-space", "There is no space"),
        }
    }
}

impl Kind {
    pub(super) fn says(self, text: impl Into<String>) -> Problem {
        Problem { kind: self, text: text.into() }
    }
}

impl From<Refusal> for Problem {
    /// The first word of a refusal says what kind it is.
    fn from(refusal: Refusal) -> Self {
        if refusal == Refusal::NO_SUCH_KEY {
            return Kind::NotFound.says("Key not found");
        }
        let line = refusal.to_string();
        let (code, sentence) = line.split_once(' ').unwrap_or(("", &line));
        match code {
            "OOM" => Kind::NoSpace.says(sentence),
            "LOADING" => Kind::Loading.says(sentence),
            "MISCONF" => Kind::Halted.says(sentence),
            "IOERR" => Kind::Internal.says(sentence),
            "ERR" => Kind::BadRequest.says(sentence),
            _ => Kind::BadRequest.says(line),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        let kind = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Kind::BodyTooLarge,
            _ => Kind::BadRequest,
        };
        kind.says(rejection.body_text())
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Kind::BadRequest.says(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Kind::BadRequest.says(rejection.body_text())
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        Kind::BadRequest.says(format!("the body is not what was expected: {error}"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, _, _) = self.kind.row();
        let body = json!({ "error": self.text, "code": status.as_u16() });
        let mut response = Json(status, body).into_response();
        if self.kind == Kind::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, CHALLENGE);
        }
        if matches!(self.kind, Kind::RequestTimeout | Kind::BodyTooLarge) {
            // What is left of the body would be taken for the next request.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives every error the shape that belongs to its path.
pub(super) async fn shape(request: Request, next: Next) -> Response {
    let is_synap = is_synap(request.uri().path());
    let mut response = next.run(request).await;
    let problem = response.extensions_mut().remove::<Problem>();
    let Some(Problem { kind, text }) = problem.filter(|_| !is_synap) else { return response };
    let (status, name, title) = kind.row();
    let kind = format!("{TYPE_PREFIX}{name}");
    let body = json!({ "type": kind, "title": title, "status": status.as_u16(), "detail": text });
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    Response::from_parts(parts, body.to_string().into())
}

/// Whether Synap has this path, too.
fn is_synap(path: &str) -> bool {
    let (first, rest) = path.trim_start_matches('/').split_once('/').unzip();
    let first = first.unwrap_or(path.trim_start_matches('/'));
    let is_below = matches!(first, "kv" | "key" | "api") && rest.is_some();
    is_below || matches!(path, "/snapshot" | "/snapshots" | "/health" | "/info" | "/metrics")
}

/// An answer.
pub(super) struct Json<T>(pub(super) StatusCode, pub(super) T);

impl<T> Json<T> {
    pub(super) const fn ok(value: T) -> Self {
        Self(StatusCode::OK, value)
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.1) {
            Ok(body) => (self.0, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Kind::Internal.says(error.to_string()).into_response(),
        }
    }
}

const CHALLENGE: HeaderValue =
    HeaderValue::from_static("Basic realm=\"std-server\", charset=\"UTF-8\", Bearer realm=\"std-server\"");
/// What the type of every problem document begins with.
const TYPE_PREFIX: &str = "urn:strandline:problem:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_tells_whose_shape_an_error_has() {
        for path in ["/kv/set", "/key/a/type", "/api/v1/command", "/snapshot", "/metrics", "/kv/"] {
            assert!(is_synap(path), "{path}");
        }
        for path in ["/", "/livez", "/readyz", "/openapi.json", "/kvs/set", "/kv", "/snapshot/x", "/nowhere"]
        {
            assert!(!is_synap(path), "{path}");
        }
    }
}
