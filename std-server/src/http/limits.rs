//! What a request may take: bytes of its head, and time until it is answered.
//!
//! | limit | answer | where |
//! |---|---|---|
//! | address longer than 8 KiB | 414 | here |
//! | header longer than 16 KiB | 431 | here; more than 100 lines, or far longer: the connection's own limits, without a text |
//! | body larger than twice the largest value and 64 KiB | 413 | the body's reader |
//! | body not whole in time | 408 | body.rs |
//! | no answer in time | 503 | here |

use core::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Kind, Problem};
use crate::config::Config;

/// Limits of every request and connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) body_bytes: usize,
    /// Also how long a connection may be idle between two requests.
    pub(super) head_time: Duration,
    /// Also how long a client may not take its answer.
    pub(super) body_time: Duration,
    pub(super) answer_time: Duration,
    pub(super) connections: usize,
}

impl Limits {
    pub(super) const fn new(config: &Config) -> Self {
        Self {
            body_bytes: 2 * config.max_value_bytes + BODY_OVERHEAD,
            head_time: config.http_limits.header_timeout,
            body_time: config.http_limits.body_timeout,
            answer_time: config.http_limits.request_timeout,
            connections: config.http_limits.connections,
        }
    }
}

/// Refuses a head that is too large.
pub(super) async fn bound_head(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let uri_bytes = uri.path_and_query().map_or(0, |path| path.as_str().len());
    if uri_bytes > URI_BYTES {
        return Err(Kind::UriTooLong.says(format!("the address is longer than {URI_BYTES} bytes")));
    }
    let head_bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head_bytes > HEAD_BYTES {
        return Err(Kind::HeadTooLarge.says(format!("the header is longer than {HEAD_BYTES} bytes")));
    }
    Ok(())
}

/// Gives up on an answer that takes too long: what was begun may still be done.
pub(super) async fn bound_time(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    // A snapshot takes as long as it takes, and so does archiving, or reading an archive.
    let path = request.uri().path();
    if path == "/snapshot" || path.starts_with("/archives/") {
        return next.run(request).await;
    }
    let limit = limits.answer_time;
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = format!("no answer within {} s; whether it was done is not known", limit.as_secs());
            Kind::Unanswered.says(text).into_response()
        }
    }
}

const URI_BYTES: usize = 8 << 10;
const HEAD_BYTES: usize = 16 << 10;
/// What a body may be longer than twice the largest value: names, other fields, and some escapes.
const BODY_OVERHEAD: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::middleware::from_fn_with_state;
    use axum::routing::any;
    use hyper::service::Service as _;
    use hyper_util::service::TowerToHyperService;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_takes_too_long_is_given_up_but_for_snapshots() {
        let time = Duration::from_secs(5);
        let limits =
            Limits { body_bytes: 0, head_time: time, body_time: time, answer_time: time, connections: 1 };
        let sleep = |seconds| any(move || tokio::time::sleep(Duration::from_secs(seconds)));
        let router =
            Router::new().route("/fast", sleep(4)).route("/slow", sleep(6)).route("/snapshot", sleep(6));
        let service = TowerToHyperService::new(router.layer(from_fn_with_state(limits, bound_time)));
        for (path, status) in [("/fast", 200), ("/slow", 503), ("/snapshot", 200)] {
            let request = Request::builder().uri(path).body(Body::empty()).expect("a request");
            let answer = service.call(request).await.expect("an answer");
            assert_eq!(answer.status(), status, "{path}");
            let body = to_bytes(answer.into_body(), 1000).await.expect("short");
            let says = core::str::from_utf8(&body).expect("text").contains("no answer within 5 s");
            assert_eq!(says, status == 503, "{path}: {body:?}");
        }
    }

    #[test]
    fn heads_are_refused_above_the_limit_and_not_at_it() {
        let uri = |bytes: usize| format!("/{}", "x".repeat(bytes - 1)).parse::<Uri>().expect("an address");
        let head = |bytes: usize| {
            let mut headers = HeaderMap::new();
            headers.insert("a", "x".repeat(bytes - 1).parse().expect("a value"));
            headers
        };
        let kind = |uri_bytes, head_bytes| check(&uri(uri_bytes), &head(head_bytes)).map_err(|p| p.kind);
        assert_eq!(kind(URI_BYTES, HEAD_BYTES), Ok(()));
        assert_eq!(kind(URI_BYTES + 1, 1), Err(Kind::UriTooLong));
        assert_eq!(kind(1, HEAD_BYTES + 1), Err(Kind::HeadTooLarge));
    }
}
