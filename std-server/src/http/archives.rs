//! Archives: which there are, what they say, whether they are intact, and their bytes.
//!
//! ```text
//!  GET /archives                             all of them, from the ends of the files; what is damaged is named
//!      /archives/{shard}/{log}               one
//!      /archives/{shard}/{log}/verify        read in full
//!      /archives/{shard}/{log}/download      the file; ranges, HEAD, If-Modified-Since
//! ```
//!
//! A request names numbers, never a path. Files are read off the threads that serve.

use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use strandline::archive::{Archive, ArchiveError, ArchiveInfo, Digest, Level, Recovery, list};
use tokio::task::spawn_blocking;
use tower_http::services::ServeFile;
use utoipa::ToSchema;

use super::Server;
use super::openapi::Problems;
use super::problem::{Json, Kind, Problem};
use crate::engine::DurableEngine;

/// All archives.
#[derive(Serialize, ToSchema)]
pub(super) struct Archives {
    /// By shard and log.
    archives: Vec<ArchiveItem>,
    /// Files with the name of an archive that can't be read as the one that they should be.
    damaged: Vec<DamagedArchive>,
}

/// What an archive says of itself.
#[derive(Serialize, ToSchema)]
pub(super) struct ArchiveItem {
    shard: u64,
    log: u64,
    file: String,
    size_bytes: u64,
    entries: u64,
    /// Smallest and largest timestamp, seconds.
    start_timestamp: u64,
    end_timestamp: u64,
    created_ms: u64,
    level: i64,
    /// What archives of SnelDB don't say.
    #[serde(skip_serializing_if = "Option::is_none")]
    extended: Option<ExtendedItem>,
}

/// What only our archives say.
#[derive(Serialize, ToSchema)]
pub(super) struct ExtendedItem {
    /// Hexadecimal.
    store: String,
    timeline: u32,
    epoch: u32,
    first_lsn: u64,
    last_lsn: u64,
    earliest_ms: u64,
    latest_ms: u64,
    blocks: u64,
    /// SHA-256 of the archive before this one, hexadecimal; empty if there is none.
    previous: String,
}

/// A file that is not what its name says.
#[derive(Serialize, ToSchema)]
pub(super) struct DamagedArchive {
    shard: u64,
    file: String,
    error: String,
}

/// What came out of a verification.
#[derive(Serialize, ToSchema)]
pub(super) struct Verified {
    intact: bool,
    file: String,
    /// What is damaged; only if it is not intact.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// SHA-256 of the file, hexadecimal, as the next archive names it.
    sha256: String,
}

/// All archives, by shard and log.
#[utoipa::path(get, path = "/archives", tag = "operation", responses((status = 200, body = Archives), Problems))]
pub(super) async fn list_archives(State(engine): Server) -> Result<Json<Archives>, Problem> {
    let directory = directory(&engine);
    blocking(move || {
        let mut all = Archives { archives: Vec::new(), damaged: Vec::new() };
        for shard in shards(&directory)? {
            let found = Recovery::new(shard, shard_directory(&directory, shard)).survey()?;
            all.archives.extend(found.archives.iter().map(described));
            let damaged = found.damaged.iter();
            all.damaged.extend(damaged.map(|(path, error)| DamagedArchive {
                shard,
                file: name(path),
                error: error.to_string(),
            }));
        }
        Ok(Json::ok(all))
    })
    .await
}

/// What one archive says of itself.
#[utoipa::path(get, path = "/archives/{shard}/{log}", tag = "operation",
    params(("shard" = u32, Path), ("log" = u64, Path)), responses((status = 200, body = ArchiveItem), Problems))]
pub(super) async fn archive(State(engine): Server, place: Place) -> Result<Json<ArchiveItem>, Problem> {
    let path = find(&engine, place).await?;
    blocking(move || Ok(Json::ok(described(Archive::open(&path)?.info())))).await
}

/// Reads an archive in full and says whether it is intact.
#[utoipa::path(get, path = "/archives/{shard}/{log}/verify", tag = "operation",
    params(("shard" = u32, Path), ("log" = u64, Path)), responses((status = 200, body = Verified), Problems))]
pub(super) async fn verify(State(engine): Server, place: Place) -> Result<Json<Verified>, Problem> {
    let path = find(&engine, place).await?;
    blocking(move || {
        let error = match Archive::open(&path).and_then(|archive| archive.verify(Level::Full)) {
            Ok(()) => None,
            Err(error @ ArchiveError::Io { .. }) => return Err(error.into()),
            Err(error) => Some(error.to_string()),
        };
        let sha256 = Digest::of_file(&path)?.to_string();
        Ok(Json::ok(Verified { intact: error.is_none(), file: name(&path), error, sha256 }))
    })
    .await
}

/// The file of an archive, or ranges of it.
#[utoipa::path(get, path = "/archives/{shard}/{log}/download", tag = "operation",
    params(("shard" = u32, Path), ("log" = u64, Path)),
    responses((status = 200, description = "The file", content_type = "application/zstd", body = Vec<u8>),
        (status = 206, description = "The range that was asked for", content_type = "application/zstd", body = Vec<u8>),
        (status = 304, description = "It has not changed"),
        (status = 412, description = "It has changed"),
        (status = 416, description = "The file has no such range"), Problems))]
pub(super) async fn download(
    State(engine): Server,
    place: Place,
    request: Request,
) -> Result<Response, Problem> {
    let path = find(&engine, place).await?;
    let kind = "application/zstd".parse().map_err(|_| Kind::Internal.says("no media type"))?;
    let served = ServeFile::new_with_mime(path, &kind).try_call(request).await;
    let served = served.map_err(|error| Kind::Internal.says(error.to_string()))?;
    Ok(served.map(Body::new).into_response())
}

/// Shard and log of an address.
type Place = Result<Path<(u32, u64)>, PathRejection>;

/// The file of an archive that a request names.
async fn find(engine: &DurableEngine, place: Place) -> Result<PathBuf, Problem> {
    let Path((shard, log)) = place?;
    let directory = shard_directory(&directory(engine), shard.into());
    blocking(move || {
        let found = match list(&directory) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        let mut found = found.into_iter().filter(|(name, _)| name.log.0 == log);
        let missing = || Kind::NotFound.says(format!("shard {shard} has no archive of log {log}"));
        found.next().map(|(_, path)| path).ok_or_else(missing)
    })
    .await
}

/// Where the directories of the shards are.
fn directory(engine: &DurableEngine) -> PathBuf {
    let shard = &engine.facts().config.wal.archive_dir;
    shard.parent().unwrap_or(shard).into()
}

fn shard_directory(directory: &FilePath, shard: u64) -> PathBuf {
    directory.join(format!("shard-{shard}"))
}

/// The shards that have a directory, in order.
fn shards(directory: &FilePath) -> Result<Vec<u64>, Problem> {
    let failed = |error: io::Error| Kind::Internal.says(format!("{}: {error}", directory.display()));
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut shards = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        shards.extend(name.to_str().and_then(|name| name.strip_prefix("shard-")?.parse::<u64>().ok()));
    }
    shards.sort_unstable();
    Ok(shards)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let done = spawn_blocking(work).await;
    done.map_err(|panic| Kind::Internal.says(panic.to_string()))?
}

impl From<ArchiveError> for Problem {
    fn from(error: ArchiveError) -> Self {
        Kind::Internal.says(error.to_string())
    }
}

fn described(info: &ArchiveInfo) -> ArchiveItem {
    ArchiveItem {
        shard: info.shard,
        log: info.log.0,
        file: name(&info.path),
        size_bytes: info.bytes,
        entries: info.entries,
        start_timestamp: info.timestamps.0,
        end_timestamp: info.timestamps.1,
        created_ms: info.created.0,
        level: info.level,
        extended: info.extended.as_ref().map(|extended| ExtendedItem {
            store: hex(&extended.store.0),
            timeline: extended.timeline.0,
            epoch: extended.epoch.0,
            first_lsn: extended.lsns.0.0,
            last_lsn: extended.lsns.1.0,
            earliest_ms: extended.times.0.0,
            latest_ms: extended.times.1.0,
            blocks: extended.blocks as u64,
            previous: hex(&extended.previous),
        }),
    }
}

fn name(path: &FilePath) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
