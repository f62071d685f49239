//! The listener over real sockets: its client limit, its end, and errors that must reach the client.

mod support;

use core::time::Duration;
use std::io::Write;
use std::net::Shutdown;
use std::time::Instant;
use std_server::resp::{ConnectionLimits, ListenerLimits, RequestLimits};
use support::{Client, Server, encode};

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::start(ListenerLimits { clients: 2, ..ListenerLimits::default() });
    let mut clients = [Client::connect(server.address), Client::connect(server.address)];
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), "+PONG\\r\\n"));
    assert_eq!(Client::connect(server.address).rest(), "-ERR max number of clients reached\\r\\n");
    drop(clients);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let mut client = Client::connect(server.address);
        client.send(b"PING\r\nQUIT\r\n");
        let reply = client.rest();
        if reply == "+PONG\\r\\n+OK\\r\\n" {
            break;
        }
        assert!(Instant::now() < deadline, "the places of clients that left are free again: {reply}");
    }
}

#[test]
fn shutdown_ends_every_connection_and_the_server() {
    let server = Server::start(ListenerLimits::default());
    let mut idle = Client::connect(server.address);
    assert_eq!(idle.ask("PING"), "+PONG\\r\\n");
    let mut client = Client::connect(server.address);
    client.send(b"SHUTDOWN\r\n");
    assert_eq!(client.rest(), "");
    assert_eq!(idle.rest(), "");
    server.join();
}

#[test]
fn a_client_that_never_pauses_is_answered_and_ended() {
    let server = Server::start(ListenerLimits::default());
    let mut client = Client::connect(server.address);
    let mut sender = client.stream().try_clone().expect("a second handle");
    let sending = std::thread::spawn(move || while sender.write_all(b"PING\r\n").is_ok() {});
    assert_eq!(client.reply(), "+PONG\\r\\n");
    server.stop();
    let replies = client.rest();
    assert_eq!(replies, "+PONG\\r\\n".repeat(replies.len() / "+PONG\\r\\n".len()));
    client.stream().shutdown(Shutdown::Both).expect("still there");
    sending.join().expect("the sender ends");
    server.join();
}

#[test]
fn a_client_that_never_reads_does_not_delay_the_end() {
    let drain = Duration::from_millis(100);
    let server = Server::start(ListenerLimits { drain, ..ListenerLimits::default() });
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask_words(&[b"SET", b"k", &vec![b'v'; 8 << 20]]), "+OK\\r\\n");
    client.send(&b"GET k\r\n".repeat(10));
    let mut other = Client::connect(server.address);
    assert_eq!(other.ask("PING"), "+PONG\\r\\n");
    server.stop();
    server.join();
}

/// The server closes while the client is still sending; the client must read why all the same.
#[test]
fn a_value_over_the_limit_is_refused_and_nothing_is_lost() {
    let request = RequestLimits { word_bytes: 1000, ..ConnectionLimits::default().request };
    let connection = ConnectionLimits { request, ..ConnectionLimits::default() };
    let server = Server::start(ListenerLimits { connection, ..ListenerLimits::default() });
    let mut client = Client::connect(server.address);
    assert_eq!(client.ask("SET k kept"), "+OK\\r\\n");
    client.send(&encode(&[b"SET", b"k", &vec![b'v'; 4 << 20]]));
    assert_eq!(client.rest(), "-ERR Protocol error: invalid bulk length\\r\\n");
    assert_eq!(Client::connect(server.address).ask("GET k"), "$4\\r\\nkept\\r\\n");
}
