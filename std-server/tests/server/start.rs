//! Starts that succeed, and starts that are refused with one clear line.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::tempdir;

use crate::process::{Client, Server, outcome, server};

/// The only line that a refused start leaves besides the addresses it listened on.
fn refusal(command: &mut std::process::Command) -> String {
    command.env("STRANDLINE_LOGGING__FORMAT", "human").args(["--log-level", "error"]);
    let (code, out, err) = outcome(command);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    err
}

#[test]
fn the_start_message_says_where_the_data_is_and_what_to_try() {
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_LOGGING__FORMAT", "human");
    let mut child = command.spawn().expect("the binary runs");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    let message: Vec<_> = (0..8).map(|_| lines.next().expect("a line").expect("text")).collect();
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let message = message.join("\n");
    for part in
        ["is ready", &data.path().display().to_string(), "recovered", "redis-cli", "curl http://127.0.0.1:"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn a_taken_port_is_named() {
    let data = tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    for flag in ["--http", "--resp"] {
        let mut command = crate::process::binary(data.path(), &["serve"]);
        let other = if flag == "--http" { "--resp" } else { "--http" };
        command.args([flag, &address, other, "127.0.0.1:0"]);
        let line = refusal(&mut command);
        assert!(line.contains(&address) && line.contains(flag), "{line}");
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let data = tempdir().expect("a directory");
    let first = Server::start(data.path());
    let line = refusal(&mut server(data.path()));
    assert!(line.contains("in use by another process") && line.contains("--data-dir"), "{line}");
    assert_eq!(first.ask("PING"), "PONG");
}

#[test]
fn a_directory_that_can_not_be_made_is_named() {
    let data = tempdir().expect("a directory");
    let file = data.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let line = refusal(&mut server(&file));
    assert!(line.contains(&file.display().to_string()) && line.contains("--data-dir"), "{line}");
}

#[test]
fn files_are_for_the_owner_only() {
    let data = tempdir().expect("a directory");
    let place = data.path().join("made/by/the/server");
    let running = Server::start(&place);
    assert_eq!(running.post("/snapshot", "").0, 200);
    running.stop();
    let mut files = 0;
    check(&place, &mut files);
    assert!(files > 4, "manifest files, segments, a snapshot");

    fn check(place: &Path, files: &mut usize) {
        for entry in fs::read_dir(place).expect("a directory") {
            let path = entry.expect("an entry").path();
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                check(&path, files);
            } else {
                assert_eq!(mode, 0o600, "{}", path.display());
                *files += 1;
            }
        }
    }
}

#[test]
fn without_persistence_nothing_touches_the_disk() {
    let data = tempdir().expect("a directory");
    let place = data.path().join("never");
    let mut command = server(&place);
    command.env("STRANDLINE_PERSISTENCE__ENABLED", "false");
    let running = Server::from(command);
    assert_eq!(running.ask("SET k v"), "OK");
    assert_eq!(running.ask("GET k"), "v");
    assert!(running.ask("SAVE").starts_with("-ERR persistence is switched off"));
    assert_eq!(running.post("/snapshot", "").0, 400);
    assert_eq!(running.get("/readyz").0, 200);
    running.stop();
    assert!(!place.exists());
}

#[test]
fn without_resp_only_http_listens() {
    let data = tempdir().expect("a directory");
    let mut command = crate::process::binary(data.path(), &["--http", "127.0.0.1:0"]);
    command.env("STRANDLINE_RESP3__ENABLED", "false");
    let running = Server::from(command);
    assert_eq!(running.resp, None);
    assert_eq!(running.post("/kv/set", r#"{"key":"k","value":"v"}"#).0, 200);
    running.stop();
}

#[test]
fn more_clients_than_threads_are_served() {
    let data = tempdir().expect("a directory");
    let running = Server::start(data.path());
    let mut clients: Vec<Client> = (0..50).map(|_| running.client()).collect();
    for client in &mut clients {
        client.ask("INCR n");
    }
    assert_eq!(clients[0].ask("GET n"), "50");
    running.stop();
}

/// The same server under a shell's limit of open files.
fn limited(ulimit: &str, data: &Path) -> Server {
    let server = server(data);
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(format!("ulimit {ulimit} && exec \"$0\" \"$@\"")).arg(server.get_program());
    command.args(server.get_args());
    command.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Server::from(command)
}

#[test]
fn a_soft_limit_of_open_files_is_raised() {
    let data = tempdir().expect("a directory");
    let server = limited(
        "-S -n 160 && ulimit -H -n 500 && export STRANDLINE_RESP3__MAX_CLIENTS=300 STRANDLINE_SERVER__MAX_CONNECTIONS=50",
        data.path(),
    );
    let mut clients: Vec<_> = (0..300).map(|_| server.client()).collect();
    assert_eq!(clients[0].ask("CONFIG GET maxclients"), "[maxclients 300]");
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "PONG"));
}

#[test]
fn a_hard_limit_of_open_files_lowers_the_number_of_clients_and_says_so() {
    let data = tempdir().expect("a directory");
    let server = limited("-n 148", data.path());
    let mut clients: Vec<_> = (0..15).map(|_| server.client()).collect();
    assert_eq!(clients[0].ask("CONFIG GET maxclients"), "[maxclients 15]");
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "PONG"));
    assert_eq!(server.client().reply(), "-ERR max number of clients reached");
    assert_eq!(server.get("/health").0, 200, "HTTP still has room");
}
