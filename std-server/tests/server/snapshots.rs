//! Snapshots by hand and by threshold, and what restarts make of them.

use std::fs;
use std::path::Path;

use tempfile::tempdir;

use crate::process::{Server, server, until};

fn listed(server: &Server) -> Vec<serde_json::Value> {
    let (status, answer) = server.get("/snapshots");
    assert_eq!(status, 200);
    answer["snapshots"].as_array().expect("a list").clone()
}

#[test]
fn a_snapshot_by_hand_is_a_file_with_a_base() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    assert_eq!(server.ask("SET a 1"), "OK");
    assert_eq!(server.ask("SET b 2"), "OK");
    let (status, answer) = server.post("/snapshot", "");
    assert_eq!((status, &answer["success"], &answer["keys"]), (200, &true.into(), &2.into()));
    assert_eq!(answer["base_lsn"], 3);
    let path = Path::new(answer["snapshot_path"].as_str().expect("a path"));
    assert_eq!(answer["size_bytes"], fs::metadata(path).expect("the file").len());
    assert_eq!(server.ask("SET c 3"), "OK");
    let rows = listed(&server);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["path"], answer["snapshot_path"]);
    let created = rows[0]["created_at"].as_str().expect("a time");
    assert!(created.starts_with("20") && created.ends_with('Z'), "RFC 3339: {created}");
    server.kill();

    let mut server = Server::start(data.path());
    assert_eq!(server.ask("MGET a b c"), "[1 2 3]");
    assert_eq!(listed(&server).len(), 1);
    server.signal("TERM");
    assert!(server.ended().success());
}

#[test]
fn save_bgsave_and_lastsave() {
    let data = tempdir().expect("a directory");
    let server = Server::start(data.path());
    assert_eq!(server.ask("SET a 1"), "OK");
    assert_eq!(server.ask("SAVE"), "OK");
    assert_eq!(listed(&server).len(), 1);
    assert_eq!(server.ask("SET a 2"), "OK");
    assert_eq!(server.ask("BGSAVE"), "Background saving started");
    until("the second snapshot counts", || listed(&server).len() == 2);
    let last: u64 = server.ask("LASTSAVE").parse().expect("seconds");
    let now: u64 =
        server.ask("TIME").trim_start_matches('[').split(' ').next().expect("s").parse().expect("s");
    assert!(last <= now && now - last < 60, "{last} {now}");
}

#[test]
fn an_operation_threshold_takes_snapshots_and_keeps_as_many_as_configured() {
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_SNAPSHOT__OPERATION_THRESHOLD", "50").env("STRANDLINE_SNAPSHOT__KEEP_COUNT", "2");
    let server = Server::from(command);
    let mut client = server.client();
    for round in 1..=4 {
        (0..50).for_each(|number| assert_eq!(client.ask(&format!("SET k:{number} {round}")), "OK"));
        let made = f64::from(round);
        until("a snapshot", || server.metric("strandline_snapshots_made_total") >= made);
    }
    until("older ones are removed", || {
        fs::read_dir(data.path().join("snapshots")).expect("there").count() == 2
    });
    assert_eq!(listed(&server).len(), 2);
    server.kill();
    let server = Server::start(data.path());
    assert_eq!(server.ask("MGET k:0 k:49"), "[4 4]");
}

#[test]
fn a_damaged_newest_snapshot_falls_back_loudly() {
    let data = tempdir().expect("a directory");
    let running = Server::start(data.path());
    assert_eq!(running.ask("SET a 1"), "OK");
    running.post("/snapshot", "");
    assert_eq!(running.ask("SET a 2"), "OK");
    let (_, newest) = running.post("/snapshot", "");
    assert_eq!(running.ask("SET b 3"), "OK");
    running.stop();
    let path = newest["snapshot_path"].as_str().expect("a path");
    let mut bytes = fs::read(path).expect("the file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("writable");

    let mut command = server(data.path());
    command.args(["--log-level", "warn"]);
    let mut child = command.spawn().expect("the binary runs");
    let errors = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let line = std::io::BufRead::lines(errors).map_while(Result::ok).find(|line| line.contains(path));
    assert!(line.expect("the damaged file is named").contains("can't be loaded"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let server = Server::start(data.path());
    assert_eq!(server.ask("MGET a b"), "[2 3]");
}

#[test]
fn without_a_log_snapshots_alone_keep_the_state() {
    let data = tempdir().expect("a directory");
    let without_log = || {
        let mut command = server(data.path());
        command.env("STRANDLINE_PERSISTENCE__WAL__ENABLED", "false");
        Server::from(command)
    };
    let server = without_log();
    assert_eq!(server.ask("SET a 1"), "OK");
    assert_eq!(server.ask("SAVE"), "OK");
    assert_eq!(server.ask("SET a 2"), "OK");
    assert_eq!(server.ask("SAVE"), "OK");
    assert_eq!(server.ask("SET a 3"), "OK");
    assert!(server.ask("WAITAOF 1 0 0").starts_with("-ERR the log is switched off"));
    server.kill();
    assert_eq!(without_log().ask("GET a"), "2", "what the newest snapshot holds");
}

#[test]
fn snapshots_that_are_switched_off_are_refused() {
    let data = tempdir().expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_SNAPSHOT__ENABLED", "false");
    let server = Server::from(command);
    assert!(server.ask("SAVE").starts_with("-ERR snapshots are switched off"));
    let (status, answer) = server.post("/snapshot", "");
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().expect("text").contains("switched off"));
}

#[test]
fn a_snapshot_that_fails_is_told_and_the_log_goes_on() {
    let data = tempdir().expect("a directory");
    let plain = server(data.path());
    // No file may become larger than the log's own; the blocks of `ulimit` are 512 or 1024 bytes.
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", r#"trap "" XFSZ; ulimit -f 2200; exec "$0" "$@""#]).arg(plain.get_program());
    limited.args(plain.get_args()).env("STRANDLINE_SNAPSHOT__COMPRESSION", "false");
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut server = Server::from(limited);
    let mut client = server.client();
    let value = "x".repeat(4000);
    (0..1000).for_each(|number| assert_eq!(client.ask(&format!("SET k:{number} {value}")), "OK"));
    let (status, answer) = server.post("/snapshot", "");
    assert_eq!(status, 500, "{answer}");
    assert!(answer["error"].as_str().expect("text").contains("no snapshot was made"));
    server.line("no snapshot was made");
    assert_eq!(server.metric("strandline_snapshot_failed"), 1.0);
    assert_eq!(client.ask("SET after ok"), "OK");
    assert_eq!(listed(&server).len(), 0);
    assert_eq!(
        fs::read_dir(data.path().join("snapshots")).expect("there").count(),
        0,
        "nothing is left behind"
    );
    server.kill();
    assert_eq!(Server::start(data.path()).ask("GET after"), "ok");
}
