//! `convert`: archives of SnelDB, or of other settings, once more as ours.
//!
//! What a header says stays, so do LSNs and times where they are known; an archive of SnelDB gets LSNs that go on from one to the
//! next. The digest of the old file is the source of the new one.

use std::fs;
use std::path::{Path, PathBuf};

use strandline::archive::{self, Chain, Digest, Entry, Header, Range, Stamp, list};
use strandline::{Lsn, Millis};

use super::places::Places;
use super::take::WRITER;
use super::words::{file_bytes, name, opened, size};
use super::{Exit, Failure, Writing};

pub(super) fn run(places: &Places, from: &Path, to: &Path, how: &Writing) -> Result<Exit, Failure> {
    let found = fs::metadata(from).map_err(|error| Failure::io(&from.display().to_string(), &error))?;
    let archives: Vec<PathBuf> = match found.is_dir() {
        true => list(from)?.into_iter().map(|(_, path)| path).collect(),
        false => vec![from.into()],
    };
    fs::create_dir_all(to).map_err(|error| Failure::io(&to.display().to_string(), &error))?;
    for path in &archives {
        let written = convert(path, to, how.settings(places))?;
        let sizes = (size(file_bytes(path)?), size(file_bytes(&written)?));
        println!("{} ({}) -> {} ({})", name(path), sizes.0, written.display(), sizes.1);
    }
    println!("{} archives converted", archives.len());
    Ok(Exit::Done)
}

fn convert(path: &Path, to: &Path, writing: archive::Writing) -> Result<PathBuf, Failure> {
    let archive = opened(path)?;
    let info = archive.info();
    let chain = Chain::before(to, info.log)?;
    let last =
        chain.newest().and_then(|newest| newest.extended.as_ref()).map_or(Lsn(0), |theirs| theirs.lsns.1);
    let source = Digest::of_file(path)?;
    let shard = u32::try_from(info.shard);
    let shard = shard.map_err(|_| Failure::new(Exit::Error, format!("there is no shard {}", info.shard)))?;
    let mut header = Header {
        shard,
        log: info.log,
        created: info.created,
        source: &source.0,
        previous: chain.previous(),
        writer: WRITER,
        ..Header::EMPTY
    };
    if let Some(theirs) = &info.extended {
        (header.store, header.timeline, header.epoch) = (theirs.store, theirs.timeline, theirs.epoch);
    }
    let stamped = info.extended.is_some();
    Ok(archive::write(to, &header, writing, |take| {
        let mut lsn = last;
        archive.read(Range::ALL, |entry| {
            lsn = lsn.next();
            let time = Millis(entry.timestamp.saturating_mul(1000));
            let stamp = if stamped { entry.stamp } else { Stamp { lsn, time, commit: Millis(0) } };
            take(&Entry { stamp, ..*entry })
        })
    })?)
}
