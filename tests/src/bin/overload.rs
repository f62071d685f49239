//! Puts more on a server than it can take.
//!
//! ```text
//! overload [--idle 10000] [--active 5000] [--pipeline-mib 512] [--slow-http 500] [--seconds 10] [--server PATH]
//! overload disk [--seconds 600] [--writers 64] [--mib-per-second 4] [--sync-ms 20] [--mode always|periodic|never|all] [--server PATH]
//! ```
//!
//! Exits with 1 if a client that behaves was not served, or memory went beyond its bound. Wants as many open files as there
//! are clients: `ulimit -n`.

use core::time::Duration;
use std::path::PathBuf;
use std::process::ExitCode;

use strandline_tests::kill::MODES;
use strandline_tests::overload::{Overload, SlowDisk};
use strandline_tests::process::build;

fn main() -> ExitCode {
    let Some(wanted) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let server = match wanted.server.clone().map_or_else(build, Ok) {
        Ok(server) => server,
        Err(why) => {
            eprintln!("overload: {why}");
            return ExitCode::from(2);
        }
    };
    match run(&wanted, server) {
        Ok(()) => {
            println!("memory stayed bounded, and the probe was always served");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &Wanted, server: PathBuf) -> Result<(), String> {
    let tell = |seen: &strandline_tests::overload::Seen| println!("{seen}");
    if !wanted.disk {
        let each = Duration::from_secs(wanted.seconds.unwrap_or(10));
        let Wanted { idle, active, slow_http, pipeline_mib, .. } = *wanted;
        return Overload { server, idle, active, pipeline_bytes: pipeline_mib << 20, slow_http, each }
            .run(tell);
    }
    let disk = SlowDisk {
        writers: wanted.writers,
        bytes_per_second: wanted.mib_per_second << 20,
        sync_micros: wanted.sync_ms * 1000,
        lasts: Duration::from_secs(wanted.seconds.unwrap_or(600)),
    };
    wanted.modes.iter().try_for_each(|mode| disk.run(&server, mode, tell))
}

struct Wanted {
    disk: bool,
    idle: usize,
    active: usize,
    pipeline_mib: usize,
    slow_http: usize,
    seconds: Option<u64>,
    writers: usize,
    mib_per_second: u32,
    sync_ms: u32,
    modes: Vec<&'static str>,
    server: Option<PathBuf>,
}

fn arguments() -> Option<Wanted> {
    let mut wanted = Wanted {
        disk: false,
        idle: 10_000,
        active: 5_000,
        pipeline_mib: 512,
        slow_http: 500,
        seconds: None,
        writers: 64,
        mib_per_second: 4,
        sync_ms: 20,
        modes: vec!["always"],
        server: None,
    };
    let mut words = std::env::args().skip(1).peekable();
    wanted.disk = words.next_if(|word| word == "disk").is_some();
    while let Some(name) = words.next() {
        let value = words.next()?;
        match name.as_str() {
            "--idle" => wanted.idle = value.parse().ok()?,
            "--active" => wanted.active = value.parse().ok()?,
            "--pipeline-mib" => wanted.pipeline_mib = value.parse().ok()?,
            "--slow-http" => wanted.slow_http = value.parse().ok()?,
            "--seconds" => wanted.seconds = Some(value.parse().ok()?),
            "--writers" => wanted.writers = value.parse().ok()?,
            "--mib-per-second" => wanted.mib_per_second = value.parse().ok()?,
            "--sync-ms" => wanted.sync_ms = value.parse().ok()?,
            "--mode" if value == "all" => wanted.modes = MODES.to_vec(),
            "--mode" => wanted.modes = vec![MODES.iter().copied().find(|mode| *mode == value)?],
            "--server" => wanted.server = Some(value.into()),
            _ => return None,
        }
    }
    Some(wanted)
}

const USAGE: &str = "usage: overload [--idle N] [--active N] [--pipeline-mib N] [--slow-http N] [--seconds N] [--server PATH]
       overload disk [--seconds N] [--writers N] [--mib-per-second N] [--sync-ms N] [--mode MODE|all] [--server PATH]";
