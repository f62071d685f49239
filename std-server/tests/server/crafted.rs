//! Archives whose checksums are right and which lie, in front of every program that reads archives: what is printed, exported, imported
//! or answered is true, what is not is named with an exit code, and memory stays bounded.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use strandline::archive::{Archive, OwnedEntry, Range, encode_fields};
use strandline::archive::{Entry, Payload, Stamp, Value as Field};
use strandline::{Lsn, Millis};
use strandline_tests::crafted::{Claim, Crafted, Lie, lies};
use tempfile::tempdir;

use crate::events::lines;
use crate::process::{Server, binary, outcome, server, until};

/// Twelve events of one moment.
fn twelve() -> Vec<OwnedEntry> {
    let time = Millis(1_700_000_000_250);
    let event = |lsn| {
        let payload = encode_fields([("number", Field::Unsigned(lsn))]);
        let stamp = Stamp { lsn: Lsn(lsn), time, commit: Millis(0) };
        OwnedEntry::from(&Entry {
            timestamp: 1_700_000_000,
            context: "a",
            event_type: "count",
            payload: Payload::Map(&payload),
            event_id: lsn,
            stamp,
        })
    };
    (11..23).map(event).collect()
}

fn borrowed(entries: &[OwnedEntry]) -> Vec<Entry<'_>> {
    entries.iter().map(OwnedEntry::entry).collect()
}

/// Runs `std-server archive` where memory for twice the largest block, and for zstd, is all that there is.
fn bounded(place: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    const MOST_KIB: usize = 120 << 10;
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -v {MOST_KIB}; exec \"$0\" \"$@\"")]);
    command.arg(env!("CARGO_BIN_EXE_std-server")).arg("archive").args(words);
    outcome(command.args(["--archive-dir", "archived"]).current_dir(place).env_remove("SNELDB_CONFIG"))
}

/// The numbers of the events in lines of JSON.
fn numbers(text: &str) -> Vec<u64> {
    let number = |line: &str| serde_json::from_str::<Value>(line).ok()?["payload"]["number"].as_u64();
    text.lines().filter_map(number).collect()
}

#[test]
fn every_program_names_the_lie_and_tells_nothing_untrue() {
    let place = tempdir().expect("a directory");
    let directory = place.path().join("archived/shard-0");
    fs::create_dir_all(&directory).expect("made");
    let (entries, all) = (twelve(), (11..23).collect::<Vec<u64>>());
    for Lie { what, archive, is_open, named } in lies(&borrowed(&entries)) {
        let path = archive.write(&directory);
        let name = archive.name();
        let file = path.to_str().expect("a name");
        let says = |words: &[&str]| {
            let (code, out, error) = bounded(place.path(), words);
            assert_eq!(code, Some(4), "{what}: {words:?}: {out}{error}");
            assert!(error.contains(&name) && error.contains(named), "{what}: {words:?}: {error}");
            out
        };
        says(&["verify", "0"]);
        assert!(all.starts_with(&numbers(&says(&["cat", "0"]))), "{what}");
        assert!(all.starts_with(&numbers(&says(&["grep", file, "--type", "count"]))), "{what}");
        says(&["recover", "0"]);
        says(&["export", file, "out.json"]);
        let mut import = binary(&place.path().join("data"), &["archive", "import", file]);
        let (code, _, error) = outcome(&mut import);
        assert!(code == Some(4) && error.contains(&name) && error.contains(named), "{what}: {error}");
        if is_open {
            says(&["list", "0"]);
            says(&["info", file]);
        }
        if what.contains("bomb") {
            for to in ["out.csv", "out.msgpack", "out.jsonl"] {
                says(&["export", file, to]);
            }
            says(&["convert", file, "--to", "new"]);
            says(&["diff", file, file]);
        }
        let left = |name: &str| place.path().join(name).exists();
        assert!(!left("out.json") && !left("out.csv"), "{what}: half an export has no name");
        fs::remove_file(path).expect("there");
    }
}

#[test]
fn an_archive_under_another_name_or_of_another_shard_is_used_by_no_program() {
    let place = tempdir().expect("a directory");
    let directory = place.path().join("archived/shard-0");
    fs::create_dir_all(&directory).expect("made");
    let entries = twelve();
    let honest = Crafted::of(&borrowed(&entries), 4);
    let renamed = directory.join("wal-00009-1-2.wal.zst");
    fs::write(&renamed, honest.bytes()).expect("written");
    let other = honest.numbering("shard", 1).write(&directory);
    for (path, named) in [(renamed, "it is wal-00001-"), (other, "it is of shard 1, not of shard 0")] {
        let file = path.to_str().expect("a name");
        for words in [&["verify", file][..], &["cat", file], &["info", file], &["export", file, "out.json"]] {
            let (code, out, error) = bounded(place.path(), words);
            assert_eq!((code, numbers(&out)), (Some(4), vec![]), "{words:?}: {error}");
            assert!(error.contains(file) && error.contains(named), "{words:?}: {error}");
        }
    }
}

/// A stopped server whose first events are in an archive alone; returns their archive, and what `GET /events` says.
fn history(data: &Path) -> (PathBuf, Vec<Value>) {
    let mut command = server(data);
    command.env("STRANDLINE_WAL__CONSERVATIVE_MODE", "true").env("STRANDLINE_ARCHIVE__CPU_PERCENT", "100");
    let server = Server::from(command);
    let event = |number: u64| {
        format!(
            r#"{{"event_type":"count","context_id":"a","timestamp":1700000000,"payload":{{"number":{number}}}}}"#
        )
    };
    let first: Vec<String> = (1..=12).map(event).collect();
    assert_eq!(server.post("/events", &first.join("\n")).0, 200);
    assert_eq!(server.post("/archives/now", "").1["success"], true);
    for number in 13..=14 {
        assert_eq!(server.post("/events", &event(number)).0, 200);
        assert_eq!(server.post("/snapshot", "").0, 200);
    }
    let archives = data.join("archives/shard-0");
    let archive =
        fs::read_dir(&archives).expect("there").next().expect("an archive").expect("an entry").path();
    let elsewhere = data.join("elsewhere");
    until("the archive alone holds the first events", || {
        fs::rename(&archive, &elsewhere).expect("moved");
        let left = lines(&server, "").len();
        fs::rename(&elsewhere, &archive).expect("back");
        left == 2
    });
    let said = lines(&server, "");
    assert_eq!(said.len(), 14);
    (archive, said)
}

/// An archive of this server's events, before it lies.
fn of_server(path: &Path, lie: Crafted) -> Crafted {
    let archive = Archive::open(path).expect("intact");
    let (info, extended) = (archive.info(), archive.info().extended.clone().expect("ours"));
    lie.claiming("store", Claim::Bytes(extended.store.0.to_vec()))
        .numbering("timeline", extended.timeline.0.into())
        .numbering("epoch", extended.epoch.0.into())
        .numbering("log", info.log.0)
}

#[test]
fn a_query_over_an_archive_that_lies_tells_what_is_true_or_breaks_off() {
    let data = tempdir().expect("a directory");
    let (path, wanted) = history(data.path());
    let entries: Vec<OwnedEntry> = Archive::open(&path)
        .and_then(|archive| archive.entries(Range::ALL))
        .and_then(Iterator::collect)
        .expect("intact");
    assert_eq!(entries.len(), 12);
    let honest = of_server(&path, Crafted::of(&borrowed(&entries), 4));
    let lies: Vec<_> =
        lies(&borrowed(&entries)).into_iter().map(|lie| (lie.what, of_server(&path, lie.archive))).collect();
    let others = [
        (
            "LSNs that the log has not given",
            honest.clone().numbering("last_lsn", 1000),
            "both hold LSN 13 to",
        ),
        (
            "an epoch that has not begun",
            honest.clone().numbering("epoch", 9),
            "is of epoch 9, which has not begun",
        ),
        ("another shard", honest.clone().numbering("shard", 1), "it is of shard 1, not of shard 0"),
    ];
    let server = Server::start(data.path());
    fs::remove_file(&path).expect("there");
    for (what, archive) in lies {
        let path = archive.write(path.parent().expect("a directory"));
        for query in ["", "?order=newest"] {
            let mut said = lines(&server, query);
            let broken = said.pop_if(|last| last.get("error").is_some());
            let mut wanted = wanted.clone();
            if query == "?order=newest" {
                wanted.reverse();
            }
            assert_eq!(said[..], wanted[..said.len()], "{what}");
            assert!(broken.is_some() || said.len() == wanted.len(), "{what}: {said:?}");
        }
        fs::remove_file(path).expect("there");
        // A file is looked at once: the next one of the same name must be seen as another.
        assert_eq!(lines(&server, "").len(), 2, "{what}");
    }
    for (what, archive, named) in others {
        let path = archive.write(path.parent().expect("a directory"));
        let said = lines(&server, "");
        let error = said.last().and_then(|last| last["error"].as_str()).unwrap_or_default();
        assert!(error.contains(named), "{what}: {said:?}");
        fs::remove_file(path).expect("there");
        assert_eq!(lines(&server, "").len(), 2, "{what}");
    }
    // One of another store is another's, and left out.
    honest.clone().claiming("store", Claim::Bytes(vec![9; 16])).write(path.parent().expect("a directory"));
    let gap = &lines(&server, "?from_lsn=1")[0]["gap"];
    assert_eq!((&gap["first_lsn"], &gap["last_lsn"]), (&1.into(), &12.into()));
    drop(server);
    let (code, out, _) = outcome(&mut binary(data.path(), &["verify"]));
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("does not belong there: it is of another store"), "{out}");
    let (code, out, _) = outcome(&mut binary(data.path(), &["repair", "--apply"]));
    assert!(code == Some(0) && out.contains("nothing: it is not of this log"), "{out}");
    let (code, out, _) = outcome(&mut binary(data.path(), &["verify"]));
    assert_eq!(code, Some(0), "{out}");
    honest.write(path.parent().expect("a directory"));
    assert_eq!(lines(&Server::start(data.path()), ""), wanted, "the honest one is read again");
}
