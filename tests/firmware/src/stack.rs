//! How much stack was used: paint what is free, run, and look how far the paint is gone.
//!
//! ```text
//!  _stack_end ─► ░░░░░░░░░░░░░░░░░░░████████████ ◄─ _stack_start
//!                painted, untouched  ▲ used since   grows down
//!                                    └ high-water mark
//! ```

use core::ptr;

/// A painted stack, measured from where it was painted.
pub struct Paint {
    top: usize,
}

impl Paint {
    /// Paints everything below the caller's frame.
    #[inline(never)]
    pub fn new() -> Self {
        let top = cortex_m::register::msp::read() as usize;
        // The frame of this very function may reach a little lower than its stack pointer says.
        let mut word = bottom();
        while word < top - MARGIN_BYTES {
            // SAFETY: below the stack pointer and above the statics, nothing lives; interrupts are not enabled.
            unsafe { ptr::write_volatile(word as *mut u32, PAINT) };
            word += 4;
        }
        Self { top }
    }

    /// Bytes of stack used below the caller's frame since it was painted.
    #[inline(never)]
    pub fn used_bytes(&self) -> usize {
        let mut word = bottom();
        // SAFETY: the same range as in `new`.
        while word < self.top && unsafe { ptr::read_volatile(word as *const u32) } == PAINT {
            word += 4;
        }
        self.top - word
    }
}

impl Default for Paint {
    fn default() -> Self {
        Self::new()
    }
}

/// The lowest address of the stack.
fn bottom() -> usize {
    unsafe extern "C" {
        static __sheap: u32;
    }
    (&raw const __sheap) as usize
}

const PAINT: u32 = 0x5354_5241;
const MARGIN_BYTES: usize = 32;
