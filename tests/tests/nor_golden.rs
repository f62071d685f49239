//! A golden partition: NOR flash, byte for byte, made by a fixed script with a fixed store id.
//!
//! ```text
//!   script ─► core ─► flash.bin ──equal──► golden/format-N/nor/flash.bin     the writer still makes it
//!                                                   │
//!                   golden/format-N/nor/read.txt ◄──┘                        the reader still reads it
//! ```
//!
//! Images are add-only. `BLESS=1` writes those of the newest format again. `docs/FORMAT.md` quotes them.

use core::fmt::Write as _;
use core::pin::pin;
use std::fs;
use std::path::{Path, PathBuf};

use strandline_core::codec::check::TableCheck;
use strandline_core::codec::extent::FORMAT_VERSION;
use strandline_core::lower::nor::{Step, lower};
use strandline_core::media::nor::{Error, Fault, Geometry, Log, Options, Policy, Port, Request};
use strandline_core::types::{Lsn, StoreId};

type NorLog = Log<TableCheck>;

const STORE: StoreId = StoreId(*b"a golden image\0\0");
const OPTIONS: Options = Options { policy: Policy::AskForSnapshot, reserve: 1 };

fn geometry() -> Geometry {
    Geometry::new(4, 256, 6).expect("sizes that can be used")
}

/// Runs an operation on the bytes of a partition. The power goes after so many programs and erases.
fn run<T>(
    flash: &mut [u8],
    port: &Port<'_>,
    left: &mut usize,
    operation: impl Future<Output = Result<T, Error>>,
) -> Option<T> {
    let driver = |request: Request, bytes: &mut [u8]| {
        let place = |address: u32| address as usize..address as usize + bytes.len();
        let step = lower(request, geometry());
        if !matches!(step, Step::Read { .. }) {
            *left = left.checked_sub(1).ok_or(Fault)?;
        }
        match step {
            Step::Erase { from, to } => flash[from as usize..to as usize].fill(0xff),
            Step::Program { address } => flash[place(address)].copy_from_slice(bytes),
            Step::Read { address } => bytes.copy_from_slice(&flash[place(address)]),
        }
        Ok(())
    };
    port.run(pin!(operation), driver).ok()
}

/// Records, a group, a cut in the middle of a record, the repair, a trim, a snapshot, and a record behind it.
async fn before_the_cut(port: &Port<'_>) -> Result<(), Error> {
    let mut log = NorLog::format(port, geometry(), STORE, OPTIONS).await?;
    log.append(port, b"one").await?;
    log.append_all(port, &[b"two", b"three"]).await?;
    log.append(port, b"is torn").await?;
    Ok(())
}

async fn after_the_cut(port: &Port<'_>) -> Result<(), Error> {
    let mut log = NorLog::mount(port, geometry(), STORE, OPTIONS).await?;
    log.append(port, &[0x5a; 80]).await?;
    log.append(port, b"five").await?;
    log.trim(port, Lsn(5)).await?;
    let mut snapshot = log.begin_snapshot(port, 1).await?;
    log.write_snapshot(port, &mut snapshot, b"the state after five").await?;
    log.commit_snapshot(port, snapshot).await?;
    log.append(port, b"six").await?;
    Ok(())
}

fn script() -> Vec<u8> {
    let mut flash = vec![0xff; 6 * 256];
    let mut scratch = [0; 256];
    let port = Port::new(&mut scratch);
    let mut left = usize::MAX;
    run(&mut flash, &port, &mut left, before_the_cut(&port)).expect("nothing fails");
    // The record's last word was never programmed, and the one before it is torn.
    let torn = flash.windows(4).position(|bytes| bytes == b"is t").expect("it was written");
    flash[torn + 1] = 0xff;
    flash[torn + 4..torn + 8].fill(0xff);
    run(&mut flash, &port, &mut left, after_the_cut(&port)).expect("nothing fails");
    flash
}

async fn describe(port: &Port<'_>) -> Result<String, Error> {
    let mut text = String::new();
    let log = NorLog::mount(port, geometry(), STORE, OPTIONS).await?;
    let _ = writeln!(text, "the next record is {}", log.next_lsn());
    if let Some(mut reader) = log.snapshot(port).await? {
        let _ = writeln!(text, "snapshot of everything up to {}", reader.base());
        while let Some(span) = reader.next(&log, port).await? {
            port.lend(|scratch| writeln!(text, "  {}", span.of(scratch).escape_ascii())).expect("a string");
        }
    }
    let mut records = log.records(port).await?;
    while let Some(record) = records.next(port).await? {
        let provisional = if record.provisional { ", provisional" } else { "" };
        port.lend(|scratch| {
            writeln!(text, "record {}{provisional}: {}", record.lsn, record.bytes.of(scratch).escape_ascii())
        })
        .expect("a string");
    }
    Ok(text)
}

fn read(mut flash: Vec<u8>) -> String {
    let mut scratch = [0; 256];
    let port = Port::new(&mut scratch);
    run(&mut flash, &port, &mut 0, describe(&port)).expect("an image is read, and nothing is written")
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

#[test]
fn the_script_makes_the_partition_of_the_newest_format() {
    let directory = golden().join(format!("format-{FORMAT_VERSION}/nor"));
    let flash = script();
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(&directory).expect("a directory for the image");
        fs::write(directory.join("flash.bin"), &flash).expect("the image is written");
        fs::write(directory.join("read.txt"), read(flash.clone())).expect("the reading is written");
    }
    let image = fs::read(directory.join("flash.bin")).expect("the image is there");
    let differs = image.iter().zip(&flash).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs; BLESS=1 if the format was meant to change");
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
