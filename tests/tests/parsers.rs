//! Everything that parses bytes from outside, under the bytes of its corpus: as they are, and changed by chance.
//!
//! ```text
//!  golden images, fixtures ─► seeds ─BLESS=1─► fuzz/corpus/NAME/seed-* ─┐
//!  what fuzzing found ───────────────────────► fuzz/corpus/NAME/* ──────┴─► as it is, changed ─► target
//! ```
//!
//! The targets are those of libFuzzer (`tests/check fuzz`), which looks longer and remembers what it has reached. Here chance is
//! seeded: `SEED=n` is another stream, `ROUNDS=n` a longer one. An input that fails is written to a file, which is named; put it
//! into the corpus with the mend.

#[path = "parsers/change.rs"]
mod change;
#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a library of its own for libFuzzer")]
mod fuzz;
#[path = "parsers/seeds.rs"]
mod seeds;

use core::panic::AssertUnwindSafe;
use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use strandline_tests::chance::Chance;

/// One test for each target, so that they run side by side and each is named.
macro_rules! targets {
    ($($name:ident $rounds:literal)*) => {
        $(
            #[test]
            fn $name() {
                tried(stringify!($name), $rounds);
            }
        )*

        #[test]
        fn every_target_is_tried_here_and_by_the_fuzzer() {
            let here = [$(stringify!($name)),*];
            assert_eq!(here, fuzz::TARGETS.map(|target| target.name));
            for name in here {
                let program = fs::read_to_string(place().join(format!("fuzz_targets/{name}.rs")));
                assert!(program.is_ok_and(|text| text.contains(&format!("check(\"{name}\","))), "{name}");
            }
        }
    };
}

targets! {
    archive 1_000
    configuration 1_000
    effects 20_000
    entries 20_000
    events 50_000
    export 5_000
    extent 20_000
    frame 50_000
    http 1_000
    image 2_000
    manifest 10_000
    nor 1_000
    recovery 2_000
    resp 2_000
    segment 5_000
    snapshot 20_000
}

#[test]
fn the_corpus_holds_what_today_s_writers_make() {
    for (name, wanted) in seeds::all() {
        let path = place().join("corpus").join(&name);
        if std::env::var_os("BLESS").is_some() {
            fs::create_dir_all(path.parent().expect("a directory of its target")).expect("it is made");
            fs::write(&path, &wanted).expect("it is written");
        }
        let kept = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}; BLESS=1 writes it"));
        assert!(kept == wanted, "{name} is another one now; BLESS=1 if the format was meant to change");
    }
}

fn tried(name: &str, rounds: usize) {
    let corpus = corpus(name);
    assert!(!corpus.is_empty(), "there is a corpus");
    for (file, bytes) in &corpus {
        checked(name, bytes, &|| format!("{name}: {file}"));
    }
    let number = |variable: &str| std::env::var(variable).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or(1);
    let rounds = number("ROUNDS").unwrap_or(rounds as u64);
    let mut chance = Chance::new(seed);
    for round in 0..rounds {
        let (file, bytes) = &corpus[chance.below(corpus.len())];
        let (_, other) = &corpus[chance.below(corpus.len())];
        let mut bytes = bytes.clone();
        for _ in 0..=chance.below(4) {
            change::once(&mut chance, &mut bytes, other);
        }
        checked(name, &bytes, &|| format!("{name}: {file} changed, SEED={seed}, round {round}"));
    }
}

/// Runs a target; if it fails, keeps the input.
fn checked(name: &str, bytes: &[u8], what: &dyn Fn() -> String) {
    if let Err(failure) = panic::catch_unwind(AssertUnwindSafe(|| fuzz::check(name, bytes))) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-failed"));
        fs::write(&path, bytes).expect("the input is kept");
        eprintln!("{}: the input is {}", what(), path.display());
        panic::resume_unwind(failure);
    }
}

/// The files of a target, by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(place().join("corpus").join(name)).expect("the target has a corpus");
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.expect("a file");
        (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).expect("it is read"))
    };
    let mut all: Vec<_> = files.map(read).collect();
    all.sort();
    all
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}
