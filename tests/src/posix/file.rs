//! The content of one file: the cache, the disk, and the pending versions of its sectors and sizes.

use std::rc::Rc;

use strandline_core::lower::posix::File;

use super::crash::{Crash, Fate, Unwritten, What};
use super::{Bias, Moment, Profile};
use crate::chance::Chance;

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What reads see; its length is the size.
    cache: Rc<Vec<u8>>,
    /// What the last sync left; its length is the durable size.
    disk: Rc<Vec<u8>>,
    /// Versions of sectors since then, oldest first.
    versions: Vec<Version>,
    /// Sizes since then, oldest first.
    sizes: Vec<(Moment, usize)>,
}

#[derive(Clone, Debug)]
struct Version {
    written: Moment,
    sector: usize,
    bytes: Rc<[u8]>,
    /// A failed sync has taken it off the list of what a sync would write.
    clean: bool,
}

impl Inode {
    pub(super) fn decided(content: Vec<u8>) -> Self {
        let content = Rc::new(content);
        Self { cache: Rc::clone(&content), disk: content, versions: Vec::new(), sizes: Vec::new() }
    }

    pub(super) fn cached(&self) -> &[u8] {
        &self.cache
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.versions.is_empty() || !self.sizes.is_empty()
    }

    /// Whether a failed sync left sectors of which nobody knows what the disk holds.
    pub(super) fn is_undecided(&self) -> bool {
        self.versions.iter().any(|version| version.clean)
    }

    pub(super) fn write(&mut self, sector: usize, offset: usize, bytes: &[u8], now: Moment) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        let cache = Rc::make_mut(&mut self.cache);
        if end > cache.len() {
            cache.resize(end, 0);
            self.sizes.push((now, end));
        }
        cache[offset..end].copy_from_slice(bytes);
        for number in offset / sector..end.div_ceil(sector) {
            self.push_version(number, sector, now);
        }
    }

    pub(super) fn truncate(&mut self, sector: usize, now: Moment) {
        let sectors = self.cache.len().div_ceil(sector);
        self.cache = Rc::default();
        self.sizes.push((now, 0));
        for number in 0..sectors {
            self.push_version(number, sector, now);
        }
    }

    fn push_version(&mut self, number: usize, sector: usize, now: Moment) {
        let bytes = padded(&self.cache, number, sector);
        self.versions.push(Version { written: now, sector: number, bytes: bytes.into(), clean: false });
    }

    /// What was written before `begun` becomes durable, except sectors that nobody has written since a failed sync.
    pub(super) fn sync(&mut self, begun: Moment) {
        let later = |written: Moment| written > begun;
        if !self.is_undecided() && !self.last_written().is_some_and(later) {
            self.versions.clear();
            self.sizes.clear();
            self.disk = Rc::clone(&self.cache);
            return;
        }
        let disk = Rc::make_mut(&mut self.disk);
        if let Some((_, size)) = self.sizes.iter().rev().find(|(written, _)| !later(*written)) {
            disk.resize(*size, 0);
        }
        self.sizes.retain(|(written, _)| later(*written));
        let covered = self.versions.iter().filter(|version| !later(version.written));
        let dirty: Vec<usize> =
            covered.filter(|version| !version.clean).map(|version| version.sector).collect();
        let settles = |version: &Version| !later(version.written) && dirty.contains(&version.sector);
        for version in self.versions.iter().filter(|version| settles(version)) {
            place(disk, version.sector, &version.bytes);
        }
        self.versions.retain(|version| !settles(version));
    }

    pub(super) fn fail_sync(&mut self, begun: Moment) {
        for version in self.versions.iter_mut().filter(|version| version.written <= begun) {
            version.clean = true;
        }
    }

    fn last_written(&self) -> Option<Moment> {
        let version = self.versions.last().map(|version| version.written);
        version.max(self.sizes.last().map(|(written, _)| *written))
    }

    /// Drops clean-looking pages from the cache: reads show what the disk has.
    pub(super) fn evict(&mut self, crash: &mut Crash<'_>) {
        let dirty: Vec<usize> =
            self.versions.iter().filter(|version| !version.clean).map(|version| version.sector).collect();
        for number in self.sectors().into_iter().filter(|number| !dirty.contains(number)) {
            let bytes = self.outcome(number, Bias::Mixed(50), None, crash);
            place(Rc::make_mut(&mut self.cache).as_mut_slice(), number, &bytes);
            place(Rc::make_mut(&mut self.disk).as_mut_slice(), number, &bytes);
        }
        self.versions.retain(|version| dirty.contains(&version.sector));
    }

    /// One outcome of a power loss.
    pub(super) fn crash(&self, bias: Bias, file: Option<File>, crash: &mut Crash<'_>) -> Self {
        let size = self.crashed_size(bias, file, crash);
        let mut content = self.disk.to_vec();
        content.resize(size, 0);
        for number in self.sectors() {
            let bytes = self.outcome(number, bias, file, crash);
            place(&mut content, number, &bytes);
        }
        Self::decided(content)
    }

    /// In how many ways the size and each sector can come out of a power loss; a sector only if it makes a difference.
    pub(super) fn pending(&self, sector: usize) -> Vec<usize> {
        let size = (!self.sizes.is_empty()).then_some(self.sizes.len() + 1);
        let sectors = self.differing(sector).map(|(_, versions)| versions.len() + 1);
        size.into_iter().chain(sectors).collect()
    }

    /// The outcome in which the size and each such sector come out in these ways.
    pub(super) fn crash_as(
        &self,
        sector: usize,
        ways: &[usize],
        file: Option<File>,
        fates: &mut Vec<Fate>,
    ) -> Self {
        let mut ways = ways.iter().copied();
        let mut content = self.disk.to_vec();
        if !self.sizes.is_empty() {
            let way = ways.next().unwrap_or(0);
            let left = way.checked_sub(1).map_or(self.disk.len(), |way| self.sizes[way].1);
            content.resize(left, 0);
            fates.push(Fate { draw: 0, what: What::Size { file, left, newest: self.cache.len() } });
        }
        for ((number, versions), kept) in self.differing(sector).zip(ways) {
            let synced = || padded(&self.disk, number, sector);
            let bytes = kept.checked_sub(1).map_or_else(synced, |way| versions[way].to_vec());
            place(&mut content, number, &bytes);
            let unwritten = (kept == 0 && number * sector >= self.disk.len()).then_some(Unwritten::Zeros);
            let of = versions.len();
            let what = What::Sector { file, number, kept, of, torn: false, unwritten };
            fates.push(Fate { draw: 0, what });
        }
        Self::decided(content)
    }

    /// Sectors with pending versions that differ from what was synced, and their versions.
    fn differing(&self, sector: usize) -> impl Iterator<Item = (usize, Vec<&[u8]>)> {
        self.sectors().into_iter().filter_map(move |number| {
            let of = self.versions.iter().filter(|version| version.sector == number);
            let versions: Vec<&[u8]> = of.map(|version| &*version.bytes).collect();
            let synced = padded(&self.disk, number, sector);
            versions.iter().any(|version| **version != synced[..]).then_some((number, versions))
        })
    }

    fn crashed_size(&self, bias: Bias, file: Option<File>, crash: &mut Crash<'_>) -> usize {
        if self.sizes.is_empty() {
            return self.disk.len();
        }
        let (draw, mended) = crash.draw();
        let (newest, drawn) = (self.cache.len(), self.drawn_size(bias, crash));
        let left = if mended { newest } else { drawn };
        crash.fates.push(Fate { draw, what: What::Size { file, left, newest } });
        left
    }

    fn drawn_size(&self, bias: Bias, crash: &mut Crash<'_>) -> usize {
        let newest = self.cache.len();
        match bias {
            Bias::Lost => self.disk.len(),
            Bias::Kept => newest,
            Bias::Mixed(percent) if crash.chance.percent(percent) => newest,
            Bias::Mixed(_) => {
                let before = [self.disk.len()].into_iter().chain(self.sizes.iter().map(|(_, size)| *size));
                let candidates: Vec<usize> = before.collect();
                let at = crash.chance.below(candidates.len() - 1);
                let (from, to) = (candidates[at], candidates[at + 1]);
                // A large write grows the file a few sectors at a time.
                if to > from && crash.chance.one_in(2) {
                    from + crash.chance.below(to - from) / crash.profile.sector * crash.profile.sector
                } else {
                    from
                }
            }
        }
    }

    /// What one sector holds after a crash.
    fn outcome(&self, number: usize, bias: Bias, file: Option<File>, crash: &mut Crash<'_>) -> Vec<u8> {
        let versions: Vec<&[u8]> = self
            .versions
            .iter()
            .filter(|version| version.sector == number)
            .map(|version| &*version.bytes)
            .collect();
        let (draw, mended) = crash.draw();
        let of = versions.len();
        let mut kept = match bias {
            Bias::Lost => 0,
            Bias::Kept => of,
            Bias::Mixed(percent) if crash.chance.percent(percent) => of,
            Bias::Mixed(_) => crash.chance.below(of + 1),
        };
        let sector = crash.profile.sector;
        let version = |kept: usize| {
            if kept == 0 { padded(&self.disk, number, sector) } else { versions[kept - 1].to_vec() }
        };
        let mut bytes = version(kept);
        let mut unwritten = (kept == 0 && number * sector >= self.disk.len()).then_some(Unwritten::Zeros);
        if unwritten.is_some() && crash.profile.stale && crash.chance.one_in(3) {
            stale(&mut bytes, crash.left, crash.chance);
            unwritten = Some(Unwritten::Stale);
        }
        let mut torn = kept < of && matches!(bias, Bias::Mixed(_)) && crash.chance.one_in(4);
        if torn {
            tear(&mut bytes, &version(kept + 1), crash.profile, crash.chance);
        }
        if mended {
            (bytes, kept, torn, unwritten) = (version(of), of, false, None);
        }
        crash.fates.push(Fate { draw, what: What::Sector { file, number, kept, of, torn, unwritten } });
        bytes
    }

    /// Whether every outcome has the first `bytes` as the cache shows them.
    pub(super) fn is_durable(&self, sector: usize, bytes: usize) -> bool {
        let shown = |number: usize| {
            let from = number * sector;
            from..bytes.min(from + sector)
        };
        let same = |number: usize, version: &[u8]| {
            let range = shown(number);
            range.is_empty() || version[..range.len()] == self.cache[range]
        };
        self.disk.len() >= bytes
            && self.cache.len() >= bytes
            && self.sizes.iter().all(|(_, size)| *size >= bytes)
            && self.versions.iter().all(|version| same(version.sector, &version.bytes))
            && self.sectors().into_iter().all(|number| same(number, &padded(&self.disk, number, sector)))
    }

    pub(super) fn flip(&mut self, bit: usize) {
        for content in [&mut self.cache, &mut self.disk] {
            if let Some(byte) = Rc::make_mut(content).get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Sectors with pending versions, each once.
    fn sectors(&self) -> Vec<usize> {
        let mut sectors: Vec<usize> = self.versions.iter().map(|version| version.sector).collect();
        sectors.sort_unstable();
        sectors.dedup();
        sectors
    }
}

fn padded(content: &[u8], number: usize, sector: usize) -> Vec<u8> {
    let from = (number * sector).min(content.len());
    let to = (from + sector).min(content.len());
    let mut bytes = content[from..to].to_vec();
    bytes.resize(sector, 0);
    bytes
}

/// Puts as much of a sector as lies in the content.
fn place(content: &mut [u8], number: usize, bytes: &[u8]) {
    let from = (number * bytes.len()).min(content.len());
    let to = (from + bytes.len()).min(content.len());
    content[from..to].copy_from_slice(&bytes[..to - from]);
}

fn stale(bytes: &mut [u8], left: &[u8], chance: &mut Chance) {
    if left.len() < bytes.len() {
        chance.fill(bytes);
    } else {
        let from = chance.below(left.len() / bytes.len()) * bytes.len();
        bytes.copy_from_slice(&left[from..from + bytes.len()]);
    }
}

fn tear(bytes: &mut [u8], next: &[u8], profile: Profile, chance: &mut Chance) {
    if !profile.powersafe {
        if bytes != next {
            chance.fill(bytes);
        }
        return;
    }
    let mode = chance.below(3);
    let cut = chance.below(bytes.len() / 8);
    for (word, (old, new)) in bytes.chunks_mut(8).zip(next.chunks(8)).enumerate() {
        let written = match mode {
            0 => word < cut,
            1 => word >= cut,
            _ => chance.one_in(2),
        };
        if written {
            old.copy_from_slice(new);
        }
    }
}
