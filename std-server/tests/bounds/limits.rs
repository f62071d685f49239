//! Memory stays bounded: what is kept, what one reply takes, and what a client that does not read makes the server hold.

use core::time::Duration;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use super::{ask, client};
use crate::process::{Server, server};

const OOM: &str = "-OOM command not allowed when used memory > \\'maxmemory\\'.\\r\\n";

fn info(server: &Server, section: &str, field: &str) -> u64 {
    let text = ask(server, &format!("INFO {section}"));
    let lines: Vec<&str> = text.split("\\r\\n").collect();
    let value = lines.iter().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("no {field}: {text}")).parse().expect("a number")
}

#[test]
fn full_memory_refuses_writes_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let mut client = client(&server);
    assert_eq!(client.ask("CONFIG SET maxmemory 3mb maxmemory-policy noeviction"), "+OK\\r\\n");
    assert!(client.ask("CONFIG GET maxmemory").contains("3145728"));
    let value = "v".repeat(10_000);
    let mut kept = 0;
    while client.ask(&format!("SET key:{kept} {value}")) == "+OK\\r\\n" {
        kept += 1;
        assert!(kept < 1000, "there is a limit");
    }
    for line in [
        "SET more 1",
        "INCR n",
        "APPEND key:0 x",
        "SETRANGE key:0 0 x",
        "MSET a 1",
        "COPY key:0 other",
        "GETSET key:0 x",
    ] {
        assert_eq!(client.ask(line), OOM, "{line}");
    }
    assert_eq!(client.ask("MULTI"), "+OK\\r\\n");
    assert_eq!(client.ask("GET key:0"), OOM, "what is queued takes memory too");
    assert!(client.ask("EXEC").starts_with("-EXECABORT"));
    assert_eq!(client.ask("STRLEN key:0"), ":10000\\r\\n");
    assert_eq!(client.ask("EXPIRE key:0 1000"), ":1\\r\\n");
    assert!(info(&server, "memory", "used_memory") > info(&server, "memory", "maxmemory"));
    assert_eq!(client.ask(&format!("DEL key:{}", kept - 1)), ":1\\r\\n");
    drop(client);
    server.kill();
    let server = Server::start(directory.path());
    assert_eq!(ask(&server, "DBSIZE"), format!(":{}\\r\\n", kept - 1));
    assert_eq!(ask(&server, "SET more 1"), "+OK\\r\\n", "the limit was set for one run");
    let mut command = crate::process::server(directory.path());
    server.stop();
    command.env("STRANDLINE_KV_STORE__MAX_MEMORY_BYTES", "1MB");
    let server = Server::from(command);
    assert_eq!(ask(&server, "SET more 2"), OOM);
    assert_eq!(ask(&server, "FLUSHALL"), "+OK\\r\\n");
    assert_eq!(ask(&server, "SET more 2"), "+OK\\r\\n");
    server.stop();
}

fn small(data: &std::path::Path) -> Server {
    let mut command = server(data);
    command.env("STRANDLINE_RESP3__MAX_REPLY_BYTES", "100KB").env("STRANDLINE_RESP3__STALL_SECS", "2");
    Server::from(command)
}

#[test]
fn a_reply_beyond_the_limit_cuts_its_client_off() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = small(directory.path());
    let mut client = client(&server);
    assert_eq!(client.ask(&format!("SET k {}", "v".repeat(30_000))), "+OK\\r\\n");
    assert!(client.ask("MGET k k k").len() > 90_000);
    client.send(b"MGET k k k k k\r\nPING\r\n");
    let mut rest = Vec::new();
    let read = client.stream().read_to_end(&mut rest);
    assert!(read.is_err() || rest.is_empty(), "closed without half a reply: {} bytes", rest.len());
    assert_eq!(info(&server, "stats", "client_output_buffer_limit_disconnections"), 1);
    assert_eq!(ask(&server, "STRLEN k"), ":30000\\r\\n");
}

#[test]
fn a_list_of_keys_beyond_the_limit_is_refused_and_scan_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = small(directory.path());
    let mut client = client(&server);
    let key = |number: usize| format!("{number:k>1000}");
    for number in 0..90 {
        assert_eq!(client.ask(&format!("SET {} v", key(number))), "+OK\\r\\n");
    }
    assert!(client.ask("KEYS *").starts_with("*90\\r\\n"));
    for number in 90..110 {
        assert_eq!(client.ask(&format!("SET {} v", key(number))), "+OK\\r\\n");
    }
    let refused = client.ask("KEYS *");
    assert!(refused.starts_with("-ERR more keys match than a reply of 102400 bytes takes"), "{refused}");
    assert!(refused.contains("SCAN"), "{refused}");
    assert!(client.ask("KEYS k*109").starts_with("*1\\r\\n"), "what is short is listed");
    assert!(client.ask("SCAN 0 COUNT 10").starts_with("*2\\r\\n"));
    assert_eq!(client.ask("DBSIZE"), ":110\\r\\n");
}

#[test]
fn a_client_that_never_reads_is_held_back_then_cut_off_and_others_are_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = small(directory.path());
    assert_eq!(ask(&server, &format!("SET k {}", "v".repeat(30_000))), "+OK\\r\\n");
    let resident = info(&server, "memory", "used_memory_rss");
    let mut deaf = TcpStream::connect(server.resp.expect("RESP is on")).expect("it listens");
    deaf.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    // Replies of 1.8 GB, if they were written.
    let requests = b"GET k\r\n".repeat(60_000);
    let sent = deaf.write_all(&requests);
    thread::sleep(Duration::from_millis(300));
    let held = info(&server, "clients", "client_recent_max_output_buffer");
    assert!((100_000..4_000_000).contains(&held), "{held} bytes held for it");
    assert!(ask(&server, "CLIENT LIST").contains(&format!(" omem={held} ")), "and shown");
    let grown = info(&server, "memory", "used_memory_rss").saturating_sub(resident);
    assert!(grown < 64 << 20, "{grown} bytes more are resident");
    let deadline = Instant::now() + Duration::from_secs(30);
    while info(&server, "stats", "client_output_buffer_limit_disconnections") == 0 {
        assert!(Instant::now() < deadline, "it is cut off ({sent:?})");
        assert_eq!(ask(&server, "STRLEN k"), ":30000\\r\\n", "others are served");
        thread::sleep(Duration::from_millis(50));
    }
    while info(&server, "clients", "connected_clients") > 1 {
        assert!(Instant::now() < deadline, "its connection is gone");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_pipeline_of_any_length_takes_little_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let stream = TcpStream::connect(server.resp.expect("RESP is on")).expect("it listens");
    let mut writer = stream.try_clone().expect("a handle");
    let request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{}\r\n", "v".repeat(100_000));
    let writing = thread::spawn(move || (0..PIPELINE).all(|_| writer.write_all(request.as_bytes()).is_ok()));
    let (mut reader, mut most) = (std::io::BufReader::new(stream), 0);
    for number in 0..PIPELINE {
        let mut reply = [0; 5];
        reader.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"+OK\r\n");
        if number % 100 == 0 {
            most = most.max(info(&server, "memory", "mem_clients_normal"));
        }
    }
    assert!(writing.join().expect("no panic"));
    assert!(most < 4 << 20, "{most} bytes held");
}

/// 64 MB.
const PIPELINE: usize = 640;
