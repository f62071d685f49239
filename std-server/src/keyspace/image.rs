//! Images: the keyspace of one moment, read out while writes go on.
//!
//! ```text
//!  begin ── a new stamp, nothing copied
//!    walker:  lock · encode the next leaf without the stamp · stamp it · unlock       → chunk
//!    writer:  before it touches a leaf without the stamp: encode it into the queue · stamp it
//!    flush :  the whole table goes to the walker, which needs no lock from then on
//! ```
//!
//! Invariants: a leaf without the running image's stamp is as it was when the image began; a stamped one has been
//! encoded once, or came into being afterwards. The walker empties the queue before it goes on. A full queue makes
//! [`Keyspace::prepare`] refuse writes to leaves that are not stamped yet; it never makes the image wrong.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Keyspace;
use super::chunk::{ChunkWriter, HEADER_BYTES};
use super::hash::{KeyHash, KeyHasher};
use super::leaf::Leaf;
use super::table::Table;

/// A point-in-time image in the making. Dropping it, finished or not, frees what it held; don't drop it or read
/// from it while holding the keyspace's lock.
///
/// ```
/// use std::sync::Arc;
/// use parking_lot::Mutex;
/// use std_server::keyspace::{Effect, Keyspace, Options};
///
/// let keyspace = Arc::new(Mutex::new(Keyspace::new(Options { seed: 7, ..Options::default() })));
/// keyspace.lock().apply(Effect::Set { key: b"k", value: b"then", expires_at_ms: None });
/// let mut image = Keyspace::begin_image(&keyspace)?;
/// keyspace.lock().apply(Effect::Set { key: b"k", value: b"now", expires_at_ms: None });
///
/// let mut restored = Keyspace::new(Options { seed: image.seed(), ..Options::default() });
/// let mut chunk = Vec::new();
/// while image.next_chunk(&mut chunk) {
///     restored.restore_chunk(&chunk)?;
/// }
/// assert_eq!(restored.get(b"k", 0).map(|entry| entry.value), Some(&b"then"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Image<S: AsMut<Keyspace> = Keyspace> {
    shared: Arc<Mutex<S>>,
    hasher: KeyHasher,
    keys: usize,
    stamp: u64,
    current: Captured,
    detached: Option<Walk>,
    done: bool,
}

/// An image of this keyspace is being taken already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an image of this keyspace is being taken already")]
pub struct ImageRunning;

/// The queue of the running image is full: wait until it has drained, then ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the running image's queue is full")]
pub struct ImageQueueFull;

impl Keyspace {
    /// Begins an image of this moment; the cost does not depend on the number of keys.
    ///
    /// # Errors
    /// When one is being taken already.
    pub fn begin_image(shared: &Arc<Mutex<Self>>) -> Result<Image, ImageRunning> {
        Self::begin_image_in(shared, &mut shared.lock())
    }

    /// The same for a keyspace that is part of something else under one lock, which the caller holds: `held` is what
    /// `shared` guards.
    ///
    /// # Errors
    /// When one is being taken already.
    pub fn begin_image_in<S: AsMut<Self>>(
        shared: &Arc<Mutex<S>>,
        held: &mut S,
    ) -> Result<Image<S>, ImageRunning> {
        let keyspace = held.as_mut();
        if keyspace.running.is_some() {
            return Err(ImageRunning);
        }
        keyspace.stamp += 1;
        let stamp = keyspace.stamp;
        keyspace.running = Some(Running::new(stamp, keyspace.limits.image_queue_bytes));
        Ok(Image {
            shared: Arc::clone(shared),
            hasher: keyspace.hasher.clone(),
            keys: keyspace.len(),
            stamp,
            current: Captured::default(),
            detached: None,
            done: false,
        })
    }
}

impl AsMut<Self> for Keyspace {
    fn as_mut(&mut self) -> &mut Self {
        self
    }
}

impl<S: AsMut<Keyspace>> Image<S> {
    /// Keys in the image: those of the moment it began, expired but not yet removed ones included.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// The hash seed, for a keyspace that takes the chunks in quickly.
    pub fn seed(&self) -> u64 {
        self.hasher.seed()
    }

    /// Puts the next chunk into `out`, replacing what was there; false after the last, then `out` is empty.
    ///
    /// A chunk has about [`CHUNK_BYTES`], more only when a single entry or leaf has.
    pub fn next_chunk(&mut self, out: &mut Vec<u8>) -> bool {
        let hasher = self.hasher.clone();
        let mut chunk = ChunkWriter::new(out, &hasher);
        loop {
            if !self.current.drain_into(&mut chunk) {
                break;
            }
            if self.done || !self.capture_next() {
                self.done = true;
                break;
            }
        }
        let has_entries = !chunk.is_empty();
        chunk.finish();
        if !has_entries {
            out.clear();
        }
        has_entries
    }

    /// Gets the next leaf: from the queue, the live table or the detached one, in this order.
    fn capture_next(&mut self) -> bool {
        loop {
            if let Some(walk) = &mut self.detached {
                return walk.capture_next(self.stamp, &mut self.current, usize::MAX) == Walked::Leaf;
            }
            let mut held = self.shared.lock();
            let keyspace = held.as_mut();
            let Some(running) = keyspace.running.as_mut().filter(|running| running.stamp == self.stamp)
            else {
                return false;
            };
            if let Some(captured) = running.queue.pop_front() {
                running.queue_bytes -= captured.bytes();
                self.current = captured;
                return true;
            }
            if let Some(table) = running.detached.take() {
                let position = running.position;
                keyspace.running = None;
                self.detached = Some(Walk { table, position });
                continue;
            }
            match walk(
                &mut keyspace.table,
                &mut running.position,
                self.stamp,
                &mut self.current,
                LOOKS_PER_LOCK,
            ) {
                Walked::Leaf => return true,
                Walked::Further => {}
                Walked::End => {
                    keyspace.running = None;
                    return false;
                }
            }
        }
    }
}

impl<S: AsMut<Keyspace>> Drop for Image<S> {
    fn drop(&mut self) {
        let mut held = self.shared.lock();
        let abandoned = held.as_mut().running.take_if(|running| running.stamp == self.stamp);
        // What it held may be large: it is freed after the lock.
        drop(held);
        drop(abandoned);
    }
}

/// The part of an image that lives in the keyspace.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) stamp: u64,
    /// Where the walker goes on; `None` after the last leaf.
    position: Option<u64>,
    queue: VecDeque<Captured>,
    queue_bytes: usize,
    limit_bytes: usize,
    /// The table that a flush took out of use before the walker was through it.
    pub(super) detached: Option<Table>,
}

impl Running {
    fn new(stamp: u64, limit_bytes: usize) -> Self {
        Self { stamp, position: Some(0), queue: VecDeque::new(), queue_bytes: 0, limit_bytes, detached: None }
    }

    pub(super) fn queue_bytes(&self) -> usize {
        self.queue_bytes
    }

    /// Whether the queue takes this leaf; an empty one takes any.
    pub(super) fn has_room(&self, leaf: &Leaf) -> bool {
        leaf.stamp == self.stamp
            || self.queue.is_empty()
            || self.queue_bytes + leaf.image_bytes() <= self.limit_bytes
    }

    /// Encodes a leaf that is about to change, unless it has been.
    #[inline]
    pub(super) fn capture(&mut self, leaf: &mut Leaf) {
        if leaf.stamp != self.stamp {
            leaf.stamp = self.stamp;
            self.enqueue(leaf);
        }
    }

    #[cold]
    fn enqueue(&mut self, leaf: &Leaf) {
        if leaf.is_empty() {
            return;
        }
        let mut captured = Captured::default();
        captured.fill(leaf);
        self.queue_bytes += captured.bytes();
        self.queue.push_back(captured);
    }
}

/// A table that only the image has.
#[derive(Debug)]
struct Walk {
    table: Table,
    position: Option<u64>,
}

impl Walk {
    fn capture_next(&mut self, stamp: u64, into: &mut Captured, looks: usize) -> Walked {
        walk(&mut self.table, &mut self.position, stamp, into, looks)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Walked {
    Leaf,
    Further,
    End,
}

/// Looks at up to `looks` leaves from `position` on, and captures the first that is not stamped and not empty.
fn walk(
    table: &mut Table,
    position: &mut Option<u64>,
    stamp: u64,
    into: &mut Captured,
    looks: usize,
) -> Walked {
    for _ in 0..looks {
        let Some(here) = *position else { return Walked::End };
        *position = table.next_position(here);
        let leaf = table.leaf_mut(KeyHash(here));
        if leaf.stamp != stamp {
            leaf.stamp = stamp;
            if !leaf.is_empty() {
                into.fill(leaf);
                return Walked::Leaf;
            }
        }
    }
    Walked::Further
}

/// The entries of one leaf at the moment of the image.
#[derive(Debug, Default)]
struct Captured {
    inline: Vec<u8>,
    inline_entries: u32,
    large: Vec<LargeEntry>,
    large_bytes: usize,
}

#[derive(Debug)]
struct LargeEntry {
    key: Vec<u8>,
    expires_at_ms: Option<u64>,
    value: Arc<Vec<u8>>,
}

impl Captured {
    fn fill(&mut self, leaf: &Leaf) {
        self.inline.clear();
        self.inline.reserve_exact(leaf.image_inline_bytes());
        leaf.capture(&mut self.inline, |key, expires_at_ms, value| {
            self.large_bytes += value.len();
            self.large.push(LargeEntry { key: key.to_vec(), expires_at_ms, value });
        });
        self.inline_entries = (leaf.len() - self.large.len()) as u32;
    }

    fn bytes(&self) -> usize {
        self.inline.capacity() + self.large_bytes
    }

    /// Moves entries into `chunk` until all are there (true) or it is full (false).
    fn drain_into(&mut self, chunk: &mut ChunkWriter<'_>) -> bool {
        if self.inline_entries > 0 {
            if !fits(chunk, self.inline.len()) {
                return false;
            }
            chunk.push_encoded(&self.inline, self.inline_entries);
            self.inline_entries = 0;
            self.inline.clear();
        }
        while let Some(entry) = self.large.last() {
            if !fits(chunk, entry.value.len() + entry.key.len()) {
                return false;
            }
            chunk.push(&entry.key, &entry.value, entry.expires_at_ms);
            self.large_bytes -= entry.value.len();
            self.large.pop();
        }
        true
    }
}

fn fits(chunk: &ChunkWriter<'_>, more: usize) -> bool {
    chunk.is_empty() || chunk.len() + more <= CHUNK_BYTES + HEADER_BYTES
}

/// What a chunk holds unless a single leaf or entry is larger.
pub const CHUNK_BYTES: usize = 256 << 10;

/// Stamped or empty leaves that the walker passes under one lock.
const LOOKS_PER_LOCK: usize = 256;
