//! The state that simulated snapshots hold: how many records there were and the chain of their digests, in several chunks.

use strandline_core::codec::extent::HEADER_WINDOW;
use strandline_core::manifest::Snapshot;
use strandline_core::snapshot::reader::SnapshotReader;
use strandline_core::snapshot::writer::{Owner, SnapshotWriter, chunk_bytes};
use strandline_core::snapshot::{Codec, END_FRAME};
use strandline_core::types::StoreId;

use crate::oracle::State;
use crate::setup::FastCheck;

/// The file of a snapshot that holds `state` in chunks of 16 bytes and more; completes the snapshot's size and items.
///
/// # Panics
/// When a buffer of exactly the announced size is too short for the writer.
#[must_use]
pub fn encode(owner: Owner, snapshot: &mut Snapshot, state: State, filler: usize) -> Vec<u8> {
    let mut file = vec![0; HEADER_WINDOW];
    let begun = SnapshotWriter::begin::<FastCheck>(owner, snapshot, &mut file);
    let (mut writer, bytes) = begun.expect("a header fits the header window");
    file.truncate(bytes);
    let mut rows = Vec::new();
    let filler = vec![0x5a; filler];
    let words = [state.records.to_le_bytes(), state.chain.to_le_bytes()];
    for chunk in [&words[0][..], &filler, &words[1]] {
        let mut out = vec![0; chunk_bytes(chunk.len())];
        let row = writer.chunk::<FastCheck>(Codec::Raw, chunk.len() as u32, chunk, &mut out);
        rows.extend(row.expect("a chunk fits its own size").encode());
        file.extend(out);
    }
    let mut out = vec![0; writer.finish_bytes(rows.len())];
    writer.finish::<FastCheck>(&rows, state.records, &mut out).expect("an end fits its own size");
    file.extend(out);
    snapshot.bytes = file.len() as u64;
    snapshot.items = state.records;
    file
}

/// The state in a snapshot's file; `None` if anything about it does not verify.
#[must_use]
pub fn decode(store: StoreId, snapshot: Snapshot, file: &[u8]) -> Option<State> {
    let size = usize::try_from(snapshot.bytes).ok().filter(|size| *size == file.len())?;
    let window = &file[..file.len().min(HEADER_WINDOW)];
    let reader = SnapshotReader::begin::<FastCheck>(store, snapshot, window).ok()?;
    let end = reader.end::<FastCheck>(file.get(size.checked_sub(END_FRAME)?..)?).ok()?;
    let index = usize::try_from(end.index).ok()?;
    let rows = reader.index::<FastCheck>(&end, file.get(index..)?).ok()?;
    let chunks: Option<Vec<Vec<u8>>> = rows
        .map(|row| {
            let from = usize::try_from(row.offset).ok()?;
            let window = file.get(from..from + row.bytes as usize)?;
            Some(reader.chunk::<FastCheck>(&row, window).ok()?.encoded.to_vec())
        })
        .collect();
    let [records, _, chain] = &chunks?[..] else { return None };
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_le_bytes);
    Some(State { records: word(records)?, chain: word(chain)? })
}

#[cfg(test)]
mod tests {
    use strandline_core::types::{Epoch, Lsn, Revision};

    use super::*;

    #[test]
    fn a_state_reads_back_and_damage_is_found() {
        let owner = Owner { store: StoreId([4; 16]), epoch: Epoch(1), revision: Revision(2) };
        let mut snapshot = Snapshot { number: 7, base: Lsn(12), ..Snapshot::default() };
        let state = State { records: 11, chain: 99 };
        let file = encode(owner, &mut snapshot, state, 700);
        assert_eq!(decode(owner.store, snapshot, &file), Some(state));
        assert_eq!(decode(owner.store, snapshot, &file[..file.len() - 1]), None);
        let mut bad = file;
        bad[400] ^= 4;
        assert_eq!(decode(owner.store, snapshot, &bad), None);
    }
}
