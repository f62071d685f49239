//! Kills while events are archived, a few. `cargo run --release -p strandline-tests --bin history` does many.

use std::path::PathBuf;

use strandline_tests::history::Campaign;

#[test]
fn kills_while_events_are_archived_lose_nothing_and_double_nothing() {
    run("never", 1, 6);
}

#[test]
fn kills_while_events_of_several_shards_are_archived_lose_nothing_and_double_nothing() {
    run("always", 2, 3);
}

fn run(mode: &str, shards: u32, rounds: u32) {
    let place = tempfile::tempdir().expect("a directory");
    let server = PathBuf::from(env!("CARGO_BIN_EXE_std-server"));
    let campaign =
        Campaign { server, place: place.path().join("campaign"), mode: mode.into(), rounds, seed: 3, shards };
    match campaign.run(|_| {}) {
        Ok(tally) => assert!(tally.acknowledged > 0 && tally.archives > 0, "{tally}"),
        Err(broken) => panic!("{mode}: {broken}\nkept in {}", place.keep().display()),
    }
}
