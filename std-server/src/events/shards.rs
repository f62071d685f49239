//! All shards: which context belongs where, and a batch of events on its way into their logs.

use core::future::poll_fn;
use core::task::{Poll, Waker};
use std::sync::Arc;

use strandline::core::codec::check::Checksum;
use strandline::{AppendError, HardwareCheck, Lsn, Priority, Refused, Reservation, group_bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::line::Draft;
use super::shard::Shard;

/// The shards of a server.
#[derive(Debug)]
pub(crate) struct Shards {
    shards: Vec<Arc<Shard>>,
    /// For readers, one for each shard that they read: an open file and a window of memory.
    lanes: usize,
    free: Arc<Semaphore>,
}

/// Where the events of a batch are, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) places: Vec<Place>,
    /// The epoch of each shard.
    pub(crate) epochs: Vec<u32>,
}

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) shard: u16,
    pub(crate) lsn: u64,
}

/// Why a batch was not stored, or not acknowledged.
#[derive(Debug)]
pub(crate) enum NotStored {
    /// Nothing of it was stored.
    Refused(Refused),
    /// It was stored, and its promise does not hold.
    NotAcknowledged(AppendError),
}

impl Shards {
    /// With so many lanes for readers.
    pub(crate) fn new(shards: Vec<Shard>, lanes: usize) -> Self {
        let free = Arc::new(Semaphore::new(lanes));
        Self { shards: shards.into_iter().map(Arc::new).collect(), lanes, free }
    }

    /// How many shards may be read at once, each counted again for every reader.
    pub(crate) const fn lanes(&self) -> usize {
        self.lanes
    }

    /// Admits a reader of so many shards for as long as it keeps what is returned; `None` if there are as many as may be.
    pub(crate) fn admit(&self, shards: usize) -> Option<OwnedSemaphorePermit> {
        let lanes = u32::try_from(shards).unwrap_or(u32::MAX);
        Arc::clone(&self.free).try_acquire_many_owned(lanes).ok()
    }

    pub(crate) fn all(&self) -> &[Arc<Shard>] {
        &self.shards
    }

    pub(crate) fn count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// The shard of a context: CRC-32C of its name, modulo their number.
    pub(crate) fn of(&self, context: &str) -> u16 {
        let count = u32::from(self.count().max(1));
        u16::try_from(HardwareCheck::extend(0, context.as_bytes()) % count).unwrap_or(0)
    }

    /// Stores a batch: on each shard all of it or nothing, and nothing at all if any shard refuses it. Ends when the promise of
    /// the sync mode holds. Dropping the future before it ends stores all of it, or nothing.
    pub(crate) async fn append(&self, drafts: Vec<Draft>) -> Result<Stored, NotStored> {
        let mut groups: Vec<Vec<Vec<u8>>> = vec![Vec::new(); self.shards.len()];
        let mut homes = Vec::with_capacity(drafts.len());
        for Draft { context_id, record } in drafts {
            let shard = self.of(&context_id);
            let group = &mut groups[usize::from(shard)];
            homes.push((shard, group.len() as u64));
            group.push(record);
        }
        let firsts = self.append_groups(&groups).await?;
        let places =
            homes.iter().map(|(shard, at)| Place { shard: *shard, lsn: firsts[usize::from(*shard)] + at });
        let epochs = self.shards.iter().map(|shard| shard.epoch()).collect();
        Ok(Stored { places: places.collect(), epochs })
    }

    /// The same for records that are divided among the shards already, a group for each; returns the first LSN of each group.
    pub(crate) async fn append_groups(&self, groups: &[Vec<Vec<u8>>]) -> Result<Vec<u64>, NotStored> {
        let firsts = poll_fn(|context| match self.attempt(groups, context.waker()) {
            Err(Refused::Busy) => Poll::Pending,
            other => Poll::Ready(other),
        });
        let firsts = firsts.await.map_err(NotStored::Refused)?;
        for (shard, (first, group)) in self.shards.iter().zip(firsts.iter().zip(groups)) {
            if let Some(last) = (group.len() as u64).checked_sub(1) {
                acknowledged(shard, Lsn(first + last)).await.map_err(NotStored::NotAcknowledged)?;
            }
        }
        Ok(firsts)
    }

    /// Makes room in every log that needs some, then appends; returns the first LSN of each group.
    fn attempt(&self, groups: &[Vec<Vec<u8>>], waker: &Waker) -> Result<Vec<u64>, Refused> {
        let mut rooms: Vec<Option<Reservation<'_>>> = Vec::with_capacity(groups.len());
        for (shard, group) in self.shards.iter().zip(groups) {
            // The locks of several logs are always taken in the order of their numbers.
            let room = if group.is_empty() {
                None
            } else {
                let bytes = group_bytes(group.iter().map(Vec::len)).unwrap_or(usize::MAX);
                Some(shard.log.reserve_or_wake(bytes, Priority::Ordinary, waker)?)
            };
            rooms.push(room);
        }
        let append = |(room, group): (Option<Reservation<'_>>, &Vec<Vec<u8>>)| match room {
            None => Ok(0),
            Some(room) => {
                let records: Vec<&[u8]> = group.iter().map(Vec::as_slice).collect();
                let appended = match records[..] {
                    [alone] => room.append(alone),
                    _ => room.append_group(&records),
                };
                appended.map(|lsn| lsn.0)
            }
        };
        rooms.into_iter().zip(groups).map(append).collect()
    }
}

/// How many lanes are wanted.
pub(crate) fn lanes(shards: u16) -> usize {
    LANES.max(READERS * usize::from(shards))
}

const LANES: usize = 256;
/// That read all shards, at least.
const READERS: usize = 16;

async fn acknowledged(shard: &Shard, lsn: Lsn) -> Result<(), AppendError> {
    if shard.log.acknowledged() <= lsn {
        // Requests that are ready append first, so that one write serves them all.
        tokio::task::yield_now().await;
    }
    poll_fn(|context| match shard.log.poll_wait(lsn, false, context.waker()) {
        Ok(true) => Poll::Ready(Ok(())),
        Ok(false) => Poll::Pending,
        Err(error) => Poll::Ready(Err(error)),
    })
    .await
}
