//! What a firmware does that keeps a log: mount, read all records, append, maintain. With `snapshot`, also that.

use strandline_core::codec::check::BitwiseCheck;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::blocking::{Driver, Log, Port};
use strandline_core::media::nor::{Error, Fault, Geometry, Options, Policy, Request};
use strandline_core::types::StoreId;

type FlashLog = Log<BitwiseCheck>;

// The flash driver and the application, which the probe does not count.
unsafe extern "C" {
    safe fn flash_erase(from: u32, to: u32) -> bool;
    fn flash_program(address: u32, bytes: *const u8, len: usize) -> bool;
    fn flash_read(address: u32, bytes: *mut u8, len: usize) -> bool;
    fn next_record(bytes: *mut u8) -> usize;
    fn replayed(bytes: *const u8, len: usize);
}

/// Runs the log. Returns how many records were appended.
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    let mut scratch = [0; 512];
    let Ok(geometry) = Geometry::new(4, 4096, 16) else { return 0 };
    keep(&mut Port::new(&mut scratch, Flash(geometry)), geometry).unwrap_or_default()
}

fn keep(port: &mut Port<'_, Flash>, geometry: Geometry) -> Result<u32, Error> {
    let options = Options { policy: Policy::DropOldest, reserve: 0 };
    let mut log = FlashLog::mount(port, geometry, StoreId([7; 16]), options)?;
    let mut records = log.records(port)?;
    while let Some(record) = records.next(port)? {
        let bytes = port.bytes(record.bytes);
        // SAFETY: a slice.
        unsafe { replayed(bytes.as_ptr(), bytes.len()) }
    }
    let mut appended = 0;
    let mut record = [0; 64];
    loop {
        // SAFETY: 64 bytes are lent.
        let len = unsafe { next_record(record.as_mut_ptr()) };
        let Some(bytes) = record.get(..len) else { return Ok(appended) };
        log.append(port, bytes)?;
        log.maintain(port, 128)?;
        #[cfg(feature = "snapshot")]
        if appended % 64 == 63 {
            snapshot(&mut log, port, bytes)?;
        }
        appended += 1;
    }
}

#[cfg(feature = "snapshot")]
fn snapshot(log: &mut FlashLog, port: &mut Port<'_, Flash>, state: &[u8]) -> Result<(), Error> {
    if let Some(mut reader) = log.snapshot(port)? {
        while let Some(part) = reader.next(log, port)? {
            let bytes = port.bytes(part);
            // SAFETY: a slice.
            unsafe { replayed(bytes.as_ptr(), bytes.len()) }
        }
    }
    let mut snapshot = log.begin_snapshot(port, 1)?;
    log.write_snapshot(port, &mut snapshot, state)?;
    log.commit_snapshot(port, snapshot)
}

/// The flash, by the sizes of the partition.
struct Flash(Geometry);

impl Driver for Flash {
    fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        let done = match lower(request, self.0) {
            Step::Erase { from, to } => flash_erase(from, to),
            // SAFETY: a slice.
            Step::Program { address } => unsafe { flash_program(address, bytes.as_ptr(), bytes.len()) },
            // SAFETY: a slice.
            Step::Read { address } => unsafe { flash_read(address, bytes.as_mut_ptr(), bytes.len()) },
        };
        if done { Ok(()) } else { Err(Fault) }
    }
}
