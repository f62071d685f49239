//! Recovery into a keyspace: a snapshot's chunks, then the log's records in batches.
//!
//! ```text
//!  begin ─► restore chunk* ─► apply record*          progress is published for those who ask meanwhile
//! ```

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;

use strandline::{BadState, Lsn, Replay, Snapshot};

use crate::command::Progress;
use crate::events::is_event;
use crate::keyspace::{Keyspace, Options, chunk_seed, decode_record};

/// How far recovery is, for other threads.
#[derive(Debug, Default)]
pub(super) struct Recovering {
    keys: AtomicU64,
    snapshot_keys: AtomicU64,
    records: AtomicU64,
    log_records: AtomicU64,
}

impl Recovering {
    pub(super) fn progress(&self) -> Progress {
        let log_records = self.log_records.load(Relaxed);
        if log_records > 0 {
            return Progress {
                what: "records of the log",
                done: self.records.load(Relaxed),
                total: log_records,
            };
        }
        let (done, total) = (self.keys.load(Relaxed), self.snapshot_keys.load(Relaxed));
        Progress { what: "keys of the snapshot", done, total: total.max(done) }
    }
}

/// Takes in what was kept.
#[derive(Debug)]
pub(super) struct Loader {
    keyspace: Keyspace,
    /// Drawn at random; a snapshot's own seed replaces it, because its chunks go in fastest under that one.
    seed: u64,
    expected_keys: usize,
    /// Records that are applied together.
    batch: Batch,
    first: Option<Lsn>,
    /// Events among the records before the keyspace had its size: they need no room in it.
    events: u64,
    /// The keyspace has its size: from a snapshot, or from the length of the log.
    sized: bool,
    recovering: Arc<Recovering>,
}

#[derive(Debug, Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    lsns: Vec<Lsn>,
}

impl Loader {
    pub(super) fn new(seed: u64, recovering: Arc<Recovering>) -> Self {
        let keyspace = Keyspace::new(Options { seed, ..Options::default() });
        let (batch, first) = (Batch::default(), None);
        Self { keyspace, seed, expected_keys: 0, batch, first, events: 0, sized: false, recovering }
    }

    /// The keyspace, once recovery has handed over everything.
    ///
    /// # Errors
    /// A record can't be applied.
    pub(super) fn finish(mut self) -> Result<Keyspace, BadState> {
        self.flush()?;
        Ok(self.keyspace)
    }

    /// Begins an empty keyspace in which the first so many keys find room.
    fn size(&mut self, seed: u64, expected_keys: usize) {
        let expected_keys = expected_keys.min(MOST_EXPECTED_KEYS);
        self.keyspace = Keyspace::new(Options { seed, expected_keys, ..Options::default() });
        self.sized = true;
    }

    fn flush(&mut self) -> Result<(), BadState> {
        let applied = self.keyspace.apply_records(self.batch.records());
        let result = applied.map_err(|error| self.batch.blame(error.to_string()));
        self.batch.bytes.clear();
        self.batch.ends.clear();
        self.batch.lsns.clear();
        result
    }
}

impl Replay for Loader {
    fn reset(&mut self) {
        self.keyspace = Keyspace::new(Options { seed: self.seed, ..Options::default() });
        self.expected_keys = 0;
        self.sized = false;
        self.batch = Batch::default();
        self.recovering.keys.store(0, Relaxed);
    }

    fn begin(&mut self, snapshot: &Snapshot) {
        self.expected_keys = usize::try_from(snapshot.items).unwrap_or(0);
        self.recovering.snapshot_keys.store(snapshot.items, Relaxed);
    }

    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
        if !self.sized {
            let seed = chunk_seed(chunk).map_err(|error| BadState(error.to_string()))?;
            self.size(seed, self.expected_keys);
        }
        let keys = self.keyspace.restore_chunk(chunk).map_err(|error| BadState(error.to_string()))?;
        self.recovering.keys.fetch_add(keys as u64, Relaxed);
        Ok(())
    }

    fn apply(&mut self, lsn: Lsn, record: &[u8]) -> Result<(), BadState> {
        self.first.get_or_insert(lsn);
        if is_event(record) {
            self.events += u64::from(!self.sized);
            return Ok(());
        }
        self.batch.lsns.push(lsn);
        self.batch.bytes.extend_from_slice(record);
        self.batch.ends.push(self.batch.bytes.len());
        // Until the keyspace has its size, one window of the log is kept back; see `progress`.
        let (records, bytes) =
            if self.sized { (BATCH_RECORDS, BATCH_BYTES) } else { (usize::MAX, FIRST_BYTES) };
        if self.batch.ends.len() >= records || self.batch.bytes.len() >= bytes {
            self.sized = true;
            self.flush()?;
        }
        Ok(())
    }

    fn progress(&mut self, next: Lsn, last: Lsn) {
        let first = self.first.unwrap_or(next).0;
        if !self.sized {
            // The first records wait for this: how many there are is the only hint at how many keys there will be.
            let seen = self.batch.ends.len() as u64;
            let records = u128::from(last.max(next).0.saturating_sub(first));
            let expected_keys = records * u128::from(seen) / u128::from((seen + self.events).max(1));
            self.size(self.seed, usize::try_from(expected_keys).unwrap_or(usize::MAX));
        }
        self.recovering.records.store(next.0.saturating_sub(first), Relaxed);
        self.recovering.log_records.store(last.max(next).0.saturating_sub(first), Relaxed);
    }
}

impl Batch {
    fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = core::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[*start..*end])
    }

    /// Names the record that is not one.
    fn blame(&self, error: String) -> BadState {
        let bad = self.records().position(|record| decode_record(record).any(|effect| effect.is_err()));
        let lsn = self.lsns.get(bad.unwrap_or(0)).copied().unwrap_or_default();
        BadState(format!("record {lsn} is intact but not one of this server's: {error}"))
    }
}

/// Enough to overlap the keyspace's waits for memory, few enough to stay in the processor's caches.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: usize = 64 << 10;
const FIRST_BYTES: usize = 1 << 20;
/// For more keys, room is made as they come.
const MOST_EXPECTED_KEYS: usize = 1 << 28;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Effect, encode_record};

    fn set(key: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        encode_record(&[Effect::Set { key, value: b"v", expires_at_ms: None }], &mut record);
        record
    }

    #[test]
    fn records_are_applied_in_order_and_counted() {
        let recovering = Arc::new(Recovering::default());
        let mut loader = Loader::new(1, Arc::clone(&recovering));
        for lsn in 5..1005_u64 {
            loader.apply(Lsn(lsn), &set(lsn.to_string().as_bytes())).expect("a record");
        }
        loader.progress(Lsn(1005), Lsn(2005));
        let Progress { done, total, .. } = recovering.progress();
        assert_eq!((done, total), (1000, 2000));
        assert_eq!(loader.finish().expect("applied").len(), 1000);
    }

    #[test]
    fn a_record_of_another_program_is_named() {
        let mut loader = Loader::new(1, Arc::default());
        loader.apply(Lsn(5), &set(b"a")).expect("a record");
        loader.apply(Lsn(6), b"{}").expect("looked at later");
        let error = loader.finish().unwrap_err().to_string();
        assert!(error.starts_with("record 6 is intact but not one of this server's"), "{error}");
    }
}
