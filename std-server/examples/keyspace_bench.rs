//! Measures the keyspace: `cargo run --release -p std-server --example keyspace_bench -- [KEYS…]`
//! (1,000,000 and 10,000,000 keys of 16 bytes with values of 64 bytes when no number is given).

use core::hint::black_box;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use std_server::keyspace::{Effect, Keyspace, Limits, Options, Restore, encode_record};

fn main() {
    let given: Vec<usize> =
        std::env::args().skip(1).map(|keys| keys.parse().expect("a number of keys")).collect();
    for keys in if given.is_empty() { vec![1_000_000, 10_000_000] } else { given } {
        println!("{keys} keys of 16 + 64 bytes");
        inserts(keys, 0, "inserts");
        inserts(keys, keys, "inserts, presized");
        bound(keys);
        pauses(keys);
        replay(keys);
        let keyspace = Arc::new(Mutex::new(filled(keys, 0)));
        reads(&keyspace.lock(), keys);
        images(&keyspace, keys);
        flush(&keyspace);
    }
}

fn inserts(keys: usize, expected_keys: usize, name: &str) {
    let before = resident_bytes();
    let started = Instant::now();
    let keyspace = filled(keys, expected_keys);
    rate(name, keys, started.elapsed());
    let accounted = keyspace.used_bytes() as f64 / keys as f64;
    let resident = resident_bytes().saturating_sub(before) as f64 / keys as f64;
    println!(
        "  {name}: {accounted:.1} bytes per key by its own account, {resident:.1} resident (true in a fresh process)"
    );
}

/// What a standard table of inline arrays needs for the same: the bound that memory sets on this machine.
fn bound(keys: usize) {
    let mut table = std::collections::HashMap::with_capacity(keys);
    let started = Instant::now();
    for number in 0..keys {
        table.insert(key(number), VALUE);
    }
    rate("std HashMap<[u8; 16], [u8; 64]>, presized", keys, started.elapsed());
    let started = Instant::now();
    let found = (0..keys).filter(|&number| table.contains_key(&key(number.wrapping_mul(ODD) % keys))).count();
    rate("std HashMap, gets", keys, started.elapsed());
    assert!(found > 0);
}

/// The same inserts several times: what the machine interrupts differs from run to run, what growing costs doesn't,
/// so that each insert's fastest time is its own.
fn pauses(keys: usize) {
    let mut fastest = vec![u32::MAX; keys];
    for _ in 0..PAUSE_RUNS {
        let mut keyspace = Keyspace::new(Options { seed: SEED, ..Options::default() });
        for (number, fastest) in fastest.iter_mut().enumerate() {
            let key = key(number);
            let one = Instant::now();
            keyspace.apply(Effect::Set { key: &key, value: &VALUE, expires_at_ms: None });
            *fastest = (*fastest).min(one.elapsed().as_nanos() as u32);
        }
    }
    fastest.sort_unstable();
    let [p99, p9999, longest] = [keys / 100 * 99, keys - keys / 10_000 - 1, keys - 1]
        .map(|place| Duration::from_nanos(u64::from(fastest[place])));
    println!(
        "  apply while growing, fastest of {PAUSE_RUNS}: p99 {p99:?}, p99.99 {p9999:?}, longest {longest:?}"
    );
}

fn replay(keys: usize) {
    let mut log = Vec::new();
    let mut ends = Vec::with_capacity(keys);
    for number in 0..keys {
        encode_record(&[Effect::Set { key: &key(number), value: &VALUE, expires_at_ms: None }], &mut log);
        ends.push(log.len());
    }
    let mut keyspace = Keyspace::new(Options { seed: SEED, ..Options::default() });
    let started = Instant::now();
    let mut begin = 0;
    let records = ends.iter().map(|&end| {
        let record = &log[begin..end];
        begin = end;
        record
    });
    keyspace.apply_records(records).expect("records of ours");
    rate("replay of records", keys, started.elapsed());
}

fn reads(keyspace: &Keyspace, keys: usize) {
    let started = Instant::now();
    let mut found = 0;
    for number in 0..keys {
        found += usize::from(keyspace.get(&key(number.wrapping_mul(ODD) % keys), 0).is_some());
    }
    rate("gets", keys, started.elapsed());
    assert!(found > 0);
    let started = Instant::now();
    for first in (0..keys).step_by(PIPELINE) {
        let keys: [_; PIPELINE] = core::array::from_fn(|place| key((first + place).wrapping_mul(ODD) % keys));
        keyspace.warm(keys.iter().map(|key| key.as_slice()));
        found += keys.iter().filter(|key| keyspace.get(*key, 0).is_some()).count();
    }
    rate("gets, 16 warmed at a time", keys, started.elapsed());
    black_box(found);
}

fn images(keyspace: &Arc<Mutex<Keyspace>>, keys: usize) {
    let chunks = image_alone(keyspace, keys);
    for (name, seed) in [("restore, same seed", SEED), ("restore, other seed", SEED + 1)] {
        let started = Instant::now();
        let mut restored = Keyspace::new(Options { seed, expected_keys: keys, ..Options::default() });
        for chunk in &chunks {
            restored.restore_chunk(chunk).expect("a chunk of ours");
        }
        rate(name, keys, started.elapsed());
        assert_eq!(restored.len(), keys);
    }
    let started = Instant::now();
    let restore = Restore::new(Options { seed: SEED, expected_keys: keys, limits: Limits::default() });
    std::thread::scope(|scope| {
        for half in chunks.chunks(chunks.len().div_ceil(2)) {
            let restore = &restore;
            scope.spawn(move || {
                half.iter().for_each(|chunk| {
                    restore.restore_chunk(chunk).expect("a chunk of ours");
                })
            });
        }
    });
    let restored = restore.finish();
    rate("restore, same seed, 2 threads", keys, started.elapsed());
    assert_eq!(restored.len(), keys);
    drop((restored, chunks));
    image_under_writes(keyspace, keys);
}

fn image_alone(keyspace: &Arc<Mutex<Keyspace>>, keys: usize) -> Vec<Vec<u8>> {
    let started = Instant::now();
    let mut image = Keyspace::begin_image(keyspace).expect("none is running");
    println!("  begin_image: {:?}", started.elapsed());
    let (mut chunks, mut chunk) = (Vec::new(), Vec::new());
    while image.next_chunk(&mut chunk) {
        chunks.push(chunk.clone());
    }
    rate("image, no writers", keys, started.elapsed());
    chunks
}

/// One thread overwrites random keys as fast as it can while another reads an image at about 500 MB/s.
fn image_under_writes(keyspace: &Arc<Mutex<Keyspace>>, keys: usize) {
    let before = resident_bytes();
    let started = Instant::now();
    let mut image = Keyspace::begin_image(keyspace).expect("none is running");
    let reader = std::thread::spawn(move || {
        let (mut chunk, mut bytes) = (Vec::new(), 0_usize);
        while image.next_chunk(&mut chunk) {
            bytes += black_box(&chunk).len();
            std::thread::sleep(Duration::from_micros(500));
        }
        bytes
    });
    let (mut longest, mut slow, mut writes, mut waits, mut extra) = (Duration::ZERO, 0, 0_usize, 0_usize, 0);
    let mut number = 0_usize;
    while !reader.is_finished() {
        number = number.wrapping_add(ODD);
        let key = key(number % keys);
        while keyspace.lock().prepare(&key).is_err() {
            waits += 1;
            std::thread::sleep(Duration::from_micros(100));
        }
        let mut keyspace = keyspace.lock();
        let one = Instant::now();
        keyspace.apply(Effect::Set { key: &key, value: &OTHER, expires_at_ms: None });
        let took = one.elapsed();
        longest = longest.max(took);
        slow += usize::from(took > SLOW);
        writes += 1;
        if writes.is_multiple_of(10_000) {
            extra = extra.max(resident_bytes().saturating_sub(before));
        }
    }
    let bytes = reader.join().expect("the reader ends");
    println!(
        "  image under writes: {bytes} bytes in {:?}; {writes} writes, {waits} waits; longest apply {longest:?}, \
         {slow} above {SLOW:?}; {:.1} MiB extra",
        started.elapsed(),
        extra as f64 / (1 << 20) as f64
    );
}

fn flush(keyspace: &Arc<Mutex<Keyspace>>) {
    let started = Instant::now();
    keyspace.lock().apply(Effect::Flush);
    let detached = started.elapsed();
    drop(keyspace.lock().take_garbage());
    println!("  flush {detached:?}, freed by {:?}", started.elapsed());
}

fn filled(keys: usize, expected_keys: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(Options { seed: SEED, expected_keys, ..Options::default() });
    for number in 0..keys {
        keyspace.apply(Effect::Set { key: &key(number), value: &VALUE, expires_at_ms: None });
    }
    keyspace
}

fn key(number: usize) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = number;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn rate(name: &str, count: usize, elapsed: Duration) {
    println!("  {name}: {:.2} M/s ({elapsed:.2?})", count as f64 / elapsed.as_secs_f64() / 1e6);
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<usize>().ok()).expect("a number") << 10
}

const SEED: u64 = 0x5EED;
const VALUE: [u8; 64] = [0x5A; 64];
const OTHER: [u8; 64] = [0xA5; 64];
const ODD: usize = 7_919_999_983;
const PIPELINE: usize = 16;
const PAUSE_RUNS: usize = 3;
const SLOW: Duration = Duration::from_micros(200);
