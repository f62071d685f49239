//! Who may come in over HTTP, and that nothing secret is ever written.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::tempdir;

use crate::process::{Server, binary, exchange, outcome, server};

pub(crate) const SECRET: &str = "correct-horse.battery";

/// What `hash-password` prints for the secret.
pub(crate) fn hash() -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
    command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    child.stdin.take().expect("piped").write_all(SECRET.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

fn config(place: &Path, hash: &str) -> std::path::PathBuf {
    let file = place.join("server.yaml");
    fs::write(&file, format!("server:\n  users:\n    ann: {hash}\n")).expect("a file");
    file
}

/// The status of a request with this header.
fn ask(server: &Server, method: &str, path: &str, authorization: &str) -> (u16, String) {
    let line =
        if authorization.is_empty() { String::new() } else { format!("Authorization: {authorization}\r\n") };
    exchange(
        server.http,
        &format!("{method} {path} HTTP/1.1\r\nHost: anything.example\r\n{line}Connection: close\r\n\r\n"),
    )
}

#[test]
fn only_users_come_in_and_probes_need_no_password() {
    let place = tempdir().expect("a directory");
    let file = config(place.path(), &hash());
    let mut command = server(&place.path().join("data"));
    command.arg("--config").arg(&file);
    let server = Server::from(command);
    let basic = format!("Basic {}", base64(&format!("ann:{SECRET}")));
    let bearer = format!("Bearer ann.{SECRET}");
    for _ in 0..2 {
        for right in [&basic, &bearer] {
            assert_eq!(ask(&server, "GET", "/kv/get/a", right).0, 200, "{right}");
        }
        let wrong = [
            String::new(),
            format!("Basic {}", base64("ann:wrong")),
            format!("Basic {}", base64(&format!("eve:{SECRET}"))),
            "Bearer ann.wrong".to_owned(),
            format!("Bearer {SECRET}"),
            "Negotiate x".to_owned(),
        ];
        for wrong in &wrong {
            for path in ["/kv/get/a", "/metrics", "/info", "/openapi.json", "/nowhere"] {
                let (status, body) = ask(&server, "GET", path, wrong);
                assert_eq!(status, 401, "{path} {wrong}: {body}");
                assert!(!body.contains(SECRET) && !body.contains("argon2"), "{body}");
            }
            assert_eq!(ask(&server, "POST", "/snapshot", wrong).0, 401, "{wrong}");
        }
    }
    for open in ["/livez", "/readyz"] {
        assert_eq!(ask(&server, "GET", open, "").0, 200, "{open}");
    }
    assert_eq!(server.ask("PING"), "PONG", "the other listener has no users");
}

#[test]
fn a_refusal_says_how_to_log_in() {
    let place = tempdir().expect("a directory");
    let file = config(place.path(), &hash());
    let mut command = server(&place.path().join("data"));
    command.arg("--config").arg(&file);
    let server = Server::from(command);
    let mut stream = std::net::TcpStream::connect(server.http).expect("it listens");
    stream
        .write_all(b"GET /kv/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).expect("it answers");
    let head = answer.to_ascii_lowercase();
    assert!(head.contains("\r\nwww-authenticate: basic realm=\"std-server\""), "{answer}");
    assert!(head.contains("bearer"), "{answer}");
}

#[test]
fn secrets_are_in_no_line_that_is_written() {
    let place = tempdir().expect("a directory");
    let hash = hash();
    let file = config(place.path(), &hash);
    let salt_and_hash: Vec<&str> = hash.rsplit('$').take(2).collect();
    let secrets = [SECRET, &hash, salt_and_hash[0], salt_and_hash[1]];
    let clean = |what: &str, text: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "{what} holds a secret: {text}");
        }
    };
    for arguments in [["config", "show"], ["config", "check"]] {
        let mut command = binary(&place.path().join("data"), &arguments);
        let (code, out, err) = outcome(command.arg("--config").arg(&file));
        assert_eq!(code, Some(0), "{err}");
        clean(arguments[1], &(out + &err));
    }
    let mut command = server(&place.path().join("data"));
    command.arg("--config").arg(&file).args(["--log-level", "trace"]);
    let (mut server, mut lines) = Server::with_earlier_lines(command);
    for authorization in [
        format!("Basic {}", base64(&format!("ann:{SECRET}"))),
        format!("Bearer eve.{SECRET}"),
        SECRET.to_owned(),
    ] {
        clean("an answer", &ask(&server, "GET", "/info", &authorization).1);
        clean("an answer", &ask(&server, "GET", "/nowhere", &authorization).1);
    }
    server.ask(&format!("AUTH ann {SECRET}"));
    server.ask("CONFIG GET *");
    server.signal("TERM");
    assert!(server.ended().success());
    lines.extend(server.rest_of_lines());
    assert!(lines.len() > 4, "{lines:?}");
    clean("the log", &serde_json::Value::from(lines).to_string());

    let wrong = place.path().join("wrong.yaml");
    fs::write(&wrong, format!("auth:\n  password: {SECRET}\nserver:\n  users:\n    ann: {SECRET}\n"))
        .expect("a file");
    let mut command = binary(&place.path().join("data"), &["serve"]);
    let (code, out, err) = outcome(command.arg("--config").arg(&wrong));
    assert_eq!(code, Some(2), "{err}");
    clean("an error", &(out + &err));
}

#[test]
fn listening_elsewhere_without_users_is_refused_by_one_problem_that_says_how() {
    let place = tempdir().expect("a directory");
    let mut command = binary(place.path(), &["serve", "--http", "0.0.0.0:0", "--resp", "127.0.0.1:0"]);
    let (code, _, err) = outcome(&mut command);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("0.0.0.0 is refused") && err.contains("hash-password"), "{err}");
    let mut command = binary(place.path(), &["serve", "--http", "127.0.0.1:0", "--resp", "127.0.0.1:0"]);
    command.env("STRANDLINE_ADMIN__ENABLED", "true").env("STRANDLINE_ADMIN__HOST", "0.0.0.0");
    let (code, _, err) = outcome(&mut command);
    assert!(code == Some(2) && err.contains("`admin.host`: 0.0.0.0 is refused"), "{err}");
}

fn base64(text: &str) -> String {
    <base64ct::Base64 as base64ct::Encoding>::encode_string(text.as_bytes())
}
