//! Looks at the manifest beside a running server: nothing is locked, nothing is written.

use std::fs;

use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::{MANIFEST_EXTENTS, MANIFEST_STEP, Manifest, SlotFound, look};
use strandline_core::retention::Rules;
use strandline_core::types::{LogId, Lsn, StoreId, Timeline};

use crate::check::HardwareCheck;
use crate::dir::Places;
use crate::error::OpenError;
use crate::memory::{Owned, memory};

/// What a manifest says, a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peek {
    /// Whose it is.
    pub store: StoreId,
    /// Its line of history.
    pub timeline: Timeline,
    /// The base of the second newest snapshot; 0 with fewer than two. It only rises.
    pub floor: Lsn,
    /// The listed segments, oldest first.
    pub segments: Vec<LogId>,
    /// The highest log id of a segment that was archived.
    pub archived: LogId,
}

/// Reads the newest revisions of the manifest; `None` if there is none. While a server runs it may be a moment old, which only makes
/// the floor lower.
///
/// # Errors
/// A file can't be read, or a newer version wrote it.
pub fn peek(places: &Places) -> Result<Option<Peek>, OpenError> {
    let mut newest: Vec<(u64, Peek)> = Vec::new();
    for extent in 0..MANIFEST_EXTENTS {
        let path = places.log.join(Name::Manifest(extent).name(&places.prefix).to_string());
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(OpenError::Refused(format!("{}: {error}", path.display()))),
        };
        let lent = memory(Geometry::HOST, 0);
        let mut manifest = Manifest::<Owned>::new(lent.segments, lent.free, lent.snapshots);
        let mut offset = 0;
        while let Some(window) = bytes.get(offset as usize..).filter(|window| !window.is_empty()) {
            let SlotFound::Frame { body, bytes, .. } = look::<HardwareCheck>(window, offset, Geometry::HOST)
            else {
                offset += MANIFEST_STEP;
                continue;
            };
            offset += u32::try_from(bytes).unwrap_or(0).next_multiple_of(MANIFEST_STEP);
            if manifest.decode(body).is_err() {
                return Err(OpenError::Refused(format!(
                    "{} was written by a newer version: use that version",
                    path.display()
                )));
            }
            newest.push((manifest.head.revision.0, described(&manifest)));
        }
    }
    newest.sort_by_key(|(revision, _)| *revision);
    // The newest one may not be durable yet: a crash could take it back, and with it a snapshot.
    let floor = newest.iter().rev().take(2).map(|(_, peek)| peek.floor).min();
    Ok(newest.pop().map(|(_, peek)| Peek { floor: floor.unwrap_or(peek.floor), ..peek }))
}

fn described(manifest: &Manifest<Owned>) -> Peek {
    Peek {
        store: manifest.store,
        timeline: manifest.head.timeline,
        floor: Rules::floor_of(manifest.snapshots.as_slice()),
        segments: manifest.segments.as_slice().iter().map(|segment| segment.log).collect(),
        archived: manifest.head.archived,
    }
}
