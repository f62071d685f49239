//! Other people's programs against the server: Synap's client library, and schemathesis with the OpenAPI document.
//!
//! They come from the package index into an environment of their own below the target directory. Where that can't be
//! reached, a line says so and nothing is tested.

use std::path::{Path, PathBuf};
use std::process::Command;

use std_server::auth::hash_password;
use strandline_tests::process::{Server, Setup};
use tempfile::tempdir;

/// A Python environment with one package in this version, made once; `None`, and a line why, if it can't be made.
fn environment(package: &str, version: &str) -> Option<PathBuf> {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{package}-{version}"));
    let (programs, done) = (place.join("bin"), place.join("done"));
    if done.exists() {
        return Some(programs);
    }
    let made = run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&place));
    let installed = made.and_then(|_| {
        let mut pip = Command::new(programs.join("python"));
        run(pip
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
            .arg(format!("{package}=={version}")))
    });
    match installed {
        Ok(_) => {
            std::fs::write(done, "").expect("it is our directory");
            Some(programs)
        }
        Err(why) => {
            eprintln!("skipped: {package} {version} can't be installed: {why}");
            None
        }
    }
}

/// What it wrote, or that it failed and what it wrote then.
fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.success() { Ok(text) } else { Err(text) }
}

fn setup(data: &Path) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_std-server"), data).set("persistence.wal.max_size_mb", 4)
}

fn started(setup: &Setup) -> Server {
    setup.start().unwrap_or_else(|ended| panic!("{ended}"))
}

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients")
}

#[test]
fn synaps_library_for_python_works() {
    let Some(programs) = environment("synap-sdk", "1.4.0") else { return };
    let data = tempdir().expect("a directory");
    let talk = |server: &Server, token: &[&str]| {
        let url = format!("http://{}", server.http());
        let mut python = Command::new(programs.join("python"));
        run(python.arg(clients().join("synap.py")).arg(url).args(token))
    };
    let said = talk(&started(&setup(&data.path().join("open"))), &[]);
    assert!(said.as_ref().is_ok_and(|said| said.contains("ok")), "{said:?}");

    let hash = hash_password(b"a secret.with-all.of it").expect("random numbers");
    let closed = setup(&data.path().join("closed")).set("server.users", format!("ann:{hash}"));
    let server = started(&closed);
    let said = talk(&server, &["ann.a secret.with-all.of it"]);
    assert!(said.as_ref().is_ok_and(|said| said.contains("ok")), "{said:?}");
    assert!(
        talk(&server, &["ann.wrong"]).is_err_and(|said| said.contains("401")),
        "a wrong token is refused"
    );
}

/// Some two hundred packages, OpenSSL and a C library of cryptography among them, for one client: built only when asked for.
#[test]
fn synaps_library_for_rust_works() {
    if std::env::var_os("SYNAP_RUST").is_none() {
        eprintln!("skipped: with SYNAP_RUST=1 in the environment, Synap's library for Rust is built and run");
        return;
    }
    let data = tempdir().expect("a directory");
    let server = started(&setup(data.path()));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--manifest-path"]).arg(clients().join("synap/Cargo.toml"));
    cargo.arg("--target-dir").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("synap-rust"));
    let said = run(cargo.arg("--").arg(format!("http://{}", server.http())));
    assert!(said.as_ref().is_ok_and(|said| said.contains("ok")), "{said:?}");
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(programs) = environment("schemathesis", "4.32.5") else { return };
    let data = tempdir().expect("a directory");
    let server = started(&setup(data.path()));
    // More of them, or others: SCHEMATHESIS_EXAMPLES=300 SEED=7.
    let set = |name, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let (examples, seed) = (set("SCHEMATHESIS_EXAMPLES", "10"), set("SEED", "1"));
    let url = format!("http://{}/openapi.json", server.http());
    let mut command = Command::new(programs.join("schemathesis"));
    command.arg("--config-file").arg(clients().join("schemathesis.toml"));
    command.args([
        "run",
        &url,
        "--no-color",
        "--phases",
        "coverage,fuzzing,stateful",
        "--max-examples",
        &examples,
        "--seed",
        &seed,
    ]);
    // What it remembers of earlier runs stays out of the sources.
    let said = run(command.current_dir(data.path()));
    assert!(said.is_ok(), "{}", said.unwrap_err());
    let ended = server.stop();
    assert_eq!(ended.code(), Some(0), "{ended}");
}
