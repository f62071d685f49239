//! Kills under load, a few in each mode. `cargo run --release -p strandline-tests --bin kill` does many.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use strandline_tests::kill::Campaign;

#[test]
fn kills_under_load_lose_nothing_in_always() {
    run("always");
}

#[test]
fn kills_under_load_lose_nothing_in_periodic() {
    run("periodic");
}

#[test]
fn kills_under_load_lose_nothing_in_never() {
    run("never");
}

#[test]
fn a_server_that_forgets_is_found_out() {
    let place = tempfile::tempdir().expect("a directory");
    let forgetful = place.path().join("forgetful");
    let script = format!(
        "#!/bin/sh\nfor last; do :; done\nrm -rf \"$last\"\nexec '{}' \"$@\"\n",
        env!("CARGO_BIN_EXE_std-server")
    );
    fs::write(&forgetful, script).expect("written");
    fs::set_permissions(&forgetful, fs::Permissions::from_mode(0o755)).expect("executable");
    let campaign = Campaign {
        server: forgetful,
        place: place.path().join("campaign"),
        mode: "always".into(),
        rounds: 20,
        seed: 1,
    };
    let loss = campaign.run(|_| {}).expect_err("everything acknowledged is lost at each start");
    assert!(loss.to_string().contains("were acknowledged"), "{loss}");
    assert!(loss.place.join("killed/wal").is_dir(), "the evidence is kept");
}

fn run(mode: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let server = PathBuf::from(env!("CARGO_BIN_EXE_std-server"));
    let campaign =
        Campaign { server, place: place.path().join("campaign"), mode: mode.into(), rounds: 3, seed: 11 };
    match campaign.run(|_| {}) {
        Ok(tally) => assert!(tally.acknowledged > 0 && tally.rounds == 3, "{tally}"),
        Err(loss) => {
            let kept = place.keep();
            panic!("{mode}: {loss}\nkept in {}", kept.display());
        }
    }
}
