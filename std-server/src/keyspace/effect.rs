//! What a write did, as it is logged: the only thing that changes a keyspace, live and in replay.
//!
//! ```text
//!  record = version u8 = 1 | effect*                    one log record, all of it or nothing
//!  effect = kind u8 | fields                            integers little-endian
//!
//!  1 Set       key | bytes                              bytes = length varint | content
//!  2 Set       key | bytes | expiry u64                 key   = bytes
//!  3 Delete    key
//!  4 Write     key | offset varint | bytes
//!  5 Expire    key | at u64
//!  6 Persist   key
//!  7 Rename    from | to
//!  8 Copy      from | to
//!  9 Flush
//! ```
//!
//! An effect carries results, never conditions: applying a record to the state it was made on always gives the
//! same state, without a clock. Kinds and versions that are not known come from a newer writer and are refused.

use strandline::core::codec::varint::{self, Varint};

use super::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// One change of the keyspace. Keys hold at most [`MAX_KEY_BYTES`], values at most [`MAX_VALUE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect<'a> {
    /// The key holds exactly this value and expiry (ms since the epoch) from now on.
    Set {
        /// The key.
        key: &'a [u8],
        /// Its new value.
        value: &'a [u8],
        /// When it expires; `None` is never.
        expires_at_ms: Option<u64>,
    },
    /// The key is gone; nothing happens when it was not there.
    Delete {
        /// The key.
        key: &'a [u8],
    },
    /// `bytes` stand at `offset` of the value; a gap before them is zero-filled, a missing key is created, the
    /// expiry stays.
    Write {
        /// The key.
        key: &'a [u8],
        /// Where in the value, in bytes.
        offset: u32,
        /// What is written there.
        bytes: &'a [u8],
    },
    /// The key expires at this moment; nothing happens when it is not there.
    Expire {
        /// The key.
        key: &'a [u8],
        /// Milliseconds since the epoch.
        at_ms: u64,
    },
    /// The key no longer expires.
    Persist {
        /// The key.
        key: &'a [u8],
    },
    /// Value and expiry move to another key, replacing what was there; nothing happens when `from` is not there.
    Rename {
        /// The key that goes.
        from: &'a [u8],
        /// The key that holds its value from now on.
        to: &'a [u8],
    },
    /// The other key holds the same value and expiry; nothing happens when `from` is not there.
    Copy {
        /// The key that is copied.
        from: &'a [u8],
        /// The key that holds the copy.
        to: &'a [u8],
    },
    /// Nothing is left.
    Flush,
}

/// Why bytes are not a record of effects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EffectError {
    /// The record's version is not known here.
    #[error(
        "effects of version {found}, this program reads version {RECORD_VERSION}: written by a newer one"
    )]
    Version {
        /// What the record says.
        found: u8,
    },
    /// An effect's kind is not known here.
    #[error("effect of unknown kind {found} at byte {at}: written by a newer program")]
    Kind {
        /// What the record says.
        found: u8,
        /// Its place in the record.
        at: usize,
    },
    /// The record ends inside an effect, or a length or limit does not hold.
    #[error("malformed effect at byte {at}")]
    Malformed {
        /// Where the effect begins in the record.
        at: usize,
    },
}

/// Appends the record of `effects` to `out`.
///
/// # Panics
/// When an effect exceeds the limits ([`Effect::is_within_limits`]): such a record could not be read back.
///
/// ```
/// use std_server::keyspace::{Effect, decode_record, encode_record};
/// let effects = [Effect::Delete { key: b"a" }, Effect::Rename { from: b"b", to: b"a" }];
/// let mut record = Vec::new();
/// encode_record(&effects, &mut record);
/// let read: Result<Vec<_>, _> = decode_record(&record).collect();
/// assert_eq!(read.as_deref(), Ok(&effects[..]));
/// ```
pub fn encode_record(effects: &[Effect<'_>], out: &mut Vec<u8>) {
    out.push(RECORD_VERSION);
    for effect in effects {
        effect.encode(out);
    }
}

/// Reads a record made by [`encode_record`]; ends after the first error.
pub fn decode_record(record: &[u8]) -> Effects<'_> {
    match record.split_first() {
        Some((&RECORD_VERSION, rest)) => Effects { rest, at: 1, error: None },
        Some((&found, _)) => Effects { rest: &[], at: 0, error: Some(EffectError::Version { found }) },
        None => Effects { rest: &[], at: 0, error: Some(EffectError::Malformed { at: 0 }) },
    }
}

/// The effects of one record, in order.
#[derive(Debug, Clone)]
pub struct Effects<'a> {
    rest: &'a [u8],
    at: usize,
    error: Option<EffectError>,
}

impl<'a> Iterator for Effects<'a> {
    type Item = Result<Effect<'a>, EffectError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.error.take() {
            return Some(Err(error));
        }
        let (&kind, mut rest) = self.rest.split_first()?;
        let effect = if is_known(kind) {
            take_effect(kind, &mut rest).ok_or(EffectError::Malformed { at: self.at })
        } else {
            Err(EffectError::Kind { found: kind, at: self.at })
        };
        if effect.is_err() {
            rest = &[];
        }
        self.at += self.rest.len() - rest.len();
        self.rest = rest;
        Some(effect)
    }
}

impl Effect<'_> {
    /// Appends this effect to a record that was begun with its version byte.
    ///
    /// # Panics
    /// When the effect exceeds the limits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.is_within_limits(), "an effect beyond the keyspace's limits");
        match *self {
            Self::Set { key, value, expires_at_ms: None } => put(out, SET, &[key, value]),
            Self::Set { key, value, expires_at_ms: Some(at_ms) } => {
                put(out, SET_EXPIRING, &[key, value]);
                out.extend_from_slice(&at_ms.to_le_bytes());
            }
            Self::Delete { key } => put(out, DELETE, &[key]),
            Self::Write { key, offset, bytes } => {
                put(out, WRITE, &[key]);
                put_varint(out, u64::from(offset));
                put_bytes(out, bytes);
            }
            Self::Expire { key, at_ms } => {
                put(out, EXPIRE, &[key]);
                out.extend_from_slice(&at_ms.to_le_bytes());
            }
            Self::Persist { key } => put(out, PERSIST, &[key]),
            Self::Rename { from, to } => put(out, RENAME, &[from, to]),
            Self::Copy { from, to } => put(out, COPY, &[from, to]),
            Self::Flush => put(out, FLUSH, &[]),
        }
    }

    /// The key that it acts on first; `None` for all keys.
    pub fn key(&self) -> Option<&[u8]> {
        match *self {
            Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Write { key, .. }
            | Self::Expire { key, .. }
            | Self::Persist { key }
            | Self::Rename { from: key, .. }
            | Self::Copy { from: key, .. } => Some(key),
            Self::Flush => None,
        }
    }

    /// Whether keys and the resulting value are no longer than the keyspace takes.
    pub fn is_within_limits(&self) -> bool {
        let key_fits = |key: &[u8]| key.len() <= MAX_KEY_BYTES;
        match *self {
            Self::Set { key, value, .. } => key_fits(key) && value.len() <= MAX_VALUE_BYTES,
            Self::Write { key, offset, bytes } => {
                key_fits(key)
                    && bytes.len() <= MAX_VALUE_BYTES
                    && offset as usize <= MAX_VALUE_BYTES - bytes.len()
            }
            Self::Delete { key } | Self::Expire { key, .. } | Self::Persist { key } => key_fits(key),
            Self::Rename { from, to } | Self::Copy { from, to } => key_fits(from) && key_fits(to),
            Self::Flush => true,
        }
    }
}

fn put(out: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    out.push(kind);
    for field in fields {
        put_bytes(out, field);
    }
}

fn put_varint(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(Varint::new(number).as_ref());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn is_known(kind: u8) -> bool {
    (SET..=FLUSH).contains(&kind)
}

fn take_effect<'a>(kind: u8, rest: &mut &'a [u8]) -> Option<Effect<'a>> {
    let effect = match kind {
        SET => Effect::Set { key: take_bytes(rest)?, value: take_bytes(rest)?, expires_at_ms: None },
        SET_EXPIRING => Effect::Set {
            key: take_bytes(rest)?,
            value: take_bytes(rest)?,
            expires_at_ms: Some(take_u64(rest)?),
        },
        DELETE => Effect::Delete { key: take_bytes(rest)? },
        WRITE => Effect::Write { key: take_bytes(rest)?, offset: take_u32(rest)?, bytes: take_bytes(rest)? },
        EXPIRE => Effect::Expire { key: take_bytes(rest)?, at_ms: take_u64(rest)? },
        PERSIST => Effect::Persist { key: take_bytes(rest)? },
        RENAME => Effect::Rename { from: take_bytes(rest)?, to: take_bytes(rest)? },
        COPY => Effect::Copy { from: take_bytes(rest)?, to: take_bytes(rest)? },
        FLUSH => Effect::Flush,
        _ => return None,
    };
    effect.is_within_limits().then_some(effect)
}

#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_u32(rest)? as usize;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::take(rest)?).ok()
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(u64::from_le_bytes(*bytes))
}

/// The version that [`encode_record`] writes.
pub const RECORD_VERSION: u8 = 1;

const SET: u8 = 1;
const SET_EXPIRING: u8 = 2;
const DELETE: u8 = 3;
const WRITE: u8 = 4;
const EXPIRE: u8 = 5;
const PERSIST: u8 = 6;
const RENAME: u8 = 7;
const COPY: u8 = 8;
const FLUSH: u8 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes() {
        let effects = [
            Effect::Set { key: b"k", value: b"vv", expires_at_ms: None },
            Effect::Set { key: b"k", value: b"", expires_at_ms: Some(0x0102) },
            Effect::Delete { key: b"k" },
            Effect::Write { key: b"k", offset: 300, bytes: b"x" },
            Effect::Expire { key: b"k", at_ms: 1 },
            Effect::Persist { key: b"k" },
            Effect::Rename { from: b"a", to: b"b" },
            Effect::Copy { from: b"a", to: b"" },
            Effect::Flush,
        ];
        let expected: [&[u8]; 10] = [
            &[1],
            &[1, 1, b'k', 2, b'v', b'v'],
            &[2, 1, b'k', 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0],
            &[3, 1, b'k'],
            &[4, 1, b'k', 0xAC, 0x02, 1, b'x'],
            &[5, 1, b'k', 1, 0, 0, 0, 0, 0, 0, 0],
            &[6, 1, b'k'],
            &[7, 1, b'a', 1, b'b'],
            &[8, 1, b'a', 0],
            &[9],
        ];
        let mut record = Vec::new();
        encode_record(&effects, &mut record);
        assert_eq!(record, expected.concat());
    }

    #[test]
    fn newer_writers_are_named() {
        assert_eq!(decode_record(&[2, 9]).next(), Some(Err(EffectError::Version { found: 2 })));
        let effects: Vec<_> = decode_record(&[1, 9, 10, 9]).collect();
        assert_eq!(effects, [Ok(Effect::Flush), Err(EffectError::Kind { found: 10, at: 2 })]);
    }

    #[test]
    fn lengths_are_bounded() {
        let far = [1, WRITE, 1, b'k', 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0];
        assert_eq!(decode_record(&far).next(), Some(Err(EffectError::Malformed { at: 1 })));
        let long_key = vec![0; MAX_KEY_BYTES + 1];
        assert!(!Effect::Delete { key: &long_key }.is_within_limits());
        assert_eq!(decode_record(&[]).next(), Some(Err(EffectError::Malformed { at: 0 })));
        assert_eq!(decode_record(&[1]).next(), None);
    }
}
