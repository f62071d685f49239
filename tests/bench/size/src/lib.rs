//! What the firmware in `tests/size-probe` does, done with a peer: open, read all records, append. `run.sh` links it for
//! thumbv7em.
//!
//! Panics of the peers are linked in as an endless loop, so a panic costs its branch and its arguments, not its message.
#![no_std]

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(feature = "ekv")]
mod ekv;
#[cfg(any(feature = "queue", feature = "map"))]
mod sequential;

// The flash driver and the application, which the probe does not count.
#[cfg(any(feature = "queue", feature = "map", feature = "ekv"))]
mod outside {
    unsafe extern "C" {
        safe fn flash_erase(from: u32, to: u32) -> bool;
        fn flash_program(offset: u32, bytes: *const u8, len: usize) -> bool;
        fn flash_read(offset: u32, bytes: *mut u8, len: usize) -> bool;
        fn next_record(bytes: *mut u8) -> usize;
        fn replayed(bytes: *const u8, len: usize);
    }

    fn done(ok: bool) -> Result<(), ()> {
        if ok { Ok(()) } else { Err(()) }
    }

    pub fn erase(from: u32, to: u32) -> Result<(), ()> {
        done(flash_erase(from, to))
    }

    pub fn program(offset: u32, bytes: &[u8]) -> Result<(), ()> {
        // SAFETY: a slice.
        done(unsafe { flash_program(offset, bytes.as_ptr(), bytes.len()) })
    }

    pub fn read(offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
        // SAFETY: a slice.
        done(unsafe { flash_read(offset, bytes.as_mut_ptr(), bytes.len()) })
    }

    /// The next record, at most 64 bytes.
    pub fn next(record: &mut [u8; 64]) -> Option<&[u8]> {
        // SAFETY: 64 bytes are lent.
        let len = unsafe { next_record(record.as_mut_ptr()) };
        record.get(..len)
    }

    pub fn seen(record: &[u8]) {
        // SAFETY: a slice.
        unsafe { replayed(record.as_ptr(), record.len()) }
    }

    /// Runs a future over a driver that is always ready.
    pub fn ready<F: core::future::Future>(future: F) -> Option<F::Output> {
        use core::task::{Context, Poll, Waker};
        let mut context = Context::from_waker(Waker::noop());
        match core::pin::pin!(future).poll(&mut context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}
