//! An archive: as core reads ours from windows, and as a file, ours or SnelDB's, is verified, read and listed.
//!
//! ```text
//!  | the file |
//! ```

use std::io::Write as _;
use std::path::Path;

use strandline::archive::{Archive, ArchiveError, Level, Range};
use strandline_core::archive::Unreadable;
use strandline_core::archive::reader::{Audit, Index, TAIL_BYTES, Tail};
use strandline_core::archive::zstd::{BLOCK_HEAD, RAW_HEAD};

use super::Blind;

pub(super) fn read(file: &[u8]) {
    let _ = windows(file);
    let mut place = tempfile::NamedTempFile::new().expect("a place for the file");
    place.write_all(file).expect("it is written");
    let _ = whole(place.path());
}

/// Index, front and every block, under checksums that are blind.
fn windows(file: &[u8]) -> Result<(), Unreadable> {
    let piece = |offset: u64, bytes: u64| {
        let from = usize::try_from(offset).map_err(|_| Unreadable::Damaged)?;
        let to = usize::try_from(bytes).ok().and_then(|bytes| from.checked_add(bytes));
        to.and_then(|to| file.get(from..to)).ok_or(Unreadable::Damaged)
    };
    let tail = Tail::read(&file[file.len().saturating_sub(TAIL_BYTES)..], file.len() as u64)?;
    let index = Index::read::<Blind>(tail, piece(tail.offset, tail.bytes)?)?;
    let _ = index.check_front::<Blind>(piece(0, index.front_bytes())?);
    let mut audit = Audit::default();
    for (number, row) in index.rows().enumerate() {
        assert_eq!(index.row(number), Some(row));
        let block =
            row.check::<Blind>(number, piece(row.offset, u64::from(row.encoded) + u64::from(row.stamps))?)?;
        // The content of a raw block, its own checksum left out.
        let content = block.frame.get(RAW_HEAD + BLOCK_HEAD..).and_then(|from| from.get(..row.raw as usize));
        let mut found = 0;
        for entry in block.entries::<Blind>(content.ok_or(Unreadable::Damaged)?)? {
            audit.count(&row, &entry?)?;
            found += 1;
        }
        assert!(found <= file.len(), "{found} entries");
    }
    audit.finish(&index.header.totals)
}

/// What verifies on a level verifies on those below it, and is read as it says of itself.
fn whole(path: &Path) -> Result<(), ArchiveError> {
    let archive = Archive::open(path)?;
    let ours = archive.info().extended.is_some();
    let [quick, blocks, full] =
        [Level::Quick, Level::Blocks, Level::Full].map(|level| archive.verify(level).is_ok());
    assert!(quick >= blocks && blocks >= full, "{quick} {blocks} {full}");
    let mut found = 0;
    for entry in archive.entries(Range::ALL)? {
        let Ok(entry) = entry else { break };
        let _ = entry.fields();
        found += 1;
    }
    if full {
        assert_eq!(found, archive.info().entries, "entries");
        archive.read(Range::ALL, |_| Ok(()))?;
    }
    assert!(!ours || archive.digest().is_ok());
    Ok(())
}
