//! A model of the keyspace that is too simple to be wrong, and random effects for both.

use std::collections::BTreeMap;

use std_server::keyspace::{Effect, Keyspace, Limits, Options};

/// Keys with their values and expiries.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>,
}

/// An effect that owns its bytes.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Set(Vec<u8>, Vec<u8>, Option<u64>),
    Delete(Vec<u8>),
    Write(Vec<u8>, u32, Vec<u8>),
    Expire(Vec<u8>, u64),
    Persist(Vec<u8>),
    Rename(Vec<u8>, Vec<u8>),
    Copy(Vec<u8>, Vec<u8>),
    Flush,
}

impl Op {
    pub(crate) fn effect(&self) -> Effect<'_> {
        match self {
            Self::Set(key, value, expires_at_ms) => Effect::Set { key, value, expires_at_ms: *expires_at_ms },
            Self::Delete(key) => Effect::Delete { key },
            Self::Write(key, offset, bytes) => Effect::Write { key, offset: *offset, bytes },
            Self::Expire(key, at_ms) => Effect::Expire { key, at_ms: *at_ms },
            Self::Persist(key) => Effect::Persist { key },
            Self::Rename(from, to) => Effect::Rename { from, to },
            Self::Copy(from, to) => Effect::Copy { from, to },
            Self::Flush => Effect::Flush,
        }
    }
}

impl Model {
    pub(crate) fn apply(&mut self, op: &Op) {
        match op {
            Op::Set(key, value, expires_at_ms) => {
                self.keys.insert(key.clone(), (value.clone(), *expires_at_ms));
            }
            Op::Delete(key) => {
                self.keys.remove(key);
            }
            Op::Write(key, offset, bytes) => {
                let (value, _) = self.keys.entry(key.clone()).or_default();
                let end = *offset as usize + bytes.len();
                if value.len() < end {
                    value.resize(end, 0);
                }
                value[*offset as usize..end].copy_from_slice(bytes);
            }
            Op::Expire(key, at_ms) => {
                if let Some(entry) = self.keys.get_mut(key) {
                    entry.1 = Some(*at_ms);
                }
            }
            Op::Persist(key) => {
                if let Some(entry) = self.keys.get_mut(key) {
                    entry.1 = None;
                }
            }
            Op::Rename(from, to) => {
                if let Some(entry) = self.keys.remove(from) {
                    self.keys.insert(to.clone(), entry);
                }
            }
            Op::Copy(from, to) => {
                if let Some(entry) = self.keys.get(from).cloned() {
                    self.keys.insert(to.clone(), entry);
                }
            }
            Op::Flush => self.keys.clear(),
        }
    }

    /// Everything that a keyspace stores, through its own iterator.
    pub(crate) fn of(keyspace: &Keyspace) -> Self {
        let mut model = Self::default();
        for (key, entry) in keyspace.iter() {
            let old = model.keys.insert(key.to_vec(), (entry.value.to_vec(), entry.expires_at_ms));
            assert!(old.is_none(), "the iterator gave {key:02x?} twice");
        }
        model
    }
}

/// Compares a keyspace with its model through every kind of read.
pub(crate) fn assert_same(keyspace: &Keyspace, model: &Model, now_ms: u64) {
    assert_eq!(Model::of(keyspace), *model);
    assert_eq!(keyspace.len(), model.keys.len());
    let expiring = model.keys.values().filter(|(_, expiry)| expiry.is_some()).count();
    assert_eq!(keyspace.expiring_len(), expiring);
    for (key, (value, expires_at_ms)) in &model.keys {
        let stored = keyspace.get_stored(key).expect("the model has it");
        assert_eq!((stored.value, stored.expires_at_ms), (value.as_slice(), *expires_at_ms));
        let visible = expires_at_ms.is_none_or(|at_ms| at_ms > now_ms);
        assert_eq!(keyspace.contains(key, now_ms), visible);
    }
}

/// A small generator (splitmix64): a test prints its seed and can be run again with it.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn key(&mut self, keys: u64) -> Vec<u8> {
        let number = self.below(keys);
        let mut key = format!("key:{number}").into_bytes();
        if number.is_multiple_of(11) {
            key.resize(200, b'.');
        }
        key
    }

    fn value(&mut self) -> Vec<u8> {
        // The last is above the inline limit of `small_limits`, the one before near it.
        let len = [0, 5, 5, 40, 63 + self.below(3), 64 + self.below(300)][self.below(6) as usize];
        let fill = self.next() as u8;
        vec![fill; len as usize]
    }

    pub(crate) fn op(&mut self, keys: u64) -> Op {
        match self.below(100) {
            0..45 => {
                let expires_at_ms = (self.below(4) == 0).then(|| self.below(2000));
                Op::Set(self.key(keys), self.value(), expires_at_ms)
            }
            45..60 => Op::Delete(self.key(keys)),
            60..75 => Op::Write(self.key(keys), self.below(100) as u32, self.value()),
            75..80 => Op::Expire(self.key(keys), self.below(2000)),
            80..85 => Op::Persist(self.key(keys)),
            85..92 => Op::Rename(self.key(keys), self.key(keys)),
            92..99 => Op::Copy(self.key(keys), self.key(keys)),
            _ if self.below(4) == 0 => Op::Flush,
            _ => Op::Delete(self.key(keys)),
        }
    }
}

/// `SEED=n` in the environment, or the given one.
pub(crate) fn seed_or(default: u64) -> u64 {
    let seed = std::env::var("SEED").ok().map_or(default, |seed| seed.parse().expect("SEED is a number"));
    println!("SEED={seed}");
    seed
}

/// Leaves so small that a few keys split them.
pub(crate) fn small(seed: u64) -> Options {
    let limits = Limits { leaf_keys: 4, leaf_bytes: 2048, inline_value_bytes: 64, image_queue_bytes: 4096 };
    Options { seed, expected_keys: 0, limits }
}
