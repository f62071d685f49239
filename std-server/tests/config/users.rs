//! Users: per listener or for all, made by `hash-password`, and never shown with their hashes.

use std::io::Write as _;
use std::process::Stdio;

use super::*;

/// Two hashes of the least cost there is; of which words does not matter.
const ONE: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$SEFTSDFIQVNIMUhBU0gx";
const TWO: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$SEFTSDJIQVNIMkhBU0gy";

fn names(users: &[std_server::auth::Account]) -> Vec<&str> {
    users.iter().map(std_server::auth::Account::name).collect()
}

#[test]
fn a_listener_takes_its_own_users_or_else_those_of_all() {
    let file =
        format!("auth:\n  users:\n    ann: {ONE}\n    bob: {TWO}\nresp3:\n  users: {{ eve: '{ONE}' }}\n");
    let config = Given::file("a.yaml", file).load(Flags::default(), &[]).unwrap().config;
    assert_eq!((names(&config.http_users), names(&config.resp_users)), (vec!["ann", "bob"], vec!["eve"]));
    let env = [("STRANDLINE_RESP3__USERS", &*format!("ann:{ONE}  bob:{TWO}"))];
    let config = without_file(&Flags::default(), &env).unwrap().config;
    assert_eq!((config.http_users.len(), names(&config.resp_users)), (0, vec!["ann", "bob"]));
    let file = format!("[auth]\nenabled = false\n[resp3.users]\nann = \"{ONE}\"\n");
    let loaded = Given::file("a.toml", file).load(Flags::default(), &[]).unwrap();
    assert!(loaded.config.resp_users.is_empty() && loaded.notes[0].contains("nobody is asked"));
}

#[test]
fn users_open_the_redis_protocol_to_other_machines() {
    let file = format!("resp3:\n  host: 0.0.0.0\n  users: {{ ann: '{ONE}' }}\n");
    let config = Given::file("a.yaml", file).load(Flags::default(), &[]).unwrap().config;
    assert!(config.resp.is_some_and(|resp| !resp.ip().is_loopback()));
    let file = format!("auth:\n  enabled: false\nresp3:\n  host: 0.0.0.0\n  users: {{ ann: '{ONE}' }}\n");
    let said = Given::file("a.yaml", file).load(Flags::default(), &[]).unwrap_err().to_string();
    assert!(said.contains("0.0.0.0 is refused: without users") && said.contains("hash-password"), "{said}");
}

#[test]
fn hashes_are_never_shown() {
    let file = format!("auth:\n  users: {{ ann: '{ONE}' }}\n  enabled: false\n");
    let given = Given::file("a.yaml", file);
    let loaded = given.load(Flags::default(), &[]).unwrap();
    let said = format!("{}{}{:?}{:?}", loaded.show(), loaded.check(), loaded.config, loaded.notes);
    assert!(said.contains("# users: ann (hashes are not shown)"), "{said}");
    assert!(!said.contains("SEFTSDFI") && !said.contains("c29tZXNhbHRz"), "{said}");
    let again = Given::file("b.yaml", loaded.show()).load(Flags::default(), &[]).expect("it loads again");
    assert_eq!(again.config.resp, loaded.config.resp);
    let twice = format!("resp3:\n  users: 'ann:{ONE} ann:{TWO}'\n");
    let said = Given::file("a.yaml", twice).load(Flags::default(), &[]).unwrap_err().to_string();
    assert!(said.contains("names ann twice") && !said.contains("SEFTS"), "{said}");
}

#[test]
fn a_password_on_standard_input_becomes_a_hash_that_is_taken() {
    let run = |input: &[u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
        command.arg("hash-password").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = run(b"hunter2\n");
    let hash = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && hash.starts_with("$argon2id$"), "{hash}");
    let account = std_server::auth::Account::new("ann", hash.trim_end()).unwrap();
    assert!(std_server::auth::Credentials::new(&[account]).verify(b"ann", b"hunter2").is_some());
    for bad in [&b""[..], b"\n", b"hunter2\nhunter3\n"] {
        let output = run(bad);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
    }
}
