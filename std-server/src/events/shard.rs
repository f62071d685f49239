//! One shard: a log with its catalog and its archives, and where each of its LSNs is found.
//!
//! ```text
//!  LSN   1 ........ 400 | 401 ....... 900 | 901 .... 1300 | 1301 ..
//!        archive        | (no events: gone) | segment       | current segment
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use strandline::archive::{self, Archive, ArchiveError};
use strandline::{Log, SegmentInfo};

use super::catalog::{Catalog, Row};

/// A log, what its settled segments hold, and the archives of those that are gone.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) number: u16,
    pub(crate) log: Log,
    pub(crate) catalog: Catalog,
    /// The directory of its archives.
    pub(crate) archives: PathBuf,
    known: Mutex<BTreeMap<PathBuf, Known>>,
}

/// What is remembered of an archive, so that its end is read once.
#[derive(Clone, Copy, Debug)]
struct Known {
    log: u64,
    epoch: u32,
    first: u64,
    end: u64,
}

/// Where a run of LSNs is.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) log: u64,
    pub(crate) epoch: u32,
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// The archive; without one it is the segment.
    pub(crate) archive: Option<PathBuf>,
}

impl Shard {
    pub(crate) fn new(number: u16, log: Log, catalog: Catalog, archives: PathBuf) -> Self {
        Self { number, log, catalog, archives, known: Mutex::default() }
    }

    /// Everything that can be read, in order of LSNs; nothing that is not acknowledged.
    pub(crate) fn sources(&self) -> Result<Vec<Source>, String> {
        let acknowledged = self.log.acknowledged().0;
        let segments = self.log.segments();
        let mut sources: Vec<Source> =
            segments.iter().map(|segment| self.segment(segment, acknowledged)).collect();
        let listed: Vec<u64> = segments.iter().map(|segment| segment.log.0).collect();
        let archives = self.archives()?;
        // What a newer epoch has fenced off is void, wherever it stands and whether or not its first records are still there.
        let mut firsts = BTreeMap::new();
        for (epoch, first) in self.firsts(&segments, &archives) {
            let known: &mut u64 = firsts.entry(epoch).or_insert(first);
            *known = first.min(*known);
        }
        for (path, known) in archives {
            if !listed.contains(&known.log) {
                let Known { log, epoch, first, end } = known;
                sources.push(Source { log, epoch, first, end, archive: Some(path) });
            }
        }
        for source in &mut sources {
            let newer = firsts.range(source.epoch + 1..).map(|(_, first)| *first).min();
            source.end = newer.map_or(source.end, |fence| source.end.min(fence));
        }
        sources.retain(|source| source.first < source.end);
        sources.sort_by_key(|source| (source.first, source.log));
        match sources.array_windows().find(|[one, other]| other.first < one.end) {
            Some([one, other]) => Err(self.both_hold(one, other)),
            None => Ok(sources),
        }
    }

    /// Which of two sources is right can't be known: the log gives an LSN once in an epoch.
    fn both_hold(&self, one: &Source, other: &Source) -> String {
        let named = |source: &Source| match &source.archive {
            Some(path) => path.display().to_string(),
            None => format!("segment {}", source.log),
        };
        let last = one.end.min(other.end) - 1;
        format!(
            "{} and {} both hold LSN {} to {last}: one of them does not belong there",
            named(one),
            named(other),
            other.first
        )
    }

    fn segment(&self, segment: &SegmentInfo, acknowledged: u64) -> Source {
        let (log, epoch, first) = (segment.log.0, segment.epoch.0, segment.first.0);
        let end = self.end(segment).unwrap_or(acknowledged).min(acknowledged);
        Source { log, epoch, first, end, archive: None }
    }

    /// The first LSN behind a segment that is not the current one.
    pub(crate) fn end(&self, segment: &SegmentInfo) -> Option<u64> {
        let row = self.catalog.row(segment.log.0).filter(|row| row.first == segment.first.0);
        row.map(|row| row.end).or(segment.next.map(|next| next.0))
    }

    /// The archives of this log, by log id.
    fn archives(&self) -> Result<Vec<(PathBuf, Known)>, String> {
        let listed = match archive::list(&self.archives) {
            Err(ArchiveError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                Vec::new()
            }
            listed => listed.map_err(|error| error.to_string())?,
        };
        let mut known = self.known.lock();
        known.retain(|path, _| listed.iter().any(|(_, there)| there == path));
        let mut found = Vec::new();
        for (_, path) in listed {
            if !known.contains_key(&path)
                && let Some(archive) = self.look(&path)?
            {
                known.insert(path.clone(), archive);
            }
            found.extend(known.get(&path).map(|known| (path, *known)));
        }
        Ok(found)
    }

    /// Reads an archive's end; `None` if it is of another log.
    fn look(&self, path: &Path) -> Result<Option<Known>, String> {
        let archive = Archive::open(path).map_err(|error| error.to_string())?;
        let info = archive.info();
        let identity = self.log.identity();
        let ours = info
            .extended
            .as_ref()
            .filter(|extended| extended.store == identity.store && extended.timeline == identity.timeline);
        let Some(extended) = ours else { return Ok(None) };
        info.in_place().map_err(|error| error.to_string())?;
        if info.shard != u64::from(self.number) {
            let path = path.display();
            return Err(format!("{path} is of shard {}, not of shard {}", info.shard, self.number));
        }
        if extended.epoch > identity.epoch {
            let path = path.display();
            return Err(format!("{path} is of epoch {}, which has not begun", extended.epoch));
        }
        let (first, last) = (extended.lsns.0.0, extended.lsns.1);
        let end = if info.entries == 0 { first } else { last.next().0 };
        Ok(Some(Known { log: info.log.0, epoch: extended.epoch.0, first, end }))
    }

    /// The first LSN of each epoch that is known: of segments, archives and what is gone.
    pub(crate) fn epochs(&self) -> Result<Vec<(u32, u64)>, String> {
        Ok(self.firsts(&self.log.segments(), &self.archives()?).collect())
    }

    fn firsts(
        &self,
        segments: &[SegmentInfo],
        archives: &[(PathBuf, Known)],
    ) -> impl Iterator<Item = (u32, u64)> {
        let segments = segments.iter().map(|segment| (segment.epoch.0, segment.first.0));
        let archives = archives.iter().map(|(_, known)| (known.epoch, known.first));
        segments.chain(archives).chain(self.catalog.rows().into_iter().map(|row| (row.epoch, row.first)))
    }

    /// The part of these LSNs of which it is not known that no event was there.
    pub(crate) fn missing(&self, from: u64, to: u64) -> Option<(u64, u64)> {
        let mut rows: Vec<Row> = self.catalog.rows();
        rows.retain(|row| row.events == 0);
        rows.sort_by_key(|row| row.first);
        let mut from = from;
        for row in rows {
            if row.first <= from && row.end > from {
                from = row.end;
            }
        }
        (from < to).then_some((from, to))
    }

    /// What the catalog says of a source.
    pub(crate) fn row(&self, source: &Source) -> Option<Row> {
        self.catalog.row(source.log).filter(|row| row.first == source.first && row.end == source.end)
    }

    /// The newest epoch.
    pub(crate) fn epoch(&self) -> u32 {
        self.log.identity().epoch.0
    }
}
