//! Taking images back in: by one thread into a keyspace, or by several into parts of one.
//!
//! ```text
//!  chunks ─┬─ thread 0 ─┐   part 0 (hash 0000…)
//!          ├─ thread 1 ─┼─► part 1 (hash 0001…)  ── finish ─► Keyspace: the directories, one after the other
//!          └─ …        ─┘   …
//! ```
//!
//! Chunks of the same seed hold runs of one leaf, thus of one part: a thread takes a part's lock once per run.
//! After an error the half-filled keyspace is good for nothing but dropping.

use parking_lot::{Mutex, MutexGuard};

use super::chunk::{ChunkError, ChunkReader};
use super::entry::RawEntry;
use super::hash::{KeyHash, KeyHasher};
use super::leaf::{Place, Value};
use super::table::Table;
use super::{Keyspace, Limits, Options};

impl Keyspace {
    /// Takes in the entries of a chunk, and answers how many there were.
    ///
    /// # Errors
    /// When the bytes are not a chunk, a key is there already, or an image is being taken.
    pub fn restore_chunk(&mut self, chunk: &[u8]) -> Result<usize, ChunkError> {
        if self.running.is_some() {
            return Err(ChunkError::ImageRunning);
        }
        let mut reader = ChunkReader::new(chunk)?;
        let mut count = 0;
        while let Some((at, entry)) = reader.next()? {
            let hash = self.hasher.hash(entry.key);
            if !insert(&mut self.table, hash, &entry, &self.hasher, &self.limits) {
                return Err(ChunkError::Duplicate { at });
            }
            count += 1;
        }
        Ok(count)
    }
}

/// A keyspace that several threads fill from chunks.
#[derive(Debug)]
pub struct Restore {
    parts: Vec<Mutex<Table>>,
    hasher: KeyHasher,
    limits: Limits,
}

impl Restore {
    /// An empty keyspace in parts; `options.expected_keys` sizes them.
    pub fn new(options: Options) -> Self {
        let part = || Table::part(options.expected_keys >> PART_BITS, &options.limits, 0, PART_BITS);
        Self {
            parts: (0..1 << PART_BITS).map(|_| Mutex::new(part())).collect(),
            hasher: KeyHasher::new(options.seed),
            limits: options.limits,
        }
    }

    /// Takes in the entries of a chunk, and answers how many there were; any thread, any order.
    ///
    /// # Errors
    /// When the bytes are not a chunk, or a key is there already.
    pub fn restore_chunk(&self, chunk: &[u8]) -> Result<usize, ChunkError> {
        let mut reader = ChunkReader::new(chunk)?;
        let mut held: Option<(usize, MutexGuard<'_, Table>)> = None;
        let mut count = 0;
        while let Some((at, entry)) = reader.next()? {
            let hash = self.hasher.hash(entry.key);
            let number = (hash.0 >> (u64::BITS - PART_BITS)) as usize;
            let mut part = match held.take() {
                Some((held_number, part)) if held_number == number => part,
                // The old lock is released before the next is awaited.
                other => {
                    drop(other);
                    self.parts[number].lock()
                }
            };
            if !insert(&mut part, hash, &entry, &self.hasher, &self.limits) {
                return Err(ChunkError::Duplicate { at });
            }
            held = Some((number, part));
            count += 1;
        }
        Ok(count)
    }

    /// Joins the parts; the cost is that of moving the leaves' heads.
    pub fn finish(self) -> Keyspace {
        let parts = self.parts.into_iter().map(Mutex::into_inner).collect();
        Keyspace::from_table(Table::join(parts), self.hasher, self.limits)
    }
}

/// Inserts an entry; false when its key is there already.
#[inline]
fn insert(
    table: &mut Table,
    hash: KeyHash,
    entry: &RawEntry<'_>,
    hasher: &KeyHasher,
    limits: &Limits,
) -> bool {
    table.change(hash, hasher, limits, |leaf| {
        let at = Place { key: entry.key, hash, hasher };
        leaf.set(at, Value::Bytes(entry.value), entry.expires_at_ms, limits)
    })
}

const PART_BITS: u32 = 6;
