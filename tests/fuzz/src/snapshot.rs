//! The file of a snapshot: header, end, index and chunks.
//!
//! ```text
//!  | number u8 | the file |
//! ```

use strandline_core::codec::check::{Checksum, TableCheck};
use strandline_core::codec::extent::{ExtentHeader, HEADER_WINDOW, HeaderParsed};
use strandline_core::manifest::Snapshot;
use strandline_core::snapshot::END_FRAME;
use strandline_core::snapshot::reader::{SnapshotReader, Unusable};
use strandline_core::types::StoreId;

use super::Blind;

pub(super) fn read(bytes: &[u8]) {
    let Some((&number, file)) = bytes.split_first() else { return };
    parse::<Blind>(u32::from(number), file);
    parse::<TableCheck>(u32::from(number), file);
}

/// A start knows place and size from the manifest: here they are taken from the file itself.
fn parse<C: Checksum>(number: u32, file: &[u8]) {
    let window = &file[..file.len().min(HEADER_WINDOW)];
    let HeaderParsed::Header(header) = ExtentHeader::decode::<C>(window) else { return };
    let snapshot = Snapshot {
        number,
        base: header.fence,
        position: header.settled.position,
        bytes: file.len() as u64,
        items: 0,
        time: header.time,
    };
    let _ = load::<C>(header.store, snapshot, file);
}

/// Loads a file as a start does, up to what its chunks hold.
pub(super) fn load<C: Checksum>(store: StoreId, snapshot: Snapshot, file: &[u8]) -> Result<(), Unusable> {
    let window = &file[..file.len().min(HEADER_WINDOW)];
    let reader = SnapshotReader::begin::<C>(store, snapshot, window)?;
    if file.len() as u64 != snapshot.bytes {
        return Err(Unusable::End);
    }
    let end = reader.end::<C>(file.last_chunk::<END_FRAME>().ok_or(Unusable::End)?)?;
    let piece = |offset: u64, bytes: u64| {
        let from = usize::try_from(offset).expect("it lies within the file");
        &file[from..from + usize::try_from(bytes).expect("it lies within the file")]
    };
    let mut next = None;
    for row in reader.index::<C>(&end, piece(end.index, end.index_bytes))? {
        assert!(next.is_none_or(|next| next == row.offset), "chunks lie one behind the other");
        next = Some(row.offset + u64::from(row.bytes));
        let chunk = reader.chunk::<C>(&row, piece(row.offset, u64::from(row.bytes)))?;
        assert!(chunk.encoded.len() < row.bytes as usize && chunk.state_bytes == row.state_bytes);
    }
    assert!(next.is_none_or(|next| next == end.index), "up to the index");
    Ok(())
}
