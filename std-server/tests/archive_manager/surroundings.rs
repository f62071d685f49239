//! What lies about archives: foreign files, another file system, a reader that has gone.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{FIRST, expected, manager, server, workplace};

/// Everything that may lie about in a directory, and none of it an archive.
#[test]
fn a_directory_full_of_foreign_files_is_noted_file_by_file() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    let place = workplace();
    let shard = place.path().join("archived/shard-0");
    for number in 0..200 {
        fs::write(shard.join(format!("core.{number}")), [number; 300]).unwrap();
    }
    let names: [&[u8]; 6] = [
        b"wal-00001-1700000000-1700003600.wal.zst.tmp",
        b"wal-00001-1700000000-1700003600.wal.zst~",
        b"wal-1-2-3.wal.zst",
        b"wal-00001.log",
        b"\xff\xfe.wal.zst",
        b".hidden",
    ];
    for name in names {
        fs::write(shard.join(std::ffi::OsStr::from_bytes(name)), b"foreign").unwrap();
    }
    fs::create_dir(shard.join("shard-0")).unwrap();
    symlink("nowhere", shard.join("link")).unwrap();
    for words in [["list", "0"], ["recover", "0"], ["verify", "0"]] {
        let said = server(place.path(), &words);
        assert_eq!(said.exit, 0, "{words:?}: {}", said.err);
        assert_eq!(said.err.matches(" is not an archive\n").count(), 208, "{words:?}: {}", said.err);
    }
    assert_eq!(manager(place.path(), &["list", "0"]).out, expected("list-0.txt"));

    // With the name of an archive, and none.
    let (directory, link) = ("wal-00005-1-2.wal.zst", "wal-00006-1-2.wal.zst");
    fs::create_dir(shard.join(directory)).unwrap();
    symlink("nowhere", shard.join(link)).unwrap();
    for words in [["list", "0"], ["recover", "0"], ["verify", "0"]] {
        let said = server(place.path(), &words);
        assert_eq!(said.exit, 4, "{words:?}: {}", said.err);
        assert!(said.err.contains(directory) && said.err.contains(link), "{words:?}: {}", said.err);
    }
}

/// A name is given by a rename, which works within a file system only: archives may be on another one than anything else.
#[test]
fn archives_may_be_on_another_file_system() {
    use std::os::unix::fs::MetadataExt;

    let place = workplace();
    let memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    if device(memory).is_none() || device(memory) == device(place.path()) {
        println!("skipped: /dev/shm is no other file system here");
        return;
    }
    let elsewhere = tempfile::tempdir_in(memory).unwrap();
    let to = elsewhere.path().to_str().unwrap();
    let original = format!("archived/shard-0/{FIRST}");
    let made = format!("{to}/shard-0/{FIRST}");
    assert_eq!(server(place.path(), &["archive", "0", "1", "--archive-dir", to]).exit, 0);
    assert_eq!(server(place.path(), &["diff", &original, &made]).exit, 0);
    let converted = format!("{to}/converted");
    assert_eq!(server(place.path(), &["convert", &original, "--to", &converted]).exit, 0);
    assert_eq!(server(place.path(), &["diff", &original, &format!("{converted}/{FIRST}")]).exit, 0);
    for out in [format!("{to}/out.csv"), format!("{to}/out.json")] {
        assert_eq!(server(place.path(), &["export", &original, &out]).exit, 0);
    }
    assert_eq!(fs::read_to_string(elsewhere.path().join("out.json")).unwrap(), expected("export.json"));
    assert_eq!(server(place.path(), &["recover", "0", "--archive-dir", to, "--to", to]).exit, 0);
    assert!(elsewhere.path().join("shard-0/wal-00001.log").exists());
}

/// As in `std-server archive list 0 | head -1`.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = workplace();
    let data = place.path().join("data");
    let (archives, log) = ("archived/shard-0", "wal/shard-0/wal-00001.log");
    let cases: [&[&str]; 7] = [
        &["list", "0"],
        &["info", &format!("{archives}/{FIRST}")],
        &["recover", "0"],
        &["verify", "0"],
        &["cat", "0"],
        &["export", &format!("{archives}/{FIRST}"), "out.json"],
        &["import", log, "--data-dir", data.to_str().unwrap()],
    ];
    for words in cases {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
        command.arg("archive").args(words).current_dir(place.path()).env("SNELDB_CONFIG", "sneldb");
        let output = command.stdout(writer).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        let silent = !err.contains("panicked") && !err.contains("Error");
        assert!(output.status.code() == Some(0) && silent, "{words:?}: {:?} {err}", output.status);
    }
    assert_eq!(fs::read_to_string(place.path().join("out.json")).unwrap(), expected("export.json"));
    let again = server(place.path(), cases[6]);
    assert!(again.out.ends_with("0 events imported, 1000 were imported before\n"), "{}", again.out);
}
