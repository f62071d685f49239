//! What a client may take: bytes, time, connections; and what it is told.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use serde_json::Value;
use tempfile::tempdir;

use crate::process::{Server, exchange, request, server, until};

/// A server with short deadlines.
fn impatient(data: &std::path::Path) -> Server {
    let mut command = server(data);
    for (name, value) in [("HEADER", "1"), ("BODY", "1"), ("REQUEST", "5")] {
        command.env(format!("STRANDLINE_SERVER__{name}_TIMEOUT_SECS"), value);
    }
    Server::from(command)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

/// All that comes until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    drop(stream.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn what_is_too_large_is_refused_with_its_own_status() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let long = "x".repeat(9 << 10);
    let (status, body) = request(server.http, "GET", &format!("/kv/get/{long}"), "");
    assert_eq!((status, body.contains("8192 bytes")), (414, true), "{body}");
    let (status, body) = request(server.http, "GET", &format!("/{long}"), "");
    let problem: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &problem["type"]), (414, &Value::from("urn:strandline:problem:uri-too-long")));
    let head = format!(
        "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: {}\r\nConnection: close\r\n\r\n",
        "x".repeat(20 << 10)
    );
    let (status, body) = exchange(server.http, &head);
    assert_eq!((status, body.contains("head-too-large")), (431, true), "{body}");
    let head = "POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n";
    let answer = exchange(server.http, head);
    assert_eq!(answer.0, 413, "a length that is too large is refused before it arrives: {}", answer.1);
    assert_eq!(request(server.http, "GET", "/livez", "").0, 200);
}

#[test]
fn a_request_that_trickles_in_is_given_up() {
    let data = tempdir().expect("a directory");
    let server = impatient(data.path());
    let begun = Instant::now();
    let mut slow = connect(server.http);
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n").expect("it reads");
    for _ in 0..40 {
        // One byte at a time does not push the deadline on.
        if slow.write_all(b"X").is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(rest(slow), "", "a head that is never whole has no answer");
    assert!(begun.elapsed() < Duration::from_secs(20));

    let mut slow = connect(server.http);
    slow.write_all(b"POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{\"key\"")
        .expect("it reads");
    let answer = rest(slow);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("not whole within 1 s"), "{answer}");
    assert_eq!(server.ask("DBSIZE"), "0");

    let begun = Instant::now();
    let mut idle = connect(server.http);
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    assert!(rest(idle).starts_with("HTTP/1.1 200 "), "it is answered, then closed because nothing follows");
    assert!((1..20).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn a_body_without_a_length_is_bounded_while_it_arrives() {
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_KV_STORE__MAX_VALUE_SIZE_BYTES", "16");
    let server = Server::from(command);
    let chunked = |bytes: usize| {
        let value = "x".repeat(bytes);
        let head = "POST /kv/set HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
        let body = format!(r#"{{"key":"a","value":"{value}"}}"#);
        format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
    };
    assert_eq!(exchange(server.http, &chunked(16)).0, 200);
    assert_eq!(exchange(server.http, &chunked((1 << 16) + 100)).0, 413);
    let (status, body) = exchange(server.http, &chunked(17));
    assert!(status == 400 && body.contains("maximum allowed size"), "{status} {body}");
}

#[test]
fn a_connection_more_than_there_may_be_is_told_so_and_a_free_place_is_taken() {
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_SERVER__MAX_CONNECTIONS", "2");
    let server = Server::from(command);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let mut piece = [0; 512];
        let read = stream.read(&mut piece).expect("it answers");
        String::from_utf8_lossy(&piece[..read]).into_owned()
    };
    let mut kept = [connect(server.http), connect(server.http)];
    for _ in 0..2 {
        for stream in &mut kept {
            assert!(ask(stream).starts_with("HTTP/1.1 200"), "one connection serves many requests");
        }
    }
    let mut third = connect(server.http);
    let answer = ask(&mut third);
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("too-many-connections"), "{answer}");
    assert_eq!(server.ask("PING"), "PONG");
    drop(third);
    drop(kept);
    until("a place is free", || request(server.http, "GET", "/livez", "").0 == 200);
    assert!(server.metric("strandline_http_turned_away_total") >= 1.0);
}

#[test]
fn a_stop_answers_what_has_begun_and_ends_idle_connections() {
    let data = tempdir().expect("a directory");
    let mut server = Server::start(data.path());
    let idle = connect(server.http);
    let mut begun = connect(server.http);
    begun
        .write_all(b"POST /kv/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 23\r\n\r\n")
        .expect("it reads");
    std::thread::sleep(Duration::from_millis(200));
    server.signal("TERM");
    server.line("stopping");
    begun.write_all(b"{\"key\":\"a\",\"value\":\"v\"}").expect("it still reads");
    let answer = rest(begun);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"written\":true"), "{answer}");
    assert_eq!(rest(idle), "");
    assert!(server.ended().success());
    let server = Server::start(data.path());
    assert_eq!(server.ask("GET a"), "v");
}

#[test]
fn a_client_that_takes_no_answers_costs_little_and_is_closed() {
    const VALUE_BYTES: usize = 1 << 20;
    const REQUESTS: usize = 500;
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_SERVER__BODY_TIMEOUT_SECS", "2").env("STRANDLINE_WAL__MAX_SIZE_MB", "4");
    let server = Server::from(command);
    let body = format!(r#"{{"key":"large","value":"{}"}}"#, "x".repeat(VALUE_BYTES));
    assert_eq!(server.post("/kv/set", &body).0, 200);
    let memory = || server.get("/info").1["memory"]["used_memory_rss"].as_u64().expect("Linux says so");
    let before = memory();
    let mut greedy = connect(server.http);
    let requests = "GET /kv/get/large HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(REQUESTS);
    greedy.write_all(requests.as_bytes()).expect("it reads");
    assert!(server.metric("strandline_http_connections") >= 2.0);
    let mut most = 0;
    until("it is closed", || {
        most = most.max(memory());
        // Only the connection that asks is left.
        server.metric("strandline_http_connections") <= 1.0
    });
    let answers = REQUESTS * VALUE_BYTES;
    assert!(most < before + answers as u64 / 8, "{before} bytes before, {most} at most");
    assert!(rest(greedy).len() < answers, "it was not served to the end");
}
