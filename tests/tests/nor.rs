//! The log on simulated NOR flash keeps its promises. `SEED=n` replays one history, `STATES=n` runs more of them.

use strandline_core::media::nor::{Error, Geometry, Options, Policy, Port};
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
    for met in [
        summary.provisional,
        summary.full,
        summary.dropped,
        summary.differences,
        summary.snapshots,
        summary.trims,
        summary.interrupted,
    ] {
        assert!(met > states / 100, "{summary:?}");
    }
}

fn setup(word: u32) -> Setup {
    let geometry = Geometry::new(word, 256, 4).expect("sizes that can be used");
    let options = Options { policy: Policy::DropOldest, reserve: 0 };
    Setup { geometry, options, scratch: 512, unclean_one_in: None, snapshots: false }
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
