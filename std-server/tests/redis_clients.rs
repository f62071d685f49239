//! Clients that people have, unchanged, against the real binary.
//!
//! The `redis` crate and redis-benchmark (Debian: `redis-tools`) always; redis-py, ioredis and node-redis when they can be
//! installed below `target/`: a test that leaves one out says why.

#[path = "clients/application.rs"]
mod application;
#[allow(dead_code, reason = "every test binary uses its own part")]
#[path = "server/process.rs"]
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;

use process::{Server, outcome};
use redis::{Commands as _, Connection};

fn port(server: &Server) -> String {
    server.resp.expect("RESP is on").port().to_string()
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

fn succeeds(command: &mut Command) {
    let (code, output, errors) = outcome(command);
    assert_eq!(code, Some(0), "{command:?}\n{output}\n{errors}");
}

/// Runs what installs something; `None`, and a line that says why, if it does not succeed.
fn installed(what: &str, commands: &mut [&mut Command]) -> Option<()> {
    for command in commands {
        let why = match command.output() {
            Ok(output) if output.status.success() => continue,
            Ok(output) => {
                String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
            }
            Err(error) => error.to_string(),
        };
        println!("left out: {what} can't be installed ({command:?}: {why})");
        return None;
    }
    Some(())
}

/// An interpreter with redis-py, kept between runs.
fn redis_py() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redis-py");
    let python = place.join("bin/python3");
    if !Command::new(&python)
        .args(["-c", "import redis"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        let package = "redis==8.1.0";
        let mut create = Command::new("python3");
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]);
        installed("redis-py", &mut [create.args(["-m", "venv"]).arg(&place), &mut install])?;
    }
    Some(python)
}

/// The tests that redis-py's authors wrote, with what they need, below a directory that is kept between runs.
fn redis_pys_tests(python: &Path) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("redis-py-tests");
    let sources = place.join("redis-8.1.0");
    if !sources.join("tests").is_dir() {
        std::fs::create_dir_all(&place).expect("a directory");
        let pip = |words: &[&str]| {
            let mut command = Command::new(python);
            command
                .args(["-m", "pip", "--quiet", "--disable-pip-version-check"])
                .args(words)
                .current_dir(&place);
            command
        };
        let mut tools = pip(&[
            "install",
            "pytest",
            "pytest-asyncio",
            "pytest-timeout",
            "numpy",
            "xxhash",
            "cryptography",
        ]);
        let mut package = pip(&["download", "--no-deps", "--no-binary", ":all:", "redis==8.1.0"]);
        let mut unpack = Command::new("tar");
        unpack.args(["xzf", "redis-8.1.0.tar.gz"]).current_dir(&place);
        installed("redis-py's tests", &mut [&mut tools, &mut package, &mut unpack])?;
    }
    Some(sources)
}

/// A directory with both clients of Node, kept between runs.
fn node_modules() -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node");
    let is_there = |name: &str| place.join("node_modules").join(name).exists();
    if !(is_there("ioredis") && is_there("redis")) {
        std::fs::create_dir_all(&place).expect("a directory");
        let mut node = Command::new("node");
        let mut install = Command::new("npm");
        install.args(["install", "--no-fund", "--no-audit", "--prefix"]).arg(&place);
        install.args(["ioredis@5", "redis@5"]);
        installed("a client of Node", &mut [node.arg("--version"), &mut install])?;
    }
    Some(place)
}

#[test]
fn redis_py_works_and_goes_on_after_a_kill() {
    let Some(python) = redis_py() else { return };
    for protocol in ["2", "3"] {
        let directory = tempfile::tempdir().expect("a directory");
        let run = |server: &Server, phase: &str| {
            let arguments = [port(server), protocol.to_owned(), phase.to_owned()];
            succeeds(Command::new(&python).arg(script("redis_py.py")).args(arguments));
        };
        let server = Server::start(directory.path());
        run(&server, "before");
        server.kill();
        run(&Server::start(directory.path()), "after");
    }
}

/// What does not pass must want a command that is not here, or be listed in `tests/clients/redis_py_exceptions.txt`.
#[test]
#[ignore = "takes up to five minutes: cargo test -p std-server --test redis_clients -- --ignored --nocapture"]
fn redis_pys_own_tests_pass_as_far_as_commands_are_here() {
    let Some(python) = redis_py() else { return };
    let Some(sources) = redis_pys_tests(&python) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = process::server(directory.path());
    // They store values of 5 MB; segments must take a record that long.
    command.env("STRANDLINE_KV_STORE__MAX_VALUE_SIZE_BYTES", "8MB").env("STRANDLINE_WAL__MAX_SIZE_MB", "16");
    let server = Server::from(command);
    let redis = application::Redis::start();
    let url = |port: &str| format!("redis://127.0.0.1:{port}/0");
    let runner = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients/redis_py_tests.py");
    let mut tests = Command::new(&python);
    tests.arg(runner).arg(sources).args([url(&port(&server)), url(&redis.address.port().to_string())]);
    let (code, output, errors) = outcome(&mut tests);
    println!("{output}");
    assert_eq!(code, Some(0), "{output}{errors}");
}

#[test]
fn clients_of_node_work() {
    let Some(place) = node_modules() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    for name in ["ioredis.js", "node_redis.js"] {
        let modules = place.join("node_modules");
        succeeds(Command::new("node").arg(script(name)).arg(port(&server)).env("NODE_PATH", modules));
    }
}

#[test]
fn redis_benchmark_runs_every_command() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    let port = port(&server);
    let run = |arguments: &[&str]| {
        let mut command = Command::new("redis-benchmark");
        command.args(["-p", &port, "-n", "2000", "-c", "20", "-q"]).args(arguments);
        let (code, output, errors) = outcome(&mut command);
        assert_eq!(code, Some(0), "{arguments:?}: {output}{errors}");
        assert!(output.contains("requests per second"), "{arguments:?}: {output}{errors}");
        assert!(!output.contains("ERR") && !errors.contains("ERR"), "{arguments:?}: {output}{errors}");
    };
    run(&["-t", "ping,set,get,incr,mset", "-P", "16", "-r", "1000"]);
    run(&["-3", "-t", "ping,set,get,incr,mset"]);
    for line in [
        "APPEND key:__rand_int__ x",
        "SETEX k 100 v",
        "GETEX k EX 100",
        "GETDEL nosuch",
        "GETRANGE k 0 1",
        "SETRANGE k 1 x",
        "STRLEN k",
        "MGET a b c",
        "MSETNX n 1 m 2",
        "DECRBY n 2",
        "INCRBYFLOAT f 0.5",
        "DEL key:__rand_int__",
        "UNLINK u",
        "EXISTS k",
        "TOUCH k",
        "TYPE k",
        "COPY k k3 REPLACE",
        "EXPIRE k 100",
        "PEXPIREAT k 4102444800000",
        "TTL k",
        "PEXPIRETIME k",
        "PERSIST k",
        "SCAN 0 COUNT 10",
        "RANDOMKEY",
        "DBSIZE",
        "OBJECT ENCODING k",
        "MEMORY USAGE k",
        "LCS k k3",
        "TIME",
        "CLIENT ID",
        "CONFIG GET maxmemory",
        "INFO stats",
        "ECHO x",
        "UNWATCH",
        "LASTSAVE",
    ] {
        run(&["-r", "100", "-n", "200"].into_iter().chain(line.split(' ')).collect::<Vec<_>>());
    }
}

#[test]
fn the_redis_crate_works_in_both_protocols() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path());
    for protocol in ["resp2", "resp3"] {
        let address = format!("redis://127.0.0.1:{}/?protocol={protocol}", port(&server));
        let client = redis::Client::open(address).expect("an address");
        let mut connection = client.get_connection().expect("it connects");
        commands(&mut connection).expect(protocol);
        transactions(&mut connection, &mut client.get_connection().expect("it connects")).expect(protocol);
    }
}

fn commands(connection: &mut Connection) -> redis::RedisResult<()> {
    let () = redis::cmd("FLUSHALL").query(connection)?;
    let () = connection.set("k", &b"\0\xFF"[..])?;
    assert_eq!(connection.get::<_, Vec<u8>>("k")?, b"\0\xFF");
    assert_eq!(connection.get::<_, Option<String>>("missing")?, None);
    assert!(!connection.set_nx::<_, _, bool>("k", "other")?);
    assert_eq!(connection.incr::<_, _, i64>("n", 5)?, 5);
    assert!(connection.expire::<_, bool>("n", 100)?);
    assert!((1..=100).contains(&connection.ttl::<_, i64>("n")?));
    let mut pipe = redis::pipe();
    for number in 0..300 {
        pipe.set(format!("p:{number}"), number).ignore();
    }
    let () = pipe.query(connection)?;
    let keys: Vec<String> = connection.scan_match::<_, String>("p:*")?.collect::<redis::RedisResult<_>>()?;
    let distinct: std::collections::BTreeSet<_> = keys.into_iter().collect();
    assert_eq!(distinct.len(), 300);
    let error = redis::cmd("LPUSH").arg("l").arg("v").query::<i64>(connection).expect_err("no lists");
    assert!(error.to_string().contains("unknown command"), "{error}");
    Ok(())
}

/// Another connection changes the watched key in between, once.
fn transactions(connection: &mut Connection, other: &mut Connection) -> redis::RedisResult<()> {
    let mut tries = 0;
    let (total,): (i64,) = redis::transaction(connection, &["n"], |connection, pipe| {
        tries += 1;
        let value: i64 = connection.get("n")?;
        if tries == 1 {
            let () = other.set("n", 100)?;
        }
        pipe.set("n", value + 1).ignore().get("n").query(connection)
    })?;
    assert_eq!((tries, total), (2, 101));
    Ok(())
}
