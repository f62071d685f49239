//! Who may come in over the Redis protocol. The words are those of Redis with `requirepass`.

use super::client;
use crate::process::{Server, binary, outcome, server};
use std_server::auth::hash_password;

fn with_users(data: &std::path::Path) -> Server {
    let [default, ann] =
        ["sesame", "hunter2"].map(|secret| hash_password(secret.as_bytes()).expect("a hash"));
    let mut command = server(data);
    command.env("STRANDLINE_RESP3__USERS", format!("default:{default} ann:{ann}"));
    Server::from(command)
}

const NOAUTH: &str = "-NOAUTH Authentication required.\\r\\n";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\\r\\n";

#[test]
fn nothing_is_done_for_strangers() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = with_users(directory.path());
    let mut client = client(&server);
    for line in
        ["GET a", "SET a 1", "PING", "MULTI", "INFO", "COMMAND COUNT", "CLIENT LIST", "WATCH a", "SHUTDOWN"]
    {
        assert_eq!(client.ask(line), NOAUTH, "{line}");
    }
    let exec = "-EXECABORT Transaction discarded because of: NOAUTH Authentication required.\\r\\n";
    assert_eq!(client.ask("EXEC"), exec);
    assert!(client.ask("NOSUCH").starts_with("-ERR unknown command \\'NOSUCH\\'"));
    let hello = "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> \
                 option can be used to authenticate the client and select the RESP protocol version at the same time\\r\\n";
    assert_eq!(client.ask("HELLO"), hello);
    assert_eq!(client.ask("HELLO 3 SETNAME me"), hello);
    for pair in ["wrong", "ann sesame", "eve hunter2", "default hunter2", "default ''"] {
        assert_eq!(client.ask(&format!("AUTH {pair}")), WRONGPASS, "{pair}");
    }
    assert_eq!(client.ask("HELLO 3 AUTH ann wrong"), WRONGPASS);
    assert_eq!(client.ask("PING"), NOAUTH);
    assert_eq!(client.ask("AUTH sesame"), "+OK\\r\\n");
    assert_eq!(client.ask("PING"), "+PONG\\r\\n");
    assert!(client.ask("CLIENT INFO").contains(" user=default "));
    assert_eq!(client.ask("RESET"), "+RESET\\r\\n");
    assert_eq!(client.ask("PING"), NOAUTH);
    assert!(client.ask("HELLO 3 AUTH ann hunter2").starts_with("%7"));
    assert!(client.ask("CLIENT INFO").contains(" user=ann "));
    let slow = client.ask("CONFIG SET slowlog-log-slower-than 0") + &client.ask("AUTH hunter2");
    assert!(slow.contains("+OK"), "{slow}");
    let listed = client.ask("SLOWLOG GET 10");
    assert!(listed.contains("(redacted)") && !listed.contains("hunter2"), "{listed}");
    server.stop();
}

#[test]
fn strangers_get_little_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = with_users(directory.path());
    for (bytes, refusal) in [
        (&b"*11\r\n"[..], "-ERR Protocol error: unauthenticated multibulk length\\r\\n"),
        (b"*2\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\\r\\n"),
    ] {
        let mut client = client(&server);
        client.send(bytes);
        assert_eq!(client.reply(), refusal);
    }
    let mut client = client(&server);
    assert_eq!(client.ask("AUTH sesame"), "+OK\\r\\n");
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$20000\r\n{}\r\n", "x".repeat(20_000)).as_bytes());
    assert_eq!(client.reply(), "+OK\\r\\n");
}

#[test]
fn without_users_other_machines_are_refused_and_told_how() {
    let directory = tempfile::tempdir().expect("a directory");
    let (code, _, errors) = outcome(&mut binary(directory.path(), &["serve", "--resp", "0.0.0.0:0"]));
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("without users") && errors.contains("std-server hash-password"), "{errors}");
}
