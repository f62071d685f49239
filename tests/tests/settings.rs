//! A settings map on simulated NOR flash is what was acknowledged, wherever the power goes. `SEED=n` replays one history.

use strandline_tests::chance::Chance;
use strandline_tests::settings::{Summary, World, history};

#[test]
fn cut_histories_keep_every_setting() {
    let only = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = only.map_or(1..=4_000, |seed| seed..=seed);
    let mut summary = Summary::default();
    for seed in seeds {
        assert_eq!(history(seed, &mut summary), Ok(()), "SEED={seed}");
    }
    println!("{summary:?}");
    if only.is_none() {
        let Summary { cuts, updates, full, provisional, snapshots } = summary;
        assert!(
            cuts > 10_000 && updates > 10_000 && full > 500 && provisional > 500 && snapshots > 500,
            "{summary:?}"
        );
    }
}

/// The same updates, with the power cut at every step of them, and at every few steps of what follows.
#[test]
fn a_cut_at_every_step_of_every_update() {
    for word in [4, 16] {
        let mut cuts = 0;
        loop {
            let mut world = World::new(word, 256, 7, 256);
            let mut chance = Chance::new(7);
            world.flash.ticks.cut_at = Some(cuts);
            world.live(40, &mut chance, &mut Summary::default()).expect("no promise is broken");
            if world.flash.ticks.done <= cuts {
                break;
            }
            world.flash.boot(&mut chance);
            for second in (0..60).step_by(7) {
                let mut again = world.clone();
                again.flash.ticks.cut_at = Some(again.flash.ticks.done + second);
                for _ in 0..2 {
                    let verdict = again.live(4, &mut chance, &mut Summary::default());
                    assert_eq!(verdict, Ok(()), "words of {word}, cuts at {cuts} and {second} steps later");
                    again.flash.boot(&mut chance);
                }
            }
            cuts += 1;
        }
        assert!(cuts > 100, "{cuts}");
    }
}
