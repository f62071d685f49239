//! What the server remembers about one connection, and the list of all connections.

use super::statistics::{Counts, Statistics};
use super::transaction::Queue;
use super::watch::{Watch, Watches};
use crate::auth::User;
use core::fmt::Write as _;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// The state of one connection.
#[derive(Debug)]
pub struct Session {
    pub(super) client: Arc<Client>,
    pub(super) queue: Option<Queue>,
    pub(super) watch: Option<Watch>,
    pub(super) speech: Speech,
    /// Nobody is asked who they are, or this client has shown it.
    pub(super) trusted: bool,
    /// Whether clients must show who they are.
    pub(super) asks: bool,
}

/// Whether the client hears replies (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Speech {
    /// It does.
    #[default]
    On,
    /// It does not.
    Off,
    /// Not the reply to the next command.
    SkipNext,
    /// Not the reply to this command.
    Skip,
}

impl Session {
    /// A new connection, listed until it is dropped; if `asks`, it may do nothing before it is authenticated.
    #[must_use]
    pub fn new(clients: &Arc<Clients>, addresses: Addresses, asks: bool) -> Self {
        let client = clients.register(addresses);
        Self { client, queue: None, watch: None, speech: Speech::On, trusted: !asks, asks }
    }

    /// The protocol that replies are written in.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.client.protocol()
    }

    /// Whether it may send long requests: whoever has not shown who they are gets little memory.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Notes that the client has just sent something.
    pub fn touch(&self, bytes: usize) {
        self.client.active_ms.store(self.client.age_ms(), Ordering::Relaxed);
        self.client.counts.lock().input_bytes += bytes as u64;
    }

    /// Notes how much is held for this connection.
    pub fn holds(&self, input_bytes: usize, output_bytes: usize) {
        self.client.input_bytes.store(input_bytes, Ordering::Relaxed);
        self.client.output_bytes.store(output_bytes, Ordering::Relaxed);
    }

    /// Notes that replies were taken.
    pub fn sent(&self, bytes: usize) {
        self.client.counts.lock().output_bytes += bytes as u64;
    }

    /// Notes that the connection is cut because it does not take its replies.
    pub fn overran(&self) {
        self.client.clients.statistics.output_cuts.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(client = %self.client.addresses.peer, "a client is cut off that does not take its replies");
    }

    /// Counts refusals by their code.
    pub fn refused(&self, codes: impl Iterator<Item = Box<str>>) {
        let mut counts = self.client.counts.lock();
        codes.for_each(|code| counts.refused(&code));
    }

    /// Cancelled when another connection ends this one.
    #[must_use]
    pub fn ended(&self) -> CancellationToken {
        self.client.end.clone()
    }

    /// Makes the connection as new.
    pub(super) fn reset(&mut self) {
        self.set_queue(None);
        self.set_watch(None);
        self.speech = Speech::On;
        self.trusted = !self.asks;
        let client = &self.client;
        client.name.lock().clear();
        *client.user.lock() = None;
        client.no_evict.store(false, Ordering::Relaxed);
        client.no_touch.store(false, Ordering::Relaxed);
        client.speak(Protocol::Resp2);
    }

    pub(super) fn set_queue(&mut self, queue: Option<Queue>) -> Option<Queue> {
        self.client.queued.store(if queue.is_some() { 0 } else { -1 }, Ordering::Relaxed);
        core::mem::replace(&mut self.queue, queue)
    }

    pub(super) fn set_watch(&mut self, watch: Option<Watch>) -> Option<Watch> {
        self.client.watched.store(watch.as_ref().map_or(0, Watch::len), Ordering::Relaxed);
        core::mem::replace(&mut self.watch, watch)
    }

    /// Whether the reply to the command that was just executed is not to be written.
    pub(super) fn is_silent(&mut self) -> bool {
        match self.speech {
            Speech::On => false,
            Speech::Off => true,
            Speech::SkipNext => {
                self.speech = Speech::Skip;
                true
            }
            Speech::Skip => {
                self.speech = Speech::On;
                true
            }
        }
    }

    pub(super) fn identify(&mut self, user: User) {
        *self.client.user.lock() = Some(user);
        self.trusted = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let clients = &self.client.clients;
        clients.connected.lock().remove(&self.client.id);
        clients.statistics.departed.lock().add(&self.client.counts.lock());
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
    pub(super) addresses: Addresses,
    connected: Instant,
    active_ms: AtomicU64,
    protocol: AtomicU8,
    input_bytes: AtomicUsize,
    output_bytes: AtomicUsize,
    /// Commands between MULTI and EXEC, or -1.
    pub(super) queued: AtomicI64,
    pub(super) watched: AtomicUsize,
    pub(super) no_evict: AtomicBool,
    pub(super) no_touch: AtomicBool,
    pub(super) name: Mutex<Vec<u8>>,
    /// What the client says that its library is: name and version.
    pub(super) library: Mutex<[Vec<u8>; 2]>,
    pub(super) user: Mutex<Option<User>>,
    pub(super) counts: Mutex<Counts>,
    pub(super) end: CancellationToken,
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
    pub(super) fn all(&self) -> &Arc<Clients> {
        &self.clients
    }

    pub(super) fn user_name(&self) -> String {
        self.user.lock().as_ref().map_or("default", User::name).to_owned()
    }

    pub(super) fn describe(&self, out: &mut String) {
        let Addresses { peer, local } = self.addresses;
        let age_ms = self.age_ms();
        let idle_s = age_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed)) / 1000;
        let multi = self.queued.load(Ordering::Relaxed);
        let mut flags = String::new();
        for (flag, is_on) in [
            ('x', multi >= 0),
            ('e', self.no_evict.load(Ordering::Relaxed)),
            ('T', self.no_touch.load(Ordering::Relaxed)),
        ] {
            flags.extend(is_on.then_some(flag));
        }
        let flags = if flags.is_empty() { "N" } else { &flags };
        let (input, output) =
            (self.input_bytes.load(Ordering::Relaxed), self.output_bytes.load(Ordering::Relaxed));
        let watch = self.watched.load(Ordering::Relaxed);
        let (name, [library, version]) = (self.name.lock().clone(), self.library.lock().clone());
        let [name, library, version] = [name, library, version].map(|text| lossy(&text));
        let newest = self.counts.lock().newest;
        let (id, age_s, protocol) = (self.id, age_ms / 1000, self.protocol() as u8);
        let written = writeln!(
            out,
            "id={id} addr={peer} laddr={local} fd=-1 name={name} age={age_s} idle={idle_s} flags={flags} db=0 sub=0 psub=0 \
             ssub=0 multi={multi} watch={watch} qbuf={input} qbuf-free=0 argv-mem=0 multi-mem=0 rbs={output} rbp={output} \
             obl={output} oll=0 omem={output} tot-mem={} events=r cmd={} user={} redir=-1 resp={protocol} \
             lib-name={library} lib-ver={version}",
            input + output,
            if newest.is_empty() { "NULL" } else { newest },
            self.user_name(),
        );
        debug_assert!(written.is_ok(), "a string takes any text");
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.connected.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// All connections, by number.
#[derive(Debug, Default)]
pub struct Clients {
    connected: Mutex<BTreeMap<u64, Arc<Client>>>,
    last_id: AtomicU64,
    watches: Arc<Watches>,
    statistics: Statistics,
}

impl Clients {
    /// How many are connected.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connected.lock().len()
    }

    /// How many ever were.
    #[must_use]
    pub fn ever(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// The keys that are watched.
    #[must_use]
    pub const fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    /// What all connections did.
    #[must_use]
    pub const fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Bytes of requests and of replies that are held for all connections.
    #[must_use]
    pub fn held_bytes(&self) -> [usize; 2] {
        self.connected.lock().values().fold([0; 2], |[input, output], client| {
            let of = |bytes: &AtomicUsize| bytes.load(Ordering::Relaxed);
            [input + of(&client.input_bytes), output + of(&client.output_bytes)]
        })
    }

    /// What everybody did since the start, or the last reset.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut all = self.statistics.departed.lock().clone();
        self.everybody().iter().for_each(|client| all.add(&client.counts.lock()));
        all
    }

    /// Begins to count anew.
    pub fn reset_counts(&self) {
        *self.statistics.departed.lock() = Counts::default();
        self.everybody().iter().for_each(|client| *client.counts.lock() = Counts::default());
        self.statistics.output_cuts.store(0, Ordering::Relaxed);
    }

    /// A moment's list, so that nothing is done under its lock.
    pub(super) fn everybody(&self) -> Vec<Arc<Client>> {
        self.connected.lock().values().cloned().collect()
    }

    pub(super) fn describe(&self, wanted: impl Fn(u64) -> bool) -> String {
        let wanted = self.everybody().into_iter().filter(|client| wanted(client.id));
        wanted.fold(String::new(), |mut text, client| {
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
            input_bytes: AtomicUsize::new(0),
            output_bytes: AtomicUsize::new(0),
            queued: AtomicI64::new(-1),
            watched: AtomicUsize::new(0),
            no_evict: AtomicBool::new(false),
            no_touch: AtomicBool::new(false),
            name: Mutex::default(),
            library: Mutex::default(),
            user: Mutex::default(),
            counts: Mutex::default(),
            end: CancellationToken::new(),
            clients: Arc::clone(self),
        });
        self.connected.lock().insert(client.id, Arc::clone(&client));
        client
    }
}
