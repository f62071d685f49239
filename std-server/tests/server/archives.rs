//! Archives over HTTP.

use core::net::SocketAddr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use strandline::archive::Digest;
use tempfile::tempdir;

use crate::process::{Server, server};

const FIRST: &str = "wal-00001-1700000000-1700003600.wal.zst";
const OTHER: &str = "wal-00001-1700000000-1700000009.wal.zst";

/// Sends a request with one more header, and returns status, head and body.
fn fetch(address: SocketAddr, path: &str, header: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(request.as_bytes()).expect("it is sent");
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an answer");
    let end = all.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(all[..end].to_vec()).expect("text").to_lowercase();
    let status = head[9..12].parse().expect("a status");
    (status, head, all[end + 4..].to_vec())
}

#[test]
fn archives_are_listed_verified_and_downloaded_in_ranges() {
    let data = tempdir().expect("a directory");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/archives/sneldb-v1/archived");
    for (shard, name) in [("shard-0", FIRST), ("shard-1", OTHER)] {
        let directory = data.path().join("archives").join(shard);
        fs::create_dir_all(&directory).expect("ours");
        fs::write(directory.join(name), fs::read(fixtures.join(shard).join(name)).expect("there"))
            .expect("room");
    }
    let first = data.path().join("archives/shard-0").join(FIRST);
    let bytes = fs::read(&first).expect("there");
    let server = Server::start(data.path());

    let (status, all) = server.get("/archives");
    assert_eq!((status, all["archives"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!((&all["archives"][1]["shard"], &all["archives"][1]["entries"]), (&1.into(), &10.into()));
    let (status, one) = server.get("/archives/0/1");
    assert_eq!((status, &one["file"], &one["size_bytes"]), (200, &FIRST.into(), &bytes.len().into()));
    let (status, verified) = server.get("/archives/0/1/verify");
    let digest = Digest::of_file(&first).expect("readable").to_string();
    assert_eq!((status, &verified["intact"], &verified["sha256"]), (200, &true.into(), &digest.into()));
    for missing in ["/archives/0/2", "/archives/7/1", "/archives/7/1/verify", "/archives/7/1/download"] {
        assert_eq!(server.get(missing).0, 404, "{missing}");
    }
    for bad in ["/archives/0/x", "/archives/-1/1", "/archives/0/99999999999999999999"] {
        assert_eq!(server.get(bad).0, 400, "{bad}");
    }

    let path = "/archives/0/1/download";
    let (status, head, body) = fetch(server.http, path, "");
    assert!(status == 200 && head.contains("content-type: application/zstd"), "{head}");
    assert!(body == bytes);
    let (status, head, body) = fetch(server.http, path, "Range: bytes=100-199\r\n");
    assert!(
        status == 206 && head.contains(&format!("content-range: bytes 100-199/{}", bytes.len())),
        "{head}"
    );
    assert!(body == bytes[100..200]);
    let (status, _, body) = fetch(server.http, path, "Range: bytes=-17\r\n");
    assert!(status == 206 && body == bytes[bytes.len() - 17..]);
    assert_eq!(fetch(server.http, path, "Range: bytes=9999999-\r\n").0, 416);

    let mut damaged = bytes.clone();
    damaged.truncate(500);
    fs::write(&first, damaged).expect("room");
    let (status, verified) = server.get("/archives/0/1/verify");
    assert_eq!((status, &verified["intact"]), (200, &false.into()));
    assert!(verified["error"].as_str().expect("a word").contains(FIRST));
    fs::write(data.path().join("archives/shard-1/wal-00002-0-0.wal.zst"), "nothing").expect("room");
    let (status, all) = server.get("/archives");
    let damaged: Vec<_> =
        all["damaged"].as_array().expect("a list").iter().map(|one| one["file"].as_str()).collect();
    assert_eq!((status, damaged), (200, vec![Some(FIRST), Some("wal-00002-0-0.wal.zst")]));
}

/// A name is given by a rename, which works within a file system only.
#[test]
fn a_server_archives_onto_another_file_system() {
    let data = tempdir().expect("a directory");
    let memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    if device(memory).is_none() || device(memory) == device(data.path()) {
        println!("skipped: /dev/shm is no other file system here");
        return;
    }
    let elsewhere = tempfile::tempdir_in(memory).expect("a directory");
    let mut command = server(data.path());
    command.env("STRANDLINE_WAL__CONSERVATIVE_MODE", "true");
    command.env("STRANDLINE_WAL__ARCHIVE_DIR", elsewhere.path());
    let server = Server::from(command);
    let event = r#"{"event_type":"t","context_id":"c","payload":{}}"#;
    assert_eq!(server.post("/events", event).0, 200);
    assert_eq!(server.post("/archives/now", "").1["success"], true);
    let (status, all) = server.get("/archives");
    assert_eq!((status, &all["archives"][0]["entries"]), (200, &1.into()));
    assert_eq!(fs::read_dir(elsewhere.path().join("shard-0")).expect("there").count(), 1);
}
