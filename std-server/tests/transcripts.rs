//! Commands and their exact replies, family by family. `own.txt` holds what differs from Redis on purpose; all other
//! transcripts were recorded from Redis 7.0.15, and `differential.rs` plays them against it again.

mod support;

use std_server::resp::ListenerLimits;
use support::{Server, play};

#[test]
fn strings() {
    play_on_own_server("strings");
}

#[test]
fn numbers() {
    play_on_own_server("numbers");
}

#[test]
fn keys() {
    play_on_own_server("keys");
}

#[test]
fn expiry() {
    play_on_own_server("expiry");
}

#[test]
fn transactions() {
    play_on_own_server("transactions");
}

#[test]
fn connection() {
    play_on_own_server("connection");
}

#[test]
fn resp3() {
    play_on_own_server("resp3");
}

#[test]
fn own() {
    play_on_own_server("own");
}

fn play_on_own_server(name: &str) {
    let server = Server::start(ListenerLimits::default());
    play(name, server.address);
}
