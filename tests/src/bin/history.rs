//! Kills servers that archive events: `history [--rounds N] [--mode always|periodic|never] [--shards N] [--seed S] --server PATH`.
//!
//! Exits with 1, and says where the data is, when something is lost, doubled or half there.

use std::process::ExitCode;

use strandline_tests::history::Campaign;

fn main() -> ExitCode {
    let Some(campaign) = arguments() else {
        eprintln!(
            "usage: history [--rounds N] [--mode always|periodic|never] [--shards N] [--seed S] --server PATH"
        );
        return ExitCode::from(2);
    };
    let ran = campaign.run(|tally| {
        if tally.rounds.is_multiple_of(10) {
            println!("{}: {tally}", campaign.mode);
        }
    });
    match ran {
        Ok(tally) => {
            println!("{}: {tally}; nothing lost, nothing doubled (seed {})", campaign.mode, campaign.seed);
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("{}, seed {}: {broken}", campaign.mode, campaign.seed);
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Option<Campaign> {
    let place = std::env::temp_dir().join(format!("strandline-history-{}", std::process::id()));
    let mut campaign =
        Campaign { server: "".into(), place, mode: "always".into(), rounds: 500, seed: 1, shards: 1 };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--rounds" => campaign.rounds = value.parse().ok()?,
            "--seed" => campaign.seed = value.parse().ok()?,
            "--shards" => campaign.shards = value.parse().ok()?,
            "--server" => campaign.server = value.into(),
            "--mode" => {
                campaign.mode =
                    ["always", "periodic", "never"].into_iter().find(|mode| **mode == value)?.into()
            }
            _ => return None,
        }
    }
    (!campaign.server.as_os_str().is_empty()).then_some(campaign)
}
