//! Archives from outside: what they hold is right or refused, whatever happened to the file, in the order of their numbers, and
//! without reading more than is asked for. The programs are `wal_archive_manager` and `std-server archive`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use strandline::archive::{self, Entry, Header, Stamp, Writing};
use strandline::{LogId, Lsn, Millis};
use tempfile::tempdir;

/// Writes the archive of one log of shard 0 below `place`.
fn written(place: &Path, log: u64, entries: u64, text: &[u8]) -> PathBuf {
    let directory = place.join("archived/shard-0");
    fs::create_dir_all(&directory).expect("a directory for archives");
    let header = Header { log: LogId(log), created: Millis(1_700_000_000_000), ..Header::EMPTY };
    let made = archive::write(&directory, &header, Writing::default(), |take| {
        (0..entries).try_for_each(|at| {
            let time = Millis(1_700_000_000_000 + at);
            take(&Entry::record("pump", Stamp { lsn: Lsn(log * 1000 + at), time, commit: time }, text))
        })
    });
    made.expect("the archive is written")
}

fn run(program: &mut Command, place: &Path) -> Output {
    fs::write(place.join("sneldb.toml"), "[wal]\ndir = \"wal\"\narchive_dir = \"archived\"\n")
        .expect("written");
    program.current_dir(place).env("SNELDB_CONFIG", "sneldb").output().expect("the program runs")
}

fn manager(place: &Path, words: &[&str]) -> Output {
    run(Command::new(env!("CARGO_BIN_EXE_wal_archive_manager")).args(words), place)
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("text")
}

#[test]
fn case_16_of_400_flipped_bits_none_is_exported() {
    let place = tempdir().expect("a directory");
    let path = written(place.path(), 7, 50, b"the water came up to here");
    let name = path.to_str().expect("a name");
    let good = manager(place.path(), &["export", name, "good.json"]);
    assert!(good.status.success(), "{}", text(&good.stderr));
    let bytes = fs::read(&path).expect("the archive");
    let mut chance = strandline_tests::chance::Chance::new(16);
    for _ in 0..400 {
        let bit = chance.below(bytes.len() * 8);
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, flipped).expect("written");
        let said = manager(place.path(), &["export", name, "bad.json"]);
        assert_eq!(said.status.code(), Some(1), "bit {bit}: {}", text(&said.stdout));
        assert!(text(&said.stderr).contains("wal-00007-"), "bit {bit}: {}", text(&said.stderr));
        assert!(!place.path().join("bad.json").exists(), "bit {bit}: half an export has no name");
    }
}

#[test]
fn case_18_one_damaged_archive_is_named_and_hides_no_other() {
    let place = tempdir().expect("a directory");
    for log in 1..=3 {
        written(place.path(), log, 5, b"here");
    }
    let damaged = written(place.path(), 4, 5, b"here");
    let name = damaged.file_name().expect("a name").to_str().expect("text").to_owned();
    let bytes = fs::read(&damaged).expect("the archive");
    fs::write(&damaged, &bytes[..bytes.len() - 3]).expect("cut");
    for words in [["list", "0"], ["recover", "0"]] {
        let said = manager(place.path(), &words);
        assert_eq!(said.status.code(), Some(1), "{words:?}");
        assert!(text(&said.stderr).contains(&name), "{words:?}: {}", text(&said.stderr));
    }
    let listed = manager(place.path(), &["list", "0"]);
    assert!(text(&listed.stdout).contains("Found 3 archive(s)"), "{}", text(&listed.stdout));
}

#[test]
fn case_19_the_order_is_that_of_numbers_and_not_of_names() {
    let place = tempdir().expect("a directory");
    let logs = [100_000, 99_999, 1_000_000, 7];
    for log in logs {
        written(place.path(), log, 1, format!("of {log}").as_bytes());
    }
    let listed = manager(place.path(), &["list", "0"]);
    let listed = text(&listed.stdout);
    let places =
        [7, 99_999, 100_000, 1_000_000].map(|log| listed.find(&format!("wal-{log:05}-")).expect("listed"));
    assert!(places.is_sorted(), "{listed}");
    let recovered =
        run(Command::new(env!("CARGO_BIN_EXE_std-server")).args(["archive", "cat", "0"]), place.path());
    let recovered = text(&recovered.stdout);
    let places = [7_000, 99_999_000, 100_000_000, 1_000_000_000_u64].map(|lsn| {
        recovered.find(&format!("\"lsn\":{lsn},")).unwrap_or_else(|| panic!("no LSN {lsn}: {recovered}"))
    });
    assert!(places.is_sorted(), "{recovered}");
}

/// The size of the address space is bounded for the program, well below what the archive holds.
#[cfg(target_os = "linux")]
#[test]
fn case_20_to_list_and_to_export_takes_the_memory_of_a_block() {
    const RECORD: usize = 8 << 10;
    const ENTRIES: u64 = 5000;
    const MOST_KIB: usize = 24 << 10;
    let place = tempdir().expect("a directory");
    let path = written(place.path(), 1, ENTRIES, &[0x5a; RECORD]);
    assert!(RECORD * ENTRIES as usize > 1024 * MOST_KIB, "the archive holds more than there may be");
    let name = path.to_str().expect("a name");
    for words in [&["list", "0"][..], &["info", name], &["export", name, "export.json"]] {
        let mut bounded = Command::new("sh");
        bounded.args(["-c", &format!("ulimit -v {MOST_KIB}; exec \"$0\" \"$@\"")]);
        let said = run(bounded.arg(env!("CARGO_BIN_EXE_wal_archive_manager")).args(words), place.path());
        assert!(said.status.success(), "{words:?}: {}", text(&said.stderr));
        assert!(text(&said.stdout).contains(&ENTRIES.to_string()), "{words:?}: {}", text(&said.stdout));
    }
}
