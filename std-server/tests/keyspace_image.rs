//! Images: whatever writes come between the steps of one, it is the state of the moment it began.

mod keyspace_support;

use std::sync::Arc;

use keyspace_support::{Model, Op, Random, assert_same, seed_or, small};
use parking_lot::Mutex;
use std_server::keyspace::{ChunkError, Effect, ImageRunning, Keyspace, Options, Restore, chunk_seed};

struct Running {
    image: std_server::keyspace::Image,
    restored: Keyspace,
    expected: Model,
}

/// Runs random writes against random image steps, and answers how many images were compared.
fn run(seed: u64, ops: usize, keys: u64) -> usize {
    let mut random = Random(seed);
    let options = small(random.next());
    let keyspace = Arc::new(Mutex::new(Keyspace::new(options)));
    let mut model = Model::default();
    let mut running: Option<Running> = None;
    let (mut compared, mut chunk) = (0, Vec::new());
    let step_odds = 1 + random.below(20);
    for _ in 0..ops {
        let op = random.op(keys);
        while !is_prepared(&keyspace, &op) {
            let state = running.as_mut().expect("only an image refuses");
            assert!(state.image.next_chunk(&mut chunk), "a full queue drains");
            state.restored.restore_chunk(&chunk).expect("a chunk of ours");
        }
        keyspace.lock().apply(op.effect());
        model.apply(&op);
        let queued = keyspace.lock().image_queue_bytes();
        assert!(queued <= options.limits.image_queue_bytes * 2, "SEED={seed}: {queued} bytes queued");
        match &mut running {
            None if random.below(50) == 0 => {
                let image = Keyspace::begin_image(&keyspace).expect("none is running");
                assert_eq!(image.keys(), model.keys.len());
                let restored =
                    Keyspace::new(if random.below(2) == 0 { options } else { small(random.next()) });
                running = Some(Running { image, restored, expected: model.clone() });
            }
            Some(_) if random.below(400) == 0 => running = None,
            Some(state) if random.below(step_odds) == 0 => {
                if state.image.next_chunk(&mut chunk) {
                    assert_eq!(chunk_seed(&chunk), Ok(options.seed));
                    state.restored.restore_chunk(&chunk).expect("a chunk of ours");
                } else {
                    assert_eq!(Model::of(&state.restored), state.expected, "SEED={seed}");
                    compared += 1;
                    running = None;
                }
            }
            _ => {}
        }
    }
    drop(running);
    assert_eq!(keyspace.lock().image_queue_bytes(), 0);
    assert_same(&keyspace.lock(), &model, 1000);
    compared
}

fn is_prepared(keyspace: &Arc<Mutex<Keyspace>>, op: &Op) -> bool {
    let mut keyspace = keyspace.lock();
    written_keys(op).iter().all(|key| keyspace.prepare(key).is_ok())
}

/// The keys that a caller prepares before it applies this.
fn written_keys(op: &Op) -> Vec<&[u8]> {
    match op {
        Op::Set(key, ..)
        | Op::Delete(key)
        | Op::Write(key, ..)
        | Op::Expire(key, _)
        | Op::Persist(key)
        | Op::Copy(_, key) => vec![key],
        Op::Rename(from, to) => vec![from, to],
        Op::Flush => vec![],
    }
}

#[test]
fn every_interleaving_gives_the_state_of_the_beginning() {
    let first = seed_or(1);
    let mut compared = 0;
    for seed in first..first + 60 {
        compared += run(seed, 3000, 50 + seed * 40);
    }
    assert!(compared > 200, "only {compared} images were compared");
}

#[test]
fn an_unprepared_write_does_not_spoil_the_image() {
    let seed = seed_or(11);
    let mut random = Random(seed);
    let keyspace = Arc::new(Mutex::new(Keyspace::new(small(seed))));
    let mut model = Model::default();
    for _ in 0..2000 {
        let op = random.op(500);
        keyspace.lock().apply(op.effect());
        model.apply(&op);
    }
    let mut image = Keyspace::begin_image(&keyspace).expect("none is running");
    for _ in 0..5000 {
        keyspace.lock().apply(random.op(2000).effect());
    }
    assert_eq!(restore_all(&mut image, small(seed)), model);
}

#[test]
fn threads_write_while_the_image_is_read() {
    let seed = seed_or(21);
    let keyspace = Arc::new(Mutex::new(Keyspace::new(small(seed))));
    let mut model = Model::default();
    let mut random = Random(seed);
    for _ in 0..20_000 {
        let op = random.op(5000);
        keyspace.lock().apply(op.effect());
        model.apply(&op);
    }
    let mut image = Keyspace::begin_image(&keyspace).expect("none is running");
    std::thread::scope(|scope| {
        let shared = &keyspace;
        scope.spawn(move || {
            let mut random = Random(seed + 1);
            for _ in 0..20_000 {
                let op = random.op(10_000);
                while !is_prepared(shared, &op) {
                    std::thread::yield_now();
                }
                shared.lock().apply(op.effect());
            }
        });
        assert_eq!(restore_all(&mut image, small(seed)), model);
        drop(image);
    });
}

#[test]
fn a_flush_hands_the_table_to_the_image() {
    let keyspace = Arc::new(Mutex::new(filled(10_000)));
    let before = Model::of(&keyspace.lock());
    let mut image = Keyspace::begin_image(&keyspace).expect("none is running");
    let mut chunk = Vec::new();
    assert!(image.next_chunk(&mut chunk));
    keyspace.lock().apply(Effect::Set { key: b"late", value: b"1", expires_at_ms: None });
    keyspace.lock().apply(Effect::Flush);
    keyspace.lock().apply(Effect::Set { key: b"after", value: b"2", expires_at_ms: None });
    keyspace.lock().apply(Effect::Flush);
    assert!(keyspace.lock().is_empty());
    let mut restored = Keyspace::new(Options::default());
    restored.restore_chunk(&chunk).expect("a chunk of ours");
    while image.next_chunk(&mut chunk) {
        restored.restore_chunk(&chunk).expect("a chunk of ours");
    }
    assert_eq!(Model::of(&restored), before);
}

#[test]
fn one_image_at_a_time_and_a_dropped_one_is_forgotten() {
    let keyspace = Arc::new(Mutex::new(filled(1000)));
    let image = Keyspace::begin_image(&keyspace).expect("none is running");
    assert_eq!(Keyspace::begin_image(&keyspace).map(|_| ()), Err(ImageRunning));
    keyspace.lock().prepare(b"key:1").expect("the queue is empty");
    assert!(keyspace.lock().image_queue_bytes() > 0);
    assert_eq!(keyspace.lock().restore_chunk(&[]), Err(ChunkError::ImageRunning));
    drop(image);
    assert_eq!(keyspace.lock().image_queue_bytes(), 0);
    Keyspace::begin_image(&keyspace).expect("the first is gone");
}

#[test]
fn parts_restored_by_threads_are_the_whole() {
    for keys in [0, 1, 30_000] {
        let source = filled(keys);
        let expected = Model::of(&source);
        let keyspace = Arc::new(Mutex::new(source));
        let chunks = chunks_of(&mut Keyspace::begin_image(&keyspace).expect("none is running"));
        for seed in [0, 99] {
            let restore = Restore::new(Options { expected_keys: keys, ..small(seed) });
            std::thread::scope(|scope| {
                for half in chunks.chunks(chunks.len().div_ceil(2).max(1)) {
                    let restore = &restore;
                    scope.spawn(move || {
                        half.iter().for_each(|chunk| {
                            restore.restore_chunk(chunk).expect("a chunk of ours");
                        })
                    });
                }
            });
            let mut restored = restore.finish();
            assert_same(&restored, &expected, 0);
            let mut model = expected.clone();
            let mut random = Random(seed);
            for _ in 0..5000 {
                let op = random.op(40_000);
                restored.apply(op.effect());
                model.apply(&op);
            }
            assert_same(&restored, &model, 1000);
        }
    }
}

#[test]
fn a_chunk_with_any_cut_is_refused() {
    let keyspace = Arc::new(Mutex::new(filled(40)));
    let chunks = chunks_of(&mut Keyspace::begin_image(&keyspace).expect("none is running"));
    let [chunk] = chunks.as_slice() else { panic!("forty keys are one chunk") };
    for cut in 0..chunk.len() {
        let mut restored = Keyspace::new(Options::default());
        assert!(restored.restore_chunk(&chunk[..cut]).is_err(), "cut at {cut}");
    }
    let mut restored = Keyspace::new(Options::default());
    assert_eq!(restored.restore_chunk(chunk), Ok(40));
    assert!(matches!(restored.restore_chunk(chunk), Err(ChunkError::Duplicate { .. })));
    let mut newer = chunk.clone();
    newer[0] = 2;
    assert_eq!(chunk_seed(&newer), Err(ChunkError::Version { found: 2 }));
}

#[test]
fn garbage_never_panics() {
    let seed = seed_or(31);
    let mut random = Random(seed);
    let keyspace = Arc::new(Mutex::new(filled(40)));
    let chunks = chunks_of(&mut Keyspace::begin_image(&keyspace).expect("none is running"));
    for _ in 0..20_000 {
        let mut chunk = chunks[0].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(chunk.len() as u64) as usize;
            chunk[at] = random.next() as u8;
        }
        let mut restored = Keyspace::new(small(seed));
        if restored.restore_chunk(&chunk).is_ok() {
            Model::of(&restored);
        }
    }
}

fn filled(keys: usize) -> Keyspace {
    let mut keyspace = Keyspace::new(Options { seed: 5, ..Options::default() });
    for number in 0..keys {
        let key = format!("key:{number}");
        let value = vec![number as u8; if number % 100 == 7 { 3000 } else { number % 70 }];
        let expires_at_ms = (number % 3 == 0).then_some(number as u64);
        keyspace.apply(Effect::Set { key: key.as_bytes(), value: &value, expires_at_ms });
    }
    keyspace
}

fn chunks_of(image: &mut std_server::keyspace::Image) -> Vec<Vec<u8>> {
    let (mut chunks, mut chunk) = (Vec::new(), Vec::new());
    while image.next_chunk(&mut chunk) {
        chunks.push(chunk.clone());
    }
    assert!(chunk.is_empty() && !image.next_chunk(&mut chunk), "an ended image stays ended");
    chunks
}

fn restore_all(image: &mut std_server::keyspace::Image, options: Options) -> Model {
    let mut restored = Keyspace::new(options);
    for chunk in chunks_of(image) {
        restored.restore_chunk(&chunk).expect("a chunk of ours");
    }
    Model::of(&restored)
}
