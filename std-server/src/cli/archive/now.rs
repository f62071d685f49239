//! `now`: archives everything that the logs of a stopped server hold.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::import::{config_of, open};
use super::{Exit, Failure, Output};

#[derive(Debug, Args)]
pub(super) struct NowArgs {
    /// The server's data directory; the server must not run [default: the configuration's]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) fn run(args: &NowArgs, config: Option<&Path>, output: Output) -> Result<Exit, Failure> {
    let config = config_of(config, args.data_dir.as_deref())?;
    if !config.data_dir.is_dir() {
        return Err(Failure::not_found(format!("{} is not there", config.data_dir.display())));
    }
    let address = config.admin.unwrap_or(config.http);
    let logs = open(&config, &format!("ask that one: curl -X POST http://{address}/archives/now"))?;
    let archived = logs.archive_all();
    let closed = logs.close();
    let failed = |why: String| Failure::new(Exit::Error, why);
    let (whole, report) = archived.map_err(failed)?;
    closed.map_err(failed)?;
    match output {
        Output::Table => {
            println!("{} segments are in archives, {} bytes", report.archived, report.archived_bytes)
        }
        Output::Json | Output::Jsonl => println!(
            "{}",
            json!({"success": whole, "archived": report.archived, "bytes": report.archived_bytes,
                "quarantined": report.quarantined.len()})
        ),
    }
    for ((shard, log), why) in &report.quarantined {
        eprintln!("Error: segment {log} of shard {shard} is damaged and was not archived: {why}");
    }
    match report.failing {
        Some(why) => Err(failed(why)),
        None if !report.quarantined.is_empty() => Ok(Exit::Damaged),
        None if whole => Ok(Exit::Done),
        None => Err(failed("segments are left without an archive".to_owned())),
    }
}
