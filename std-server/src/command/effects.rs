//! Where a decision becomes a change: every effect is encoded for the log and applied in one place.
//!
//! ```text
//! command ──decides──► Effect ──┬─► record (the log's bytes)
//!                               └─► keyspace
//! ```
//!
//! The caller has made sure of room for [`super::Unit::record_bound`] bytes, so neither step can fail here.

use crate::keyspace::{Effect, Entry, Keyspace, MAX_VALUE_BYTES, RECORD_VERSION};

/// What a command may know besides the keyspace; the core logic has no clock and no chance of its own.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Server time, milliseconds since the Unix epoch; one value for a whole transaction.
    pub now_ms: u64,
    /// A random number, for RANDOMKEY.
    pub random: u64,
    /// The longest value that may come to be stored.
    pub max_value_bytes: usize,
    /// Commands that need memory are refused above this many bytes.
    pub max_memory_bytes: Option<usize>,
    /// A reply that names keys without end is refused if it takes more memory.
    pub max_reply_bytes: usize,
}

/// The keyspace during one command.
pub(super) struct Scope<'k> {
    pub(super) keyspace: &'k mut Keyspace,
    pub(super) context: Context,
    record: &'k mut Vec<u8>,
}

impl<'k> Scope<'k> {
    pub(super) const fn new(keyspace: &'k mut Keyspace, context: Context, record: &'k mut Vec<u8>) -> Self {
        Self { keyspace, context, record }
    }

    pub(super) const fn now_ms(&self) -> u64 {
        self.context.now_ms
    }

    /// The entry, unless it is missing or has expired.
    pub(super) fn get(&self, key: &[u8]) -> Option<Entry<'_>> {
        self.keyspace.get(key, self.context.now_ms)
    }

    /// The same, for a reply that outlives this scope.
    pub(super) fn into_entry(self, key: &[u8]) -> Option<Entry<'k>> {
        let Self { keyspace, context, .. } = self;
        keyspace.get(key, context.now_ms)
    }

    pub(super) fn exists(&self, key: &[u8]) -> bool {
        self.keyspace.contains(key, self.context.now_ms)
    }

    /// The longest value that a command may leave behind.
    pub(super) fn max_value_bytes(&self) -> usize {
        self.context.max_value_bytes.min(MAX_VALUE_BYTES)
    }

    /// Logs the effect and applies it.
    pub(super) fn apply(&mut self, effect: Effect<'_>) {
        if self.record.is_empty() {
            self.record.push(RECORD_VERSION);
        }
        effect.encode(self.record);
        self.keyspace.apply(effect);
    }

    /// Sets the expiry, or deletes the key when that moment has passed.
    pub(super) fn expire_or_delete(&mut self, key: &[u8], at_ms: i64) {
        match u64::try_from(at_ms) {
            Ok(at_ms) if at_ms > self.context.now_ms => self.apply(Effect::Expire { key, at_ms }),
            _ => self.apply(Effect::Delete { key }),
        }
    }

    /// Deletes what an expired key left behind, so that an effect that keeps the expiry starts from nothing.
    pub(super) fn drop_if_expired(&mut self, key: &[u8]) {
        if self.keyspace.get_stored(key).is_some_and(|entry| entry.is_expired(self.context.now_ms)) {
            self.apply(Effect::Delete { key });
        }
    }
}
