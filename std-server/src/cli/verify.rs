//! `verify`: reads everything that is kept and changes nothing; the exit code is the verdict.
//!
//! | exit | means |
//! |---|---|
//! | 0 | everything is intact, or only an unfinished tail is void |
//! | 1 | something is damaged or missing, or a server would refuse to start |
//! | 2 | the configuration is wrong, or the files can't be read now |

use std::process::ExitCode;

use serde_json::{Value, json};
use strandline::repair::{SegmentDamage, Step, Why};
use strandline::{Report, Verdict};

use super::EXIT_USAGE;
use super::checkup::{self, Health, Shard, command, count, lsns, moment};
use crate::config::Loaded;

pub(super) fn run(loaded: &Loaded, as_json: bool) -> ExitCode {
    let shards = match checkup::shards(&loaded.config) {
        Ok(shards) => shards,
        Err(why) if as_json => {
            println!("{}", json!({ "format": JSON_FORMAT, "verdict": "unreadable", "error": why }));
            return ExitCode::from(EXIT_USAGE);
        }
        Err(why) => {
            eprintln!("std-server: {why}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let health = shards.iter().map(Shard::health).max().unwrap_or(Health::Good);
    if as_json {
        let described: Vec<Value> = shards.iter().map(described).collect();
        println!("{}", json!({ "format": JSON_FORMAT, "verdict": word(health), "shards": described }));
    } else {
        for shard in &shards {
            if shards.len() > 1 {
                println!("shard      {}", shard.number);
            }
            print(shard);
        }
        if health != Health::Good {
            println!("next       {}", command(loaded, "repair"));
            println!("           says what a repair would do, and changes nothing");
        }
    }
    match health {
        Health::Good => ExitCode::SUCCESS,
        Health::Damaged => ExitCode::FAILURE,
        Health::Unreadable => ExitCode::from(EXIT_USAGE),
    }
}

const fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "good",
        Health::Damaged => "damaged",
        Health::Unreadable => "unreadable",
    }
}

fn print(shard: &Shard) {
    let found = &shard.found;
    if let Some(error) = found.refusal.as_ref().or(found.blocked.as_ref()) {
        println!("REFUSED    {error}");
    }
    for step in &found.steps {
        if let Step::Restore { segment, from, .. } = step {
            println!("restorable segment {} is whole in {from}: a repair loses nothing of it", segment.log);
        }
    }
    if let Some(start) = &found.start {
        if start.report.fresh {
            println!("empty: no server has finished a first start here");
            return;
        }
        if found.refusal.is_none() {
            print_log(&start.report);
        }
    }
    let (segments, records) = found.history;
    if segments > 0 {
        let segments = count(segments, "segment", "segments");
        println!("history    {records} records in {segments} in front of the newest snapshot");
    }
    for snapshot in &found.snapshots {
        println!(
            "snapshot   {}: {} keys in {} bytes, base LSN {}",
            snapshot.number, snapshot.items, snapshot.bytes, snapshot.base
        );
    }
    print_archives(shard);
    for loss in &found.losses {
        println!(
            "loss       an operator discarded {}, {}",
            lsns((loss.from, loss.until)),
            moment(loss.time.0)
        );
    }
    let unnamed = usize::try_from(found.losses_ever).unwrap_or(usize::MAX).saturating_sub(found.losses.len());
    if unnamed > 0 {
        println!("loss       and {unnamed} older ones, whose LSNs are not kept");
    }
    print_quarantine(shard);
    print_damage(shard);
    println!("verdict    {}", word(shard.health()));
}

fn print_log(report: &Report) {
    let behind = if report.snapshot.is_some() { " behind the newest snapshot" } else { "" };
    println!(
        "log        {} records in {} bytes{behind}, next LSN {}",
        report.records, report.bytes, report.next
    );
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
}

fn print_archives(shard: &Shard) {
    let archived = &shard.archived;
    if archived.intact.is_empty() && archived.damaged.is_empty() {
        return;
    }
    let entries: u64 = archived.intact.iter().map(|info| info.entries).sum();
    let bytes: u64 = archived.intact.iter().map(|info| info.bytes).sum();
    println!("archives   {} intact, {entries} entries in {bytes} bytes", archived.intact.len());
    for gap in &archived.gaps {
        println!("gap        {gap}");
    }
}

fn print_quarantine(shard: &Shard) {
    let files: Vec<_> = shard.found.quarantine.iter().chain(&shard.archived.quarantine).collect();
    if files.is_empty() {
        return;
    }
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "quarantine {}, {bytes} bytes; nothing reads this, delete it when you are done",
        count(files.len() as u64, "file", "files")
    );
    for (path, bytes) in files {
        println!("           {} ({bytes} bytes)", path.display());
    }
}

fn print_damage(shard: &Shard) {
    for (path, why) in &shard.found.damaged_snapshots {
        println!("DAMAGED    {}: {why}", path.display());
    }
    for damage in given_up(shard).chain(&shard.found.kept) {
        println!("DAMAGED    {}; no start needs it", about(damage));
    }
    for damage in &shard.archived.damaged {
        println!("DAMAGED    {}", damage.why);
    }
    for (_, why) in &shard.archived.unreadable {
        println!("UNREADABLE {why}");
    }
}

/// The segments that a repair gives up.
fn given_up(shard: &Shard) -> impl Iterator<Item = &SegmentDamage> {
    shard.found.steps.iter().filter_map(|step| match step {
        Step::GiveUp(damage) => Some(damage),
        _ => None,
    })
}

/// A damaged segment in words.
pub(super) fn about(damage: &SegmentDamage) -> String {
    let what = match damage.why {
        Why::Missing => "is missing".to_owned(),
        Why::Header => "is damaged at offset 0".to_owned(),
        Why::Frame(offset) => format!("is damaged at offset {offset}"),
        _ => "stands behind the damage".to_owned(),
    };
    let lost: Vec<String> = damage.lost.iter().map(|run| lsns(*run)).collect();
    let lost = if lost.is_empty() {
        "all records can be read".to_owned()
    } else {
        lost.join(", ") + " can't be read"
    };
    format!("{} (segment {}) {what}: {lost}", damage.path.display(), damage.log)
}

fn described(shard: &Shard) -> Value {
    let found = &shard.found;
    let path = |path: &std::path::Path| path.display().to_string();
    let range = |(first, end): (strandline::Lsn, strandline::Lsn)| json!({ "first_lsn": first.0, "last_lsn": end.0.saturating_sub(1) });
    let segment = |damage: &SegmentDamage| {
        json!({
            "file": path(&damage.path), "segment": damage.log.0,
            "offset": match damage.why { Why::Frame(offset) => Some(offset), Why::Header => Some(0), _ => None },
            "missing": damage.why == Why::Missing,
            "first_lsn": damage.lsns.0.0, "last_lsn": damage.lsns.1.0.saturating_sub(1),
            "unreadable": damage.lost.iter().map(|run| range(*run)).collect::<Vec<_>>(),
            "archived": damage.is_elsewhere,
        })
    };
    let file = |(file, bytes): &(std::path::PathBuf, u64)| json!({ "file": path(file), "bytes": bytes });
    json!({
        "shard": shard.number,
        "verdict": word(shard.health()),
        "epoch": found.epoch.0,
        "refusal": found.refusal.as_ref().or(found.blocked.as_ref()).map(ToString::to_string),
        "repairable": found.blocked.is_none(),
        "log": found.start.as_ref().map(|start| log(&start.report)),
        "history": { "segments": found.history.0, "records": found.history.1 },
        "damaged_segments": given_up(shard).chain(&found.kept).map(segment).collect::<Vec<_>>(),
        "restorable_segments": found.steps.iter().filter_map(|step| match step {
            Step::Restore { segment: damage, from, .. } => Some(json!({
                "file": path(&damage.path), "segment": damage.log.0, "archive": from,
            })),
            _ => None,
        }).collect::<Vec<_>>(),
        "snapshots": found.snapshots.iter().map(|snapshot| json!({
            "number": snapshot.number, "base_lsn": snapshot.base.0, "keys": snapshot.items,
            "bytes": snapshot.bytes, "time_ms": snapshot.time.0,
        })).collect::<Vec<_>>(),
        "damaged_snapshots": found.damaged_snapshots.iter()
            .map(|(file, why)| json!({ "file": path(file), "error": why })).collect::<Vec<_>>(),
        "archives": {
            "intact": shard.archived.intact.len(),
            "entries": shard.archived.intact.iter().map(|info| info.entries).sum::<u64>(),
            "bytes": shard.archived.intact.iter().map(|info| info.bytes).sum::<u64>(),
            "gaps": shard.archived.gaps,
            "damaged": shard.archived.damaged.iter().map(|damage| json!({
                "file": path(&damage.path), "error": damage.why, "readable_entries": damage.entries,
                "unreadable": damage.lost.iter().map(|run| range(*run)).collect::<Vec<_>>(),
                "has_segment": shard.has_segment(damage),
            })).collect::<Vec<_>>(),
            "unreadable": shard.archived.unreadable.iter().map(|(_, why)| why).collect::<Vec<_>>(),
        },
        "losses": found.losses.iter().map(|loss| json!({
            "first_lsn": loss.from.0, "last_lsn": loss.until.0.saturating_sub(1), "epoch": loss.epoch.0,
            "time_ms": loss.time.0,
        })).collect::<Vec<_>>(),
        "losses_ever": found.losses_ever,
        "quarantine": found.quarantine.iter().chain(&shard.archived.quarantine).map(file).collect::<Vec<_>>(),
    })
}

fn log(report: &Report) -> Value {
    let torn = report.verdict == Some(Verdict::Torn);
    let end = match report.verdict {
        _ if report.fresh => "empty",
        _ if report.sealed => "sealed",
        Some(Verdict::Torn) => "torn",
        Some(Verdict::Corrupt) => "corrupt",
        _ => "clean",
    };
    json!({
        "records": report.records, "bytes": report.bytes, "next_lsn": report.next.0,
        "settled_lsn": report.settled.lsn.0, "end": end,
        "end_segment": report.end.log.0, "end_offset": report.end.offset,
        "void_bytes": if torn { report.void_bytes } else { 0 },
        "void_before_lsn": if torn { report.void_until.0 } else { report.next.0 },
    })
}

/// Fields are added to it, none is changed or taken away.
const JSON_FORMAT: u32 = 1;
