//! `inspect DUMP` and `verify DUMP`: the image of a flash partition, read out of a device.
//!
//! ```text
//!  block  offset sequence kind      what
//!      3       0       19 log       erased 1 times, fence LSN 897, floor 6
//!      3      40       19 record    64 bytes, seq 129
//!      3     112       19 void      12 bytes
//!      3     124       19 resume    104 bytes, seq 130
//! ```
//!
//! The sizes stand in the headers of the blocks. What a torn place is, is judged by `verify`, which opens the log as a device does.
//! Exit code 0: intact, or an unfinished end; 1: damaged; 2: no dump of ours, or it can't be read.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use strandline::HardwareCheck;
use strandline::core::codec::frame::{Frame, Parsed};
use strandline::core::media::nor::blocking::{Driver, Log, Port};
use strandline::core::media::nor::{Error, Fault, Identity, OpenHeader, Operation, Options, Policy, Request};

use super::{EXIT_USAGE, inspect};

/// Prints a dump, or says that the file is none.
pub(super) fn inspect(path: &Path) -> Option<ExitCode> {
    let dump = Dump::read(path).ok()??;
    let mut out = BufWriter::new(io::stdout());
    // A reader that has seen enough and closed the pipe is no failure.
    let _ = dump.print(&mut out).and_then(|()| out.flush());
    Some(ExitCode::SUCCESS)
}

/// Opens the log of a dump and reads everything.
pub(super) fn verify(path: &Path) -> ExitCode {
    let dump = match Dump::read(path) {
        Ok(Some(dump)) => dump,
        Ok(None) => {
            eprintln!(
                "std-server: {} is neither a data directory nor a dump of a flash partition",
                path.display()
            );
            return ExitCode::from(EXIT_USAGE);
        }
        Err(error) => {
            eprintln!("std-server: {}: {error}", path.display());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let geometry = dump.identity.geometry();
    println!(
        "partition  {} blocks of {} bytes, words of {} bytes, store {:08x}",
        geometry.block_count(),
        geometry.block_bytes(),
        geometry.word(),
        dump.identity.label()
    );
    match dump.verify() {
        Ok(()) => {
            println!("verdict    good");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("verdict    damaged: {error:?}");
            ExitCode::FAILURE
        }
    }
}

struct Dump {
    bytes: Vec<u8>,
    identity: Identity,
}

impl Dump {
    /// `None`: no block of it has a header, or not at its place.
    fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = fs::read(path)?;
        let found = (0..bytes.len()).step_by(SMALLEST_BLOCK).find_map(|at| {
            let identity = Identity::read::<HardwareCheck>(&bytes[at..])?;
            at.is_multiple_of(identity.geometry().block_bytes() as usize).then_some(identity)
        });
        let whole = found.filter(|identity| {
            let geometry = identity.geometry();
            geometry.block_bytes() as usize * geometry.block_count() as usize <= bytes.len()
        });
        Ok(whole.map(|identity| Self { bytes, identity }))
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let geometry = self.identity.geometry();
        writeln!(out, "{:>6} {:>7} {:>8} {:<9} what", "block", "offset", "sequence", "kind")?;
        let blocks = self.bytes.chunks_exact(geometry.block_bytes() as usize).zip(0..geometry.block_count());
        for (block, index) in blocks {
            let header = self.identity.header::<HardwareCheck>(index, block);
            let erases =
                header.erases.map_or("no erase part".into(), |erases| format!("erased {erases} times"));
            let Some(open) = header.open else {
                let blank = block.iter().all(|byte| *byte == 0xff);
                let kind = if blank { "erased" } else { "closed" };
                writeln!(out, "{index:>6} {:>7} {:>8} {kind:<9} {erases}", 0, "-")?;
                continue;
            };
            let kind = if open.run == 0 { "log" } else { "snapshot" };
            let OpenHeader { sequence, fence, floor, .. } = open;
            writeln!(
                out,
                "{index:>6} {:>7} {sequence:>8} {kind:<9} {erases}, fence LSN {fence}, floor {floor}",
                0
            )?;
            self.print_frames(out, index, open, block)?;
        }
        Ok(())
    }

    fn print_frames(
        &self,
        out: &mut impl Write,
        index: u32,
        open: OpenHeader,
        block: &[u8],
    ) -> io::Result<()> {
        let geometry = self.identity.geometry();
        let word = geometry.word() as usize;
        let mut at = geometry.frames_at() as usize;
        // Words that are no frame are told as one.
        let mut gap = at;
        while at < block.len() {
            let parsed = self.identity.frame::<HardwareCheck>(open, block, at as u32);
            let Parsed::Frame(Frame { kind, seq, payload, bytes, .. }) = parsed else {
                at += word;
                continue;
            };
            print_gap(out, index, open.sequence, gap, &block[gap..at])?;
            let kind = inspect::name_of(kind);
            let sequence = open.sequence;
            writeln!(out, "{index:>6} {at:>7} {sequence:>8} {kind:<9} {} bytes, seq {seq}", payload.len())?;
            at += bytes;
            gap = at;
        }
        print_gap(out, index, open.sequence, gap, &block[gap..])
    }

    fn verify(&self) -> Result<(), Error> {
        let block_bytes = self.identity.geometry().block_bytes() as usize;
        let image = Image { bytes: &self.bytes, block_bytes };
        let mut scratch = vec![0; 32 * 1024];
        read_all(&mut Port::new(&mut scratch, image), self.identity)
    }
}

/// A dump as a medium that can only be read.
struct Image<'b> {
    bytes: &'b [u8],
    block_bytes: usize,
}

impl Driver for Image<'_> {
    fn carry_out(&mut self, request: Request, bytes: &mut [u8]) -> Result<(), Fault> {
        let from = request.block as usize * self.block_bytes + request.offset as usize;
        let found = self.bytes.get(from..).and_then(|rest| rest.get(..bytes.len()));
        match found {
            Some(found) if request.operation == Operation::Read => {
                bytes.copy_from_slice(found);
                Ok(())
            }
            _ => Err(Fault),
        }
    }
}

/// Reads the snapshot and every record, and tells what there is.
fn read_all(port: &mut Port<'_, impl Driver>, identity: Identity) -> Result<(), Error> {
    let options = Options { policy: Policy::Reject, reserve: 0 };
    let log = Log::<HardwareCheck>::mount_image(port, identity, options)?;
    if let Some(mut state) = log.snapshot(port)? {
        let mut bytes = 0;
        while let Some(span) = state.next(&log, port)? {
            bytes += port.bytes(span).len();
        }
        println!("snapshot   {bytes} bytes, base LSN {}", state.base());
    }
    let (mut count, mut bytes, mut first, mut unsure) = (0_u64, 0, None, 0_u64);
    let mut records = log.records(port)?;
    while let Some(record) = records.next(port)? {
        count += 1;
        bytes += port.bytes(record.bytes).len();
        first = first.or(Some(record.lsn));
        unsure += u64::from(record.provisional);
    }
    let first = first.map_or(String::new(), |lsn| format!(", from LSN {lsn}"));
    println!("log        {count} records in {bytes} bytes{first}, next LSN {}", log.next_lsn());
    println!("end        {unsure} of them are certain only after the next write");
    Ok(())
}

fn print_gap(out: &mut impl Write, index: u32, sequence: u32, at: usize, bytes: &[u8]) -> io::Result<()> {
    let kind = match bytes {
        [] => return Ok(()),
        bytes if bytes.iter().all(|byte| *byte == 0xff) => "erased",
        bytes if bytes.iter().all(|byte| *byte == 0) => "burnt",
        _ => "void",
    };
    writeln!(out, "{index:>6} {at:>7} {sequence:>8} {kind:<9} {} bytes", bytes.len())
}

const SMALLEST_BLOCK: usize = 256;

#[cfg(test)]
mod tests {
    use strandline::StoreId;
    use strandline::core::media::nor::Geometry;

    use super::*;

    /// A partition with a snapshot and forty records behind it.
    fn image() -> Vec<u8> {
        let geometry = Geometry::new(4, 512, 8).expect("sizes that can be used");
        let mut bytes = vec![0xff; 8 * 512];
        let mut write = || {
            let memory = Memory(&mut bytes);
            let mut scratch = vec![0; 512];
            let mut port = Port::new(&mut scratch, memory);
            let options = Options { policy: Policy::DropOldest, reserve: 1 };
            let mut log = Log::<HardwareCheck>::mount(&mut port, geometry, StoreId([7; 16]), options)?;
            log.append(&mut port, b"before")?;
            let mut snapshot = log.begin_snapshot(&mut port, 1)?;
            log.write_snapshot(&mut port, &mut snapshot, b"state")?;
            log.commit_snapshot(&mut port, snapshot)?;
            for number in 0..40_u64 {
                log.append(&mut port, &number.to_le_bytes())?;
            }
            Ok::<_, Error>(())
        };
        write().expect("memory does not fail");
        bytes
    }

    /// Blocks of 512 bytes.
    struct Memory<'b>(&'b mut [u8]);

    impl Driver for Memory<'_> {
        fn carry_out(&mut self, request: Request, span: &mut [u8]) -> Result<(), Fault> {
            let at = request.block as usize * 512 + request.offset as usize;
            match request.operation {
                Operation::Erase => self.0[at..at + 512].fill(0xff),
                Operation::Program => self.0[at..at + span.len()].copy_from_slice(span),
                Operation::Read => span.copy_from_slice(&self.0[at..at + span.len()]),
            }
            Ok(())
        }
    }

    fn dump(bytes: &[u8]) -> Option<Dump> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), bytes).expect("it can be written");
        Dump::read(file.path()).expect("it can be read")
    }

    #[test]
    fn a_dump_is_told_and_judged() {
        let bytes = image();
        let whole = dump(&bytes).expect("it is one");
        assert_eq!(whole.verify(), Ok(()));
        let mut told = Vec::new();
        whole.print(&mut told).expect("memory does not fail");
        let told = String::from_utf8(told).expect("text");
        let lines =
            |kind: &str| told.lines().filter(|line| line.split_whitespace().nth(3) == Some(kind)).count();
        assert_eq!(
            (lines("record"), lines("chunk"), lines("end"), lines("manifest")),
            (41, 1, 1, 1),
            "{told}"
        );
        assert_eq!((lines("snapshot"), lines("void")), (1, 0), "{told}");
    }

    #[test]
    fn damage_is_named_and_other_files_are_none() {
        let mut bytes = image();
        let chunk = bytes.windows(5).position(|window| window == b"state").expect("it is there");
        bytes[chunk] ^= 1;
        assert!(matches!(dump(&bytes).expect("it is one").verify(), Err(Error::Corrupt(_))));
        assert!(dump(&bytes[..7 * 512]).is_none());
        assert!(dump(&[0xff; 4096]).is_none() && dump(&[]).is_none());
    }
}
