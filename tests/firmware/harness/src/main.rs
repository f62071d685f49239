//! Builds the Cortex-M4 image, runs it in QEMU, kills it at random instants and checks the flash that it left.
//!
//! ```text
//! cargo run --manifest-path tests/firmware/harness/Cargo.toml -- kill [--rounds N] [--seed N]      200 rounds unless said
//!                                                                sizes                             with and without the log
//! ```

#[path = "../../../src/chance.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    reason = "shared with the simulators, where it is public and used in full"
)]
mod chance;
mod check;
mod emulator;
mod image;
mod rounds;

use std::process::ExitCode;

use crate::rounds::Campaign;

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let done = match words.split_first() {
        Some((&"kill", options)) => campaign(options).and_then(|campaign| campaign.run()),
        Some((&"sizes", [])) => image::print_sizes(),
        _ => Err("usage: kill [--rounds N] [--seed N] | sizes".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("firmware: {error}");
            ExitCode::FAILURE
        }
    }
}

fn campaign(options: &[&str]) -> Result<Campaign, String> {
    let mut campaign = Campaign { rounds: 200, seed: 1 };
    for pair in options.chunks(2) {
        let [name, value] = *pair else { return Err(format!("{} wants a number", pair[0])) };
        let value = value.parse().map_err(|error| format!("{name} {value}: {error}"))?;
        match name {
            "--rounds" => campaign.rounds = value,
            "--seed" => campaign.seed = value,
            other => return Err(format!("no option is called {other}")),
        }
    }
    Ok(campaign)
}
