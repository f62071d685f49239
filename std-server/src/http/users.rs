//! Who may ask: users by Basic, or by Bearer with a token `NAME.SECRET`; everybody where there are no users.
//!
//! /livez and /readyz are open: who watches over processes knows no passwords.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64ct::{Base64, Encoding as _};

use super::Site;
use super::problem::Kind;

/// Refuses everybody who is no user.
pub(super) async fn refuse_strangers(State(site): State<Site>, request: Request, next: Next) -> Response {
    if site.users.is_empty() || matches!(request.uri().path(), "/livez" | "/readyz") {
        return next.run(request).await;
    }
    let Some((name, secret)) = presented(request.headers()) else {
        let text = "send `Authorization: Basic` with name and password, or `Bearer NAME.SECRET`";
        return Kind::Unauthenticated.says(text).into_response();
    };
    match site.users.authenticate(&name, &secret).await {
        Some(_) => next.run(request).await,
        None => Kind::Unauthenticated.says("there is no such user with this secret").into_response(),
    }
}

/// Name and secret, if they are there and well formed.
fn presented(headers: &HeaderMap) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, rest) = value.to_str().ok()?.split_once(' ')?;
    let rest = rest.trim_matches(' ');
    let (pair, between) = if scheme.eq_ignore_ascii_case("Basic") {
        (Base64::decode_vec(rest).ok()?, b':')
    } else if scheme.eq_ignore_ascii_case("Bearer") {
        (rest.as_bytes().to_vec(), b'.')
    } else {
        return None;
    };
    let at = pair.iter().position(|byte| *byte == between)?;
    Some((pair[..at].to_vec(), pair[at + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_it_is_stands_in_one_well_formed_header() {
        let shown = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
            }
            presented(&headers).map(|(name, secret)| {
                (String::from_utf8_lossy(&name).into_owned(), String::from_utf8_lossy(&secret).into_owned())
            })
        };
        let ann = |secret: &str| Some(("ann".to_owned(), secret.to_owned()));
        assert_eq!(shown(&["Basic YW5uOmh1bnRlcjI="]), ann("hunter2"));
        assert_eq!(shown(&["basic  YW5uOmE6Yg=="]), ann("a:b"));
        assert_eq!(shown(&["Basic YW5uOg=="]), ann(""));
        assert_eq!(shown(&["Bearer ann.hunter2.x"]), ann("hunter2.x"));
        for bad in ["", "Basic", "Basic YW5u", "Basic !", "Bearer ann", "Digest YW5uOmh1bnRlcjI="] {
            assert_eq!(shown(&[bad]), None, "{bad}");
        }
        assert_eq!(shown(&["Bearer ann.x", "Bearer ann.x"]), None);
        assert_eq!(shown(&[]), None);
    }
}
