//! `import-device`: a device's log becomes an archive.
//!
//! A character device (a serial line, which `stty` has set up) is asked for what is missing; anything else is only listened to.
//!
//! | exit | means |
//! |---|---|
//! | 0 | everything that the device has is in archives |
//! | 1 | not everything was received, or it can't be archived; the next import goes on |

use core::time::Duration;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::Args;
use strandline::Millis;
use strandline::archive::{ArchiveError, Writing};
use strandline::device::{Import, ImportError, Imported, Timed, import};

/// How long the line may be silent before what is missing is asked for again.
const SILENCE: Duration = Duration::from_millis(250);

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The serial line, the FIFO or the captured file; `-` for standard input
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// Where the archives of this device are kept; made if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The device's name, which its entries carry
    #[arg(long, value_name = "NAME", default_value = "device")]
    name: String,
}

pub(super) fn run(args: &ImportArgs) -> ExitCode {
    match receive(args) {
        Ok(imported) => {
            println!("{}", summary(&imported));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("std-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn receive(args: &ImportArgs) -> Result<Imported, ImportError> {
    if args.name.is_empty() || args.name.contains(['/', '\0']) {
        let why = format!("{:?} is no name for a device: it becomes part of a file's name", args.name);
        return Err(ImportError::Link(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    let made = std::fs::create_dir_all(&args.out);
    made.map_err(|source| ArchiveError::Io { what: "make", path: args.out.clone(), source })?;
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    let serial = args.from.metadata().is_ok_and(|found| found.file_type().is_char_device());
    // The time tells this session from those of earlier imports.
    let session = serial.then_some((millis & 0xffff) as u16);
    let what = Import {
        directory: &args.out,
        name: &args.name,
        created: Millis(millis),
        writing: Writing::default(),
        time: |_| Millis(0),
        session,
    };
    if args.from == Path::new("-") {
        return import(&mut OneWay(io::stdin().lock()), &what);
    }
    let open = OpenOptions::new().read(true).write(serial).open(&args.from);
    let file = open.map_err(|error| named(&args.from, error))?;
    if serial {
        let back = file.try_clone().map_err(|error| named(&args.from, error))?;
        import(&mut Timed::new(file, back, SILENCE), &what)
    } else {
        import(&mut OneWay::<File>(file), &what)
    }
}

fn named(path: &Path, error: io::Error) -> ImportError {
    ImportError::Link(io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

fn summary(imported: &Imported) -> String {
    let gaps: String = imported
        .gaps
        .iter()
        .map(|(from, until)| format!("; LSN {from} to before {until} are gone from the device"))
        .collect();
    match (imported.lsns, &imported.archive) {
        (Some((first, last)), Some(archive)) => format!(
            "imported {} records, LSN {first} to {last}, {} bytes, into {}{gaps}",
            imported.records,
            imported.bytes,
            archive.display()
        ),
        _ => format!("imported 0 records: nothing is new{gaps}"),
    }
}

/// A link without a way back.
struct OneWay<R>(R);

impl<R: Read> Read for OneWay<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl<R> Write for OneWay<R> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
