//! The peers on a Cortex-M4, over NOR flash in RAM: the size of the handle, of the largest future, and the stack that they use.
//!
//! Each peer opens the part, appends 64-byte records until the ring has come round, and reads them all. The stack is all
//! that this took, with the handle, the futures and the buffers in it: the driver's own share is a copy of a slice.
#![no_std]
#![no_main]

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use cortex_m::singleton;
use cortex_m_rt::entry;
use ekv::flash::PageID;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_storage::nor_flash;
use embedded_storage_async::nor_flash::{
    ErrorType, MultiwriteNorFlash, NorFlash, NorFlashErrorKind, ReadNorFlash,
};
use semihosting::{println, process};
use sequential_storage::cache::Cache;
use sequential_storage::map::{MapConfig, MapStorage};
use sequential_storage::queue::{QueueConfig, QueueStorage};
use strandline_firmware::stack::Paint;
use strandline_flash::{Config, Log, StoreId, asynch};

#[entry]
fn main() -> ! {
    let Some(cells) = singleton!(: [u8; CAPACITY] = [0xff; CAPACITY]) else { process::exit(1) };
    let peers: [(&str, Run); 5] =
        [("queue", queue), ("map", map), ("ekv", database), ("ours", ours), ("ours, async", ours_async)];
    for (name, run) in peers {
        cells.fill(0xff);
        let paint = Paint::new();
        let Some(Sizes { handle, future }) = run(cells) else { process::exit(1) };
        println!("{name}: handle {handle}, future {future}, stack {}", paint.used_bytes());
    }
    process::exit(0)
}

/// Over a driver that blocks, where there is no future.
#[inline(never)]
fn ours(cells: &mut [u8; CAPACITY]) -> Option<Sizes> {
    let mut scratch = [0; 128];
    let config = Config::new(StoreId(*b"beside the peers"));
    let mut log = Log::open(Part(cells), 0..CAPACITY as u32, config, &mut scratch).ok()?;
    let handle = handle_of(&log);
    for number in 0..RECORDS {
        log.append(&record(number)).ok()?;
        log.maintain(128).ok()?;
    }
    let mut records = log.records().ok()?;
    let mut count = 0;
    while records.next().ok()?.is_some() {
        count += 1;
    }
    (count > RECORDS / 3).then_some(Sizes { handle, future: 0 })
}

/// Without the flash, and without what aligns it: a handle is a multiple of 8 bytes.
fn handle_of<L>(log: &L) -> usize {
    (size_of_val(log) - size_of::<Part<'_>>()) / 8 * 8
}

#[inline(never)]
fn ours_async(cells: &mut [u8; CAPACITY]) -> Option<Sizes> {
    let mut scratch = [0; 128];
    let config = Config::new(StoreId(*b"beside the peers"));
    let mut future = 0;
    let opened = asynch::Log::open(Part(cells), 0..CAPACITY as u32, config, &mut scratch);
    let mut log = ready(largest(&mut future, opened))?.ok()?;
    let handle = handle_of(&log);
    for number in 0..RECORDS {
        let record = record(number);
        ready(largest(&mut future, log.append(&record)))?.ok()?;
        ready(largest(&mut future, log.maintain(128)))?.ok()?;
    }
    let mut records = ready(largest(&mut future, log.records()))?.ok()?;
    let mut count = 0;
    while ready(largest(&mut future, records.next()))?.ok()?.is_some() {
        count += 1;
    }
    (count > RECORDS / 3).then_some(Sizes { handle, future })
}

type Run = fn(&mut [u8; CAPACITY]) -> Option<Sizes>;

/// Bytes of the handle, and of the largest future.
struct Sizes {
    handle: usize,
    future: usize,
}

#[inline(never)]
fn queue(cells: &mut [u8; CAPACITY]) -> Option<Sizes> {
    let mut queue =
        QueueStorage::new(Part(cells), const { QueueConfig::new(0..CAPACITY as u32) }, Cache::new_uncached());
    let (handle, mut future) = (size_of_val(&queue), 0);
    let mut scratch = [0; 64];
    for number in 0..RECORDS {
        let record = record(number);
        ready(largest(&mut future, queue.push(&record, true)))?.ok()?;
    }
    let mut records = ready(largest(&mut future, queue.iter()))?.ok()?;
    let mut count = 0;
    while ready(largest(&mut future, records.next(&mut scratch)))?.ok()?.is_some() {
        count += 1;
    }
    (count > RECORDS / 3).then_some(Sizes { handle, future })
}

#[inline(never)]
fn map(cells: &mut [u8; CAPACITY]) -> Option<Sizes> {
    let mut map = MapStorage::<u16, _, _>::new(
        Part(cells),
        const { MapConfig::new(0..CAPACITY as u32) },
        Cache::new_uncached(),
    );
    let (handle, mut future) = (size_of_val(&map), 0);
    let mut scratch = [0; 128];
    for number in 0..RECORDS {
        let (key, value) = ((number % KEYS) as u16, record(number));
        ready(largest(&mut future, map.store_item(&mut scratch, &key, &value)))?.ok()?;
    }
    for key in 0..KEYS as u16 {
        ready(largest(&mut future, map.fetch_item::<[u8; 64]>(&mut scratch, &key)))?.ok()??;
    }
    Some(Sizes { handle, future })
}

#[inline(never)]
fn database(cells: &mut [u8; CAPACITY]) -> Option<Sizes> {
    let database = ekv::Database::<_, NoopRawMutex>::new(Part(cells), ekv::Config::default());
    let (handle, mut future) = (size_of_val(&database), 0);
    let (mut key, mut value) = ([0; 4], [0; 64]);
    ready(largest(&mut future, database.format()))?.ok()?;
    for number in 0..RECORDS {
        let record = record(number);
        let mut transaction = ready(largest(&mut future, database.write_transaction()))?;
        let key = (number % KEYS).to_be_bytes();
        ready(largest(&mut future, transaction.write(&key, &record)))?.ok()?;
        ready(largest(&mut future, transaction.commit()))?.ok()?;
    }
    let transaction = ready(largest(&mut future, database.read_transaction()))?;
    let mut cursor = ready(largest(&mut future, transaction.read_all()))?.ok()?;
    let mut count = 0;
    while ready(largest(&mut future, cursor.next(&mut key, &mut value)))?.ok()?.is_some() {
        count += 1;
    }
    (count == KEYS).then_some(Sizes { handle, future })
}

/// Remembers the size of the largest future.
fn largest<F>(most: &mut usize, future: F) -> F {
    *most = size_of::<F>().max(*most);
    future
}

fn ready<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn record(number: u32) -> [u8; 64] {
    let mut record = [0x5a; 64];
    record[..4].copy_from_slice(&number.to_le_bytes());
    record
}

/// NOR flash in RAM.
struct Part<'c>(&'c mut [u8; CAPACITY]);

impl Part<'_> {
    fn cells(&mut self, offset: usize, len: usize) -> Result<&mut [u8], NorFlashErrorKind> {
        self.0.get_mut(offset..offset + len).ok_or(NorFlashErrorKind::OutOfBounds)
    }

    fn program(&mut self, offset: usize, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        let cells = self.cells(offset, bytes.len())?;
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}

impl ErrorType for Part<'_> {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Part<'_> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(self.cells(offset as usize, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for Part<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK_BYTES;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.cells(from as usize, (to - from) as usize).map(|cells| cells.fill(0xff))
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.program(offset as usize, bytes)
    }
}

impl MultiwriteNorFlash for Part<'_> {}

impl nor_flash::ReadNorFlash for Part<'_> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        bytes.copy_from_slice(self.cells(offset as usize, bytes.len())?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl nor_flash::NorFlash for Part<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = BLOCK_BYTES;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.cells(from as usize, (to - from) as usize).map(|cells| cells.fill(0xff))
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.program(offset as usize, bytes)
    }
}

impl ekv::flash::Flash for Part<'_> {
    type Error = NorFlashErrorKind;

    fn page_count(&self) -> usize {
        CAPACITY / BLOCK_BYTES
    }

    async fn erase(&mut self, page: PageID) -> Result<(), NorFlashErrorKind> {
        self.cells(page.index() * BLOCK_BYTES, BLOCK_BYTES).map(|cells| cells.fill(0xff))
    }

    async fn read(&mut self, page: PageID, offset: usize, data: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        data.copy_from_slice(self.cells(page.index() * BLOCK_BYTES + offset, data.len())?);
        Ok(())
    }

    async fn write(&mut self, page: PageID, offset: usize, data: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.program(page.index() * BLOCK_BYTES + offset, data)
    }
}

const CAPACITY: usize = 64 * 1024;
const BLOCK_BYTES: usize = 4096;
/// Twice round the ring.
const RECORDS: u32 = 2000;
const KEYS: u32 = 64;
