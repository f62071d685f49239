//! What the keyspace reads back: records of effects from the log, and chunks of an image from a snapshot.
//!
//! ```text
//!  effects  | one record |
//!  image    | one chunk |
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use std_server::keyspace::{Effect, Keyspace, Options, Restore, chunk_seed, decode_record, encode_record};

/// A value grows to where it is written to, whatever was there: within this, nothing is made that is only large.
const FARTHEST: u32 = 64 << 10;

type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

pub(super) fn record(bytes: &[u8]) {
    let Ok(effects) = decode_record(bytes).collect::<Result<Vec<_>, _>>() else { return };
    let mut encoded = Vec::new();
    encode_record(&effects, &mut encoded);
    let again: Result<Vec<_>, _> = decode_record(&encoded).collect();
    assert_eq!(again.as_ref(), Ok(&effects));
    if effects.iter().any(|effect| matches!(effect, Effect::Write { offset, .. } if *offset > FARTHEST)) {
        return;
    }
    let (mut one_by_one, mut together) =
        (Keyspace::new(Options::default()), Keyspace::new(Options::default()));
    effects.iter().for_each(|effect| one_by_one.apply(*effect));
    assert_eq!(together.apply_records([bytes]), Ok(()));
    assert_eq!(content(&together), content(&one_by_one));
    assert_eq!(one_by_one.len(), content(&one_by_one).len());
}

pub(super) fn image(bytes: &[u8]) {
    let Ok(seed) = chunk_seed(bytes) else { return };
    let options = Options { seed, ..Options::default() };
    let mut keyspace = Keyspace::new(options);
    let restored = keyspace.restore_chunk(bytes);
    let by_threads = Restore::new(options);
    assert_eq!(by_threads.restore_chunk(bytes), restored);
    let Ok(keys) = restored else { return };
    let wanted = content(&keyspace);
    assert_eq!((wanted.len(), content(&by_threads.finish())), (keys, wanted.clone()));
    let again = Restore::new(options);
    let shared = Arc::new(Mutex::new(keyspace));
    let mut image = Keyspace::begin_image(&shared).expect("there is no other");
    let mut chunk = Vec::new();
    while image.next_chunk(&mut chunk) {
        again.restore_chunk(&chunk).expect("an image's own chunk");
    }
    assert_eq!(content(&again.finish()), wanted);
}

fn content(keyspace: &Keyspace) -> Content {
    let entry = |(key, entry): (&[u8], std_server::keyspace::Entry<'_>)| {
        (key.to_vec(), (entry.value.to_vec(), entry.expires_at_ms))
    };
    keyspace.iter().map(entry).collect()
}
