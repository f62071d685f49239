//! Manifests that a repair writes: the newest one without what is given up, or one made of nothing but headers.
//!
//! ```text
//!  edited     the newest revision, less segments and snapshots, plus losses      goes to the extent that holds neither the newest
//!                                                                                nor the proven revision
//!  rebuilt    every segment and snapshot of this store that has an intact header  goes to extent 0; all three are kept aside first
//! ```
//!
//! The file is written under a temporary name and renamed: at every moment the old revision or the new one is the newest.
//!
//! A header says which segment it is, whose, in which epoch, and with which record it begins. What the manifest alone knew is gone:
//! which segments were listed and not begun yet (nothing was in them), losses, and how far archiving was (archives are compared
//! again).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use strandline_core::codec::extent::{ExtentHeader, HEADER_WINDOW, HeaderParsed, HeaderRole};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::{
    Head, Loss, MANIFEST_EXTENTS, MANIFEST_STEP, Manifest, Segment, SegmentState, SlotFound, head, look,
};
use strandline_core::types::{Epoch, LogId, Lsn, Revision, Settled, StoreId};

use super::{Examiner, Step};
use crate::check::HardwareCheck;
use crate::dir::{Dir, Found, StepError};
use crate::memory::{Owned, memory};
use crate::snapshot::describe;

/// Numbers that are skipped: segments may have been listed that no header knows.
const UNKNOWN_NUMBERS: u64 = 1000;

/// An intact frame in a manifest file.
#[derive(Clone, Copy, Debug)]
struct Place {
    extent: u32,
    store: StoreId,
    revision: Revision,
}

/// Every intact frame of the manifest files.
fn places(dir: &Dir) -> Result<Vec<Place>, StepError> {
    let geometry = dir.geometry();
    let mut found = Vec::new();
    for extent in 0..MANIFEST_EXTENTS {
        let mut bytes = vec![0; geometry.manifest_bytes as usize];
        let read = dir.read(Name::Manifest(extent), 0, &mut bytes)?;
        bytes.truncate(read);
        let mut offset = 0;
        while let Some(window) = bytes.get(offset as usize..).filter(|window| !window.is_empty()) {
            let mut step = MANIFEST_STEP;
            if let SlotFound::Frame { store, body, bytes } = look::<HardwareCheck>(window, offset, geometry) {
                step = u32::try_from(bytes).unwrap_or(0).next_multiple_of(MANIFEST_STEP);
                if let Ok(Head { revision, .. }) = head(body) {
                    found.push(Place { extent, store, revision });
                }
            }
            offset += step;
        }
    }
    Ok(found)
}

/// What the files of segments and snapshots say of themselves.
struct Headers {
    found: Vec<(Name, ExtentHeader)>,
    /// Segments that say nothing and are not blank.
    headless: Vec<PathBuf>,
}

fn headers(dir: &Dir) -> Result<Headers, StepError> {
    let mut headers = Headers { found: Vec::new(), headless: Vec::new() };
    for found in dir.list()? {
        let Found::Ours(name @ (Name::Segment(_) | Name::Snapshot(_))) = found else { continue };
        let mut window = vec![0; HEADER_WINDOW];
        let read = dir.read(name, 0, &mut window)?;
        match ExtentHeader::decode::<HardwareCheck>(&window[..read]) {
            HeaderParsed::Header(header) => headers.found.push((name, header)),
            _ if matches!(name, Name::Segment(_)) && window.iter().any(|byte| *byte != 0) => {
                headers.headless.push(dir.path(name));
            }
            _ => {}
        }
    }
    Ok(headers)
}

impl Headers {
    /// The store that most of them are of.
    fn store(&self) -> Option<StoreId> {
        let mut counts: BTreeMap<[u8; 16], usize> = BTreeMap::new();
        for (_, header) in &self.found {
            *counts.entry(header.store.0).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(store, _)| StoreId(store))
    }
}

impl Examiner<'_> {
    /// Puts manifest files aside that are of another store than the segments; whether there are both.
    pub(super) fn put_foreign_manifests_aside(&mut self) -> bool {
        let (Ok(headers), Ok(places)) = (headers(&self.dir), places(&self.dir)) else { return false };
        let Some(store) = headers.store() else { return false };
        let of = |own: bool| {
            places.iter().filter(move |place| (place.store == store) == own).map(|place| place.extent)
        };
        let mut foreign: Vec<u32> = of(false).filter(|extent| of(true).all(|own| own != *extent)).collect();
        foreign.dedup();
        for extent in &foreign {
            let path = self.dir.path(Name::Manifest(*extent));
            self.put_aside(path, "it is of another store than the segments".to_owned());
        }
        !foreign.is_empty()
    }

    /// Makes the manifest again from headers, as a step that is pretended; `old` is what could be read of one.
    pub(super) fn rebuild(&mut self, old: &Manifest<Owned>, why: String) -> bool {
        let Ok(headers) = headers(&self.dir) else { return false };
        let store = if old.head.revision.0 > 0 { Some(old.store) } else { headers.store() };
        let Some(store) = store else { return false };
        let ours: Vec<_> = headers.found.iter().filter(|(_, header)| header.store == store).collect();
        let segments = segments_of(&ours);
        let listed: Vec<u32> = segments.iter().map(|segment| segment.extent).collect();
        // A snapshot's header has sizes of its own.
        let begun = ours.iter().map(|(_, header)| header).filter(|header| header.role == HeaderRole::Wal);
        let Some(newest) = begun.max_by_key(|header| header.epoch) else { return false };
        let lent = memory(self.dir.geometry(), 0);
        let mut manifest = Manifest::<Owned>::new(lent.segments, lent.free, lent.snapshots);
        manifest.reset(store);
        let named = ours.iter().map(|(_, header)| header.revision).max().max(self.named).unwrap_or_default();
        let last = segments.last().map_or(LogId(0), |segment| segment.log).0.max(old.head.next_log.0);
        manifest.head = Head {
            revision: Self::next_revision(named, old),
            proven: Revision(0),
            proven_extent: 0,
            epoch: newest.epoch.max(old.head.epoch),
            next_log: LogId(last.saturating_add(UNKNOWN_NUMBERS)),
            settled: Settled::default(),
            time: ours.iter().map(|(_, header)| header.time).max().unwrap_or_default().max(old.head.time),
            geometry: newest.geometry,
            ..old.head
        };
        manifest.losses.clone_from(&old.losses);
        let mut snapshots = Vec::new();
        for (name, header) in &ours {
            if let (Name::Snapshot(number), HeaderRole::Snapshot) = (name, header.role)
                && let Ok(snapshot) = describe(&self.dir, *number, header)
            {
                snapshots.push(snapshot);
            }
        }
        snapshots.sort_by_key(|snapshot| (snapshot.base, snapshot.number));
        let (count, kept) = (segments.len(), snapshots.len());
        let fits = segments.into_iter().all(|segment| manifest.segments.push(segment).is_ok())
            && snapshots.into_iter().all(|snapshot| manifest.snapshots.push(snapshot).is_ok());
        let Some(bytes) = encoded(&manifest, self.dir.geometry()).filter(|_| fits) else { return false };
        let again = self.dir.pretence_mut().instead.insert(Name::Manifest(0), bytes).is_some();
        if again {
            return true;
        }
        for path in headers.headless {
            self.put_aside(path, "a segment without an intact header, which no manifest lists".to_owned());
        }
        for (name, header) in &headers.found {
            let unlisted = matches!(name, Name::Segment(number) if !listed.contains(number));
            if unlisted && header.store == store {
                let path = self.dir.path(*name);
                self.put_aside(path, "a newer epoch has made all of it void".to_owned());
            }
        }
        self.found.steps.push(Step::RebuildManifest { why, segments: count, snapshots: kept });
        true
    }

    /// The manifest after all steps but the discard: where it goes, and its bytes.
    ///
    /// `also` are LSNs that are lost beside the log.
    pub(super) fn edited(&mut self, also: &[(Lsn, Lsn)]) -> Option<(u32, Vec<u8>)> {
        let given_up = self.found.steps.iter().filter_map(|step| match step {
            Step::GiveUp(damage) if !damage.is_elsewhere => Some(damage.lost.as_slice()),
            _ => None,
        });
        let losses = merged(given_up.chain([also]));
        let time = crate::driver::system_time();
        let manifest = self.manifest.as_mut()?;
        let epoch = manifest.head.epoch.next();
        for (from, until) in losses {
            // A repair that was interrupted has recorded it already.
            let known = |loss: &Loss| loss.from <= from && until <= loss.until;
            if !manifest.losses.iter().any(known) {
                manifest.lose(Loss { from, until, epoch, time });
            }
        }
        let places = places(&self.dir).ok()?;
        let newest = places.iter().max_by_key(|place| place.revision)?;
        let extent = (0..MANIFEST_EXTENTS)
            .find(|extent| *extent != newest.extent && *extent != manifest.head.proven_extent)?;
        manifest.head.revision = Self::next_revision(newest.revision, manifest);
        Some((extent, encoded(manifest, self.dir.geometry())?))
    }
}

/// The segments of a store, as their headers name them, without those that a newer epoch has made void as a whole.
fn segments_of(headers: &[&(Name, ExtentHeader)]) -> Vec<Segment> {
    let mut by_log: BTreeMap<LogId, Segment> = BTreeMap::new();
    for (name, header) in headers {
        let (Name::Segment(extent), HeaderRole::Wal) = (name, header.role) else { continue };
        let (write_unit, batch_align, extent_bytes) = header.geometry;
        let geometry = Geometry { write_unit, batch_align, extent_bytes, ..Geometry::HOST };
        let segment = Segment {
            log: header.log,
            extent: *extent,
            epoch: header.epoch,
            fence: header.fence,
            geometry,
            state: SegmentState::Headed,
            ..Segment::default()
        };
        by_log.insert(header.log, segment);
    }
    let fences: Vec<(Epoch, Lsn)> = by_log.values().map(|segment| (segment.epoch, segment.fence)).collect();
    let void = |segment: &Segment| {
        fences.iter().any(|(epoch, fence)| *epoch > segment.epoch && *fence <= segment.fence)
    };
    by_log.into_values().filter(|segment| !void(segment)).collect()
}

/// A manifest file that begins with this revision.
fn encoded(manifest: &Manifest<Owned>, geometry: Geometry) -> Option<Vec<u8>> {
    let mut bytes = vec![0; geometry.manifest_bytes as usize];
    let len = manifest.encode::<HardwareCheck>(0, geometry, &mut bytes)?;
    bytes[len..].fill(0);
    Some(bytes)
}

/// Runs that follow each other or overlap, as one.
pub(super) fn merged<'r>(runs: impl Iterator<Item = &'r [(Lsn, Lsn)]>) -> Vec<(Lsn, Lsn)> {
    let mut all: Vec<(Lsn, Lsn)> = runs.flatten().copied().collect();
    all.sort_unstable();
    let mut merged: Vec<(Lsn, Lsn)> = Vec::new();
    for (from, until) in all {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    merged
}

/// Puts a manifest file in its place, durably.
pub(super) fn publish(dir: &Dir, extent: u32, bytes: &[u8]) -> std::io::Result<()> {
    let path = dir.path(Name::Manifest(extent));
    fs::rename(write_unfinished(&path, bytes)?, &path)?;
    File::open(&dir.places().log)?.sync_all()
}

/// Writes and syncs a file under a temporary name beside `path`, and returns that name.
pub(super) fn write_unfinished(path: &Path, bytes: &[u8]) -> std::io::Result<PathBuf> {
    let unfinished = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(unfinished)
}
