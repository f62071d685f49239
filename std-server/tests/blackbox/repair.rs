//! `repair` and `verify` over every kind of damage: a dry run changes nothing, applied it leaves a store that verifies and serves what
//! is not lost, and the loss is told for ever.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use strandline_tests::process::{Ended, Server, Setup};
use tempfile::TempDir;

use crate::support::{
    ask, call, check_keys, edit, files, fresh, metric, newest_segment, refused, segments, snapshots, start,
    wait_until, write_keys,
};

/// Every file below a directory but the lock, with its bytes.
fn contents(place: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(place).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if !path.ends_with("LOCK") {
            let bytes = fs::read(&path).expect("a file");
            found.insert(path, bytes);
        }
    }
    found
}

/// A dry run that finds something to do, and changes nothing.
fn dry_run(setup: &Setup, parts: &[&str]) -> Ended {
    let before = contents(setup.data());
    let ended = setup.clone().word("repair").run();
    assert_eq!(ended.code(), Some(1), "{ended}");
    assert!(ended.said("Nothing was changed") && ended.said("repair --apply"), "{ended}");
    for part in parts {
        assert!(ended.said(part), "{part:?} is not said: {ended}");
    }
    assert!(contents(setup.data()) == before, "a dry run has changed something: {ended}");
    let verified = setup.clone().word("verify").run();
    assert_eq!(verified.code(), Some(1), "{verified}");
    assert!(verified.said("std-server repair"), "{verified}");
    assert!(contents(setup.data()) == before, "verify has changed something");
    ended
}

/// Applies a repair; then everything is good, and another repair finds nothing.
fn apply(setup: &Setup) -> Ended {
    let ended = setup.clone().word("repair").word("--apply").run();
    assert_eq!(ended.code(), Some(0), "{ended}");
    let again = setup.clone().word("repair").run();
    assert!(again.code() == Some(0) && again.said("nothing is to be repaired"), "{again}");
    assert_eq!(verified(setup)["verdict"], "good");
    ended
}

/// What `verify --json` says.
fn verified(setup: &Setup) -> Value {
    let ended = setup.clone().word("verify").word("--json").run();
    serde_json::from_str(&ended.output).unwrap_or_else(|error| panic!("{error}: {ended}"))
}

/// The first and last LSNs of the losses that `verify --json` names.
fn losses(setup: &Setup) -> Vec<(u64, u64)> {
    let shown = verified(setup);
    let of = |loss: &Value| {
        (loss["first_lsn"].as_u64().expect("an LSN"), loss["last_lsn"].as_u64().expect("an LSN"))
    };
    shown["shards"][0]["losses"].as_array().expect("a list").iter().map(of).collect()
}

/// The loss is told by a running server and by `verify`, also after more restarts.
fn told_for_ever(setup: &Setup, (first, last): (u64, u64)) {
    for _ in 0..3 {
        assert!(losses(setup).contains(&(first, last)), "{first} to {last}: {:?}", losses(setup));
        let text = setup.clone().word("verify").run();
        let range = if first == last { format!("LSN {first},") } else { format!("LSN {first} to {last},") };
        assert!(text.said(&format!("an operator discarded {range}")), "{text}");
        let server = start(setup);
        let (_, info) = call(&server, "GET", "/info", "");
        let lost = info["persistence"]["log_lost"].as_str().expect("text").to_owned();
        assert!(lost.contains(&format!("first_lsn={first},last_lsn={last},")), "{lost}");
        server.stop();
    }
}

fn quarantined(setup: &Setup) -> Vec<PathBuf> {
    let place = setup.data().join("wal/quarantine");
    if place.is_dir() { files(&place, "") } else { Vec::new() }
}

/// A sealed log of 200 records in one segment.
fn sealed() -> (TempDir, Setup, PathBuf, usize) {
    let (place, setup) = fresh();
    let setup = setup.mode("always");
    let server = start(&setup);
    write_keys(&server, 0..200);
    server.stop();
    let (segment, end) = newest_segment(setup.data());
    (place, setup, segment, end)
}

#[test]
fn a_damaged_segment_that_a_start_needs_is_discarded_from_the_damage_on() {
    let (_place, setup, segment, end) = sealed();
    edit(&segment, |bytes| bytes[end / 2] ^= 0x10);
    refused(&setup, &["is damaged at offset", "std-server repair --data-dir"]);
    let said = dry_run(&setup, &["discard every record from LSN", "changes of keys", "quarantine"]);
    let first: u64 = number_behind(&said.output, "discard every record from LSN ");
    let kept = usize::try_from(first).expect("small") - 1;
    apply(&setup);
    told_for_ever(&setup, (first, 200));
    let server = start(&setup);
    check_keys(&server, 0..kept);
    assert_eq!(ask(&server, "DBSIZE"), kept.to_string());
    server.stop();
    // The damaged file, and what could be read of it.
    let kept = quarantined(&setup);
    assert!(kept.iter().any(|path| path.extension().is_some_and(|name| name == "wal")), "{kept:?}");
    let archive = kept.iter().find(|path| path.extension().is_some_and(|name| name == "zst"));
    let archive = archive.unwrap_or_else(|| panic!("nothing readable was kept: {kept:?}"));
    let entries: Vec<String> = archived_keys(archive);
    assert!(entries.contains(&"key:199".to_owned()) && !entries.contains(&"key:0".to_owned()), "{entries:?}");
}

fn number_behind(text: &str, words: &str) -> u64 {
    let rest = text.split(words).nth(1).unwrap_or_else(|| panic!("no {words:?} in {text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn archived_keys(archive: &Path) -> Vec<String> {
    let mut keys = Vec::new();
    strandline::archive::read(archive, |entry| {
        keys.push(entry.context.to_owned());
        Ok(())
    })
    .expect("an archive");
    keys
}

#[test]
fn a_missing_segment_is_gone_past() {
    let (_place, setup) = fresh();
    let setup = setup.mode("always");
    let server = start(&setup);
    let value = "x".repeat(64 << 10);
    (0..48).for_each(|key| assert_eq!(ask(&server, &format!("SET large:{key} {value}")), "OK"));
    server.stop();
    let second = segments(setup.data()).swap_remove(1);
    fs::remove_file(&second).expect("there");
    let said = dry_run(&setup, &["is missing", &second.display().to_string(), "can't be read"]);
    let first = number_behind(&said.output, "discard every record from LSN ");
    apply(&setup);
    told_for_ever(&setup, (first, 48));
    let server = start(&setup);
    assert_eq!(ask(&server, "DBSIZE"), (first - 1).to_string());
}

#[test]
fn a_manifest_is_made_again_from_the_files_when_all_copies_or_the_newest_revision_are_gone() {
    for all in [true, false] {
        let (_place, setup) = fresh();
        let server = start(&setup);
        write_keys(&server, 0..100);
        assert_eq!(ask(&server, "SAVE"), "OK");
        write_keys(&server, 100..150);
        assert_eq!(ask(&server, "SAVE"), "OK");
        write_keys(&server, 150..200);
        server.stop();
        // A second start, so that there are two epochs.
        let server = start(&setup);
        write_keys(&server, 200..250);
        server.stop();
        if all {
            for number in 0..3 {
                edit(&setup.data().join(format!("wal/manifest-{number}")), |bytes| bytes.fill(0));
            }
        } else {
            damage_newest_revision(&setup);
        }
        refused(&setup, &["manifest", "std-server repair"]);
        dry_run(&setup, &["make the manifest again", "2 snapshots"]);
        apply(&setup);
        for _ in 0..2 {
            let server = start(&setup);
            check_keys(&server, 0..250);
            assert_eq!(ask(&server, "DBSIZE"), "250");
            write_keys(&server, 250..260);
            assert_eq!(ask(&server, "DEL key:250 key:251 key:252 key:253 key:254"), "5");
            assert_eq!(ask(&server, "DEL key:255 key:256 key:257 key:258 key:259"), "5");
            server.stop();
        }
        assert!(quarantined(&setup).iter().any(|path| path.to_string_lossy().contains("manifest")));
    }
}

/// Zeroes the newest revision of the manifest.
fn damage_newest_revision(setup: &Setup) {
    let revision = |path: &PathBuf| {
        let inspect = Command::new(env!("CARGO_BIN_EXE_std-server")).arg("inspect").arg(path).output();
        let told = String::from_utf8(inspect.expect("it runs").stdout).expect("text");
        let of = |line: &str| line.split_once("revision ")?.1.split(',').next()?.parse::<u64>().ok();
        told.lines().filter_map(of).max()
    };
    let newest =
        (0..3).map(|number| setup.data().join(format!("wal/manifest-{number}"))).max_by_key(revision);
    let newest = newest.filter(|newest| revision(newest).is_some()).expect("a manifest");
    edit(&newest, |bytes| {
        let last = bytes.iter().rposition(|byte| *byte != 0).expect("a frame");
        let slot = last / 512 * 512;
        bytes[slot..].fill(0);
    });
}

#[test]
fn a_damaged_snapshot_is_put_aside_and_nothing_is_lost() {
    for newest in [true, false] {
        let (_place, setup) = fresh();
        let server = start(&setup);
        for round in 0..3 {
            write_keys(&server, 100 * round..100 * (round + 1));
            assert_eq!(ask(&server, "SAVE"), "OK");
        }
        server.stop();
        let mut found = snapshots(setup.data());
        let damaged = if newest { found.pop().expect("one") } else { found.swap_remove(0) };
        edit(&damaged, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
        let name = damaged.file_name().expect("a name").to_string_lossy().into_owned();
        dry_run(&setup, &[&name, "put the snapshot", "nothing"]);
        apply(&setup);
        assert!(setup.data().join("snapshots/quarantine").join(&name).exists());
        assert_eq!(losses(&setup), []);
        let server = start(&setup);
        check_keys(&server, 0..300);
        assert_eq!(call(&server, "GET", "/snapshots", "").1["snapshots"].as_array().map(Vec::len), Some(2));
    }
}

/// So many events with payloads that fill segments.
fn events(server: &Server, numbers: core::ops::Range<u64>) {
    let line = |number: u64| {
        let noise = "n".repeat(500);
        json!({ "event_type": "t", "context_id": format!("c:{number}"), "payload": { "noise": noise } })
            .to_string()
    };
    for first in numbers.clone().step_by(100) {
        let body: Vec<String> = (first..numbers.end.min(first + 100)).map(line).collect();
        assert_eq!(call(server, "POST", "/events", &body.join("\n")).0, 200);
    }
}

/// The contexts of all events, in order.
fn contexts(server: &Server) -> Vec<String> {
    let (status, body) = call(server, "GET", "/events?limit=100000", "");
    assert_eq!(status, 200, "{body}");
    let text = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter_map(|line| line["context_id"].as_str().map(str::to_owned)).collect()
}

/// A store with 5000 events in several segments that two snapshots cover.
fn history(setup: &Setup) {
    let server = start(setup);
    events(&server, 0..5000);
    for _ in 0..2 {
        assert_eq!(ask(&server, "SET a 1"), "OK");
        assert_eq!(call(&server, "POST", "/snapshot", "").0, 200);
    }
    server.stop();
}

#[test]
fn segments_that_were_let_go_of_in_the_middle_are_no_damage() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    events(&server, 0..10);
    let value = "x".repeat(64 << 10);
    for round in 0..3 {
        (0..60).for_each(|key| assert_eq!(ask(&server, &format!("SET large:{round}:{key} {value}")), "OK"));
        events(&server, 10 * round + 10..10 * round + 20);
    }
    let before = metric(&server, "strandline_log_segments");
    for _ in 0..2 {
        assert_eq!(call(&server, "POST", "/snapshot", "").0, 200);
        assert_eq!(ask(&server, "SET a 1"), "OK");
    }
    wait_until("keys are let go of", || metric(&server, "strandline_log_segments") < before);
    assert_eq!(contexts(&server).len(), 40);
    server.stop();
    let shown = verified(&setup);
    assert_eq!(shown["verdict"], "good", "{shown}");
    assert!(shown["shards"][0]["history"]["segments"].as_u64().expect("a count") > 1, "{shown}");
}

#[test]
fn a_damaged_segment_of_history_is_given_up_by_command_and_only_what_can_not_be_read_is_lost() {
    let (_place, setup) = fresh();
    history(&setup);
    let segment = segments(setup.data()).swap_remove(0);
    edit(&segment, |bytes| bytes[500_000..500_400].fill(0x55));
    // A server that reads it once more starts, and keeps it for ever.
    fs::remove_file(setup.data().join("wal/history/catalog")).expect("there");
    let server = start(&setup);
    wait_until("it is named", || metric(&server, "strandline_quarantined_segments") == 1.0);
    server.stop();
    let said = dry_run(&setup, &["give up segment 1", "which no start needs", "as an archive"]);
    assert!(said.said("events"), "{said}");
    apply(&setup);
    let lost = losses(&setup);
    assert_eq!(lost.len(), 1, "{lost:?}");
    told_for_ever(&setup, lost[0]);
    assert!(
        !segment.exists()
            && quarantined(&setup).iter().any(|path| path.ends_with(segment.file_name().expect("a name")))
    );
    let server = start(&setup);
    let left = contexts(&server);
    let missing = 5000 - left.len() as u64;
    assert!((1..=200).contains(&missing), "{missing} of 5000 events are lost");
    assert_eq!(missing, lost[0].1 + 1 - lost[0].0, "as many as were told");
    assert_eq!((left[0].as_str(), left[left.len() - 1].as_str()), ("c:0", "c:4999"));
    assert!(metric(&server, "strandline_quarantined_segments") == 0.0);
}

#[test]
fn a_damaged_archive_gives_its_place_to_what_can_be_read_of_it() {
    let (_place, setup) = fresh();
    let setup = setup.set("persistence.wal.conservative_mode", true).set("archive.cpu_percent", 100);
    let server = start(&setup);
    events(&server, 0..5000);
    assert_eq!(call(&server, "POST", "/archives/now", "").1["success"], true);
    for _ in 0..2 {
        assert_eq!(ask(&server, "SET a 1"), "OK");
        assert_eq!(call(&server, "POST", "/snapshot", "").0, 200);
    }
    let first = || segments(setup.data()).into_iter().any(|path| path.ends_with("synap-00000001.wal"));
    let listed = || metric(&server, "strandline_log_segments");
    wait_until("segments are released", || listed() < 6.0 || !first());
    server.stop();
    let archives = setup.data().join("archives/shard-0");
    let archive = files(&archives, ".zst").swap_remove(0);
    edit(&archive, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    let name = archive.file_name().expect("a name").to_owned();
    dry_run(&setup, &["put the archive", &name.to_string_lossy(), "go into an archive in its place"]);
    apply(&setup);
    assert!(archives.join("quarantine").join(&name).exists());
    let lost = losses(&setup);
    assert_eq!(lost.len(), 1, "{lost:?}");
    told_for_ever(&setup, lost[0]);
    let server = start(&setup);
    let left = contexts(&server);
    assert_eq!(5000 - left.len() as u64, lost[0].1 + 1 - lost[0].0, "as many as were told");
}

#[test]
fn files_of_others_are_put_aside() {
    let (_place, setup, ..) = sealed();
    let (_other_place, other, ..) = sealed();
    fs::copy(other.data().join("wal/manifest-0"), setup.data().join("wal/manifest-2")).expect("copied");
    fs::write(setup.data().join("wal/synap-4000000000.wal"), b"from elsewhere").expect("written");
    refused(&setup, &["of another store"]);
    dry_run(&setup, &["manifest-2", "synap-4000000000.wal"]);
    apply(&setup);
    let server = start(&setup);
    check_keys(&server, 0..200);
}

#[test]
fn what_no_step_goes_past_is_said_and_nothing_is_changed() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    for round in 0..3 {
        let value = "x".repeat(64 << 10);
        (0..20).for_each(|key| assert_eq!(ask(&server, &format!("SET large:{round}:{key} {value}")), "OK"));
        assert_eq!(ask(&server, "SAVE"), "OK");
    }
    wait_until("the log no longer begins at its start", || metric(&server, "strandline_log_segments") < 6.0);
    server.stop();
    for snapshot in snapshots(setup.data()) {
        edit(&snapshot, |bytes| bytes[20] ^= 1);
    }
    refused(&setup, &["no snapshot can be loaded"]);
    let before = contents(setup.data());
    for words in [&["repair"][..], &["repair", "--apply"]] {
        let ended = words.iter().fold(setup.clone(), |setup, word| setup.word(*word)).run();
        assert_eq!(ended.code(), Some(1), "{ended}");
        assert!(ended.said("CAN'T BE REPAIRED") && ended.said("from a backup"), "{ended}");
    }
    assert!(contents(setup.data()) == before, "nothing was changed");
}

#[test]
fn a_good_store_and_one_in_use_are_left_alone() {
    let (_place, setup, ..) = sealed();
    let ended = setup.clone().word("repair").word("--apply").run();
    assert!(ended.code() == Some(0) && ended.said("nothing is to be repaired"), "{ended}");
    assert_eq!(verified(&setup)["shards"][0]["log"]["end"], "sealed");
    let server = start(&setup);
    let ended = setup.clone().word("repair").word("--apply").run();
    assert!(ended.code() == Some(2) && ended.said("in use"), "{ended}");
    assert_eq!(verified(&setup)["verdict"], "unreadable");
    server.kill();
    let nowhere = setup.over("/nowhere/at/all").word("repair").run();
    assert_eq!(nowhere.code(), Some(2), "{nowhere}");
}

#[test]
fn damage_is_found_while_the_server_runs() {
    let (_place, setup) = fresh();
    let setup = setup.set("scrub.interval_secs", 1).set("scrub.max_mb_per_sec", 1000);
    let server = start(&setup);
    events(&server, 0..5000);
    assert_eq!(call(&server, "POST", "/snapshot", "").0, 200);
    let segment = segments(setup.data()).swap_remove(0);
    let snapshot = snapshots(setup.data()).swap_remove(0);
    wait_until("a round ends", || metric(&server, "strandline_scrub_rounds_total") > 0.0);
    assert!(metric(&server, "strandline_scrub_damaged") == 0.0);
    assert_eq!(call(&server, "GET", "/readyz", "").1["scrub"], Value::Null);
    let whole = fs::read(&segment).expect("a segment");
    edit(&segment, |bytes| bytes[500_000] ^= 1);
    edit(&snapshot, |bytes| bytes[30] ^= 1);
    wait_until("it is found", || metric(&server, "strandline_scrub_damaged") == 2.0);
    let (status, state) = call(&server, "GET", "/readyz", "");
    assert_eq!((status, &state["status"]), (200, &json!("ready")), "it serves all the same");
    let found = state["scrub"]["damaged"].as_array().expect("a list");
    let of = |path: &Path| found.iter().find(|one| one["file"] == path.display().to_string()).expect("named");
    assert!(
        of(&segment)["offset"].as_u64().is_some_and(|offset| (400_000..=500_000).contains(&offset)),
        "{found:?}"
    );
    assert!(of(&segment)["first_lsn"].as_u64() <= of(&segment)["last_lsn"].as_u64());
    assert_eq!(of(&snapshot)["kind"], "snapshot");
    assert!(server.says("POST /snapshot"), "what to do is said: {}", server.output());
    // What is mended is no longer named.
    fs::write(&segment, whole).expect("written");
    wait_until("it is forgotten", || metric(&server, "strandline_scrub_damaged") == 1.0);
    server.stop();
}
