//! Requests of the Redis protocol: taken apart, and carried out on a connection over an empty keyspace in memory.
//!
//! ```text
//!  | what a client sends |
//! ```

use core::net::SocketAddr;

use std_server::command::{Addresses, MemoryEngine};
use std_server::keyspace::Options;
use std_server::resp::{ConnectionLimits, Decoded, Decoder, ProtocolError, serve_connection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

/// Values may grow only this far: what is large is slow, and nothing else.
const MODEST: &[u8] = b"CONFIG SET maxmemory 200kb\r\n";

pub(super) fn requests(input: &[u8]) {
    let whole = decode(input, input.len().max(1));
    assert_eq!(decode(input, 1), whole, "byte by byte");
    assert_eq!(decode(input, 7), whole, "in sevens");
    RUNTIME.with(|runtime| runtime.block_on(connection(input)));
}

type Requests = Vec<Vec<Vec<u8>>>;

/// All requests of the input, which comes in pieces.
fn decode(input: &[u8], piece: usize) -> (Requests, Option<ProtocolError>) {
    let mut decoder = Decoder::new(ConnectionLimits::default().request);
    let (mut found, mut from, mut to) = (vec![], 0, 0);
    loop {
        match decoder.decode(&input[from..to]) {
            Err(error) => return (found, Some(error)),
            Ok(Decoded::Request { bytes }) => {
                assert!(0 < bytes && bytes <= to - from, "a request of {bytes} bytes");
                found.push(decoder.words(&input[from..]).map(<[u8]>::to_vec).collect());
                from += bytes;
            }
            Ok(Decoded::Incomplete) if to == input.len() => return (found, None),
            Ok(Decoded::Incomplete) => to = input.len().min(to + piece),
        }
    }
}

/// A client that sends all of it and then reads to the end.
async fn connection(input: &[u8]) {
    let stop = CancellationToken::new();
    let engine = MemoryEngine::new(Options::default(), stop.clone());
    let (mut client, mut server) = duplex(4096);
    let anywhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let addresses = Addresses { peer: anywhere, local: anywhere };
    let limits = ConnectionLimits { reply_bytes: 1 << 20, ..ConnectionLimits::default() };
    let served = async {
        let _ = serve_connection(&mut server, addresses, &engine, limits, &stop).await;
        drop(server);
    };
    let (mut from, mut to) = tokio::io::split(&mut client);
    let sent = async {
        let _ = to.write_all(&[MODEST, input].concat()).await;
        let _ = to.shutdown().await;
    };
    let mut replies = Vec::new();
    let (..) = tokio::join!(served, sent, from.read_to_end(&mut replies));
    assert!(replies.starts_with(b"+OK\r\n"), "{}", replies.escape_ascii());
    assert!(replies.ends_with(b"\r\n"), "{}", replies.escape_ascii());
}
