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

#[cfg(feature = "log")]
use core::cell::RefCell;
use core::ffi::CStr;

use cortex_m_rt::entry;
use semihosting::{println, process};
use strandline_firmware::semihost_flash::{Fault, SemihostFlash};
use strandline_firmware::stack::Paint;

#[entry]
fn main() -> ! {
    let paint = Paint::new();
    let mut words = Words::default();
    let code =
        match words.read().ok_or(stopped(Fault::Host)).and_then(|(path, samples)| run(path, samples, &paint))
        {
            Ok(0) => 0,
            Ok(refused) => {
                println!("the medium refused {refused} programs");
                1
            }
            Err(error) => {
                println!("stopped: {error:?}");
                1
            }
        };
    process::exit(code)
}

/// Runs the sensor. Says how many programs the medium refused.
#[cfg(feature = "log")]
fn run(path: &CStr, samples: u32, paint: &Paint) -> Result<u32, Stopped> {
    let part = RefCell::new(SemihostFlash::open(path).map_err(stopped)?);
    let mut scratch = app::Scratch::new();
    let (mut app, found) = app::App::open(&part, &mut scratch)?;
    println!(
        "ready: {} samples, newest {:?}, mark {:?}, handles {} bytes",
        found.samples,
        found.newest,
        found.mark,
        size_of_val(&app)
    );
    let mut kept = 0;
    while samples == 0 || kept < samples {
        let number = app.keep()?;
        println!("kept {number}");
        if app.mark(number)? {
            println!("mark {number}");
        }
        app.idle()?;
        kept += 1;
    }
    let counts = part.borrow().counts;
    println!("done: {counts:?}, {} bytes of stack", paint.used_bytes());
    Ok(counts.refused)
}

/// Why the sensor stops.
#[cfg(feature = "log")]
type Stopped = strandline_flash::Error<Fault>;
#[cfg(not(feature = "log"))]
type Stopped = Fault;

/// The flash failed before there was a log.
const fn stopped(fault: Fault) -> Stopped {
    #[cfg(feature = "log")]
    return strandline_flash::Error::Flash(fault);
    #[cfg(not(feature = "log"))]
    return fault;
}

/// The same image without anything that keeps samples.
#[cfg(not(feature = "log"))]
fn run(path: &CStr, samples: u32, paint: &Paint) -> Result<u32, Stopped> {
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
