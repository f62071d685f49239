//! What the server says of itself when it starts: where the data is, what was recovered, and two commands to try.

use core::time::Duration;
use std::io::{self, Write as _};

use strandline::{Recovered, Report, Verdict};

use crate::config::{Config, FsyncMode, LogFormat};
use crate::engine::{Facts, Recovery};

/// The addresses, before recovery begins: with port 0 nobody knows them otherwise.
pub(crate) fn listening(facts: &Facts) {
    let resp = facts.resp.map_or_else(|| "off".to_owned(), |address| address.to_string());
    tracing::info!(http = %facts.http, resp, "listening; recovery begins");
}

/// What was recovered, as log lines, and for people a message on standard output.
pub(crate) fn ready(facts: &Facts, recovery: &Recovery) {
    if let Some(recovered) = &recovery.recovered {
        report(recovered);
    }
    let (keys, seconds) = (recovery.keys, recovery.took.as_secs_f64());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), data_dir = %facts.config.data_dir.display(),
        fsync_mode = %facts.config.wal.fsync_mode, http = %facts.http,
        resp = facts.resp.map(|address| address.to_string()), keys, seconds, "ready"
    );
    if facts.config.logging.format == LogFormat::Human {
        // Whoever started the server may not read its output.
        drop(io::stdout().write_all(message(facts, recovery).as_bytes()));
    }
}

fn message(facts: &Facts, recovery: &Recovery) -> String {
    let config = &facts.config;
    let scheme = if config.http_tls.is_some() { "https" } else { "http" };
    let mut lines = vec![
        format!("std-server {} is ready", env!("CARGO_PKG_VERSION")),
        format!("  data       {}", place(config)),
        format!("  recovered  {}", story(recovery)),
        format!("  HTTP       {scheme}://{}", facts.http),
    ];
    if let Some(resp) = facts.resp {
        lines.push(format!("  RESP       {resp}"));
    }
    lines.push("  try".into());
    let set = "-X POST -d '{\"key\":\"hello\",\"value\":\"world\"}'";
    match facts.resp {
        Some(resp) => {
            let tls = if config.resp_tls.is_some() { " --tls" } else { "" };
            lines.push(format!("    redis-cli{tls} -h {} -p {} SET hello world", resp.ip(), resp.port()));
        }
        None => lines.push(format!("    curl {set} {scheme}://{}/kv/set", facts.http)),
    }
    lines.push(format!("    curl {scheme}://{}/kv/get/hello", facts.http));
    lines.join("\n") + "\n"
}

fn place(config: &Config) -> String {
    if !config.persistence_enabled {
        return "none: persistence is switched off, everything is gone when the server ends".into();
    }
    let sync = match config.wal.fsync_mode {
        _ if !config.wal.enabled => "snapshots only: the log is switched off".into(),
        FsyncMode::Periodic => format!("fsync periodic, every {} ms", config.wal.fsync_interval.as_millis()),
        mode => format!("fsync {mode}"),
    };
    format!("{} ({sync})", config.data_dir.display())
}

fn story(recovery: &Recovery) -> String {
    let Some(recovered) = &recovery.recovered else { return "nothing".into() };
    let report = &recovered.report;
    if report.fresh {
        return "nothing: the data directory is new".into();
    }
    let Recovery { keys, took, .. } = recovery;
    let from = match report.snapshot {
        Some(snapshot) => {
            format!("a snapshot of {} keys and {} records of the log", snapshot.items, report.records)
        }
        None => format!("{} records of the log", report.records),
    };
    format!("{keys} keys in {} from {from}; {}", rounded(*took), ending(report))
}

fn ending(report: &Report) -> String {
    match report.verdict {
        _ if report.sealed => "the last server had stopped in order".into(),
        Some(Verdict::Torn) => format!("{}, which nobody was promised", void(report)),
        Some(Verdict::Corrupt) => "what follows the damage was discarded".into(),
        _ => "the last server was interrupted, the log ends cleanly".into(),
    }
}

fn void(report: &Report) -> String {
    let bytes = report.void_bytes;
    if report.void_until > report.next {
        let last = report.void_until.0 - 1;
        format!("an unfinished tail of {bytes} bytes (LSN {} to {last}) is void", report.next)
    } else {
        format!("an unfinished tail of {bytes} bytes is void")
    }
}

fn rounded(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}

fn report(recovered: &Recovered) {
    let report = &recovered.report;
    tracing::info!(
        fresh = report.fresh,
        epoch = report.epoch.0,
        snapshot_base = report.snapshot.map(|snapshot| snapshot.base.0),
        records = report.records,
        log_bytes = report.bytes,
        next_lsn = report.next.0,
        sealed = report.sealed,
        verdict = report.verdict.map(tracing::field::debug),
        "recovered"
    );
    if report.verdict == Some(Verdict::Torn) {
        tracing::warn!(
            void_bytes = report.void_bytes,
            from_lsn = report.next.0,
            until_lsn = report.void_until.0,
            "the log ended in an unfinished tail, which is void: nothing of it was acknowledged as durable"
        );
    }
    for (path, why) in &recovered.damaged_snapshots {
        tracing::error!(path = %path.display(), why, "a snapshot can't be loaded; an older one and the log were used");
    }
    for path in &recovered.quarantined {
        tracing::warn!(path = %path.display(), "a file that is not known, or is damaged, was put aside");
    }
    for path in &recovered.removed {
        tracing::info!(path = %path.display(), "an unfinished file was removed");
    }
    for loss in &recovered.losses {
        tracing::warn!(
            from_lsn = loss.from.0,
            until_lsn = loss.until.0,
            epoch = loss.epoch.0,
            "an operator chose to go on without these records"
        );
    }
    if report.unneeded_damage > 0 {
        tracing::warn!(
            segments = report.unneeded_damage,
            "segments are damaged or missing that the snapshot makes unnecessary"
        );
    }
}
