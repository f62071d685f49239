//! What the server remembers about one connection, and the list of all connections.

use super::transaction::Queue;
use core::fmt::Write as _;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    pub(super) client: Arc<Client>,
    pub(super) queue: Option<Queue>,
}

impl Session {
    /// A new connection, listed until it is dropped.
    #[must_use]
    pub fn new(clients: &Arc<Clients>, addresses: Addresses) -> Self {
        Self { client: clients.register(addresses), queue: None }
    }

    /// The protocol that replies are written in.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.client.protocol()
    }

    /// Notes that the client has just sent something.
    pub fn touch(&self) {
        self.client.active_ms.store(self.client.age_ms(), Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.client.clients.connected.lock().remove(&self.client.id);
    }
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The client's.
    pub peer: SocketAddr,
    /// The server's.
    pub local: SocketAddr,
}

/// The version of the Redis protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// Strings, integers and arrays.
    #[default]
    Resp2 = 2,
    /// Also null, maps, sets and verbatim text.
    Resp3 = 3,
}

/// One line of CLIENT LIST.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) id: u64,
    addresses: Addresses,
    connected: Instant,
    active_ms: AtomicU64,
    protocol: AtomicU8,
    pub(super) name: Mutex<Vec<u8>>,
    clients: Arc<Clients>,
}

impl Client {
    pub(super) fn protocol(&self) -> Protocol {
        if self.protocol.load(Ordering::Relaxed) == Protocol::Resp3 as u8 {
            Protocol::Resp3
        } else {
            Protocol::Resp2
        }
    }

    pub(super) fn speak(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    /// The other connections and this one.
    pub(super) fn all(&self) -> &Clients {
        &self.clients
    }

    pub(super) fn describe(&self, out: &mut String) {
        let Addresses { peer, local } = self.addresses;
        let age_ms = self.age_ms();
        let idle_ms = age_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed));
        let name = self.name.lock();
        let (id, name) = (self.id, String::from_utf8_lossy(&name));
        let (age, idle, protocol) = (age_ms / 1000, idle_ms / 1000, self.protocol() as u8);
        let written = writeln!(
            out,
            "id={id} addr={peer} laddr={local} name={name} age={age} idle={idle} flags=N db=0 user=default resp={protocol}"
        );
        debug_assert!(written.is_ok(), "a string takes any text");
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.connected.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// All connections, by number.
#[derive(Debug, Default)]
pub struct Clients {
    connected: Mutex<BTreeMap<u64, Arc<Client>>>,
    last_id: AtomicU64,
}

impl Clients {
    /// How many are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connected.lock().len()
    }

    pub(super) fn describe(&self, wanted: impl Fn(u64) -> bool) -> String {
        let connected: Vec<_> =
            self.connected.lock().values().filter(|client| wanted(client.id)).cloned().collect();
        connected.iter().fold(String::new(), |mut text, client| {
            client.describe(&mut text);
            text
        })
    }

    fn register(self: &Arc<Self>, addresses: Addresses) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            addresses,
            connected: Instant::now(),
            active_ms: AtomicU64::new(0),
            protocol: AtomicU8::new(Protocol::default() as u8),
            name: Mutex::default(),
            clients: Arc::clone(self),
        });
        self.connected.lock().insert(client.id, Arc::clone(&client));
        client
    }
}
