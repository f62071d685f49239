//! A sensor that logs to NOR flash, on a Cortex-M4 (QEMU's mps2-an386).
//!
//! ```text
//!  start ─► open ─► "ready" ─► keep a sample ─► "kept N" ─► idle ─► … until killed, or for as many samples as asked
//! ```
//!
//! Words on its command line: the flash file, and how many samples to keep (0: until killed). A line "kept N" is said only
//! when sample N is durable, so whoever kills the emulator knows what must be there afterwards.
#![no_std]
#![no_main]

#[cfg(feature = "log")]
mod app;

use core::ffi::CStr;

use cortex_m_rt::entry;
use semihosting::{println, process};
use strandline_firmware::semihost_flash::{Fault, SemihostFlash};
use strandline_firmware::stack::Paint;

#[entry]
fn main() -> ! {
    let paint = Paint::new();
    let mut words = Words::default();
    let code = match words.read().ok_or(Fault::Host).and_then(|(path, samples)| run(path, samples, &paint)) {
        Ok(0) => 0,
        Ok(refused) => {
            println!("the medium refused {refused} programs");
            1
        }
        Err(fault) => {
            println!("stopped: {fault:?}");
            1
        }
    };
    process::exit(code)
}

/// Runs the sensor. Says how many programs the medium refused.
#[cfg(feature = "log")]
fn run(path: &CStr, samples: u32, paint: &Paint) -> Result<u32, Fault> {
    let (mut app, found) = app::App::open(SemihostFlash::open(path)?)?;
    println!(
        "ready: {} samples, newest {:?}, handle {} bytes",
        found.samples,
        found.newest,
        size_of_val(&app)
    );
    let mut kept = 0;
    while samples == 0 || kept < samples {
        let number = app.keep()?;
        println!("kept {number}");
        app.idle()?;
        kept += 1;
    }
    let counts = app.flash().counts;
    println!("done: {counts:?}, {} bytes of stack", paint.used_bytes());
    Ok(counts.refused)
}

/// The same image without anything that keeps samples.
#[cfg(not(feature = "log"))]
fn run(path: &CStr, samples: u32, paint: &Paint) -> Result<u32, Fault> {
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};
    let mut flash = SemihostFlash::open(path)?;
    let mut bytes = [0; 64];
    flash.read(0, &mut bytes)?;
    for number in 0..samples {
        flash.erase(0, 4096)?;
        flash.write(0, &number.to_le_bytes())?;
        println!("kept {number}");
    }
    let counts = flash.counts;
    println!("done: {counts:?}, {} bytes of stack", paint.used_bytes());
    Ok(counts.refused)
}

/// The command line, in a buffer that outlives its words.
struct Words {
    line: [u8; 512],
}

impl Default for Words {
    fn default() -> Self {
        Self { line: [0; 512] }
    }
}

impl Words {
    /// The flash file and the number of samples: `firmware PATH SAMPLES`.
    fn read(&mut self) -> Option<(&CStr, u32)> {
        let args = semihosting::experimental::env::args::<512>().ok()?;
        let mut words = (&args).into_iter().skip(1);
        let path = words.next()?.ok()?.as_bytes();
        self.line.get_mut(..path.len())?.copy_from_slice(path);
        let samples = words.next()?.ok()?.parse().ok()?;
        Some((CStr::from_bytes_until_nul(&self.line).ok()?, samples))
    }
}
