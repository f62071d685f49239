//! The log on simulated NOR flash keeps its promises. `SEED=n` replays one history, `STATES=n` runs more of them.

use strandline_core::media::nor::{Error, Geometry, Options, Policy};
use strandline_tests::chance::Chance;
use strandline_tests::nor::{Script, Setup, Summary, World, minimise, promise, replay, report, soak};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn cut_histories_keep_every_promise() {
    if let Some(seed) = number("SEED") {
        let script = Script::new(seed);
        let (lines, verdict) = replay(&script);
        println!("{}", lines.join("\n"));
        if let Err(broken) = verdict {
            panic!("{}", report(&script, &broken));
        }
        return;
    }
    let states = number("STATES").unwrap_or(20_000);
    let summary = soak(states, number("FROM").unwrap_or(1), 1);
    println!("{summary}");
    if let Some((seed, broken)) = &summary.failure {
        panic!("{}", report(&Script::new(*seed), broken));
    }
    // A simulation that never meets these is decoration.
    assert!(summary.cuts >= states && summary.records > states);
    for met in [
        summary.provisional,
        summary.full,
        summary.dropped,
        summary.differences,
        summary.snapshots,
        summary.trims,
        summary.interrupted,
        summary.faults.torn_words,
        summary.faults.torn_erases,
        summary.faults.undecided,
        summary.faults.unreadable,
    ] {
        assert!(met > states / 100, "{summary:?}");
    }
}

fn setup(word: u32) -> Setup {
    let geometry = Geometry::new(word, 256, 4).expect("sizes that can be used");
    let options = Options { policy: Policy::DropOldest, reserve: 0 };
    Setup {
        geometry,
        options,
        scratch: 512,
        unclean_one_in: None,
        checks_words: word >= 4,
        snapshots: false,
        forgets_one_in: None,
    }
}

/// Lives once until each step, then again until each step of the first append after that.
#[test]
fn a_cut_at_every_step_and_a_second_one_in_the_repair() {
    for (word, snapshots) in [(1, false), (4, false), (4, true), (8, true), (16, false), (32, true)] {
        let mut cut_at = 0;
        loop {
            let mut world = World::new(Setup { snapshots, ..setup(word) });
            let mut chance = Chance::new(cut_at);
            world.flash.ticks.cut_at = Some(cut_at);
            world.live(12, &mut chance, &mut Summary::default()).expect("no promise is broken");
            if world.flash.ticks.done <= cut_at {
                break;
            }
            world.flash.boot(&mut chance);
            let stride = if word == 1 { 7 } else { 1 };
            for second in (0..120).step_by(stride) {
                let mut again = world.clone();
                again.flash.ticks.cut_at = Some(again.flash.ticks.done + second);
                for _ in 0..3 {
                    let verdict = again.live(2, &mut chance, &mut Summary::default());
                    assert_eq!(verdict, Ok(()), "word {word}, cuts at {cut_at} and {second} steps after");
                    again.flash.boot(&mut chance);
                }
            }
            cut_at += if word == 1 { 13 } else { 1 };
        }
    }
}

/// What a cut leaves of a partition that is being formatted is refused by name, or some of the old log as it was; and it can be
/// formatted again.
#[test]
fn a_cut_while_formatting_leaves_nothing_wrong() {
    for word in [1, 4, 16] {
        let (mut used, mut chance) = (World::new(setup(word)), Chance::new(u64::from(word)));
        used.live(40, &mut chance, &mut Summary::default()).expect("no promise is broken");
        let old = used.read(&used.mount().expect("a log")).expect("it is whole");
        for cut_at in 0.. {
            let mut world = used.clone();
            world.flash.ticks.cut_at = Some(world.flash.ticks.done + cut_at);
            if world.format(&mut chance).expect("the medium takes it") {
                assert!(cut_at > 8, "only {cut_at} steps");
                break;
            }
            world.flash.boot(&mut chance);
            if let Ok(found) =
                world.mount().map_err(|error| format!("{error:?}")).and_then(|log| world.read(&log))
            {
                let is_old = |record: &(u64, Vec<u8>, bool)| {
                    old.records.iter().any(|(lsn, bytes, _)| (lsn, bytes) == (&record.0, &record.1))
                };
                assert!(found.records.iter().all(is_old), "word {word}, cut at {cut_at}: {found:?}");
            }
            world.flash.ticks.cut_at = None;
            while !world.format(&mut chance).expect("the medium takes it") {}
            let mut fresh = World::new(setup(word));
            fresh.flash = world.flash;
            assert_eq!(
                fresh.live(5, &mut chance, &mut Summary::default()),
                Ok(()),
                "word {word}, cut at {cut_at}"
            );
        }
    }
}

/// Damage is named, or costs nothing but the last frame, which nothing behind it vouches for.
#[test]
fn every_flipped_bit_is_found_or_harmless() {
    for (word, snapshots) in [(4, false), (16, false), (4, true)] {
        let geometry = Geometry::new(word, 256, 5).expect("sizes that can be used");
        let mut world = World::new(Setup { geometry, snapshots, ..setup(word) });
        let mut chance = Chance::new(9);
        world.live(14, &mut chance, &mut Summary::default()).expect("no promise is broken");
        let log = world.mount().expect("an intact log is mounted");
        let whole = world.read(&log).expect("an intact log is read");
        assert_eq!(whole.snapshot.is_some(), snapshots);
        let last = log.next_lsn().0 - 1;
        let (mut refused, mut found, mut harmless) = (0, 0, 0);
        for (block, bit) in (0..5).flat_map(|block| (0..256 * 8).map(move |bit| (block, bit))) {
            let mut damaged = world.clone();
            damaged.flash.flip(block, bit);
            let Ok(log) = damaged.mount() else {
                refused += 1;
                continue;
            };
            let Ok(left) = damaged.read(&log) else {
                found += 1;
                continue;
            };
            harmless += 1;
            let here = format!("block {block} bit {bit}");
            // Only the newest frame can go without a word; a manifest is one, too.
            let older = left.snapshot.as_ref().map(|(base, _)| *base)
                < whole.snapshot.as_ref().map(|(base, _)| *base);
            let newest = left.records.last().map_or(log.next_lsn().0 - 1, |(lsn, ..)| *lsn);
            assert!(newest + 5 >= last, "{here}: {newest} of {last} is the newest");
            for (lsn, record, _) in &left.records {
                let same = whole.records.iter().find(|(wanted, ..)| wanted == lsn);
                assert!(older || same.is_none_or(|(_, wanted, _)| wanted == record), "{here}: LSN {lsn}");
            }
            let first = whole.records.first().map_or(last + 1, |(lsn, ..)| *lsn);
            let kept = left.records.first().map_or(last + 1, |(lsn, ..)| *lsn);
            assert!(older || kept <= first, "{here}: begins at {kept}, {first} was there");
        }
        assert!(refused > 100 && found > 100 && harmless > 100, "{refused} {found} {harmless}");
    }
}

#[test]
fn another_partition_is_refused_by_name_and_nothing_is_written() {
    let mut world = World::new(setup(8));
    world.live(5, &mut Chance::new(1), &mut Summary::default()).expect("no promise is broken");
    let refusal = |change: &dyn Fn(&mut World)| {
        let mut other = world.clone();
        change(&mut other);
        other.mount().err()
    };
    let sizes = |word, count| Geometry::new(word, 256, count).expect("sizes that can be used");
    assert_eq!(refusal(&|_| ()), None);
    assert_eq!(refusal(&|other| other.setup.geometry = sizes(4, 4)), Some(Error::OtherGeometry));
    assert_eq!(refusal(&|other| other.setup.geometry = sizes(8, 3)), Some(Error::OtherGeometry));
    assert!(matches!(refusal(&|other| other.setup.scratch = 40), Some(Error::NeedsScratch { .. })));
    for fill in [0x00, 0x5a] {
        let filled = refusal(&|other| {
            for block in 0..4 {
                other.flash.fill(block, |_| fill);
            }
        });
        assert_eq!(filled, Some(Error::NotFormatted), "{fill:02x}");
    }
    for seed in 0..200 {
        let noise = refusal(&|other| {
            let mut chance = Chance::new(seed);
            for block in 0..4 {
                other.flash.fill(block, |_| chance.below(256) as u8);
            }
        });
        assert_eq!(noise, Some(Error::NotFormatted), "SEED={seed}");
    }
}

#[test]
fn sizes_that_cannot_be_used_are_refused_by_name() {
    use strandline_core::media::nor::GeometryError::{BlockBytes, BlockCount, Word};
    for (word, block_bytes, block_count, refusal) in [
        (3, 4096, 16, Word),
        (512, 4096, 16, Word),
        (4, 128, 16, BlockBytes),
        (4, 5000, 16, BlockBytes),
        (4, 2 << 20, 16, BlockBytes),
        (256, 1024, 16, BlockBytes),
        (4, 4096, 2, BlockCount),
        (4, 4096, 65_536, BlockCount),
        (4, 1 << 20, 4096, BlockCount),
    ] {
        let sizes = Geometry::new(word, block_bytes, block_count);
        assert_eq!(sizes, Err(refusal), "{word} {block_bytes} {block_count}");
    }
    for (word, block_bytes, block_count) in
        [(1, 256, 3), (256, 4096, 3), (32, 128 << 10, 3), (4, 1 << 20, 4095)]
    {
        assert!(Geometry::new(word, block_bytes, block_count).is_ok(), "{word} {block_bytes} {block_count}");
    }
}

/// A part that forgets words at a boot breaks promises: they are told in few lines.
#[test]
fn a_broken_promise_is_told_in_few_lines() {
    let mut told = 0;
    for seed in 1..400 {
        let mut script = Script::new(seed);
        script.setup.forgets_one_in = Some(200);
        let Err(broken) = World::new(script.setup).run(&script, &mut Summary::default()) else { continue };
        let least = minimise(&script, promise(&broken));
        let again =
            World::new(least.setup).run(&least, &mut Summary::default()).expect_err("it still breaks");
        assert_eq!(promise(&again), promise(&broken));
        let text = report(&script, &broken);
        println!("{text}\n");
        assert!(
            least.ops.len() <= 12 && text.lines().count() < 200,
            "SEED={seed}: {} deeds",
            least.ops.len()
        );
        for part in ["boot with", "the power is back", "broken: ", promise(&broken), "again: SEED="] {
            assert!(text.contains(part), "SEED={seed}: {part} is not told");
        }
        told += 1;
        if told == 3 {
            return;
        }
    }
    panic!("only {told} promises were broken");
}
