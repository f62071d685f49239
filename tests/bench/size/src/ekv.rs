//! ekv with its CRCs, at the smallest part that it can be built for.

use ekv::flash::{Flash, PageID};
use ekv::{Config, Database};
use embassy_sync::blocking_mutex::raw::NoopRawMutex;

use crate::outside;

#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    let database = Database::<_, NoopRawMutex>::new(Part, Config::default());
    let run = async {
        if database.mount().await.is_err() {
            database.format().await.ok()?;
        }
        replay(&database).await?;
        let (mut record, mut appended) = ([0; 64], 0u32);
        while let Some(bytes) = outside::next(&mut record) {
            let mut transaction = database.write_transaction().await;
            transaction.write(&(appended % 64).to_be_bytes(), bytes).await.ok()?;
            transaction.commit().await.ok()?;
            appended += 1;
        }
        Some(appended)
    };
    outside::ready(run).flatten().unwrap_or(0)
}

async fn replay(database: &Database<Part, NoopRawMutex>) -> Option<()> {
    let (mut key, mut value) = ([0; 4], [0; 512]);
    let transaction = database.read_transaction().await;
    let mut cursor = transaction.read_all().await.ok()?;
    while let Some((_, len)) = cursor.next(&mut key, &mut value).await.ok()? {
        outside::seen(value.get(..len)?);
    }
    Some(())
}

struct Part;

impl Flash for Part {
    type Error = ();

    fn page_count(&self) -> usize {
        16
    }

    async fn erase(&mut self, page: PageID) -> Result<(), ()> {
        let from = start(page);
        outside::erase(from, from + 4096)
    }

    async fn read(&mut self, page: PageID, offset: usize, data: &mut [u8]) -> Result<(), ()> {
        outside::read(start(page) + offset as u32, data)
    }

    async fn write(&mut self, page: PageID, offset: usize, data: &[u8]) -> Result<(), ()> {
        outside::program(start(page) + offset as u32, data)
    }
}

fn start(page: PageID) -> u32 {
    page.index() as u32 * 4096
}
