//! `verify`: reads everything that is kept and changes nothing; the exit code is the verdict.
//!
//! | exit | means |
//! |---|---|
//! | 0 | everything is intact, or only an unfinished tail is void |
//! | 1 | something is damaged or missing, or a server would refuse to start |
//! | 2 | the configuration is wrong, or the files can't be read now |

use std::process::ExitCode;

use strandline::{Log, OpenError, Recovered, Verdict};

use super::EXIT_USAGE;
use crate::config::{Config, Loaded};
use crate::engine::{options_of, places};

pub(super) fn run(loaded: &Loaded) -> ExitCode {
    let config = &loaded.config;
    let mut worst = ExitCode::SUCCESS;
    for shard in 0..config.shard_count {
        if config.shard_count > 1 {
            println!("shard      {shard}");
        }
        let verdict = verify(config, shard);
        if verdict != ExitCode::SUCCESS {
            worst = verdict;
        }
    }
    worst
}

fn verify(config: &Config, shard: u16) -> ExitCode {
    let options = options_of(config, shard);
    let places = places(config, shard);
    let places = [&places.log, &places.snapshots];
    if let Some(missing) = places.iter().find(|place| !place.is_dir()) {
        eprintln!(
            "std-server: there is no directory {}: name the data with --data-dir DIR",
            missing.display()
        );
        return ExitCode::from(EXIT_USAGE);
    }
    match Log::verify(&options) {
        Ok(recovered) => report(&recovered),
        Err(error) => {
            println!("{error}");
            match error {
                OpenError::Locked { .. } | OpenError::Step(_) | OpenError::Geometry(_) => {
                    ExitCode::from(EXIT_USAGE)
                }
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn report(recovered: &Recovered) -> ExitCode {
    let report = &recovered.report;
    if report.fresh {
        println!("empty: no server has finished a first start here");
        return ExitCode::SUCCESS;
    }
    println!("log        {} records in {} bytes, next LSN {}", report.records, report.bytes, report.next);
    match report.verdict {
        _ if report.sealed => println!("end        clean: the last server stopped in order"),
        Some(Verdict::Torn) => println!(
            "end        torn at {}: {} bytes are void, from LSN {} to before {}; a server starts",
            report.end, report.void_bytes, report.next, report.void_until
        ),
        Some(verdict) => println!("end        {verdict:?} at {}", report.end),
        None => println!("end        {}", report.end),
    }
    println!(
        "settled    every record before LSN {} was durable when the last one was written",
        report.settled.lsn
    );
    for snapshot in &recovered.snapshots {
        println!(
            "snapshot   {}: {} keys in {} bytes, base LSN {}",
            snapshot.number, snapshot.items, snapshot.bytes, snapshot.base
        );
    }
    for loss in &recovered.losses {
        println!("loss       an operator discarded LSN {} to before {}", loss.from, loss.until);
    }
    for (path, why) in &recovered.damaged_snapshots {
        println!("DAMAGED    {}: {why}", path.display());
    }
    if report.unneeded_damage > 0 {
        println!("DAMAGED    {} segments that the newest snapshot makes unnecessary", report.unneeded_damage);
    }
    let damaged = !recovered.damaged_snapshots.is_empty() || report.unneeded_damage > 0;
    println!("verdict    {}", if damaged { "damaged" } else { "good" });
    if damaged { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
