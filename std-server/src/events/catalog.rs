//! What each settled segment holds, remembered when the segment itself is gone.
//!
//! ```text
//!  catalog = "SLcatlg1" | store 16 | zeros 8 | row*             in `history/` beside the segments
//!  row     = log id u64 | first LSN u64 | end LSN u64 | events u64 | earliest ms u64 | latest ms u64 | epoch u32 |
//!            zeros 8 | crc u32                                  64 bytes, the checksum over the 60 before it
//! ```
//!
//! Rows are appended and synced; a later one of the same log id counts. A row that does not verify is passed over: its segment is
//! read again, and what is gone is gone with an unknown content, which readers are told. No segment is let go of before its row and
//! those of all segments before it are durable, so that the end of a segment is known when the one behind it is gone.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use strandline::core::codec::check::Checksum;
use strandline::{HardwareCheck, StoreId, make_directory};

/// What a settled segment holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) log: u64,
    pub(crate) epoch: u32,
    /// LSN of its first record, and of the first one behind it.
    pub(crate) first: u64,
    pub(crate) end: u64,
    pub(crate) events: u64,
    /// Timestamps of its events, ms; 0 if there is none.
    pub(crate) earliest_ms: u64,
    pub(crate) latest_ms: u64,
}

/// The rows of one shard.
#[derive(Debug)]
pub(crate) struct Catalog {
    path: PathBuf,
    rows: Mutex<Rows>,
}

#[derive(Debug)]
struct Rows {
    by_log: BTreeMap<u64, Row>,
    file: File,
}

impl Catalog {
    /// Opens or creates the catalog of the log in `directory`. One of another store is put aside.
    pub(crate) fn open(directory: &Path, store: StoreId) -> io::Result<Self> {
        let place = directory.join(PLACE);
        make_directory(&place)?;
        let path = place.join(NAME);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(mut file) => drop(file.read_to_end(&mut bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let head = head(store);
        if bytes.len() >= head.len() && bytes[..head.len()] != head {
            fs::rename(&path, path.with_extension("of-another-store"))?;
            bytes.clear();
        }
        let whole = bytes.len() >= head.len() && (bytes.len() - head.len()).is_multiple_of(ROW);
        let mut by_log = BTreeMap::new();
        for row in bytes.get(head.len()..).unwrap_or_default().chunks_exact(ROW).filter_map(Row::decode) {
            by_log.insert(row.log, row);
        }
        if !whole {
            write_anew(&path, &head, &by_log)?;
        }
        let file = OpenOptions::new().append(true).mode(0o600).open(&path)?;
        Ok(Self { path, rows: Mutex::new(Rows { by_log, file }) })
    }

    /// What a catalog says whose store is not open; nothing if it can't be read. Nothing is written.
    pub(crate) fn peek(directory: &Path) -> BTreeMap<u64, Row> {
        let bytes = fs::read(directory.join(PLACE).join(NAME)).unwrap_or_default();
        let rows = bytes.get(HEAD..).unwrap_or_default().chunks_exact(ROW).filter_map(Row::decode);
        rows.map(|row| (row.log, row)).collect()
    }

    pub(crate) fn row(&self, log: u64) -> Option<Row> {
        self.rows.lock().by_log.get(&log).copied()
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        self.rows.lock().by_log.values().copied().collect()
    }

    /// Adds a row, durably.
    pub(crate) fn add(&self, row: Row) -> Result<(), String> {
        let mut rows = self.rows.lock();
        let written = rows.file.write_all(&row.encode()).and_then(|()| rows.file.sync_data());
        if let Err(error) = written {
            // What was written of it would shift the rows behind it.
            let kept: BTreeMap<u64, Row> = rows.by_log.clone();
            let head = fs::read(&self.path).map(|bytes| bytes.get(..HEAD).unwrap_or_default().to_vec());
            let anew = head.and_then(|head| write_anew(&self.path, &head, &kept));
            if anew.is_ok()
                && let Ok(file) = OpenOptions::new().append(true).open(&self.path)
            {
                rows.file = file;
            }
            return Err(format!("{}: {error}", self.path.display()));
        }
        rows.by_log.insert(row.log, row);
        Ok(())
    }
}

fn write_anew(path: &Path, head: &[u8], rows: &BTreeMap<u64, Row>) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(head)?;
    for row in rows.values() {
        file.write_all(&row.encode())?;
    }
    file.sync_data()?;
    fs::rename(&unfinished, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn head(store: StoreId) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(b"SLcatlg1");
    head[8..24].copy_from_slice(&store.0);
    head
}

impl Row {
    /// Events of a segment that does not read back: there may be some.
    pub(crate) const UNKNOWN: u64 = u64::MAX;

    fn encode(&self) -> [u8; ROW] {
        let Self { log, epoch, first, end, events, earliest_ms, latest_ms } = *self;
        let mut out = [0; ROW];
        for (at, number) in [log, first, end, events, earliest_ms, latest_ms].into_iter().enumerate() {
            out[8 * at..8 * at + 8].copy_from_slice(&number.to_le_bytes());
        }
        out[48..52].copy_from_slice(&epoch.to_le_bytes());
        let crc = HardwareCheck::extend(SEED, &out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk()?;
        if body.len() != CRC_AT || u32::from_le_bytes(*crc) != HardwareCheck::extend(SEED, body) {
            return None;
        }
        let number = |at: usize| body.get(8 * at..)?.first_chunk().copied().map(u64::from_le_bytes);
        Some(Self {
            log: number(0)?,
            first: number(1)?,
            end: number(2)?,
            events: number(3)?,
            earliest_ms: number(4)?,
            latest_ms: number(5)?,
            epoch: body.get(48..)?.first_chunk().copied().map(u32::from_le_bytes)?,
        })
    }
}

const PLACE: &str = "history";
const NAME: &str = "catalog";
const HEAD: usize = 32;
const ROW: usize = 64;
const CRC_AT: usize = 60;
/// The checksum of a row does not begin as that of zeros does.
const SEED: u32 = 0x5354_4341;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(log: u64) -> Row {
        Row { log, epoch: 1, first: log * 10, end: log * 10 + 10, events: 3, earliest_ms: 5, latest_ms: 9 }
    }

    #[test]
    fn rows_outlive_a_restart_a_torn_end_and_damage() {
        let directory = tempfile::tempdir().expect("a directory");
        let store = StoreId([7; 16]);
        let catalog = Catalog::open(directory.path(), store).expect("made");
        for log in 1..=3 {
            catalog.add(row(log)).expect("added");
        }
        catalog.add(Row { events: 4, ..row(2) }).expect("added");
        let rows =
            |catalog: &Catalog| catalog.rows().iter().map(|row| (row.log, row.events)).collect::<Vec<_>>();
        assert_eq!(rows(&catalog), [(1, 3), (2, 4), (3, 3)]);
        let path = catalog.path.clone();
        drop(catalog);

        let mut bytes = fs::read(&path).expect("there");
        bytes[HEAD + ROW + 2] ^= 1;
        bytes.extend([1; 10]);
        fs::write(&path, &bytes).expect("written");
        let again = Catalog::open(directory.path(), store).expect("opened");
        assert_eq!(rows(&again), [(1, 3), (2, 4), (3, 3)], "the later row of segment 2 counts");
        again.add(row(4)).expect("added");
        let again = Catalog::open(directory.path(), store).expect("opened");
        assert_eq!(again.row(4), Some(row(4)));
        let other = Catalog::open(directory.path(), StoreId([8; 16])).expect("begun anew");
        assert_eq!(other.rows(), []);
    }
}
