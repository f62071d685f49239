//! Writes and loads snapshots: encoding and decoding run in parallel, the order of chunks stays.
//!
//! ```text
//!                    ┌► worker 0 ─► chunks 0, n, 2n … ─┐
//!   image ─► chunk ──┼► worker 1 ─► chunks 1, n+1 …  ──┼─► in order ─► file
//!                    └► …                             ─┘
//! ```
//!
//! Every queue holds a few chunks, so memory is bounded whatever the size of the state.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use strandline_core::action::{Action, Buffer, Span};
use strandline_core::codec::extent::{ExtentHeader, HEADER_WINDOW};
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::Snapshot;
use strandline_core::snapshot::reader::{SnapshotReader, Unusable};
use strandline_core::snapshot::writer::{Owner, SnapshotWriter, chunk_bytes};
use strandline_core::snapshot::{Codec, END_FRAME, IndexRow, MAX_CHUNKS};
use strandline_core::types::{Extent, StoreId};

use crate::check::HardwareCheck;
use crate::dir::{Dir, StepError};
use crate::error::{BadState, SnapshotError};
use crate::recover::Replay;

/// Chunks that wait in front of and behind each worker.
const QUEUE: usize = 2;
/// The largest chunk that is believed, bytes: an image makes smaller ones.
pub(crate) const MAX_CHUNK: usize = 64 << 20;
const LEVEL: i32 = 1;

/// A point-in-time view of a state, read in chunks while the state goes on changing.
pub trait Image: Send {
    /// Appends the next chunk to `chunk`, which is empty; returns whether there was one. Chunks of about 256 KiB are best.
    ///
    /// # Errors
    /// If the image can't be read any more: the snapshot is given up.
    fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool, BadState>;

    /// Items in the state, for the snapshot's description.
    fn items(&self) -> u64 {
        0
    }
}

/// Why a snapshot could not be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Step(#[from] StepError),
    #[error(transparent)]
    Unusable(#[from] Unusable),
    #[error("chunk {0} does not decode")]
    Decode(usize),
    #[error("the state refused a chunk: {0}")]
    State(#[from] BadState),
}

/// How many threads encode or decode.
fn workers() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get().min(4))
}

/// Writes the snapshot's file, publishes it under its final name and reads it back; returns the snapshot with its size. A
/// failed one leaves no file.
pub(crate) fn write(
    dir: &Dir,
    owner: Owner,
    snapshot: Snapshot,
    compress: bool,
    image: &mut dyn Image,
) -> Result<Snapshot, SnapshotError> {
    let written = write_file(dir, owner, snapshot, compress, image);
    if written.is_err() {
        give_up(dir, snapshot);
    }
    written
}

/// Removes what there is of a snapshot that does not count.
pub(crate) fn give_up(dir: &Dir, snapshot: Snapshot) {
    let _ = dir.remove(Name::Unfinished(snapshot.number));
    let _ = dir.remove(Name::Snapshot(snapshot.number));
}

fn write_file(
    dir: &Dir,
    owner: Owner,
    mut snapshot: Snapshot,
    compress: bool,
    image: &mut dyn Image,
) -> Result<Snapshot, SnapshotError> {
    let extent = Extent::snapshot(snapshot.number);
    dir.perform(Action::Prepare { extent }, &[])?;
    (snapshot.bytes, snapshot.items) = write_chunks(dir, owner, &snapshot, compress, image)?;
    dir.perform(Action::Sync { extent }, &[])?;
    verify(dir, owner.store, snapshot).map_err(|why| SnapshotError::ReadBack {
        path: dir.path(Name::Snapshot(snapshot.number)),
        why: why.to_string(),
    })?;
    Ok(snapshot)
}

struct File<'d> {
    dir: &'d Dir,
    extent: Extent,
    writer: SnapshotWriter,
    rows: Vec<u8>,
    frame: Vec<u8>,
}

impl File<'_> {
    fn put(&self, offset: u64) -> Result<(), StepError> {
        let len = u32::try_from(self.frame.len()).unwrap_or(u32::MAX);
        let bytes = Span { buffer: Buffer::Window, start: 0, len };
        self.dir.perform(Action::Write { extent: self.extent, offset, bytes }, &self.frame)
    }

    fn chunk(&mut self, chunk: &Encoded) -> Result<(), SnapshotError> {
        self.frame.resize(chunk_bytes(chunk.bytes.len()), 0);
        let row =
            self.writer.chunk::<HardwareCheck>(chunk.codec, chunk.state_bytes, &chunk.bytes, &mut self.frame);
        let row = row.ok_or(SnapshotError::TooMany(MAX_CHUNKS))?;
        self.rows.extend(row.encode());
        Ok(self.put(row.offset)?)
    }

    fn finish(&mut self, items: u64) -> Result<u64, SnapshotError> {
        let offset = self.writer.offset();
        self.frame.resize(self.writer.finish_bytes(self.rows.len()), 0);
        let rows = core::mem::take(&mut self.rows);
        self.writer
            .finish::<HardwareCheck>(&rows, items, &mut self.frame)
            .ok_or(SnapshotError::TooMany(MAX_CHUNKS))?;
        self.put(offset)?;
        Ok(self.writer.offset())
    }
}

struct Encoded {
    codec: Codec,
    state_bytes: u32,
    bytes: Vec<u8>,
}

fn write_chunks(
    dir: &Dir,
    owner: Owner,
    snapshot: &Snapshot,
    compress: bool,
    image: &mut dyn Image,
) -> Result<(u64, u64), SnapshotError> {
    let mut header = vec![0; HEADER_WINDOW];
    let begun = SnapshotWriter::begin::<HardwareCheck>(owner, snapshot, &mut header);
    let (writer, bytes) = begun.ok_or(SnapshotError::TooMany(MAX_CHUNKS))?;
    header.truncate(bytes);
    let extent = Extent::snapshot(snapshot.number);
    let mut file = File { dir, extent, writer, rows: Vec::new(), frame: header };
    file.put(0)?;
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..workers())
            .map(|_| {
                let (raw, take) = sync_channel::<Vec<u8>>(QUEUE);
                let (give, encoded) = sync_channel(QUEUE);
                scope.spawn(move || encode_all(compress, take, give));
                (raw, encoded)
            })
            .collect();
        let (mut sent, mut received) = (0, 0);
        let mut chunk = Vec::new();
        loop {
            let more = image.next_chunk(&mut chunk)?;
            if more {
                let _ = lanes[sent % lanes.len()].0.send(core::mem::take(&mut chunk));
                sent += 1;
            }
            // Every lane holds a few chunks before the first of them is waited for.
            while received < sent && (!more || sent - received >= lanes.len() * QUEUE) {
                let encoded = lanes[received % lanes.len()].1.recv();
                file.chunk(
                    &encoded.map_err(|_| SnapshotError::Encode(std::io::ErrorKind::BrokenPipe.into()))??,
                )?;
                received += 1;
                if received > MAX_CHUNKS {
                    return Err(SnapshotError::TooMany(MAX_CHUNKS));
                }
            }
            if !more {
                break;
            }
        }
        let items = image.items();
        Ok((file.finish(items)?, items))
    })
}

fn encode_all(compress: bool, take: Receiver<Vec<u8>>, give: SyncSender<Result<Encoded, SnapshotError>>) {
    for raw in take {
        let state_bytes = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        let encoded = if compress {
            zstd::bulk::compress(&raw, LEVEL).map_err(SnapshotError::Encode).map(Some)
        } else {
            Ok(None)
        };
        let encoded = encoded.map(|smaller| match smaller.filter(|smaller| smaller.len() < raw.len()) {
            Some(bytes) => Encoded { codec: Codec::Zstd, state_bytes, bytes },
            None => Encoded { codec: Codec::Raw, state_bytes, bytes: raw },
        });
        if give.send(encoded).is_err() {
            return;
        }
    }
}

/// What the manifest would say of a snapshot whose header and file are all that is known of it; it reads back as a whole.
pub(crate) fn describe(dir: &Dir, number: u32, header: &ExtentHeader) -> Result<Snapshot, LoadError> {
    let bytes = dir.len(Name::Snapshot(number))?;
    let (base, position, time) = (header.fence, header.settled.position, header.time);
    let mut snapshot = Snapshot { number, base, position, bytes, items: 0, time };
    snapshot.items = open(dir, header.store, snapshot)?.items;
    verify(dir, header.store, snapshot)?;
    Ok(snapshot)
}

/// A snapshot whose header, end and index have been read.
struct Opened {
    reader: SnapshotReader,
    items: u64,
    rows: Vec<IndexRow>,
}

fn open(dir: &Dir, store: StoreId, snapshot: Snapshot) -> Result<Opened, LoadError> {
    let name = Name::Snapshot(snapshot.number);
    let read = |offset: u64, len: u64| -> Result<Vec<u8>, LoadError> {
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let filled = dir.read(name, offset, &mut bytes)?;
        bytes.truncate(filled);
        Ok(bytes)
    };
    let reader = SnapshotReader::begin::<HardwareCheck>(store, snapshot, &read(0, HEADER_WINDOW as u64)?)?;
    // The manifest knows the size; what is read from the file is bounded by what the file really has.
    if dir.len(name)? != snapshot.bytes {
        return Err(Unusable::End.into());
    }
    let end = reader
        .end::<HardwareCheck>(&read(snapshot.bytes.saturating_sub(END_FRAME as u64), END_FRAME as u64)?)?;
    let index = read(end.index, end.index_bytes)?;
    let rows = reader.index::<HardwareCheck>(&end, &index)?.collect();
    Ok(Opened { reader, items: end.items, rows })
}

/// Hands every chunk to `state`, in order.
pub(crate) fn load(
    dir: &Dir,
    store: StoreId,
    snapshot: Snapshot,
    state: &mut impl Replay,
) -> Result<(), LoadError> {
    each_chunk(dir, store, snapshot, |chunk, _| Ok(state.restore(&chunk)?))
}

/// Reads everything and decodes it, and does nothing with it.
pub(crate) fn verify(dir: &Dir, store: StoreId, snapshot: Snapshot) -> Result<(), LoadError> {
    each_chunk(dir, store, snapshot, |_, _| Ok(()))
}

/// The same, telling `read` how many bytes of the file each chunk takes.
pub(crate) fn read_chunks(
    dir: &Dir,
    store: StoreId,
    snapshot: Snapshot,
    mut read: impl FnMut(u32) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    each_chunk(dir, store, snapshot, |_, bytes| read(bytes))
}

fn each_chunk(
    dir: &Dir,
    store: StoreId,
    snapshot: Snapshot,
    mut each: impl FnMut(Vec<u8>, u32) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let Opened { reader, rows, .. } = open(dir, store, snapshot)?;
    let count = workers();
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..count)
            .map(|lane| {
                let (give, decoded) = sync_channel(QUEUE);
                let rows = &rows;
                scope.spawn(move || {
                    for (number, row) in rows.iter().enumerate().skip(lane).step_by(count) {
                        if give.send(read_chunk(dir, &reader, snapshot, number, row)).is_err() {
                            return;
                        }
                    }
                });
                decoded
            })
            .collect();
        for (number, row) in rows.iter().enumerate() {
            let decoded = lanes[number % count].recv().map_err(|_| LoadError::Decode(number))?;
            each(decoded?, row.bytes)?;
        }
        Ok(())
    })
}

fn read_chunk(
    dir: &Dir,
    reader: &SnapshotReader,
    snapshot: Snapshot,
    number: usize,
    row: &IndexRow,
) -> Result<Vec<u8>, LoadError> {
    let mut frame = vec![0; row.bytes as usize];
    let filled = dir.read(Name::Snapshot(snapshot.number), row.offset, &mut frame)?;
    let chunk = reader.chunk::<HardwareCheck>(row, &frame[..filled])?;
    let capacity = (chunk.state_bytes as usize).min(MAX_CHUNK);
    let state = match chunk.codec {
        Codec::Raw => chunk.encoded.to_vec(),
        Codec::Zstd => {
            zstd::bulk::decompress(chunk.encoded, capacity).map_err(|_| LoadError::Decode(number))?
        }
    };
    if state.len() == chunk.state_bytes as usize { Ok(state) } else { Err(LoadError::Decode(number)) }
}
