//! `repair` makes a damaged segment that a start needs again with the records of its archive, and nothing is lost; where that can't be,
//! it says why and discards.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use strandline::StoreId;
use strandline::archive::{self, Archive, Header, OwnedEntry, Range, Writing};
use strandline_tests::process::http;
use strandline_tests::process::{Server, Setup};
use tempfile::TempDir;

use crate::support::{
    ask, call, client, cut_repairs, edit, files, fresh, fresh_copy, refused, repair, say, start,
};

/// Everything that a server has: its events with their LSNs, and its keys.
fn state(server: &Server) -> (Vec<(u64, String)>, Vec<String>) {
    let text = http::exchange(server.http(), "GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .expect("an answer")
        .body;
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let event = |line: Value| {
        (line["lsn"].as_u64().expect("an LSN"), format!("{} {}", line["event_id"], line["payload"]))
    };
    let events = lines.map(event).collect();
    let mut client = client(server);
    let keys = (0..200).map(|key| {
        format!(
            "{} {}",
            say(&mut client, &format!("GET key:{key}")),
            say(&mut client, &format!("PTTL key:{key}")).starts_with('-')
        )
    });
    (events, keys.chain([ask(server, "DBSIZE"), ask(server, "GET grown")]).collect())
}

fn post(server: &Server, number: u64, count: u64) {
    let line = |number: u64| {
        let id = if number.is_multiple_of(3) { format!(r#","event_id":{number}"#) } else { String::new() };
        format!(
            r#"{{"event_type":"t","context_id":"c:{number}","payload":{{"noise":"{}"}}{id}}}"#,
            "n".repeat(400)
        )
    };
    let body: Vec<String> = (number..number + count).map(line).collect();
    assert_eq!(call(server, "POST", "/events", &body.join("\n")).0, 200);
}

/// Keys and events of every kind in some segments that are all archived and all needed, and some more behind them. With a snapshot
/// in the middle of the second segment, if one is wanted.
fn archived(snapshot: bool) -> (TempDir, Setup) {
    let (place, setup) = fresh();
    let setup = setup.set("persistence.wal.conservative_mode", true).set("archive.cpu_percent", 100);
    let server = start(&setup.clone().mode("always"));
    let mut client = client(&server);
    let value = "v".repeat(9000);
    let mut words = |line: String| say(&mut client, &line);
    for round in 0..240_u64 {
        let key = round % 200;
        assert_eq!(words(format!("SET key:{key} {value}{round}")), "OK");
        assert!(!words(format!("APPEND grown {round}.")).is_empty());
        match round % 6 {
            0 => drop(words(format!("PEXPIRE key:{key} 900000000"))),
            1 => drop(words(format!("SETRANGE key:{key} 7 {round}"))),
            2 => drop(words(format!("MSET key:{} a key:{} b", key / 2, key / 3))),
            3 => drop(words(format!("DEL key:{}", key / 5))),
            4 => post(&server, round * 100, 1),
            _ => post(&server, round * 100, 9),
        }
        if snapshot && round == 150 {
            assert_eq!(words("SAVE".into()), "OK");
        }
    }
    assert_eq!(call(&server, "POST", "/archives/now", "").1["success"], true);
    words("SET last one".into());
    post(&server, 1_000_000, 5);
    server.stop();
    (place, setup)
}

fn segment(setup: &Setup, number: u64) -> PathBuf {
    setup.data().join(format!("wal/synap-{number:08}.wal"))
}

fn archives(setup: &Setup) -> Vec<PathBuf> {
    files(&setup.data().join("archives/shard-0"), ".zst")
}

fn verified(setup: &Setup) -> Value {
    let ended = setup.clone().word("verify").word("--json").run();
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

/// What a server over an undamaged copy of this data has.
fn wanted(setup: &Setup, place: &Path) -> (Vec<(u64, String)>, Vec<String>) {
    let copy = setup.clone().over(place.join("whole"));
    fresh_copy(setup, &copy);
    let server = start(&copy);
    let state = state(&server);
    server.stop();
    state
}

/// Ways to damage a segment file.
type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 7] = [
    ("one bit", |path| edit(path, |bytes| bytes[500_000] ^= 1)),
    ("its header", |path| edit(path, |bytes| bytes[..40].fill(0xff))),
    ("a run in the middle", |path| edit(path, |bytes| bytes[400_000..620_000].fill(0x55))),
    ("two places", |path| {
        edit(path, |bytes| {
            bytes[100_000] ^= 4;
            bytes[700_000..700_100].fill(0);
        })
    }),
    ("its end", |path| edit(path, |bytes| bytes[300_000..].fill(0))),
    ("all of it", |path| edit(path, |bytes| bytes.fill(0))),
    ("the file", |path| fs::remove_file(path).expect("removed")),
];

#[test]
fn a_damaged_segment_is_made_again_from_its_archive_and_nothing_is_lost() {
    for snapshot in [false, true] {
        let (place, setup) = archived(snapshot);
        let number = archives(&setup).len() as u64;
        assert!(number >= 3, "several segments: {number}");
        let wanted = wanted(&setup, place.path());
        let cut = setup.clone().over(place.path().join("damaged"));
        for (what, damage) in DAMAGES {
            fresh_copy(&setup, &cut);
            let path = segment(&cut, 2);
            damage(&path);
            let damaged = fs::read(&path).ok();
            // That lies in front of what a start reads: it is kept until another snapshot covers the whole segment.
            if snapshot && what == "its header" {
                continue;
            }
            refused(&cut, &["std-server repair --data-dir"]);
            let shown = verified(&cut);
            assert_eq!(shown["shards"][0]["restorable_segments"][0]["segment"], 2, "{what}: {shown}");
            let said = cut.clone().word("repair").run();
            assert_eq!(said.code(), Some(1), "{what}: {said}");
            for part in
                ["1. make segment 2 again with the records of its archive", "lost      nothing", "wal-00002-"]
            {
                assert!(said.said(part), "{what}: {part:?} is not said: {said}");
            }
            assert!(!said.said("discard"), "{what}: {said}");
            assert!(fs::read(&path).ok() == damaged, "a dry run has changed something");
            let applied = repair(&cut).run();
            assert_eq!(applied.code(), Some(0), "{what}: {applied}");
            made_again(&cut, what, damaged.as_deref(), &wanted);
        }
    }
}

/// The store is good, has everything, and goes on.
fn made_again(setup: &Setup, what: &str, damaged: Option<&[u8]>, wanted: &(Vec<(u64, String)>, Vec<String>)) {
    let shown = verified(setup);
    assert_eq!(
        (&shown["verdict"], &shown["shards"][0]["losses_ever"]),
        (&"good".into(), &0.into()),
        "{what}: {shown}"
    );
    let quarantine = setup.data().join("wal/quarantine");
    if let Some(damaged) = damaged {
        assert!(fs::read(quarantine.join("synap-00000002.wal")).expect("kept") == damaged, "{what}");
        let note = fs::read_to_string(quarantine.join("synap-00000002.wal.note")).expect("a note");
        assert!(note.contains("wal-00002-") && note.contains("nothing was lost"), "{what}: {note}");
    }
    for _ in 0..2 {
        let server = start(setup);
        assert!(state(&server) == *wanted, "{what}: it has everything");
        server.kill();
    }
    let server = start(setup);
    assert_eq!(ask(&server, "SET after repair"), "OK");
    let archived = call(&server, "POST", "/archives/now", "").1;
    assert_eq!(archived["success"], true, "{what}: {archived}");
    assert_eq!(ask(&server, "SAVE"), "OK");
    server.stop();
    assert_eq!(verified(setup)["verdict"], "good", "{what}");
}

#[test]
fn an_archive_that_can_not_be_read_now_is_no_reason_to_discard() {
    let (place, setup) = archived(false);
    let wanted = wanted(&setup, place.path());
    let path = segment(&setup, 2);
    edit(&path, |bytes| bytes[500_000] ^= 1);
    let damaged = fs::read(&path).expect("there");
    let archive = archives(&setup).remove(1);
    let away = place.path().join("away");
    fs::rename(&archive, &away).expect("renamed");
    // A link to itself: whoever opens it gets an error of the system.
    symlink(&archive, &archive).expect("created");
    for words in [&["repair"][..], &["repair", "--apply"]] {
        let said = words.iter().fold(setup.clone(), |setup, word| setup.word(word)).run();
        assert_eq!(said.code(), Some(2), "{said}");
        assert!(said.said("symbolic links") && !said.said("discard"), "{said}");
    }
    assert!(fs::read(&path).expect("there") == damaged, "nothing was changed");
    fs::remove_file(&archive).expect("removed");
    fs::rename(&away, &archive).expect("renamed");
    assert_eq!(repair(&setup).run().code(), Some(0));
    assert!(state(&start(&setup)) == wanted);
}

#[test]
fn several_segments_are_made_again_and_what_has_no_archive_is_discarded() {
    let (place, setup) = archived(false);
    let wanted = wanted(&setup, place.path());
    let last = archives(&setup).len() as u64;
    for number in 1..=last {
        edit(&segment(&setup, number), |bytes| bytes[20_000..60_000].fill(0xaa));
    }
    let current = segment(&setup, last + 1);
    let bytes = fs::read(&current).expect("there");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("written");
    let applied = repair(&setup).run();
    assert_eq!(applied.code(), Some(0), "{applied}");
    for number in 1..=last {
        assert!(applied.said(&format!("{number}. make segment {number} again")), "{applied}");
    }
    assert!(self::wanted(&setup, place.path()) == wanted);
    // What came last is in no archive: no server has run over this data since.
    edit(&segment(&setup, 1), |bytes| bytes[20_000..60_000].fill(0xaa));
    edit(&current, |bytes| bytes[end - 600] ^= 1);
    let applied = repair(&setup).run();
    assert_eq!(applied.code(), Some(0), "{applied}");
    assert!(
        applied.said("1. make segment 1 again") && applied.said("2. discard every record from LSN"),
        "{applied}"
    );
    let server = start(&setup);
    let (events, _) = state(&server);
    assert!(events.len() < wanted.0.len() && wanted.0.starts_with(&events));
}

/// What is done to an archive.
type Change<'c> = Box<dyn Fn(&Path) + 'c>;

/// An archive that can't be believed is not: what a start needs is discarded from the damage on, and it is said why.
#[test]
fn an_archive_that_is_damaged_or_of_another_store_makes_nothing_again() {
    let (place, setup) = archived(false);
    let cut = setup.clone().over(place.path().join("damaged"));
    let second = |setup: &Setup| {
        archives(setup)
            .into_iter()
            .find(|path| path.to_string_lossy().contains("/wal-00002-"))
            .expect("there")
    };
    let rewritten = |path: &Path, change: fn(&mut Header<'_>, &mut Vec<OwnedEntry>)| {
        let archive = Archive::open(path).expect("intact");
        let (info, extended) = (archive.info().clone(), archive.info().extended.clone().expect("ours"));
        let mut entries: Vec<OwnedEntry> =
            archive.entries(Range::ALL).expect("intact").collect::<Result<_, _>>().expect("intact");
        let mut header = Header {
            store: extended.store,
            timeline: extended.timeline,
            epoch: extended.epoch,
            log: info.log,
            source: &extended.source,
            previous: &extended.previous,
            ..Header::EMPTY
        };
        change(&mut header, &mut entries);
        fs::remove_file(path).expect("there");
        let directory = path.parent().expect("a directory");
        let all = |take: &mut archive::Taker<'_>| entries.iter().try_for_each(|entry| take(&entry.entry()));
        archive::write(directory, &header, Writing::default(), all).expect("written");
    };
    let cases: [(&str, Change<'_>, &str); 5] = [
        ("a flipped bit", Box::new(|path| edit(path, |bytes| bytes[3000] ^= 1)), "is damaged: block"),
        (
            "another store",
            Box::new(|path| rewritten(path, |header, _| header.store = StoreId([9; 16]))),
            "is of another store",
        ),
        (
            "another epoch",
            Box::new(|path| rewritten(path, |header, _| header.epoch = header.epoch.next())),
            "does not hold exactly the records",
        ),
        (
            "a record less",
            Box::new(|path| rewritten(path, |_, entries| drop(entries.pop()))),
            "does not hold exactly the records",
        ),
        (
            "another value",
            Box::new(|path| rewritten(path, |_, entries| entries[40].context.push('x'))),
            "has entries that don't give the records that it was made of",
        ),
    ];
    for (what, change, why) in cases {
        fresh_copy(&setup, &cut);
        edit(&segment(&cut, 2), |bytes| bytes[500_000] ^= 1);
        change(&second(&cut));
        let said = cut.clone().word("repair").run();
        for part in ["discard every record from LSN", "can't make the segment again", why] {
            assert!(said.said(part), "{what}: {part:?} is not said: {said}");
        }
        let applied = repair(&cut).run();
        assert_eq!(applied.code(), Some(0), "{what}: {applied}");
        assert_eq!(verified(&cut)["shards"][0]["losses_ever"], 1, "{what}");
        let server = start(&cut);
        assert_ne!(ask(&server, "DBSIZE"), "0");
        server.stop();
    }
}

#[test]
fn a_repair_that_makes_a_segment_again_may_be_cut_at_every_system_call() {
    let (place, setup) = archived(false);
    let wanted = wanted(&setup, place.path());
    edit(&segment(&setup, 2), |bytes| bytes[400_000..620_000].fill(0x55));
    let cut = setup.clone().over(place.path().join("cut"));
    let calls = &["write", "fsync", "fdatasync", "linkat,link", "?rename,?renameat,?renameat2"];
    let met = cut_repairs(&setup, &cut, calls, |what| {
        let shown = verified(&cut);
        assert_eq!(
            (&shown["verdict"], &shown["shards"][0]["losses_ever"]),
            (&"good".into(), &0.into()),
            "{what}: {shown}"
        );
        let server = start(&cut);
        assert!(state(&server) == wanted, "{what}");
        server.kill();
    });
    assert!(met > 8, "only {met} repairs were cut");
}
