//! ekv with its CRCs on: a log as a ring of keys, and settings; one write in a transaction, or several.
//!
//! As a log it keeps 4 records for each block of the part, each under its number modulo that, so that the oldest makes room
//! without a delete: the cheapest log that can be made of it. Its words have 4 bytes.

use ekv::flash::{Flash, PageID};
use ekv::{Config, Database};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_storage::nor_flash::{NorFlash as _, ReadNorFlash as _};

use crate::flash::medium::{CountingFlash, Refused};
use crate::flash::subject::{Failed, Log, Settings, ready};

/// The database, as a log or as settings.
pub(crate) struct Ekv {
    database: Database<Pages, NoopRawMutex>,
    ring: u32,
}

impl Ekv {
    fn format(flash: &CountingFlash<4>) -> Result<(), Failed> {
        ready(Self::over(flash).database.format()).map_err(Failed::said)
    }

    fn mount(flash: &CountingFlash<4>) -> Result<Self, Failed> {
        let this = Self::over(flash);
        ready(this.database.mount()).map_err(Failed::said)?;
        Ok(this)
    }

    fn over(flash: &CountingFlash<4>) -> Self {
        let database = Database::new(Pages(flash.clone()), Config::default());
        Self { database, ring: 4 * flash.block_count() as u32 }
    }

    /// Keys in one transaction must rise.
    fn write<'a>(&self, pairs: impl Iterator<Item = (u32, &'a [u8])>) -> Result<(), Failed> {
        ready(async {
            let mut transaction = self.database.write_transaction().await;
            for (key, value) in pairs {
                transaction.write(&key.to_be_bytes(), value).await.map_err(Failed::said)?;
            }
            transaction.commit().await.map_err(Failed::said)
        })
    }

    fn key_of(&self, record: &[u8]) -> u32 {
        record.first_chunk().map_or(0, |number| u32::from_le_bytes(*number)) % self.ring
    }
}

impl Log<4> for Ekv {
    const NAME: &'static str = "ekv";

    fn format(flash: &CountingFlash<4>) -> Result<(), Failed> {
        Self::format(flash)
    }

    fn open(flash: &CountingFlash<4>) -> Result<Self, Failed> {
        Self::mount(flash)
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Failed> {
        self.write(core::iter::once((self.key_of(record), record)))
    }

    fn append_all(&mut self, records: &[&[u8]]) -> Result<(), Failed> {
        self.write(records.iter().map(|record| (self.key_of(record), *record)))
    }

    fn drop_oldest(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn replay(&mut self, each: &mut dyn FnMut(&[u8])) -> Result<(), Failed> {
        ready(async {
            let (mut key, mut value) = ([0; 4], [0; 256]);
            let transaction = self.database.read_transaction().await;
            let mut cursor = transaction.read_all().await.map_err(Failed::said)?;
            while let Some((_, len)) = cursor.next(&mut key, &mut value).await.map_err(Failed::said)? {
                each(&value[..len]);
            }
            Ok(())
        })
    }
}

impl Settings<4> for Ekv {
    const NAME: &'static str = "ekv";

    fn format(flash: &CountingFlash<4>) -> Result<(), Failed> {
        Self::format(flash)
    }

    fn open(flash: &CountingFlash<4>) -> Result<Self, Failed> {
        Self::mount(flash)
    }

    fn insert(&mut self, key: u16, value: &[u8]) -> Result<(), Failed> {
        self.write(core::iter::once((u32::from(key), value)))
    }

    fn insert_all(&mut self, pairs: &[(u16, &[u8])]) -> Result<(), Failed> {
        self.write(pairs.iter().map(|(key, value)| (u32::from(*key), *value)))
    }

    fn get(&mut self, key: u16) -> Result<Option<Vec<u8>>, Failed> {
        ready(async {
            let mut value = [0; 256];
            let transaction = self.database.read_transaction().await;
            match transaction.read(&u32::from(key).to_be_bytes(), &mut value).await {
                Ok(len) => Ok(Some(value[..len].to_vec())),
                Err(ekv::ReadError::KeyNotFound) => Ok(None),
                Err(error) => Err(Failed::said(error)),
            }
        })
    }
}

/// Its own trait over the same part.
struct Pages(CountingFlash<4>);

impl Flash for Pages {
    type Error = Refused;

    fn page_count(&self) -> usize {
        self.0.block_count()
    }

    async fn erase(&mut self, page: PageID) -> Result<(), Refused> {
        let from = start(page);
        self.0.erase(from, from + ekv::config::PAGE_SIZE as u32)
    }

    async fn read(&mut self, page: PageID, offset: usize, data: &mut [u8]) -> Result<(), Refused> {
        self.0.read(start(page) + offset as u32, data)
    }

    async fn write(&mut self, page: PageID, offset: usize, data: &[u8]) -> Result<(), Refused> {
        self.0.write(start(page) + offset as u32, data)
    }
}

fn start(page: PageID) -> u32 {
    (page.index() * ekv::config::PAGE_SIZE) as u32
}
