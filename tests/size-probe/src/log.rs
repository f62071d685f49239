//! What a firmware that keeps a log does: mount, read all records, append.

use strandline_core::codec::check::BitwiseCheck;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::{Ask, Fault, Fetch, Found, Geometry, Log, Mount, Output, Policy, Refused};
use strandline_core::types::StoreId;

type FlashLog<'s> = Log<BitwiseCheck, &'s mut [u8]>;

const GEOMETRY: Geometry = Geometry { word: 4, block_bytes: 4096, block_count: 16 };

// The flash driver and the application, which the probe does not count.
unsafe extern "C" {
    safe fn flash_erase(block: u32) -> bool;
    fn flash_program(block: u32, offset: u32, bytes: *const u8, len: usize) -> bool;
    fn flash_verify(block: u32, offset: u32, bytes: *const u8, len: usize) -> bool;
    fn flash_read(block: u32, offset: u32, bytes: *mut u8, len: usize) -> bool;
    fn next_record(bytes: *mut u8) -> usize;
    fn replayed(bytes: *const u8, len: usize);
}

/// Runs the log. Returns how many records were appended.
#[unsafe(no_mangle)]
pub extern "C" fn probe() -> u32 {
    let mut scratch = [0; 512];
    let Some(mut log) = mount(&mut scratch) else { return 0 };
    if !replay(&log) {
        return 0;
    }
    let mut appended = 0;
    let mut record = [0; 64];
    loop {
        // SAFETY: 64 bytes are lent.
        let len = unsafe { next_record(record.as_mut_ptr()) };
        let Some(bytes) = record.get(..len) else { return appended };
        if !append(&mut log, bytes) {
            return appended;
        }
        appended += 1;
    }
}

fn mount(scratch: &mut [u8]) -> Option<FlashLog<'_>> {
    let mut mount = Mount::new(GEOMETRY, StoreId([7; 16]), Policy::DropOldest, scratch);
    loop {
        match mount.poll() {
            Ask::Read(fetch) => {
                let result = read(fetch, mount.window_mut(fetch));
                mount.filled(result);
            }
            Ask::Done => return mount.finish(),
            Ask::Refuse(_) => return None,
        }
    }
}

fn replay(log: &FlashLog<'_>) -> bool {
    let mut reader = log.reader();
    let mut scratch = [0; 512];
    loop {
        match reader.next::<BitwiseCheck>(&mut scratch) {
            Found::Read(fetch) => {
                let start = fetch.bytes.start as usize;
                let window = scratch.get_mut(start..start + fetch.bytes.len as usize).unwrap_or_default();
                if read(fetch, window).is_err() {
                    return false;
                }
                reader.filled();
            }
            // SAFETY: a slice.
            Found::Record { payload, .. } => unsafe { replayed(payload.as_ptr(), payload.len()) },
            Found::End => return true,
            Found::Corrupt(_) | Found::Newer(_) => return false,
        }
    }
}

fn append(log: &mut FlashLog<'_>, record: &[u8]) -> bool {
    loop {
        let taken = log.append(record);
        drain(log);
        match taken {
            Ok(lsn) => return log.durable() == lsn,
            Err(Refused::Busy) => {}
            Err(_) => return false,
        }
    }
}

fn drain(log: &mut FlashLog<'_>) {
    while let Output::Do(id, request) = log.poll() {
        let mut result = Ok(());
        for step in lower(request, GEOMETRY).iter().copied() {
            if result.is_ok() {
                result = run(log, step);
            }
        }
        log.complete(id, result);
    }
}

fn run(log: &mut FlashLog<'_>, step: Step) -> Result<(), Fault> {
    let done = |ok: bool| if ok { Ok(()) } else { Err(Fault::Medium) };
    match step {
        Step::Erase { block } => done(flash_erase(block)),
        Step::Program { block, offset, bytes } => {
            let bytes = log.bytes(bytes);
            // SAFETY: a slice.
            done(unsafe { flash_program(block, offset, bytes.as_ptr(), bytes.len()) })
        }
        Step::Verify { block, offset, bytes } => {
            let bytes = log.bytes(bytes);
            // SAFETY: a slice.
            if unsafe { flash_verify(block, offset, bytes.as_ptr(), bytes.len()) } {
                Ok(())
            } else {
                Err(Fault::Differs)
            }
        }
        Step::Read { block, offset, bytes } => {
            let fetch = Fetch { block, offset, bytes };
            read(fetch, log.window_mut(fetch))
        }
    }
}

fn read(fetch: Fetch, window: &mut [u8]) -> Result<(), Fault> {
    // SAFETY: a slice.
    let ok = unsafe { flash_read(fetch.block, fetch.offset, window.as_mut_ptr(), window.len()) };
    if ok { Ok(()) } else { Err(Fault::Medium) }
}
