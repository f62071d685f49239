//! A task of Embassy that keeps a log, and another one that sends it samples. It runs on the host, over flash in RAM:
//! `cargo run -p strandline-flash --features async --example embassy`.
//!
//! ```text
//!   sample task ──► channel ──► keep task ──► asynch::Log ──► embedded_storage_async::NorFlash
//! ```
//!
//! On a microcontroller only the driver is another one, and the executor's platform.

use embassy_executor::Spawner;
use embassy_futures::select::{Either, select};
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_sync::channel::Channel;
use embassy_time::{Duration, Ticker, Timer};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use strandline_flash::asynch::Log;
use strandline_flash::{Config, Error, StoreId};

const PARTITION: core::ops::Range<u32> = 0..32 * 1024;
const SAMPLES: u16 = 20;

/// What was measured; a sampler that runs ahead of the flash waits here.
static SAMPLED: Channel<CriticalSectionRawMutex, u16, 8> = Channel::new();

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    spawner.spawn(sample().expect("the only one"));
    let mut flash = Ram([0xff; PARTITION.end as usize]);
    let kept = keep(&mut flash).await.expect("RAM does not fail");
    println!("{kept} samples are kept");
    std::process::exit(i32::from(kept != u32::from(SAMPLES)));
}

#[embassy_executor::task]
async fn sample() {
    let mut every = Ticker::every(Duration::from_millis(5));
    for number in 1..=SAMPLES {
        every.next().await;
        SAMPLED.send(number).await;
    }
}

/// Only this task has the log. It appends what comes, and erases ahead while nothing does.
async fn keep<F: NorFlash>(flash: F) -> Result<u32, Error<F::Error>> {
    let mut scratch = [0; 256];
    let mut log =
        Log::open(flash, PARTITION, Config::new(StoreId(*b"embassy samples1")), &mut scratch).await?;
    let mut last = 0;
    while last < SAMPLES {
        match select(SAMPLED.receive(), Timer::after(Duration::from_millis(1))).await {
            Either::First(sample) => {
                let lsn = log.append(&sample.to_le_bytes()).await?;
                println!("sample {sample} is durable as LSN {lsn}");
                last = sample;
            }
            Either::Second(()) => log.maintain(64).await?,
        }
    }
    let (mut kept, mut records) = (0, log.records().await?);
    while records.next().await?.is_some() {
        kept += 1;
    }
    Ok(kept)
}

/// NOR flash with words of 4 bytes and blocks of 4 KiB.
struct Ram([u8; PARTITION.end as usize]);

impl ErrorType for Ram {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        bytes.copy_from_slice(&self.0[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for Ram {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0[offset as usize..].iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}
