//! sequential-storage: its queue as a log, its map as settings, without and with its caches.

use sequential_storage::cache::key_pointers::HeapKeyPointers;
use sequential_storage::cache::page_pointers::HeapPagePointers;
use sequential_storage::cache::page_states::HeapPageStates;
use sequential_storage::cache::{Cache, CacheImpl, Uncached};
use sequential_storage::map::{MapConfig, MapStorage};
use sequential_storage::queue::{QueueConfig, QueueStorage};

use crate::flash::medium::{CountingFlash, Multiwrite};
use crate::flash::subject::{Failed, Log, Settings, ready};

/// Which caches it is given.
pub(crate) trait Caches {
    const QUEUE: &'static str;
    const MAP: &'static str;
    type Queue: CacheImpl<()>;
    type Map: CacheImpl<u16>;

    fn queue(blocks: usize) -> Self::Queue;
    fn map(blocks: usize) -> Self::Map;
}

/// No RAM between calls.
pub(crate) struct Without;

impl Caches for Without {
    const QUEUE: &'static str = "sequential-storage queue";
    const MAP: &'static str = "sequential-storage map";
    type Queue = Cache<Uncached, Uncached, Uncached>;
    type Map = Cache<Uncached, Uncached, Uncached, u16>;

    fn queue(_: usize) -> Self::Queue {
        Cache::new_uncached()
    }

    fn map(_: usize) -> Self::Map {
        Cache::new_uncached()
    }
}

/// All caches, sized for the whole part and every key.
pub(crate) struct With;

impl Caches for With {
    const QUEUE: &'static str = "sequential-storage queue, cached";
    const MAP: &'static str = "sequential-storage map, cached";
    type Queue = Cache<HeapPageStates, HeapPagePointers, Uncached>;
    type Map = Cache<HeapPageStates, HeapPagePointers, HeapKeyPointers<u16>, u16>;

    fn queue(blocks: usize) -> Self::Queue {
        Cache::new(HeapPageStates::new(blocks), HeapPagePointers::new(blocks), Uncached)
    }

    fn map(blocks: usize) -> Self::Map {
        Cache::new(HeapPageStates::new(blocks), HeapPagePointers::new(blocks), HeapKeyPointers::new(KEYS))
    }
}

/// The queue: a push may erase the oldest block.
pub(crate) struct Queue<C: Caches, const W: usize> {
    storage: QueueStorage<Multiwrite<W>, C::Queue>,
}

impl<C: Caches, const W: usize> Log<W> for Queue<C, W> {
    const NAME: &'static str = C::QUEUE;

    fn open(flash: &CountingFlash<W>) -> Result<Self, Failed> {
        let config = QueueConfig::try_new(0..bytes(flash)).map_err(Failed::said)?;
        let storage = QueueStorage::new(Multiwrite(flash.clone()), config, C::queue(flash.block_count()));
        Ok(Self { storage })
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Failed> {
        ready(self.storage.push(record, true)).map_err(Failed::said)
    }

    fn drop_oldest(&mut self) -> Result<(), Failed> {
        ready(self.storage.pop(&mut [0; BUFFER])).map_err(Failed::said).map(drop)
    }

    fn replay(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<(), Failed> {
        let mut buffer = [0; BUFFER];
        let mut records = ready(self.storage.iter()).map_err(Failed::said)?;
        while let Some(record) = ready(records.next(&mut buffer)).map_err(Failed::said)? {
            each(&record);
        }
        Ok(())
    }
}

/// The map.
pub(crate) struct Map<C: Caches, const W: usize> {
    storage: MapStorage<u16, Multiwrite<W>, C::Map>,
}

impl<C: Caches, const W: usize> Settings<W> for Map<C, W> {
    const NAME: &'static str = C::MAP;

    fn open(flash: &CountingFlash<W>) -> Result<Self, Failed> {
        let config = MapConfig::try_new(0..bytes(flash)).map_err(Failed::said)?;
        let storage = MapStorage::new(Multiwrite(flash.clone()), config, C::map(flash.block_count()));
        Ok(Self { storage })
    }

    fn insert(&mut self, key: u16, value: &[u8]) -> Result<(), Failed> {
        ready(self.storage.store_item(&mut [0; BUFFER], &key, &value)).map_err(Failed::said)
    }

    fn get(&mut self, key: u16) -> Result<Option<Vec<u8>>, Failed> {
        let mut buffer = [0; BUFFER];
        let value = ready(self.storage.fetch_item::<&[u8]>(&mut buffer, &key)).map_err(Failed::said)?;
        Ok(value.map(<[u8]>::to_vec))
    }
}

fn bytes<const W: usize>(flash: &CountingFlash<W>) -> u32 {
    (flash.block_count() * 4096) as u32
}

/// What it is lent for one item.
const BUFFER: usize = 256;
/// Room in the cache of keys.
const KEYS: usize = 64;
