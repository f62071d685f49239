//! A log-only firmware image, to be measured: `run.sh` links it for thumbv7em.
//!
//! The panic handler calls a function that exists nowhere, so an image in which a panic can be reached does not link.
#![no_std]

unsafe extern "C" {
    fn a_panic_can_be_reached() -> !;
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: never linked: the symbol does not exist.
    unsafe { a_panic_can_be_reached() }
}

#[cfg(feature = "log")]
mod log;

#[cfg(feature = "export")]
mod export;
