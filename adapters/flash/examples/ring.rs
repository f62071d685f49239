//! A log of sensor samples on flash in RAM: run it with `cargo run -p strandline-flash --example ring`.

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

fn main() {
    let mut flash = Ram([0xff; 64 * 1024]);
    for boot in 1..=3 {
        println!("boot {boot}");
        keep_samples(&mut flash).expect("RAM does not fail");
    }
}

// What README.md shows, between these two lines:
// ---
use strandline_flash::{Config, Error, Log, StoreId};

fn keep_samples<F: NorFlash>(flash: F) -> Result<(), Error<F::Error>> {
    let mut scratch = [0; 256];
    let config = Config::new(StoreId(*b"sensor samples 1"));
    let mut log = Log::open(flash, 0..64 * 1024, config, &mut scratch)?;

    let mut kept = log.records()?;
    while let Some(record) = kept.next()? {
        println!("{} {:?}", record.lsn, record.bytes);
    }
    for sample in 0..4_u32 {
        log.append(&sample.to_le_bytes())?; // It is durable when this returns.
        log.maintain(64)?; // Idle time: erases ahead, so that appending does not.
    }
    Ok(())
}
// ---

/// NOR flash with words of 4 bytes and blocks of 4 KiB.
struct Ram([u8; 64 * 1024]);

impl ErrorType for Ram {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Ram {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
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

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        self.0[from as usize..to as usize].fill(0xff);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.0[offset as usize..].iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        Ok(())
    }
}
