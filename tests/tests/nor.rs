//! The log on simulated NOR flash keeps its promises. `SEED=n` replays one history, `STATES=n` runs more of them.

use strandline_core::media::nor::{Geometry, Policy, Refusal};
use strandline_tests::chance::Chance;
use strandline_tests::nor::{Setup, Summary, World, replay, soak};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[test]
fn cut_histories_keep_every_promise() {
    if let Some(seed) = number("SEED") {
        let (lines, verdict) = replay(seed);
        println!("{}", lines.join("\n"));
        assert_eq!(verdict, Ok(()), "SEED={seed}");
        return;
    }
    let states = number("STATES").unwrap_or(60_000);
    let summary = soak(states, number("FROM").unwrap_or(1));
    println!("{summary:?}");
    if let Some((seed, broken)) = &summary.failure {
        panic!("SEED={seed}: {broken}");
    }
    // A simulation that never meets these is decoration.
    assert!(summary.cuts >= states && summary.records > states);
    for met in [summary.provisional, summary.full, summary.dropped, summary.differences] {
        assert!(met > states / 100, "{summary:?}");
    }
}

fn setup(word: u32) -> Setup {
    let geometry = Geometry { word, block_bytes: 256, block_count: 4 };
    Setup { geometry, policy: Policy::DropOldest, scratch: 512, unclean_one_in: None }
}

/// Lives once until each step, then again until each step of the first append after that.
#[test]
fn a_cut_at_every_step_and_a_second_one_in_the_repair() {
    for word in [1, 4, 8, 16, 32] {
        let mut cut_at = 0;
        loop {
            let mut world = World::new(setup(word));
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

/// Damage is named, or costs nothing but the last record, which no later one vouches for.
#[test]
fn every_flipped_bit_is_found_or_harmless() {
    for word in [4, 16] {
        let mut world = World::new(setup(word));
        let mut chance = Chance::new(7);
        world.live(9, &mut chance, &mut Summary::default()).expect("no promise is broken");
        let log = world.try_mount().expect("an intact log is mounted");
        let whole = world.records(&log).expect("an intact log is read");
        let (mut refused, mut found, mut harmless) = (0, 0, 0);
        for block in 0..4 {
            for bit in 0..256 * 8 {
                let mut damaged = world.clone();
                damaged.flash.flip(block, bit);
                match damaged.try_mount() {
                    Err(Refusal::Unreadable) => panic!("nothing was unreadable"),
                    Err(_) => refused += 1,
                    Ok(log) => match damaged.records(&log) {
                        Err(_) => found += 1,
                        Ok(records) => {
                            let kept = records.len();
                            assert!(
                                kept + 1 >= whole.len(),
                                "block {block} bit {bit}: {kept} records are left"
                            );
                            let same = records.iter().zip(&whole).all(|(a, b)| (a.0, &a.1) == (b.0, &b.1));
                            assert!(same, "block {block} bit {bit}");
                            harmless += 1;
                        }
                    },
                }
            }
        }
        assert!(refused > 100 && found > 100 && harmless > 100, "{refused} {found} {harmless}");
    }
}

#[test]
fn another_partition_is_refused_by_name() {
    let mut world = World::new(setup(8));
    world.live(5, &mut Chance::new(1), &mut Summary::default()).expect("no promise is broken");
    let refusal = |change: &dyn Fn(&mut Setup)| {
        let mut other = world.clone();
        change(&mut other.setup);
        other.try_mount().err()
    };
    assert_eq!(refusal(&|setup| setup.geometry.word = 4), Some(Refusal::OtherGeometry));
    assert_eq!(refusal(&|setup| setup.geometry.block_count = 5), Some(Refusal::OtherGeometry));
    assert_eq!(refusal(&|setup| setup.scratch = 128), Some(Refusal::NeedsScratch { record: 176 }));
    assert_eq!(refusal(&|_| ()), None);
}
