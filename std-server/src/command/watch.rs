//! WATCH: keys whose change makes EXEC do nothing.
//!
//! ```text
//!  WATCH k ─► table: k ─► mark of this connection        a record that writes k ─► every mark of k is set
//!                                                          (both under the keyspace's lock)
//!  EXEC, under the same lock: a mark that is set, or a key that was there and is not ─► null, nothing executed
//! ```
//!
//! A key that expires counts as changed although no record says so, which is why it is also looked for.

use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

use super::reply::Refusal;
use crate::keyspace::{Effect, Keyspace, decode_record};

/// Set when a key has changed that its connection watches.
type Mark = Arc<AtomicBool>;

/// Every watched key with the marks of those who watch it.
#[derive(Debug, Default)]
pub struct Watches {
    marks: Mutex<HashMap<Box<[u8]>, Vec<Mark>>>,
    /// How many keys are watched: writers look no further while there are none.
    keys: AtomicUsize,
}

impl Watches {
    /// Sets the marks of all keys that a record writes. Whoever executes units calls this with each record, before the
    /// keyspace's lock is released.
    pub fn touch(&self, record: &[u8]) {
        if self.keys.load(Ordering::SeqCst) == 0 {
            return;
        }
        let marks = self.marks.lock();
        for effect in decode_record(record).filter_map(Result::ok) {
            let (one, other) = match effect {
                Effect::Set { key, .. }
                | Effect::Delete { key }
                | Effect::Write { key, .. }
                | Effect::Expire { key, .. }
                | Effect::Persist { key } => (Some(key), None),
                Effect::Rename { from, to } => (Some(from), Some(to)),
                Effect::Copy { to, .. } => (Some(to), None),
                // A key that is removed with all others is missed by EXEC.
                Effect::Flush => (None, None),
            };
            for mark in [one, other].into_iter().flatten().filter_map(|key| marks.get(key)).flatten() {
                mark.store(true, Ordering::SeqCst);
            }
        }
    }

    /// How many keys are watched.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }
}

/// What one connection watches; forgotten when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    all: Arc<Watches>,
    mark: Mark,
    /// Whether each key was there when it was first watched.
    keys: HashMap<Box<[u8]>, bool>,
    held_bytes: usize,
}

impl Watch {
    pub(super) fn new(all: &Arc<Watches>) -> Self {
        Self { all: Arc::clone(all), mark: Arc::default(), keys: HashMap::new(), held_bytes: 0 }
    }

    /// Begins to watch a key, unless it is watched already; [`Self::found`] must follow.
    ///
    /// # Errors
    /// The keys are longer together than `max_bytes`.
    pub(super) fn add(&mut self, key: &[u8], max_bytes: usize) -> Result<(), Refusal> {
        if self.keys.contains_key(key) {
            return Ok(());
        }
        let held_bytes = self.held_bytes + key.len() + KEY_OVERHEAD_BYTES;
        if held_bytes > max_bytes {
            let line = format!("ERR watched keys are longer than the limit of {max_bytes} bytes");
            return Err(Refusal::new(line));
        }
        self.held_bytes = held_bytes;
        self.keys.insert(key.into(), false);
        let mut marks = self.all.marks.lock();
        marks.entry(key.into()).or_default().push(Arc::clone(&self.mark));
        self.all.keys.store(marks.len(), Ordering::SeqCst);
        Ok(())
    }

    /// Notes that a key was there just after it was added. A change between the two has set the mark.
    pub(super) fn found(&mut self, key: &[u8]) {
        if let Some(found) = self.keys.get_mut(key) {
            *found = true;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key has changed; to be asked under the keyspace's lock.
    pub(super) fn is_broken(&self, keyspace: &Keyspace, now_ms: u64) -> bool {
        let is_gone = |key: &[u8]| !keyspace.contains(key, now_ms);
        self.mark.load(Ordering::SeqCst) || self.keys.iter().any(|(key, found)| *found && is_gone(key))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut marks = self.all.marks.lock();
        for key in self.keys.keys() {
            let Some(of_key) = marks.get_mut(key) else { continue };
            of_key.retain(|mark| !Arc::ptr_eq(mark, &self.mark));
            if of_key.is_empty() {
                marks.remove(key);
            }
        }
        self.all.keys.store(marks.len(), Ordering::SeqCst);
    }
}

/// About what an entry takes in both tables beside the key.
const KEY_OVERHEAD_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::{Options, encode_record};

    fn record(effects: &[Effect<'_>]) -> Vec<u8> {
        let mut record = Vec::new();
        encode_record(effects, &mut record);
        record
    }

    #[test]
    fn a_watch_breaks_by_its_keys_only_and_leaves_nothing_behind() {
        let all = Arc::<Watches>::default();
        let keyspace = Keyspace::new(Options::default());
        let set = |key| Effect::Set { key, value: b"v", expires_at_ms: None };
        let watching = |keys: &[&[u8]]| {
            let mut watch = Watch::new(&all);
            keys.iter().for_each(|key| watch.add(key, 1 << 20).expect("room"));
            watch
        };
        let (ab, b, c) = (watching(&[b"a", b"b", b"a"]), watching(&[b"b"]), watching(&[b"c"]));
        assert_eq!((all.keys(), ab.len()), (3, 2));
        all.touch(&record(&[set(b"x"), set(b"a")]));
        let broken = |watch: &Watch| watch.is_broken(&keyspace, 0);
        assert_eq!([broken(&ab), broken(&b), broken(&c)], [true, false, false]);
        all.touch(&record(&[Effect::Rename { from: b"b", to: b"y" }, Effect::Copy { from: b"c", to: b"z" }]));
        assert_eq!([broken(&b), broken(&c)], [true, false]);
        drop((ab, b, c));
        assert_eq!(all.keys(), 0);
        assert!(all.marks.lock().is_empty());
    }

    #[test]
    fn a_key_that_was_there_and_is_not_breaks_a_watch_without_a_record() {
        let mut keyspace = Keyspace::new(Options::default());
        keyspace.apply(Effect::Set { key: b"k", value: b"v", expires_at_ms: Some(10) });
        let mut watch = Watch::new(&Arc::default());
        watch.add(b"k", 1000).expect("room");
        assert!(!watch.is_broken(&keyspace, 20), "it was not there");
        watch.found(b"k");
        assert_eq!([9, 10].map(|now_ms| watch.is_broken(&keyspace, now_ms)), [false, true]);
        assert!(watch.add(&[b'k'; 1000], 1000).is_err());
    }
}
