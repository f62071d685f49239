//! The OpenAPI document, the routes and the guide say the same.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use tempfile::tempdir;

use crate::process::{Server, request, server};

/// `METHOD /path` of every operation in the document.
fn operations(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().expect("methods").keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    methods.collect()
}

/// `METHOD /path` at the beginning of a row of the guide's tables.
fn guide() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/HTTP.md");
    let text = std::fs::read_to_string(path).expect("the guide");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let is_operation = |row: &&str| row.split_once(" /").is_some_and(|(method, _)| method.len() > 2);
    rows.filter(is_operation).map(str::to_owned).collect()
}

#[test]
fn the_document_and_the_guide_name_the_same_operations() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let (status, document) = server.get("/openapi.json");
    assert_eq!((status, document["openapi"].as_str()), (200, Some("3.1.0")));
    assert_eq!(operations(&document), guide());
}

#[test]
fn every_operation_of_the_document_is_routed_and_takes_no_other_method() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    let documented = operations(&server.get("/openapi.json").1);
    assert!(documented.len() > 20, "{documented:?}");
    for operation in &documented {
        let (method, path) = operation.split_once(' ').expect("two words");
        let path = path.replace("{key}", "k").replace("/events/tail", "/events/tail?limit=0");
        let (status, body) = request(server.http, method, &path, "");
        assert!(status != 405 && !body.contains("there is nothing at"), "{operation}: {status} {body}");
        for other in ["POST", "PUT", "PATCH", "DELETE"] {
            if !documented.contains(&format!("{other} {}", operation.split_once(' ').expect("two").1)) {
                assert_eq!(request(server.http, other, &path, "").0, 405, "{other} {path}");
            }
        }
    }
}

#[test]
fn the_operators_pages_move_to_a_listener_of_their_own() {
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_ADMIN__ENABLED", "true").env("STRANDLINE_ADMIN__PORT", "0");
    let (server, earlier) = Server::with_earlier_lines(command);
    let line = earlier.iter().find(|line| line["admin"].is_string()).expect("it says where");
    let admin = line["admin"].as_str().expect("text").parse().expect("an address");
    let (_, body) = request(admin, "GET", "/openapi.json", "");
    let operator = operations(&serde_json::from_str(&body).expect("JSON"));
    let clients = operations(&server.get("/openapi.json").1);
    for (operation, on_both) in [
        ("GET /metrics", false),
        ("POST /snapshot", false),
        ("GET /snapshots", false),
        ("GET /health", true),
        ("GET /info", true),
        ("GET /livez", true),
        ("GET /readyz", true),
    ] {
        let (method, path) = operation.split_once(' ').expect("two words");
        assert_eq!(request(admin, method, path, "").0, 200, "{operation}");
        assert!(operator.contains(operation), "{operation}");
        assert_eq!(clients.contains(operation), on_both, "{operation}");
        assert_eq!(request(server.http, method, path, "").0, if on_both { 200 } else { 404 }, "{operation}");
    }
    assert!(clients.contains("POST /kv/set") && !operator.contains("POST /kv/set"));
    assert_eq!(request(admin, "GET", "/kv/get/a", "").0, 404);
}
