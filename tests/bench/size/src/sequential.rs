//! sequential-storage without caches.

use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use sequential_storage::cache::Cache;

use crate::outside;

#[cfg(feature = "queue")]
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    use sequential_storage::queue::{QueueConfig, QueueStorage};
    let mut queue = QueueStorage::new(Part, const { QueueConfig::new(0..65536) }, Cache::new_uncached());
    let run = async {
        let mut scratch = [0; 512];
        let mut records = queue.iter().await.ok()?;
        while let Some(record) = records.next(&mut scratch).await.ok()? {
            outside::seen(&record);
        }
        let (mut record, mut appended) = ([0; 64], 0);
        while let Some(bytes) = outside::next(&mut record) {
            queue.push(bytes, true).await.ok()?;
            appended += 1;
        }
        Some(appended)
    };
    outside::ready(run).flatten().unwrap_or(0)
}

#[cfg(feature = "map")]
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    use sequential_storage::map::{MapConfig, MapStorage};
    let mut map =
        MapStorage::<u16, _, _>::new(Part, const { MapConfig::new(0..65536) }, Cache::new_uncached());
    let run = async {
        let mut scratch = [0; 512];
        if let Some(value) = map.fetch_item::<&[u8]>(&mut scratch, &1).await.ok()? {
            outside::seen(value);
        }
        let (mut record, mut stored) = ([0; 64], 0);
        while let Some(bytes) = outside::next(&mut record) {
            map.store_item(&mut scratch, &1, &bytes).await.ok()?;
            stored += 1;
        }
        Some(stored)
    };
    outside::ready(run).flatten().unwrap_or(0)
}

struct Part;

#[derive(Debug)]
struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl ErrorType for Part {
    type Error = Failed;
}

impl ReadNorFlash for Part {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        outside::read(offset, bytes).map_err(|()| Failed)
    }

    fn capacity(&self) -> usize {
        65536
    }
}

impl NorFlash for Part {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        outside::erase(from, to).map_err(|()| Failed)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failed> {
        outside::program(offset, bytes).map_err(|()| Failed)
    }
}

impl MultiwriteNorFlash for Part {}
