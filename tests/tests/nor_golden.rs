//! A golden partition: NOR flash, byte for byte, made by a fixed script with a fixed store id.
//!
//! ```text
//!   script ─► core ─► flash.bin ──equal──► golden/format-N/nor/flash.bin     the writer still makes it
//!                                                   │
//!                   golden/format-N/nor/read.txt ◄──┘                        the reader still reads it
//! ```
//!
//! Images are add-only. `BLESS=1` writes those of a new format. `docs/FORMAT.md` quotes them.

use core::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use strandline_core::codec::check::TableCheck;
use strandline_core::codec::extent::FORMAT_VERSION;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::blocking::{Driver, Log, Port};
use strandline_core::media::nor::{Error, Fault, Geometry, Options, Policy, Request};
use strandline_core::types::{Lsn, StoreId};

type NorLog = Log<TableCheck>;

const STORE: StoreId = StoreId(*b"a golden image\0\0");
const OPTIONS: Options = Options { policy: Policy::AskForSnapshot, reserve: 1 };

fn geometry() -> Geometry {
    Geometry::new(4, 256, 6).expect("sizes that can be used")
}

/// The bytes of a partition, which takes so many programs and erases.
struct Bytes<'b> {
    flash: &'b mut [u8],
    left: usize,
}

impl Driver for Bytes<'_> {
    fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        let place = |address: u32| address as usize..address as usize + bytes.len();
        let step = lower(request, geometry());
        if !matches!(step, Step::Read { .. }) {
            self.left = self.left.checked_sub(1).ok_or(Fault)?;
        }
        match step {
            Step::Erase { from, to } => self.flash[from as usize..to as usize].fill(0xff),
            Step::Program { address } => self.flash[place(address)].copy_from_slice(bytes),
            Step::Read { address } => bytes.copy_from_slice(&self.flash[place(address)]),
        }
        Ok(())
    }
}

/// Records, a group, a cut in the middle of a record, the repair, a trim, a snapshot, and a record behind it.
fn before_the_cut(port: &mut Port<'_, Bytes<'_>>) -> Result<(), Error> {
    let mut log = NorLog::format(port, geometry(), STORE, OPTIONS)?;
    log.append(port, b"one")?;
    log.append_all(port, &[b"two", b"three"])?;
    log.append(port, b"is torn")?;
    Ok(())
}

fn after_the_cut(port: &mut Port<'_, Bytes<'_>>) -> Result<(), Error> {
    let mut log = NorLog::mount(port, geometry(), STORE, OPTIONS)?;
    log.append(port, &[0x5a; 80])?;
    log.append(port, b"five")?;
    log.trim(port, Lsn(5))?;
    let mut snapshot = log.begin_snapshot(port, 1)?;
    log.write_snapshot(port, &mut snapshot, b"the state after five")?;
    log.commit_snapshot(port, snapshot)?;
    log.append(port, b"six")?;
    Ok(())
}

fn script() -> Vec<u8> {
    let mut flash = vec![0xff; 6 * 256];
    before_the_cut(&mut Port::new(&mut [0; 256], Bytes { flash: &mut flash, left: usize::MAX }))
        .expect("nothing fails");
    // The record's last word was never programmed, and the one before it is torn.
    let torn = flash.windows(4).position(|bytes| bytes == b"is t").expect("it was written");
    flash[torn + 1] = 0xff;
    flash[torn + 4..torn + 8].fill(0xff);
    after_the_cut(&mut Port::new(&mut [0; 256], Bytes { flash: &mut flash, left: usize::MAX }))
        .expect("nothing fails");
    flash
}

fn describe(port: &mut Port<'_, Bytes<'_>>) -> Result<String, Error> {
    let mut text = String::new();
    let log = NorLog::mount(port, geometry(), STORE, OPTIONS)?;
    let _ = writeln!(text, "the next record is {}", log.next_lsn());
    if let Some(mut reader) = log.snapshot(port)? {
        let _ = writeln!(text, "snapshot of everything up to {}", reader.base());
        while let Some(span) = reader.next(&log, port)? {
            let _ = writeln!(text, "  {}", port.bytes(span).escape_ascii());
        }
    }
    let mut records = log.records(port)?;
    while let Some(record) = records.next(port)? {
        let provisional = if record.provisional { ", provisional" } else { "" };
        let bytes = port.bytes(record.bytes).escape_ascii();
        let _ = writeln!(text, "record {}{provisional}: {bytes}", record.lsn);
    }
    Ok(text)
}

fn read(mut flash: Vec<u8>) -> String {
    describe(&mut Port::new(&mut [0; 256], Bytes { flash: &mut flash, left: 0 }))
        .expect("an image is read, and nothing is written")
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn the_script_makes_the_partition_of_the_newest_format() {
    let directory = golden().join(format!("format-{FORMAT_VERSION}/nor"));
    let flash = script();
    if std::env::var_os("BLESS").is_some() && !directory.exists() {
        fs::create_dir_all(&directory).expect("a directory for the image");
        fs::write(directory.join("flash.bin"), &flash).expect("the image is written");
        fs::write(directory.join("read.txt"), read(flash.clone())).expect("the reading is written");
    }
    let image = fs::read(directory.join("flash.bin")).expect("the image is there");
    let differs = image.iter().zip(&flash).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
}

#[test]
fn every_golden_partition_is_read() {
    let mut read_images = 0;
    for entry in fs::read_dir(golden()).expect("golden images") {
        let directory = entry.expect("an entry").path().join("nor");
        let Ok(image) = fs::read(directory.join("flash.bin")) else { continue };
        let wanted = fs::read_to_string(directory.join("read.txt")).expect("its reading");
        assert_eq!(read(image), wanted, "{}", directory.display());
        read_images += 1;
    }
    assert!(read_images > 0, "there is an image");
}
