//! Requests that a web page makes a browser send: where nobody has to log in, any page could write here.
//!
//! | header | taken | refused because |
//! |---|---|---|
//! | `Host` | none, an IP address, `localhost`, `server.name`; any where there are users | a name that a page rebinds to this address makes the browser believe that the page is from here |
//! | `Origin` | none, or what `Host` says | the page is from elsewhere; only asked where something changes |
//!
//! Programs send no `Origin`, and the address that they connect to as `Host`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use core::net::{Ipv4Addr, Ipv6Addr};

use super::Site;
use super::problem::Kind;

/// Refuses what a foreign page has sent.
pub(super) async fn refuse_foreign_pages(State(site): State<Site>, request: Request, next: Next) -> Response {
    // Where somebody has to log in, another name is of no use: a browser has no password for it.
    let any_host = !site.users.is_empty();
    let name = site.engine.facts().config.server_name.as_deref();
    match check(request.method(), request.headers(), |host| any_host || is_ours(host, name)) {
        Ok(()) => next.run(request).await,
        Err(why) => Kind::ForeignPage.says(why).into_response(),
    }
}

fn check(method: &Method, headers: &HeaderMap, is_ours: impl Fn(&str) -> bool) -> Result<(), String> {
    let host = single(headers, &header::HOST)?;
    if let Some(host) = host.filter(|host| !is_ours(host)) {
        return Err(format!(
            "Host {host:?} is not this server: use its address or localhost, or set server.name to that name"
        ));
    }
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let Some(origin) = single(headers, &header::ORIGIN)? else { return Ok(()) };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    match (authority, host) {
        (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(format!("a page of Origin {origin:?} may not change anything here")),
    }
}

/// The only header of this name, if there is one.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(|value| value.to_str().map_err(|_| format!("{name} is no text")));
    if values.next().is_some() { Err(format!("{name} stands more than once")) } else { first.transpose() }
}

/// Whether a `Host` names this server. Its port does not matter: a page can't choose where a name leads by it.
fn is_ours(host: &str, name: Option<&str>) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, rest)| {
            address.parse::<Ipv6Addr>().is_ok() && (rest.is_empty() || is_port(rest))
        });
    }
    let end = host.find(':').unwrap_or(host.len());
    let (host, port) = host.split_at(end);
    (port.is_empty() || is_port(port))
        && (host.parse::<Ipv4Addr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || name.is_some_and(|name| host.eq_ignore_ascii_case(name)))
}

fn is_port(rest: &str) -> bool {
    rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_localhost_and_the_configured_name_are_this_server() {
        for ours in [
            "127.0.0.1",
            "127.0.0.1:15500",
            "[::1]:15500",
            "[::1]",
            "localhost:1",
            "LocalHost",
            "KV.example:8",
        ] {
            assert!(is_ours(ours, Some("kv.example")), "{ours}");
        }
        for other in [
            "",
            "kv.example",
            "evil.example:15500",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "[::1].evil",
            "[::1",
            "127.0.0.1:x",
        ] {
            assert!(!is_ours(other, None), "{other}");
        }
    }

    #[test]
    fn what_is_taken_and_what_is_refused() {
        type Row = (Method, &'static [(&'static str, &'static str)], bool);
        let rows: [Row; 12] = [
            (Method::POST, &[], true),
            (Method::POST, &[("host", "127.0.0.1:15500")], true),
            (Method::POST, &[("host", "localhost:15500"), ("origin", "http://localhost:15500")], true),
            (Method::POST, &[("host", "localhost:15500"), ("origin", "http://localhost:3000")], false),
            (Method::POST, &[("host", "127.0.0.1:15500"), ("origin", "https://evil.example")], false),
            (Method::POST, &[("host", "127.0.0.1:15500"), ("origin", "null")], false),
            (Method::DELETE, &[("origin", "https://evil.example")], false),
            (Method::POST, &[("host", "evil.example"), ("origin", "http://evil.example")], false),
            (Method::GET, &[("host", "evil.example")], false),
            (Method::GET, &[("host", "127.0.0.1"), ("origin", "https://evil.example")], true),
            (Method::POST, &[("host", "127.0.0.1"), ("host", "evil.example")], false),
            (
                Method::POST,
                &[("host", "127.0.0.1"), ("origin", "http://127.0.0.1"), ("origin", "null")],
                false,
            ),
        ];
        for (method, headers, taken) in rows {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(HeaderName::from_static(name), value.parse().expect("a value"));
            }
            assert_eq!(
                check(&method, &map, |host| is_ours(host, None)).is_ok(),
                taken,
                "{method} {headers:?}"
            );
        }
    }
}
