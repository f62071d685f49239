//! Cases 4 to 7: torn tails, flipped bits, absurd lengths, damaged snapshots, missing files, other versions.

use std::fs;
use std::path::Path;

use strandline::core::codec::check::{Seed, TableCheck};
use strandline::core::codec::frame::{Framing, Kind, Parsed, Slot};
use strandline::core::types::Lsn;
use strandline_tests::kill::copy;
use strandline_tests::process::{Server, Setup};
use tempfile::TempDir;

use crate::support::{
    ask, check_keys, edit, files, fresh, newest_segment, refused, segments, snapshots, start, write_keys,
};

#[test]
fn case_04_a_torn_tail_is_cut_at_every_byte() {
    let (place, setup) = fresh();
    let setup = setup.mode("periodic").set("persistence.wal.fsync_interval_ms", 60000);
    let server = start(&setup);
    write_keys(&server, 0..20);
    assert_eq!(ask(&server, "WAITAOF 1 0 0"), "[1 0]");
    let (segment, before) = newest_segment(setup.data());
    assert_eq!(ask(&server, "SET last 1"), "OK");
    server.kill();
    let (same, after) = newest_segment(setup.data());
    assert_eq!(segment, same);
    assert!(after - before > 40, "one record takes more than its header: {before} to {after}");

    let torn = setup.clone().over(place.path().join("torn"));
    let name = Path::new("wal").join(segment.file_name().expect("a name"));
    for cut in before..=after {
        for truncate in [false, true] {
            // A file that ends early is rarer than zeros behind the cut.
            if truncate && cut % 8 != 0 {
                continue;
            }
            restore(setup.data(), torn.data());
            edit(
                &torn.data().join(&name),
                |bytes| {
                    if truncate { bytes.truncate(cut) } else { bytes[cut..].fill(0) }
                },
            );
            let server = start(&torn);
            check_keys(&server, 0..20);
            let last = ask(&server, "GET last");
            assert!(last == "1" || cut < after && last == "(nil)", "cut at {cut} of {after}: {last}");
            write_keys(&server, 20..22);
            server.kill();
            let server = start(&torn);
            check_keys(&server, 0..22);
            assert_eq!(ask(&server, "GET last"), last, "cut at {cut}: the same answer again");
            server.kill();
        }
    }
}

#[test]
fn case_05_no_flipped_bit_is_silent() {
    let (place, setup, segment, end) = settled_log();
    let flipped = setup.clone().over(place.path().join("flipped"));
    let name = segment.strip_prefix(setup.data()).expect("below").to_owned();
    for step in 0..40 {
        // The last frames are the seal's own, which nothing that follows can vouch for.
        let at = 8 + step * (end - 200) / 40;
        restore(setup.data(), flipped.data());
        edit(&flipped.data().join(&name), |bytes| bytes[at] ^= 1 << (step % 8));
        let ended = flipped.run();
        assert_eq!(ended.code(), Some(1), "a bit of byte {at} of {end}: {ended}");
        assert!(ended.said(&name.display().to_string()) || ended.said("manifest"), "it is named: {ended}");
        let verified = flipped.clone().word("verify").run();
        assert_eq!(verified.code(), Some(1), "{verified}");
    }
}

#[test]
fn case_05_what_is_damaged_is_only_passed_over_by_choice() {
    let (_place, setup, segment, end) = settled_log();
    edit(&segment, |bytes| bytes[end / 2] ^= 0x10);
    let before = fs::read(&segment).expect("a segment");
    let ended = refused(&setup, &["is damaged at offset", "settled records are lost", "Nothing was changed"]);
    assert_eq!(fs::read(&segment).expect("a segment"), before);
    let lsn = ended.output.split("--discard-from ").nth(1).expect("the choice is offered");
    let lsn: usize = lsn.split(' ').next().and_then(|lsn| lsn.parse().ok()).expect("a number");
    let wrong = setup.clone().word("--discard-from").word((lsn + 1).to_string());
    refused(&wrong, &["does not name the damage"]);
    let server = start(&setup.clone().word("--discard-from").word(lsn.to_string()));
    // The first record has LSN 1 and wrote key 0.
    check_keys(&server, 0..lsn - 1);
    assert_eq!(ask(&server, &format!("GET key:{}", lsn - 1)), "(nil)");
    write_keys(&server, 1000..1001);
    server.stop();
    assert!(!files(&setup.data().join("wal/quarantine"), "").is_empty(), "what was removed is kept");
    let server = start(&setup);
    check_keys(&server, 0..lsn - 1);
    check_keys(&server, 1000..1001);
    server.stop();
    let verified = setup.word("verify").run();
    assert!(verified.said(&format!("an operator discarded LSN {lsn}")), "recorded for ever: {verified}");
}

#[test]
fn a_flipped_bit_in_a_manifest_serves_everything_or_nothing() {
    let (place, setup, ..) = settled_log();
    let flipped = setup.clone().over(place.path().join("flipped"));
    let mut served = 0;
    for manifest in ["manifest-0", "manifest-1", "manifest-2"] {
        let path = Path::new("wal").join(manifest);
        let len = fs::read(setup.data().join(&path)).expect("there").iter().rposition(|byte| *byte != 0);
        for at in (0..len.map_or(0, |last| last + 1)).step_by(97) {
            restore(setup.data(), flipped.data());
            edit(&flipped.data().join(&path), |bytes| bytes[at] ^= 1);
            match flipped.start() {
                Ok(server) => {
                    served += 1;
                    check_keys(&server, 0..KEYS);
                    assert_eq!(ask(&server, "DBSIZE"), KEYS.to_string());
                }
                Err(ended) => {
                    assert_eq!(ended.code(), Some(1), "{ended}");
                    assert!(ended.said("manifest"), "{manifest} at {at}: {ended}");
                }
            }
        }
    }
    assert!(served > 0, "revisions that are not the newest can be spared");
}

#[test]
fn case_06_an_absurd_length_is_bounded() {
    const HUGE: [u8; 12] = [1, 2, 3, 4, 0, 0, 7, 0x81, 0xff, 0xff, 0xff, 0x7f];
    // Behind the end it is void: memory stays what it was.
    let (_place, setup) = fresh();
    let server = start(&setup);
    write_keys(&server, 0..50);
    let usual = server.resident_bytes();
    server.kill();
    let (segment, end) = newest_segment(setup.data());
    let end = end.next_multiple_of(8);
    edit(&segment, |bytes| bytes[end..end + HUGE.len()].copy_from_slice(&HUGE));
    let server = start(&setup);
    check_keys(&server, 0..50);
    assert!(server.resident_bytes() < usual + (64 << 20), "{} after {usual}", server.resident_bytes());
    write_keys(&server, 50..60);
    server.kill();
    check_keys(&start(&setup), 0..60);
    // In settled data it is damage.
    let (_place, setup, segment, end) = settled_log();
    let middle = (end / 2).next_multiple_of(8);
    edit(&segment, |bytes| bytes[middle..middle + HUGE.len()].copy_from_slice(&HUGE));
    refused(&setup, &["is damaged at offset"]);
}

#[test]
fn case_07_a_damaged_newest_snapshot_falls_back_and_says_so() {
    let (place, setup) = fresh();
    let server = start(&setup);
    write_keys(&server, 0..100);
    assert_eq!(ask(&server, "SAVE"), "OK");
    write_keys(&server, 100..200);
    assert_eq!(ask(&server, "SAVE"), "OK");
    write_keys(&server, 200..300);
    server.stop();
    let newest = snapshots(setup.data()).pop().expect("a snapshot");
    let name = newest.strip_prefix(setup.data()).expect("below").to_owned();
    let len = fs::read(&newest).expect("a snapshot").len();
    let damages: [(&str, Damage<'_>); 6] = [
        ("cut short", &|bytes| bytes.truncate(len / 2)),
        ("cut by a byte", &|bytes| bytes.truncate(len - 1)),
        ("empty", &|bytes| bytes.clear()),
        ("a flipped bit in its header", &|bytes| bytes[20] ^= 4),
        ("a flipped bit in its middle", &|bytes| bytes[len / 2] ^= 4),
        ("a flipped bit at its end", &|bytes| bytes[len - 9] ^= 4),
    ];
    let damaged = setup.clone().over(place.path().join("damaged"));
    for (what, damage) in damages {
        restore(setup.data(), damaged.data());
        edit(&damaged.data().join(&name), damage);
        let server = start(&damaged);
        assert!(server.says("a snapshot can't be loaded"), "{what}: {}", server.output());
        assert!(server.output().contains(&name.display().to_string()), "{what}: {}", server.output());
        check_keys(&server, 0..300);
        assert_eq!(ask(&server, "DBSIZE"), "300", "{what}");
    }
    restore(setup.data(), damaged.data());
    fs::remove_file(damaged.data().join(&name)).expect("there");
    check_keys(&start(&damaged), 0..300);
}

#[test]
fn a_missing_segment_is_damage() {
    let (place, setup) = fresh();
    let server = start(&setup.clone().mode("always"));
    fill(&server, 3);
    server.stop();
    let missing = setup.clone().over(place.path().join("missing"));
    let named = files(&setup.data().join("wal"), ".wal");
    let mut refusals = 0;
    for segment in &named {
        restore(setup.data(), missing.data());
        fs::remove_file(missing.data().join("wal").join(segment.file_name().expect("a name")))
            .expect("there");
        match missing.start() {
            // One that was only prepared, or is free, can be made again.
            Ok(server) => assert_eq!(ask(&server, "DBSIZE"), "48"),
            Err(ended) => {
                refusals += 1;
                assert_eq!(ended.code(), Some(1), "{ended}");
                let name = segment.file_name().expect("a name").to_string_lossy();
                assert!(ended.said("is missing") && ended.said(&name), "{name}: {ended}");
            }
        }
    }
    assert!(refusals >= 3, "{refusals} of {} segments hold records", named.len());
}

#[test]
fn zeros_behind_the_end_are_no_damage() {
    let (_place, setup) = fresh();
    let server = start(&setup);
    write_keys(&server, 0..50);
    server.kill();
    for segment in segments(setup.data()) {
        edit(&segment, |bytes| bytes.extend([0; 100_000]));
    }
    let server = start(&setup);
    check_keys(&server, 0..50);
    write_keys(&server, 50..60);
    server.kill();
    check_keys(&start(&setup), 0..60);
}

#[test]
fn data_of_a_newer_format_is_refused_and_not_called_damage() {
    let (_place, setup, segment, _) = settled_log();
    edit(&segment, |bytes| {
        // The header's frame, with a version that does not exist yet and a checksum that is right.
        let framing = Framing { write_unit: 8, seed: Seed::HEADER };
        let Parsed::Frame(frame) = framing.decode::<TableCheck>(bytes, 0, 4096) else { panic!("a header") };
        let mut body = frame.payload.to_vec();
        body[8..10].copy_from_slice(&999_u16.to_le_bytes());
        let slot = Slot { offset: 0, lsn: Lsn(u64::from(frame.seq)) };
        framing.encode::<TableCheck>(Kind::Extent, slot, &body, bytes).expect("room");
    });
    let before = fs::read(&segment).expect("a segment");
    let ended = refused(&setup, &["newer version"]);
    assert!(ended.said("not damage"), "{ended}");
    assert_eq!(fs::read(&segment).expect("a segment"), before, "nothing was changed");
}

/// A sealed log of [`KEYS`] settled records in one segment: where it is, and where its last byte is.
fn settled_log() -> (TempDir, Setup, std::path::PathBuf, usize) {
    let (place, setup) = fresh();
    let setup = setup.mode("always");
    let server = start(&setup);
    write_keys(&server, 0..KEYS);
    assert_eq!(server.stop().code(), Some(0));
    let (segment, end) = newest_segment(setup.data());
    (place, setup, segment, end)
}

/// Fills so many segments, in 48 records.
fn fill(server: &Server, segments: usize) {
    let value = "x".repeat((segments << 20) / 48);
    (0..48).for_each(|key| assert_eq!(ask(server, &format!("SET large:{key} {value}")), "OK"));
}

fn restore(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).expect("removed");
    }
    copy(from, to).expect("copied");
}

/// What is done to a file's bytes.
type Damage<'d> = &'d dyn Fn(&mut Vec<u8>);

const KEYS: usize = 200;
