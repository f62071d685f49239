//! The keyspace against a model: effects, their records, scans, sweeps and its account of memory.

mod keyspace_support;

use std::collections::BTreeMap;

use keyspace_support::{Model, Op, Random, assert_same, seed_or, small};
use proptest::collection::vec;
use proptest::prelude::*;
use std_server::keyspace::{
    Effect, EffectError, Keyspace, MAX_VALUE_BYTES, Options, decode_record, encode_record,
};

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0_u8..40).prop_map(|number| vec![b'k', number]),
        1 => (0_u8..4).prop_map(|number| vec![number; 5000]),
        1 => Just(Vec::new()),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..20), 2 => vec(any::<u8>(), 60..70), 1 => vec(any::<u8>(), 300..900)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (key(), value(), proptest::option::of(0_u64..100)).prop_map(|(k, v, at)| Op::Set(k, v, at)),
        4 => key().prop_map(Op::Delete),
        4 => (key(), 0_u32..200, value()).prop_map(|(k, offset, v)| Op::Write(k, offset, v)),
        2 => (key(), 0_u64..100).prop_map(|(k, at)| Op::Expire(k, at)),
        2 => key().prop_map(Op::Persist),
        2 => (key(), key()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (key(), key()).prop_map(|(from, to)| Op::Copy(from, to)),
        1 => Just(Op::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn effects_do_what_the_model_does(ops in vec(op(), 0..400), seed: u64, now_ms in 0_u64..100) {
        let mut keyspace = Keyspace::new(small(seed));
        let mut model = Model::default();
        for op in &ops {
            keyspace.apply(op.effect());
            model.apply(op);
        }
        assert_same(&keyspace, &model, now_ms);
    }

    #[test]
    fn replaying_records_gives_the_same_state(ops in vec(op(), 0..200), cuts in vec(1_usize..9, 1..9)) {
        let mut records = Vec::new();
        let mut rest = ops.as_slice();
        for &cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            let effects: Vec<_> = now.iter().map(Op::effect).collect();
            let mut record = Vec::new();
            encode_record(&effects, &mut record);
            records.push(record);
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let mut model = Model::default();
        ops.iter().for_each(|op| model.apply(op));
        let mut keyspace = Keyspace::new(small(3));
        prop_assert_eq!(keyspace.apply_records(records.iter().map(Vec::as_slice)), Ok(()));
        assert_same(&keyspace, &model, 50);
    }

    #[test]
    fn records_round_trip(ops in vec(op(), 0..20)) {
        let effects: Vec<_> = ops.iter().map(Op::effect).collect();
        let mut record = Vec::new();
        encode_record(&effects, &mut record);
        let read: Result<Vec<_>, _> = decode_record(&record).collect();
        prop_assert_eq!(read, Ok(effects));
    }

    #[test]
    fn any_bytes_are_refused_or_applied(mut bytes in vec(any::<u8>(), 0..200), ops in vec(op(), 1..4), at: prop::sample::Index, byte: u8) {
        let mut changed = Vec::new();
        let effects: Vec<_> = ops.iter().map(Op::effect).collect();
        encode_record(&effects, &mut changed);
        let place = at.index(changed.len());
        changed[place] = byte;
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        for record in [&bytes, &changed] {
            let mut keyspace = Keyspace::new(small(1));
            let items: Vec<_> = decode_record(record).collect();
            let errors = items.iter().filter(|item| item.is_err()).count();
            prop_assert!(errors <= 1 && items.iter().rev().skip(1).all(Result::is_ok));
            prop_assert_eq!(keyspace.apply_records([record.as_slice()]).is_err(), errors == 1);
        }
    }
}

#[test]
fn a_record_stops_at_its_first_error() {
    let mut record = Vec::new();
    encode_record(&[Effect::Set { key: b"a", value: b"1", expires_at_ms: None }], &mut record);
    let at = record.len();
    record.push(200);
    encode_record(&[], &mut record);
    let mut keyspace = Keyspace::new(small(1));
    assert_eq!(keyspace.apply_records([&record[..]]), Err(EffectError::Kind { found: 200, at }));
    assert!(keyspace.contains(b"a", 0));
}

#[test]
fn long_random_runs_stay_equal() {
    let first = seed_or(1);
    for seed in first..first + 8 {
        let mut random = Random(seed);
        let mut keyspace = Keyspace::new(small(seed));
        let mut model = Model::default();
        for step in 0..20_000 {
            let op = random.op(100 * (seed + 1));
            keyspace.apply(op.effect());
            model.apply(&op);
            if step % 5000 == 0 {
                assert_same(&keyspace, &model, 1000);
            }
        }
        assert_same(&keyspace, &model, 1000);
    }
}

#[test]
fn appends_grow_a_value_to_its_limit() {
    let mut keyspace = Keyspace::new(Options::default());
    let piece = [b'x'; 10_000];
    let mut len = 0;
    while len + piece.len() <= MAX_VALUE_BYTES {
        keyspace.apply(Effect::Write { key: b"k", offset: len as u32, bytes: &piece });
        len += piece.len();
    }
    assert_eq!(keyspace.get(b"k", 0).map(|entry| entry.value.len()), Some(len));
    assert!(!Effect::Write { key: b"k", offset: MAX_VALUE_BYTES as u32, bytes: b"x" }.is_within_limits());
}

/// A key that is there during the whole scan is visited exactly once, whatever else comes and goes.
#[test]
fn scan_visits_what_stays() {
    let first = seed_or(1);
    for seed in first..first + 30 {
        let mut random = Random(seed);
        let mut keyspace = Keyspace::new(small(seed));
        let stays: Vec<Vec<u8>> = (0..300).map(|number| format!("stays:{number}").into_bytes()).collect();
        for key in &stays {
            keyspace.apply(Effect::Set { key, value: b"v", expires_at_ms: None });
        }
        let mut visits: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let (mut cursor, mut calls) = (0, 0);
        loop {
            let count = 1 + random.below(30) as usize;
            cursor = keyspace.scan(cursor, count, 1000, |key, entry| {
                assert!(!entry.is_expired(1000));
                *visits.entry(key.to_vec()).or_default() += 1;
            });
            calls += 1;
            if cursor == 0 {
                break;
            }
            assert!(cursor < 1 << 48 && calls < 100_000);
            for _ in 0..random.below(20) {
                let op = random.op(1000 + calls * 10);
                if !matches!(op, Op::Flush) {
                    keyspace.apply(op.effect());
                }
            }
        }
        for key in &stays {
            assert_eq!(visits.get(key), Some(&1), "SEED={seed}");
        }
    }
}

#[test]
fn scan_honours_its_count() {
    let mut keyspace = Keyspace::new(Options { seed: 3, ..Options::default() });
    for number in 0..5000_u32 {
        keyspace.apply(Effect::Set { key: &number.to_le_bytes(), value: b"", expires_at_ms: None });
    }
    let (mut cursor, mut total) = (0, 0);
    loop {
        let mut visited = 0;
        cursor = keyspace.scan(cursor, 10, 0, |_, _| visited += 1);
        assert!(visited <= 10, "{visited} for COUNT 10");
        total += visited;
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(total, 5000);
    assert_eq!(keyspace.scan(u64::MAX, 10, 0, |_, _| unreachable!("past the end")), 0);
}

#[test]
fn sweeps_find_every_expired_key_and_no_other() {
    let seed = seed_or(5);
    let mut random = Random(seed);
    let mut keyspace = Keyspace::new(small(seed));
    let mut model = Model::default();
    for _ in 0..20_000 {
        let op = random.op(3000);
        keyspace.apply(op.effect());
        model.apply(&op);
    }
    let mut idle = 0;
    while idle < 10 {
        let mut expired = Vec::new();
        let count = keyspace.sweep_expired(1000, 20, |key| expired.push(key.to_vec()));
        assert_eq!(count, expired.len());
        assert!(count <= 20);
        idle = if count == 0 { idle + 1 } else { 0 };
        for key in expired {
            let (_, expiry) = model.keys.remove(&key).expect("swept keys are there");
            assert!(expiry.is_some_and(|at_ms| at_ms <= 1000), "SEED={seed}");
            keyspace.apply(Effect::Delete { key: &key });
        }
    }
    model.keys.retain(|_, (_, expiry)| expiry.is_none_or(|at_ms| at_ms > 1000));
    assert_eq!(Model::of(&keyspace), model);
}

#[test]
fn random_keys_are_visible_and_spread() {
    let mut keyspace = Keyspace::new(small(9));
    assert!(keyspace.random_key(0, 1).is_none());
    for number in 0..1000_u64 {
        let expires_at_ms = (number >= 100).then_some(5);
        keyspace.apply(Effect::Set { key: &number.to_le_bytes(), value: b"", expires_at_ms });
    }
    let mut random = Random(1);
    let mut drawn: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for _ in 0..20_000 {
        let (key, entry) = keyspace.random_key(10, random.next()).expect("a hundred are visible");
        assert!(!entry.is_expired(10));
        *drawn.entry(key.to_vec()).or_default() += 1;
    }
    assert_eq!(drawn.len(), 100);
    assert!(drawn.values().all(|&count| count < 2000), "no key is drawn ten times its share");
}

#[test]
fn the_account_of_memory_is_tight_and_returns() {
    let mut keyspace = Keyspace::new(Options { seed: 2, ..Options::default() });
    let empty = keyspace.used_bytes();
    for number in 0..200_000_u64 {
        let key = [number.to_le_bytes(), (!number).to_le_bytes()].concat();
        keyspace.apply(Effect::Set { key: &key, value: &[7; 64], expires_at_ms: None });
    }
    let per_key = keyspace.used_bytes() as f64 / 200_000.0;
    assert!((83.0..115.0).contains(&per_key), "{per_key} bytes per key of 80");
    let full = keyspace.used_bytes();
    for round in 0..4_u8 {
        for number in 0..200_000_u64 {
            let key = [number.to_le_bytes(), (!number).to_le_bytes()].concat();
            let value = vec![round; 40 + (number as usize * 7 + usize::from(round) * 13) % 40];
            keyspace.apply(Effect::Set { key: &key, value: &value, expires_at_ms: None });
        }
        assert!(keyspace.used_bytes() < full * 3 / 2, "dead bytes are compacted away");
    }
    keyspace.apply(Effect::Set { key: b"large", value: &[0; 1 << 20], expires_at_ms: None });
    let with_large = keyspace.used_bytes();
    keyspace.apply(Effect::Delete { key: b"large" });
    assert!(with_large - keyspace.used_bytes() >= 1 << 20);
    for number in 0..200_000_u64 {
        let key = [number.to_le_bytes(), (!number).to_le_bytes()].concat();
        keyspace.apply(Effect::Delete { key: &key });
    }
    assert!(keyspace.is_empty());
    assert!(
        keyspace.used_bytes() < full / 20,
        "{} of {full} bytes after deleting all",
        keyspace.used_bytes()
    );
    keyspace.apply(Effect::Flush);
    assert_eq!(keyspace.used_bytes(), empty);
}

#[test]
fn a_flush_leaves_garbage_that_effects_free() {
    let mut keyspace = Keyspace::new(small(2));
    let fill = |keyspace: &mut Keyspace| {
        for number in 0..500_u32 {
            keyspace.apply(Effect::Set { key: &number.to_le_bytes(), value: b"v", expires_at_ms: None });
        }
    };
    fill(&mut keyspace);
    keyspace.apply(Effect::Flush);
    let mut garbage = keyspace.take_garbage();
    assert_eq!(garbage.len(), 1);
    assert!(garbage[0].free_some());
    fill(&mut keyspace);
    keyspace.apply(Effect::Flush);
    fill(&mut keyspace);
    assert!(keyspace.take_garbage().is_empty());
    assert_eq!(keyspace.len(), 500);
}
