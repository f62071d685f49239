//! Before recovery has finished both listeners answer, and say how far it is.

use core::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use std_server::config::{Config, Flags};
use std_server::engine::{DurableEngine, Facts};
use std_server::resp::ListenerLimits;
use std_server::{http, resp};
use tempfile::tempdir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::process::{Client, request};

/// An engine with its listeners; recovery is begun by the test.
async fn listen(data: &Path) -> (Arc<DurableEngine>, SocketAddr, SocketAddr, CancellationToken) {
    let flags = Flags { data_dir: Some(data.to_owned()), ..Flags::default() };
    let small = [("STRANDLINE_WAL__MAX_SIZE_MB".into(), "1".into())];
    let config = Config::load(&flags, small, data).expect("a configuration").config;
    let http_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let resp_listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let http = http_listener.local_addr().expect("an address");
    let resp = resp_listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let facts = Facts { config, http, resp: Some(resp), started: Instant::now() };
    let engine = Arc::new(DurableEngine::new(facts, stop.clone()));
    let door = http::Door { pages: http::Pages::All, tls: None, traffic: Arc::default() };
    tokio::spawn(http::serve(http_listener, door, Arc::clone(&engine), stop.clone()));
    tokio::spawn(resp::serve(resp_listener, Arc::clone(&engine), ListenerLimits::default(), stop.clone()));
    (engine, http, resp, stop)
}

#[test]
fn until_recovery_has_finished_everyone_is_told_so() {
    let data = tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (engine, http, resp, stop) = runtime.block_on(listen(data.path()));
    let mut client = Client::connect(resp);
    for line in ["GET a", "SET a 1", "DBSIZE", "SAVE"] {
        let reply = client.ask(line);
        assert!(reply.starts_with("-LOADING ") && reply.contains('%'), "{line}: {reply}");
    }
    assert_eq!(client.ask("ECHO here"), "here", "what needs no data is answered");
    assert!(client.ask("INFO persistence").contains("loading:1"));
    let rows = [
        ("GET", "/livez", 200),
        ("GET", "/readyz", 503),
        ("GET", "/metrics", 200),
        ("GET", "/health", 503),
        ("GET", "/kv/get/a", 503),
        ("GET", "/kv/stats", 503),
        ("GET", "/info", 503),
        ("POST", "/snapshot", 503),
    ];
    for (method, path, expected) in rows {
        assert_eq!(request(http, method, path, "").0, expected, "{path}");
    }
    let (_, body) = request(http, "GET", "/readyz", "");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(body["status"], "loading");
    assert!(body["percent"].is_u64());

    engine.recover(None).expect("an empty directory");
    assert_eq!(client.ask("SET a 1"), "OK");
    assert_eq!(request(http, "GET", "/readyz", "").0, 200);
    stop.cancel();
    runtime.block_on(engine.close()).expect("closed");
}
