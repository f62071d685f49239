//! TLS on both listeners, new certificates without a restart, and files that can't be used.

use core::net::SocketAddr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::{TempDir, tempdir};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::{Server, outcome, server, until};
use crate::users::{SECRET, hash};

/// A certificate in files, and trust in it.
struct Identity {
    certificate: CertificateDer<'static>,
}

impl Identity {
    /// Makes one and writes it over what is there.
    fn in_files(place: &Path) -> Self {
        let made = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        let CertifiedKey { cert, signing_key } = made;
        fs::write(certificate_file(place), cert.pem()).expect("a file");
        fs::write(key_file(place), signing_key.serialize_pem()).expect("a file");
        Self { certificate: cert.der().clone() }
    }

    fn connect(&self, address: SocketAddr) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let mut connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(core::time::Duration::from_secs(30)))?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}

fn certificate_file(place: &Path) -> PathBuf {
    place.join("certificate.pem")
}

fn key_file(place: &Path) -> PathBuf {
    place.join("key.pem")
}

fn over_tls(place: &TempDir) -> std::process::Command {
    let mut command = server(&place.path().join("data"));
    for listener in ["SERVER", "RESP3"] {
        command.env(format!("STRANDLINE_{listener}__TLS_CERT_FILE"), certificate_file(place.path()));
        command.env(format!("STRANDLINE_{listener}__TLS_KEY_FILE"), key_file(place.path()));
    }
    command
}

/// Sends it, and reads until `end` has come.
fn exchange(stream: &mut StreamOwned<ClientConnection, TcpStream>, text: &str, end: &str) -> String {
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    let mut piece = [0; 1024];
    while !answer.contains(end) {
        let read = stream.read(&mut piece).expect("it answers");
        assert!(read > 0, "closed after {answer:?}");
        answer.push_str(core::str::from_utf8(&piece[..read]).expect("text"));
    }
    answer
}

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn both_listeners_speak_tls_and_nothing_else() {
    let place = tempdir().expect("a directory");
    let identity = Identity::in_files(place.path());
    let server = Server::from(over_tls(&place));
    let (http, resp) = (server.http, server.resp.expect("RESP is on"));
    let mut stream = identity.connect(http).expect("TLS");
    for _ in 0..2 {
        assert!(exchange(&mut stream, LIVEZ, "alive").starts_with("HTTP/1.1 200 OK"));
    }
    let mut stream = identity.connect(resp).expect("TLS");
    assert_eq!(exchange(&mut stream, "SET a 1\r\nGET a\r\n", "\r\n1\r\n"), "+OK\r\n$1\r\n1\r\n");
    for address in [http, resp] {
        let mut plain = TcpStream::connect(address).expect("it listens");
        plain.write_all(LIVEZ.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        // A reset is an end, too.
        drop(plain.read_to_end(&mut answer));
        assert!(!String::from_utf8_lossy(&answer).contains("alive"), "{answer:?}");
    }
    server.stop();
}

#[test]
fn users_show_who_they_are_over_tls() {
    let place = tempdir().expect("a directory");
    let identity = Identity::in_files(place.path());
    let mut command = over_tls(&place);
    command.env("STRANDLINE_RESP3__USERS", format!("ann:{}", hash()));
    let server = Server::from(command);
    let mut stream = identity.connect(server.resp.expect("RESP is on")).expect("TLS");
    let mut ask = |line: &str| exchange(&mut stream, &format!("{line}\r\n"), "\r\n");
    assert!(ask("GET a").starts_with("-NOAUTH "));
    assert!(ask("AUTH ann wrong").starts_with("-WRONGPASS "));
    assert!(ask("GET a").starts_with("-NOAUTH "));
    assert_eq!(ask(&format!("AUTH ann {SECRET}")), "+OK\r\n");
    assert_eq!(ask("SET a 1"), "+OK\r\n");
    assert!(ask("HELLO 3 AUTH ann wrong").starts_with("-WRONGPASS "));
    assert_eq!(ask("INCR a"), ":2\r\n", "who is in stays in");
    let mut other = identity.connect(server.resp.expect("RESP is on")).expect("TLS");
    assert!(exchange(&mut other, "GET a\r\n", "\r\n").starts_with("-NOAUTH "), "nobody else is");
    server.stop();
}

#[test]
fn a_new_certificate_is_taken_on_sighup_and_connections_go_on() {
    let place = tempdir().expect("a directory");
    let first = Identity::in_files(place.path());
    let mut server = Server::from(over_tls(&place));
    let (http, resp) = (server.http, server.resp.expect("RESP is on"));
    let mut kept = [first.connect(http).expect("TLS"), first.connect(resp).expect("TLS")];

    let second = Identity::in_files(place.path());
    server.signal("HUP");
    server.line("certificate and key were read again");
    server.line("certificate and key were read again");
    for address in [http, resp] {
        assert!(first.connect(address).is_err(), "the old certificate is gone");
        second.connect(address).expect("the new one is there");
    }

    fs::write(certificate_file(place.path()), "no certificate").expect("a file");
    server.signal("HUP");
    let line = server.line("certificate and key stay as they were");
    assert!(line["error"].as_str().is_some_and(|error| error.contains("certificate.pem")), "{line}");
    until("it serves", || second.connect(http).is_ok());

    assert!(exchange(&mut kept[0], LIVEZ, "alive").starts_with("HTTP/1.1 200 OK"));
    assert_eq!(exchange(&mut kept[1], "PING\r\n", "PONG\r\n"), "+PONG\r\n");
    server.stop();
}

#[test]
fn a_server_without_tls_outlives_sighup() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    server.signal("HUP");
    assert_eq!(server.ask("PING"), "PONG");
    server.stop();
}

#[test]
fn files_that_can_not_be_used_are_named_in_one_line() {
    let place = tempdir().expect("a directory");
    Identity::in_files(place.path());
    let key = fs::read_to_string(key_file(place.path())).expect("a key");
    let other = generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let other = other.signing_key.serialize_pem();
    let certificate = fs::read_to_string(certificate_file(place.path())).expect("a certificate");
    let rows = [
        (certificate_file(place.path()), "", "certificate.pem: there is no certificate in it"),
        (key_file(place.path()), "", "key.pem"),
        (key_file(place.path()), &*other, "key.pem: it is not the key of"),
    ];
    for (file, content, part) in rows {
        fs::write(certificate_file(place.path()), &certificate).expect("a file");
        fs::write(key_file(place.path()), &key).expect("a file");
        fs::write(file, content).expect("a file");
        let mut command = over_tls(&place);
        command.env("STRANDLINE_LOGGING__FORMAT", "human").args(["--log-level", "error"]);
        let (code, out, err) = outcome(&mut command);
        assert_eq!((code, &*out, err.lines().count()), (Some(1), "", 1), "{err}");
        assert!(err.contains(part), "{part}: {err}");
        assert!(
            !err.contains("PRIVATE") && key.lines().nth(1).is_some_and(|line| !err.contains(line)),
            "{err}"
        );
    }
    fs::remove_file(key_file(place.path())).expect("it is there");
    let (code, _, err) = outcome(&mut over_tls(&place));
    assert!(code == Some(1) && err.contains("key.pem"), "{err}");
    let mut command = over_tls(&place);
    let (code, _, err) = outcome(command.env_remove("STRANDLINE_RESP3__TLS_KEY_FILE"));
    assert!(code == Some(2) && err.contains("TLS needs `resp3.tls_key_file` as well"), "{err}");
}
