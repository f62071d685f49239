//! The map: its entries, and how an update becomes durable.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::ring::{Driver, Log, Port};
use super::twin;
use crate::codec::check::Checksum;
use crate::kv::Error;
use crate::kv::update::{LONG, REMOVED, Update, place_of};
use crate::media::nor::{self, Geometry, Options, Policy};
use crate::types::StoreId;

/// A map of at most `BYTES` bytes: 2 for each entry, 4 from values of 255 bytes on, its key and its value. An update needs its own
/// room beside what it replaces.
#[derive(Debug)]
pub struct Kv<C, const BYTES: usize> {
    log: Log<C>,
    entries: Vec<u8, BYTES>,
    /// Blocks that a snapshot takes at most.
    blocks: u32,
}

#[twin]
impl<C: Checksum, const BYTES: usize> Kv<C, BYTES> {
    /// Opens the map on a partition: an empty one where all is erased. Nothing is written.
    ///
    /// # Errors
    /// As [`Log::mount`]; `TooFewBlocks` if the partition has no room for snapshots of the whole map; [`Error::NotAMap`];
    /// [`Error::Full`]: it was written as a larger map.
    pub async fn open(
        port: &mut Port<'_, impl Driver>,
        geometry: Geometry,
        store: StoreId,
    ) -> Result<Self, Error> {
        let blocks = snapshot_blocks(geometry, port.capacity(), BYTES);
        let needed = blocks.saturating_mul(2).saturating_add(3 + SPARE);
        let too_few = nor::Error::TooFewBlocks { needed };
        let reserve = u8::try_from(blocks.saturating_add(SPARE)).map_err(|_| too_few)?;
        if geometry.block_count() < needed {
            return Err(Error::Log(too_few));
        }
        let options = Options { policy: Policy::AskForSnapshot, reserve };
        let log = Log::mount(port, geometry, store, options).await?;
        let mut map = Self { log, entries: Vec::new(), blocks };
        map.load(port).await?;
        Ok(map)
    }

    /// Mounts and reads again, after an operation that was dropped or failed.
    ///
    /// # Errors
    /// As [`Kv::open`].
    pub async fn reload(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        self.log.remount(port).await?;
        self.load(port).await
    }

    /// Whether [`Kv::reload`] must come first.
    #[must_use]
    pub fn needs_reload(&self) -> bool {
        self.log.needs_mount()
    }

    /// The value of a key. One that the newest update before a power cut wrote is certain after the next update.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.iter().find_map(|(found, value)| (found == key).then_some(value))
    }

    /// The value of a key, as a type that was inserted with [`Kv::insert_value`].
    ///
    /// # Errors
    /// [`Error::OtherType`].
    pub fn value<'m, T: Deserialize<'m>>(&'m self, key: &[u8]) -> Result<Option<T>, Error> {
        self.get(key).map(|value| postcard::from_bytes(value).map_err(|_| Error::OtherType)).transpose()
    }

    /// All keys and values, the ones that were updated longest ago first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.entries.as_slice();
        core::iter::from_fn(move || {
            let (update, behind) = Update::parse(rest)?;
            rest = behind;
            Some((update.key, update.value.unwrap_or_default()))
        })
    }

    /// Gives a key a value. When this returns it is durable.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::BadEntry`]: nothing was written. [`Error::Log`] with `Medium`: reload tells.
    pub async fn insert(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), Error> {
        self.insert_all(port, &[(key, value)]).await
    }

    /// Gives several keys their values: all of them or none.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub async fn insert_all(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        pairs: &[(&[u8], &[u8])],
    ) -> Result<(), Error> {
        let sure = self.log.durable().next() == self.log.next_lsn();
        if sure && pairs.iter().all(|(key, value)| self.get(key) == Some(value)) {
            return Ok(());
        }
        let live = self.entries.len();
        let staged = pairs.iter().try_for_each(|(key, value)| self.stage(key, value));
        self.commit(port, live, staged).await
    }

    /// Gives a key a value of any type that serde knows, in postcard's encoding.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub async fn insert_value<T: Serialize>(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        key: &[u8],
        value: &T,
    ) -> Result<(), Error> {
        let live = self.entries.len();
        let staged = self.stage_value(key, value);
        self.commit(port, live, staged).await
    }

    /// Removes a key, and says whether it was there.
    ///
    /// # Errors
    /// As [`Kv::insert`].
    pub async fn remove(&mut self, port: &mut Port<'_, impl Driver>, key: &[u8]) -> Result<bool, Error> {
        if self.get(key).is_none() {
            return Ok(false);
        }
        let live = self.entries.len();
        let staged = self.stage_head(key, None);
        self.commit(port, live, staged).await?;
        Ok(true)
    }

    /// Erases ahead in idle time, as [`Log::maintain`] does.
    ///
    /// # Errors
    /// As [`Log::maintain`].
    pub async fn maintain(&mut self, port: &mut Port<'_, impl Driver>, within: u32) -> Result<(), Error> {
        Ok(self.log.maintain(port, within).await?)
    }

    /// The sizes of the partition.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.log.geometry()
    }

    async fn load(&mut self, port: &mut Port<'_, impl Driver>) -> Result<(), Error> {
        self.entries.clear();
        if let Some(mut state) = self.log.snapshot(port).await? {
            while let Some(span) = state.next(&self.log, port).await? {
                self.entries.extend_from_slice(port.bytes(span)).map_err(|_| Error::Full)?;
            }
        }
        let mut records = self.log.records(port).await?;
        while let Some(record) = records.next(port).await? {
            let live = self.entries.len();
            self.entries.extend_from_slice(port.bytes(record.bytes)).map_err(|_| Error::Full)?;
            self.take_over(live)?;
        }
        Ok(())
    }

    /// Appends what is staged behind the live entries, and takes it over.
    async fn commit(
        &mut self,
        port: &mut Port<'_, impl Driver>,
        live: usize,
        staged: Result<(), Error>,
    ) -> Result<(), Error> {
        let done = match staged {
            Ok(()) => self.append(port, live).await,
            refused => refused,
        };
        if done.is_err() {
            self.entries.truncate(live);
            return done;
        }
        self.take_over(live)
    }

    async fn append(&mut self, port: &mut Port<'_, impl Driver>, live: usize) -> Result<(), Error> {
        let (entries, update) = self.entries.split_at_checked(live).unwrap_or_default();
        match self.log.append(port, update).await {
            Err(nor::Error::Full | nor::Error::NeedsSnapshot) => {}
            done => return Ok(done.map(drop)?),
        }
        let mut snapshot = self.log.begin_snapshot(port, self.blocks).await?;
        self.log.write_snapshot(port, &mut snapshot, entries).await?;
        self.log.commit_snapshot(port, snapshot).await?;
        Ok(self.log.append(port, update).await.map(drop)?)
    }

    /// Takes the updates behind the live entries for what they replace.
    fn take_over(&mut self, mut live: usize) -> Result<(), Error> {
        while live < self.entries.len() {
            let (entries, updates) = self.entries.split_at_checked(live).ok_or(Error::NotAMap)?;
            let (update, behind) = Update::parse(updates).ok_or(Error::NotAMap)?;
            let (removed, bytes) = (update.value.is_none(), updates.len() - behind.len());
            let old = place_of(entries, update.key);
            if removed {
                self.cut(live, bytes);
            } else {
                live += bytes;
            }
            if let Some((at, bytes)) = old {
                self.cut(at, bytes);
                live -= bytes;
            }
        }
        Ok(())
    }

    /// Lays out an update without its value, or a removal.
    fn stage_head(&mut self, key: &[u8], value_len: Option<usize>) -> Result<(), Error> {
        let key_len =
            u8::try_from(key.len()).ok().filter(|len| (1..REMOVED).contains(len)).ok_or(Error::BadEntry)?;
        let laid = match value_len.map(|len| (u8::try_from(len), u16::try_from(len))) {
            None => self.entries.extend_from_slice(&[key_len | REMOVED]),
            Some((Ok(len), _)) if len < LONG => self.entries.extend_from_slice(&[key_len, len]),
            Some((_, Ok(len))) => {
                let [low, high] = len.to_le_bytes();
                self.entries.extend_from_slice(&[key_len, LONG, low, high])
            }
            Some(_) => return Err(Error::Full),
        };
        laid.map_err(|_| Error::Full)?;
        self.entries.extend_from_slice(key).map_err(|_| Error::Full)
    }

    fn stage(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.stage_head(key, Some(value.len()))?;
        self.entries.extend_from_slice(value).map_err(|_| Error::Full)
    }

    fn stage_value<T: Serialize>(&mut self, key: &[u8], value: &T) -> Result<(), Error> {
        let len = postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default())
            .map_err(|_| Error::BadEntry)?;
        self.stage_head(key, Some(len))?;
        let at = self.entries.len();
        self.entries.resize(at.saturating_add(len), 0).map_err(|_| Error::Full)?;
        let out = self.entries.get_mut(at..).unwrap_or_default();
        postcard::to_slice(value, out).map(drop).map_err(|_| Error::BadEntry)
    }

    /// Takes bytes out of the middle.
    fn cut(&mut self, at: usize, bytes: usize) {
        for from in at + bytes..self.entries.len() {
            let byte = self.entries.get(from).copied();
            if let (Some(byte), Some(slot)) = (byte, self.entries.get_mut(from - bytes)) {
                *slot = byte;
            }
        }
        self.entries.truncate(self.entries.len() - bytes);
    }
}

/// Blocks that a snapshot of so many bytes takes at most: it is written in frames of the scratch's size.
fn snapshot_blocks(geometry: Geometry, scratch: u32, bytes: usize) -> u32 {
    let frame = scratch & !(geometry.word() - 1);
    let room = geometry.block_bytes().saturating_sub(geometry.frames_at());
    let (whole, part) = (room.checked_div(frame).unwrap_or(0), room.checked_rem(frame).unwrap_or(0));
    let most = whole * frame.saturating_sub(FRAME_BYTES) + part.saturating_sub(FRAME_BYTES);
    let end = geometry.pad(END_BYTES);
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(end).div_ceil(most.max(1))
}

/// Blocks beside those of two snapshots and the log: each cut in a write that makes room may take one.
const SPARE: u32 = 2;
/// What a frame of a snapshot takes beside its bytes, without padding.
const FRAME_BYTES: u32 = 8;
/// The frame that ends a snapshot.
const END_BYTES: u32 = 20;
