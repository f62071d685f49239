//! SnelDB's words, with SnelDB's lines: `list`, `info`, `export`, `recover`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use strandline::archive::json::Json;
use strandline::archive::{Archive, ArchiveInfo, Codec, Digest, OwnedEntry, Range, Recovery, Survey};

use super::export::{self, Format};
use super::places::Places;
use super::select::Select;
use super::{Exit, Failure, Output, take};

pub(super) fn list(places: &Places, shard: u64, output: Output) -> Result<Exit, Failure> {
    let survey = Recovery::new(shard, places.shard(shard)).survey()?;
    match output {
        Output::Table => list_table(shard, &survey),
        Output::Json => println!("{}", Value::from_iter(survey.archives.iter().map(described))),
        Output::Jsonl => survey.archives.iter().for_each(|info| println!("{}", described(info))),
    }
    Ok(report(&survey))
}

fn list_table(shard: u64, survey: &Survey) {
    let archives = &survey.archives;
    if archives.is_empty() {
        if survey.damaged.is_empty() {
            println!("No archives found for shard {shard}");
        }
        return;
    }
    println!("Found {} archive(s) for shard {shard}:\n", archives.len());
    for info in archives {
        println!(
            "  {} | Log {:05} | {} entries | {}",
            name(&info.path),
            info.log.0,
            info.entries,
            size(info.bytes)
        );
    }
    let entries: u64 = archives.iter().map(|info| info.entries).sum();
    let bytes = archives.iter().map(|info| info.bytes).sum();
    println!("\nTotal: {entries} entries across {} archives ({})", archives.len(), size(bytes));
}

/// Names what is not an archive that can be read.
pub(super) fn report(survey: &Survey) -> Exit {
    for path in &survey.foreign {
        eprintln!("Note: {} is not an archive", path.display());
    }
    for (_, error) in &survey.damaged {
        eprintln!("Error: {error}");
    }
    if survey.damaged.is_empty() { Exit::Done } else { Exit::Damaged }
}

pub(super) fn info(path: &Path, output: Output) -> Result<Exit, Failure> {
    let archive = opened(path)?;
    let info = archive.info();
    if output != Output::Table {
        println!("{}", described(info));
        return Ok(Exit::Done);
    }
    println!("Reading archive...\n\n=== Archive Information ===\n");
    println!("Version:          1");
    println!("Shard ID:         {}", info.shard);
    println!("Log ID:           {:05}", info.log.0);
    println!("Entry Count:      {}", info.entries);
    let times = [("Start", info.timestamps.0), ("End", info.timestamps.1)];
    for (what, seconds) in times {
        println!("{:<17} {seconds} ({})", format!("{what} Timestamp:"), moment(seconds));
    }
    let created = info.created.0 / 1000;
    println!("Created At:       {created} ({})", moment(created));
    println!("Compression:      zstd");
    println!("Compression Level: {}\n", info.level);
    println!("File Size:        {}", size(info.bytes));
    if let Some(average) = info.bytes.checked_div(info.entries) {
        println!("Avg per entry:    {}", size(average));
    }
    if info.entries > 0 {
        println!("\n=== Sample Entries ===");
        for (number, entry) in (1..).zip(archive.entries(Range::ALL)?.take(SAMPLE)) {
            println!("\nEntry {number}:");
            let entry = entry?;
            print_entry(&entry);
            let payload = serde_json::to_string(&Json(&entry.payload));
            println!(
                "  Payload:     {}",
                payload.map_err(|error| Failure::new(Exit::Damaged, error.to_string()))?
            );
        }
        if info.entries > SAMPLE as u64 {
            println!("\n... and {} more entries", info.entries - SAMPLE as u64);
        }
    }
    print_extended(info);
    Ok(Exit::Done)
}

fn print_entry(entry: &OwnedEntry) {
    println!("  Event Type:  {}", entry.event_type);
    println!("  Context ID:  {}", entry.context);
    println!("  Timestamp:   {} ({})", entry.timestamp, moment(entry.timestamp));
}

/// What SnelDB's archives don't say.
fn print_extended(info: &ArchiveInfo) {
    let Some(extended) = &info.extended else { return };
    println!("\n=== Extended Header ===\n");
    println!("Store:            {}", hex(&extended.store.0));
    println!("Timeline, epoch:  {}, {}", extended.timeline.0, extended.epoch.0);
    println!("LSNs:             {} to {}", extended.lsns.0.0, extended.lsns.1.0);
    println!("Times:            {} to {} ms", extended.times.0.0, extended.times.1.0);
    println!("Blocks:           {} ({})", extended.blocks, codec(extended.codec));
    println!("Largest entry:    {}", size(extended.largest as u64));
    println!("Source digest:    {}", hex(&extended.source));
    println!("Previous archive: {}", hex(&extended.previous));
    println!("Written by:       {}", extended.writer);
}

pub(super) fn export(
    path: &Path,
    output: &Path,
    format: Option<Format>,
    select: &Select,
) -> Result<Exit, Failure> {
    let format = format.map_or_else(|| Format::of(output), Ok)?;
    let to_stdout = output == Path::new("-");
    let say = |line: String| if to_stdout { eprintln!("{line}") } else { println!("{line}") };
    say(format!("Reading archive: {}", path.display()));
    let archive = opened(path)?;
    if select.is_all() {
        say(format!("Exporting {} entries to {}...", archive.info().entries, format.name()));
    } else {
        say(format!("Exporting entries to {}...", format.name()));
    }
    let bytes = export::to_file(&archive, output, format, select)?;
    say(format!("Successfully exported to: {}", output.display()));
    if let Some(bytes) = bytes {
        say(format!("Output size: {}", size(bytes)));
    }
    Ok(Exit::Done)
}

pub(super) fn recover(
    places: &Places,
    shard: u64,
    to: Option<&Path>,
    output: Output,
) -> Result<Exit, Failure> {
    let table = output == Output::Table;
    if table {
        println!("Recovering all entries from shard {shard} archives...\n");
    }
    let mut survey = Recovery::new(shard, places.shard(shard)).survey()?;
    let (mut count, mut first, mut last) = (0_u64, None, None);
    for info in core::mem::take(&mut survey.archives) {
        let mut logs = to.map(|to| take::RecoveredLog::create(to, shard, info.log)).transpose()?;
        let read = Archive::open(&info.path).and_then(|archive| {
            let mut kept = None;
            archive.read(Range::ALL, |entry| {
                if first.is_none() {
                    first = Some(OwnedEntry::from(entry));
                }
                count += 1;
                kept = Some(OwnedEntry::from(entry));
                logs.as_mut().map_or(Ok(()), |log| log.take(entry))
            })?;
            Ok(kept)
        });
        match read {
            Ok(kept) => {
                last = kept.or(last);
                logs.map_or(Ok(()), take::RecoveredLog::publish)?;
                survey.archives.push(info);
            }
            // The others are recovered all the same.
            Err(error) => survey.damaged.push((info.path, error)),
        }
    }
    if table {
        println!("Recovered {count} total entries");
        for (what, entry) in [("First", &first), ("Last", &last)] {
            if let Some(entry) = entry {
                println!("\n{what} entry:");
                print_entry(entry);
            }
        }
    } else {
        println!(
            "{}",
            json!({"shard": shard, "entries": count, "archives": survey.archives.len(),
            "damaged": survey.damaged.len()})
        );
    }
    let exit = report(&survey);
    let gaps = survey.gaps()?;
    gaps.iter().for_each(|gap| eprintln!("Error: {gap}"));
    Ok(if exit == Exit::Done && !gaps.is_empty() { Exit::Gap } else { exit })
}

/// Opens an archive that was named.
pub(super) fn opened(path: &Path) -> Result<Archive, Failure> {
    if !path.exists() {
        return Err(Failure::new(Exit::NotFound, format!("Archive not found: {}", path.display())));
    }
    let archive = Archive::open(path)?;
    archive.info().in_place()?;
    Ok(archive)
}

/// What an archive says of itself, as JSON.
pub(super) fn described(info: &ArchiveInfo) -> Value {
    let mut value = json!({
        "path": info.path.display().to_string(),
        "bytes": info.bytes,
        "shard": info.shard,
        "log": info.log.0,
        "entries": info.entries,
        "start_timestamp": info.timestamps.0,
        "end_timestamp": info.timestamps.1,
        "created_ms": info.created.0,
        "level": info.level,
        "format": if info.extended.is_some() { "strandline" } else { "sneldb" },
    });
    if let Some(extended) = &info.extended {
        value["store"] = hex(&extended.store.0).into();
        value["timeline"] = extended.timeline.0.into();
        value["epoch"] = extended.epoch.0.into();
        value["first_lsn"] = extended.lsns.0.0.into();
        value["last_lsn"] = extended.lsns.1.0.into();
        value["earliest_ms"] = extended.times.0.0.into();
        value["latest_ms"] = extended.times.1.0.into();
        value["codec"] = codec(extended.codec).into();
        value["blocks"] = extended.blocks.into();
        value["source"] = hex(&extended.source).into();
        value["previous"] = hex(&extended.previous).into();
        value["writer"] = extended.writer.clone().into();
    }
    value
}

fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::Raw => "raw",
        Codec::Zstd => "zstd",
    }
}

fn hex(bytes: &[u8]) -> String {
    match bytes.try_into() {
        Ok(digest) => Digest(digest).to_string(),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

pub(super) fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Bytes as SnelDB prints them.
#[expect(clippy::cast_precision_loss, reason = "two decimals are printed")]
pub(super) fn size(bytes: u64) -> String {
    let in_units = |unit: u64| bytes as f64 / unit as f64;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{:.2} KB", in_units(KIB)),
        MIB..GIB => format!("{:.2} MB", in_units(MIB)),
        GIB.. => format!("{:.2} GB", in_units(GIB)),
    }
}

/// A timestamp as SnelDB prints it.
pub(super) fn moment(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| "beyond the year 9999".into(), |moment| moment.to_string().replace('Z', "+00:00"))
}

pub(super) fn file_bytes(path: &Path) -> Result<u64, Failure> {
    let found = fs::metadata(path).map_err(|error| Failure::io(&path.display().to_string(), &error))?;
    Ok(found.len())
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Entries that `info` shows.
const SAMPLE: usize = 5;
