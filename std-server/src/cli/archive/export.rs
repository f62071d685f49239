//! Entries in the formats of other tools, one at a time.
//!
//! ```text
//!  json      an array of objects, as SnelDB writes it    {"timestamp", "context_id", "event_type", "payload", "event_id"}
//!  jsonl     an object a line                            and "lsn", "time_ms", "commit_ms" where they are known
//!  msgpack   maps with the same keys, one after the other
//!  csv       the same columns, the payload as JSON
//!  parquet   the same columns; in a build with the feature `parquet`
//! ```
//!
//! A file gets its name when everything is in it.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use clap::ValueEnum;
use serde::Serializer as _;
use serde::ser::SerializeSeq;
use strandline::archive::json::{Json, JsonEntry};
use strandline::archive::{Archive, ArchiveError, Entry, Payload, Value, encode_fields};

use super::select::Select;
use super::{Exit, Failure, output_error, progress};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// An array
    Json,
    /// An object a line
    Jsonl,
    /// MessagePack maps, one after the other
    Msgpack,
    /// Comma-separated values with a header
    Csv,
    /// Apache Parquet
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Format {
    /// What a name asks for by its end.
    pub(super) fn of(path: &Path) -> Result<Self, Failure> {
        Ok(match path.extension().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            Some("msgpack" | "mpk") => Self::Msgpack,
            Some("csv") => Self::Csv,
            #[cfg(feature = "parquet")]
            Some("parquet") => Self::Parquet,
            #[cfg(not(feature = "parquet"))]
            Some("parquet") => {
                let text = "this build has no Parquet: cargo build --release -p std-server --features parquet, or name a --format";
                return Err(Failure::new(Exit::Usage, text));
            }
            _ => Self::Json,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Jsonl => "JSON lines",
            Self::Msgpack => "MessagePack",
            Self::Csv => "CSV",
            #[cfg(feature = "parquet")]
            Self::Parquet => "Parquet",
        }
    }
}

/// Writes the selected entries, and returns the size of the file if it is one.
pub(super) fn to_file(
    archive: &Archive,
    output: &Path,
    format: Format,
    select: &Select,
) -> Result<Option<u64>, Failure> {
    if output == Path::new("-") {
        write(archive, io::stdout(), format, select)?;
        return Ok(None);
    }
    let failed = |error: io::Error| Failure::io(&output.display().to_string(), &error);
    if output.metadata().is_ok_and(|found| !found.is_file()) {
        // A FIFO or a device takes the bytes as they come.
        write(archive, File::create(output).map_err(failed)?, format, select)?;
        return Ok(None);
    }
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let unfinished = output.with_file_name(name);
    let written = File::create(&unfinished).map_err(failed).and_then(|file| {
        write(archive, &file, format, select)?;
        file.sync_all().and_then(|()| fs::rename(&unfinished, output)).map_err(failed)?;
        Ok(Some(file.metadata().map_err(failed)?.len()))
    });
    if written.is_err() {
        // Half an export has a name that nobody takes for a whole one.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

fn write(archive: &Archive, out: impl Write + Send, format: Format, select: &Select) -> Result<(), Failure> {
    let out = BufWriter::with_capacity(256 << 10, out);
    let bar = progress::bar(archive.info().entries);
    let each = |take: &mut dyn FnMut(&Entry<'_>) -> Result<(), ArchiveError>| {
        let read = archive.read(select.range(), |entry| {
            bar.inc(1);
            if select.holds(entry) { take(entry) } else { Ok(()) }
        });
        bar.finish_and_clear();
        read
    };
    match format {
        Format::Json => array(out, each),
        Format::Jsonl => lines(out, each),
        Format::Msgpack => maps(out, each),
        Format::Csv => rows(out, each),
        #[cfg(feature = "parquet")]
        Format::Parquet => super::parquet::write(out, each),
    }
}

/// Takes one entry after the other.
pub(super) type Take<'t> = &'t mut dyn FnMut(&Entry<'_>) -> Result<(), ArchiveError>;

fn array(
    mut out: impl Write,
    each: impl FnOnce(Take<'_>) -> Result<(), ArchiveError>,
) -> Result<(), Failure> {
    let mut serializer = serde_json::Serializer::pretty(&mut out);
    let failed = |error: serde_json::Error| output_error(&error.into());
    let mut list = serializer.serialize_seq(None).map_err(failed)?;
    each(&mut |entry| list.serialize_element(&JsonEntry::stamped(entry)).map_err(failed))?;
    list.end().map_err(failed)?;
    Ok(out.flush().map_err(|error| output_error(&error))?)
}

pub(super) fn lines(
    mut out: impl Write,
    each: impl FnOnce(Take<'_>) -> Result<(), ArchiveError>,
) -> Result<(), Failure> {
    each(&mut |entry| {
        let written = serde_json::to_writer(&mut out, &JsonEntry::stamped(entry));
        written.map_err(|error| output_error(&error.into()))?;
        out.write_all(b"\n").map_err(|error| output_error(&error))
    })?;
    Ok(out.flush().map_err(|error| output_error(&error))?)
}

fn maps(mut out: impl Write, each: impl FnOnce(Take<'_>) -> Result<(), ArchiveError>) -> Result<(), Failure> {
    each(&mut |entry| {
        let Payload::Map(payload) = entry.payload else { return Ok(()) };
        let mut front = encode_fields([
            ("timestamp", Value::Unsigned(entry.timestamp)),
            ("context_id", Value::Text(entry.context.into())),
            ("event_type", Value::Text(entry.event_type.into())),
            ("payload", Value::Nil),
        ]);
        let mut fields = vec![("event_id", Value::Unsigned(entry.event_id))];
        fields.extend(known(entry).map(|(name, number)| (name, Value::Unsigned(number))));
        let back = encode_fields(fields);
        // One map of both. The payload goes as it stands in the archive into the place of the nil: as values, 16 MiB of it could take
        // a gigabyte.
        front[0] += back[0] & 0xf;
        front.pop();
        let written = [&front[..], payload, &back[1..]].into_iter().try_for_each(|part| out.write_all(part));
        written.map_err(|error| output_error(&error))
    })?;
    Ok(out.flush().map_err(|error| output_error(&error))?)
}

/// LSN and times, where they are known.
fn known(entry: &Entry<'_>) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    let stamp = entry.stamp;
    [("lsn", stamp.lsn.0), ("time_ms", stamp.time.0), ("commit_ms", stamp.commit.0)]
        .into_iter()
        .filter(|(_, number)| *number != 0)
}

fn rows(out: impl Write, each: impl FnOnce(Take<'_>) -> Result<(), ArchiveError>) -> Result<(), Failure> {
    let mut out = csv::Writer::from_writer(out);
    let failed = |error: csv::Error| output_error(&error.into());
    out.write_record(COLUMNS).map_err(failed)?;
    let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    each(&mut |entry| {
        let stamp = entry.stamp;
        let row = [
            &entry.timestamp.to_string(),
            entry.context,
            entry.event_type,
            &payload_text(entry)?,
            &entry.event_id.to_string(),
            &number(stamp.lsn.0),
            &number(stamp.time.0),
            &number(stamp.commit.0),
        ];
        out.write_record(row).map_err(failed)
    })?;
    out.flush().map_err(|error| output_error(&error)).map_err(Failure::from)
}

pub(super) fn payload_text(entry: &Entry<'_>) -> Result<String, ArchiveError> {
    let Payload::Map(payload) = entry.payload else { return Ok("{}".into()) };
    serde_json::to_string(&Json(payload)).map_err(|error| ArchiveError::Other(error.to_string()))
}

/// Of the formats that have columns.
const COLUMNS: [&str; 8] =
    ["timestamp", "context_id", "event_type", "payload", "event_id", "lsn", "time_ms", "commit_ms"];

/// For a reader that ends early.
impl Failure {
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(Exit::NotFound, text)
    }
}
