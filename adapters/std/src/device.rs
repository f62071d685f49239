//! Takes a device's log over a link, and keeps it as archives.
//!
//! ```text
//!   link ─► COBS ─► Receiver ─► DIR/NAME.partial ── complete ─► DIR/wal-….wal.zst ─► KEPT
//!     ▲                │              ▲
//!     └──── replies ◄──┘              └─ taken up again by the next import
//! ```
//!
//! An import goes on behind the last LSN of the archives of that device in the directory; each import that brings something adds
//! one, numbered on. The device is told that it may let go of its records only after their archive was read back.
//!
//! The partial file holds whole records, each under a checksum; what was cut or damaged of it is received once more.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use strandline_core::archive::Header;
use strandline_core::archive::entry::{Entry, Stamp};
use strandline_core::codec::check::Checksum;
use strandline_core::export::receiver::{Event, Failure, Memory, RING_BYTES, Receiver};
use strandline_core::export::uart::{Deframer, frame, frame_bytes};
use strandline_core::export::{MAX_MTU, REPLY_BYTES};
use strandline_core::types::{LogId, Lsn, Millis, StoreId};

use crate::archive::{self, ArchiveError, Chain, Level, Writing};
use crate::check::HardwareCheck;

/// Largest record that is taken, bytes.
const MAX_RECORD: usize = 4 << 20;
/// Silences after which another session is asked for.
const PATIENCE: u32 = 10;
/// Silences in a row after which the device is given up.
const GIVEN_UP: u32 = 60;

/// What to import, and whereto.
#[derive(Debug)]
pub struct Import<'i> {
    /// Where the archives are.
    pub directory: &'i Path,
    /// The device's name: the context of every entry.
    pub name: &'i str,
    /// When the archive is made.
    pub created: Millis,
    /// How it is written.
    pub writing: Writing,
    /// The time of a record, if its bytes say it.
    pub time: fn(&[u8]) -> Millis,
    /// A number for the first session, different from those of earlier imports; `None`: only listen, there is no way back.
    pub session: Option<u16>,
}

/// What an import brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Number of records that are new.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// First and last LSN of them.
    pub lsns: Option<(Lsn, Lsn)>,
    /// Records that the device did not have any more: from, and before.
    pub gaps: Vec<(Lsn, Lsn)>,
    /// The archive, if there was anything new.
    pub archive: Option<PathBuf>,
}

/// Why an import did not come to its end. What was received is kept for the next one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The link failed.
    #[error("the link: {0}")]
    Link(io::Error),
    /// The link ended, or stayed silent, before everything was there.
    #[error("the link ended before everything was received; {kept} records are kept for the next import")]
    Cut {
        /// Records that are in the partial file.
        kept: u64,
    },
    /// The device's stream can't be taken.
    #[error(transparent)]
    Device(#[from] Failure),
    /// The archives in the directory are of several stores, or of another one than the device.
    #[error("{} holds archives of another device than this one", .0.display())]
    OtherStore(PathBuf),
    /// The partial file can't be used.
    #[error("{}: {source}", path.display())]
    Partial {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive can't be written.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What the archives in a directory say of the device: its store, its next LSN, the next log id.
struct Known {
    store: Option<StoreId>,
    next: Lsn,
    log: LogId,
}

fn known(directory: &Path) -> Result<Known, ImportError> {
    let mut known = Known { store: None, next: Lsn::FIRST, log: LogId(1) };
    for (name, path) in archive::list(directory)? {
        let info = archive::verify(&path, Level::Quick)?;
        let same = info.extended.filter(|theirs| known.store.is_none_or(|store| theirs.store == store));
        let Some(theirs) = same else { return Err(ImportError::OtherStore(directory.into())) };
        known.store = Some(theirs.store);
        known.next = known.next.max(theirs.lsns.1.next());
        known.log = known.log.max(name.log.next());
    }
    Ok(known)
}

/// Receives until the device says that everything is there, and archives it. A read that times out or would block is a
/// silence; set the link's timeout to a few times what a chunk takes, or put it into [`crate::device::Timed`].
///
/// # Errors
/// [`ImportError`].
pub fn import<L: Read + Write>(link: &mut L, import: &Import<'_>) -> Result<Imported, ImportError> {
    let known = known(import.directory)?;
    let path = import.directory.join(format!("{}.partial", import.name));
    let mut partial = Partial::open(&path, &known)?;
    let failure = match receive(link, import, &mut partial) {
        Ok(next) => return finish(link, import, known.log, partial, next),
        Err(failure) => failure,
    };
    match failure {
        // The total of a session was wrong: nothing tells which of its records are right.
        ImportError::Device(Failure::Broken) => partial.discard()?,
        _ if partial.records == 0 => partial.discard()?,
        _ => partial.sync()?,
    }
    Err(match failure {
        ImportError::Device(Failure::OtherStore(_)) => ImportError::OtherStore(import.directory.into()),
        other => other,
    })
}

/// Receives everything; returns the last word for the device.
fn receive<L: Read + Write>(
    link: &mut L,
    import: &Import<'_>,
    partial: &mut Partial,
) -> Result<[u8; REPLY_BYTES], ImportError> {
    let (mut ring, mut record) = (vec![0; RING_BYTES], vec![0; MAX_RECORD]);
    let memory = Memory { ring: &mut ring, record: &mut record };
    let mut host = Receiver::<HardwareCheck>::resume(partial.next, partial.store, memory);
    let mut deframer = Deframer::new(vec![0; MAX_MTU]);
    let mut window = [0; 4096];
    let mut session = import.session;
    let mut silent = 0;
    if let Some(session) = session {
        host.request(session);
        answer(link, &mut host)?;
    }
    loop {
        let read = match link.read(&mut window) {
            Ok(0) => return Err(ImportError::Cut { kept: partial.records }),
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                silent += 1;
                match &mut session {
                    _ if silent > GIVEN_UP => return Err(ImportError::Cut { kept: partial.records }),
                    Some(session) if silent % PATIENCE == 0 => {
                        *session = session.wrapping_add(1);
                        host.request(*session);
                    }
                    Some(_) => host.nudge(),
                    None => {}
                }
                answer_if(link, &mut host, session.is_some())?;
                continue;
            }
            Err(error) => return Err(ImportError::Link(error)),
        };
        for byte in &window[..read] {
            let Some(chunk) = deframer.push(*byte) else { continue };
            if host.take(chunk) == strandline_core::export::receiver::Taken::New {
                silent = 0;
            }
            if partial.take(&mut host)? {
                return Ok(host.kept());
            }
            answer_if(link, &mut host, session.is_some())?;
        }
    }
}

fn answer_if<L: Write>(
    link: &mut L,
    host: &mut Receiver<'_, HardwareCheck>,
    both_ways: bool,
) -> Result<(), ImportError> {
    if both_ways { answer(link, host) } else { Ok(()) }
}

fn answer<L: Write>(link: &mut L, host: &mut Receiver<'_, HardwareCheck>) -> Result<(), ImportError> {
    host.reply().map_or(Ok(()), |reply| send(link, &reply).map_err(ImportError::Link))
}

fn send<L: Write>(link: &mut L, reply: &[u8; REPLY_BYTES]) -> io::Result<()> {
    let mut out = [0; frame_bytes(REPLY_BYTES)];
    let bytes = frame(reply, &mut out).unwrap_or(0);
    link.write_all(&out[..bytes])?;
    link.flush()
}

/// Archives what was received, and tells the device.
fn finish<L: Write>(
    link: &mut L,
    import: &Import<'_>,
    log: LogId,
    mut partial: Partial,
    kept: [u8; REPLY_BYTES],
) -> Result<Imported, ImportError> {
    partial.sync()?;
    let mut imported = Imported { gaps: partial.gaps.clone(), ..Imported::default() };
    if partial.records > 0 {
        let store = partial.store.unwrap_or_default();
        let chain = Chain::before(import.directory, log)?;
        let previous = chain.previous();
        let header = Header { store, log, previous, created: import.created, ..Header::EMPTY };
        let written = archive::write(import.directory, &header, import.writing, |take| {
            (imported.records, imported.bytes, imported.lsns) = (0, 0, None);
            partial.each(|lsn, record| {
                imported.records += 1;
                imported.bytes += record.len() as u64;
                imported.lsns = Some((imported.lsns.map_or(lsn, |lsns| lsns.0), lsn));
                let time = (import.time)(record);
                take(&Entry::record(import.name, Stamp { lsn, time, commit: Millis(0) }, record))
            })
        });
        imported.archive = Some(written?);
    }
    partial.discard()?;
    if import.session.is_some() {
        // Lost words are said again by the next import; the archive is there.
        let _ = send(link, &kept);
    }
    Ok(imported)
}

/// Records that were received and are not archived: a header, then for each LSN, length, CRC-32C and bytes.
struct Partial {
    path: PathBuf,
    file: BufWriter<File>,
    store: Option<StoreId>,
    next: Lsn,
    records: u64,
    gaps: Vec<(Lsn, Lsn)>,
    /// Bytes that are known to be intact.
    end: u64,
}

const MAGIC: &[u8; 8] = b"SLpart\x00\x1a";
const HEADER: usize = 8 + 16 + 4;
const RECORD_HEADER: usize = 8 + 4 + 4;

impl Partial {
    /// Opens or makes the file, and drops from it what is cut, damaged, or archived meanwhile.
    fn open(path: &Path, known: &Known) -> Result<Self, ImportError> {
        let failed = |source| ImportError::Partial { path: path.into(), source };
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = BufWriter::new(file.map_err(failed)?);
        let (store, next) = (known.store, known.next);
        let mut partial = Self { path: path.into(), file, store, next, records: 0, gaps: vec![], end: 0 };
        partial.verify(known).map_err(failed)?;
        if partial.store.is_some() && known.store.is_some() && partial.store != known.store {
            return Err(ImportError::OtherStore(path.parent().unwrap_or(path).into()));
        }
        partial.file.get_ref().set_len(partial.end).map_err(failed)?;
        partial.file.seek(io::SeekFrom::Start(partial.end)).map_err(failed)?;
        Ok(partial)
    }

    fn verify(&mut self, known: &Known) -> io::Result<()> {
        let mut file = BufReader::new(File::open(&self.path)?);
        let mut header = [0; HEADER];
        if file.read_exact(&mut header).is_err() || header[..8] != MAGIC[..] {
            return Ok(());
        }
        let (body, crc) = header.split_at(HEADER - 4);
        if HardwareCheck::extend(0, body).to_le_bytes() != *crc {
            return Ok(());
        }
        let store = StoreId(body[8..24].try_into().unwrap_or_default());
        let mut record = Vec::new();
        let mut end = HEADER as u64;
        let mut first = true;
        while let Some(lsn) = next_record(&mut file, &mut record)? {
            if first && lsn < known.next {
                // It was archived before it could be removed.
                return Ok(());
            }
            if lsn > self.next {
                self.gaps.push((self.next, lsn));
            }
            (self.next, first) = (lsn.next(), false);
            self.records += 1;
            end += (RECORD_HEADER + record.len()) as u64;
        }
        (self.store, self.end) = (Some(store), end);
        Ok(())
    }

    /// Takes what the receiver has; returns whether the session is complete.
    fn take(&mut self, host: &mut Receiver<'_, HardwareCheck>) -> Result<bool, ImportError> {
        loop {
            match host.poll() {
                Event::Idle => return Ok(false),
                Event::Hello(greeting) => self.begin(greeting.store).map_err(|error| self.failed(error))?,
                Event::Gap { from, until } => self.gaps.push((from, until)),
                Event::Record { lsn, bytes } => {
                    let written = self.append(lsn, bytes);
                    written.map_err(|error| self.failed(error))?;
                }
                Event::Complete { .. } => return Ok(true),
                Event::Failed(failure) => return Err(failure.into()),
                _ => {}
            }
        }
    }

    fn failed(&self, source: io::Error) -> ImportError {
        ImportError::Partial { path: self.path.clone(), source }
    }

    fn begin(&mut self, store: StoreId) -> io::Result<()> {
        self.store = Some(store);
        if self.end > 0 {
            return Ok(());
        }
        let mut header = [0; HEADER];
        header[..8].copy_from_slice(MAGIC);
        header[8..24].copy_from_slice(&store.0);
        let crc = HardwareCheck::extend(0, &header[..24]);
        header[24..].copy_from_slice(&crc.to_le_bytes());
        self.end = HEADER as u64;
        self.file.write_all(&header)
    }

    fn append(&mut self, lsn: Lsn, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len()).map_err(|_| ErrorKind::FileTooLarge)?;
        self.file.write_all(&lsn.0.to_le_bytes())?;
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(&record_crc(lsn, bytes).to_le_bytes())?;
        self.file.write_all(bytes)?;
        self.end += (RECORD_HEADER + bytes.len()) as u64;
        self.records += 1;
        self.next = lsn.next();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), ImportError> {
        let synced = self.file.flush().and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(|error| self.failed(error))
    }

    /// Reads all records from the start.
    fn each(&self, mut take: impl FnMut(Lsn, &[u8]) -> Result<(), ArchiveError>) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: self.path.clone(), source };
        let mut file = BufReader::new(File::open(&self.path).map_err(failed)?);
        file.seek(io::SeekFrom::Start(HEADER as u64)).map_err(failed)?;
        let mut record = Vec::new();
        for _ in 0..self.records {
            let lsn = next_record(&mut file, &mut record).map_err(failed)?;
            let lsn = lsn.ok_or_else(|| failed(ErrorKind::InvalidData.into()))?;
            take(lsn, &record)?;
        }
        Ok(())
    }

    fn discard(self) -> Result<(), ImportError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        std::fs::remove_file(&self.path).map_err(|error| self.failed(error))?;
        Ok(archive::sync_directory(directory)?)
    }
}

fn record_crc(lsn: Lsn, bytes: &[u8]) -> u32 {
    HardwareCheck::extend(HardwareCheck::extend(0, &lsn.0.to_le_bytes()), bytes)
}

/// Reads the next record; `None` at the end, and where something is cut or damaged.
fn next_record(file: &mut impl Read, record: &mut Vec<u8>) -> io::Result<Option<Lsn>> {
    let mut header = [0; RECORD_HEADER];
    match file.read_exact(&mut header) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let [l0, l1, l2, l3, l4, l5, l6, l7, n0, n1, n2, n3, c0, c1, c2, c3] = header;
    let lsn = Lsn(u64::from_le_bytes([l0, l1, l2, l3, l4, l5, l6, l7]));
    let len = u32::from_le_bytes([n0, n1, n2, n3]) as usize;
    if len > MAX_RECORD {
        return Ok(None);
    }
    record.resize(len, 0);
    match file.read_exact(record) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    Ok((record_crc(lsn, record) == u32::from_le_bytes([c0, c1, c2, c3])).then_some(lsn))
}

/// A link whose reads time out, whatever it is: a thread reads it.
#[derive(Debug)]
pub struct Timed<W> {
    from: std::sync::mpsc::Receiver<io::Result<Vec<u8>>>,
    to: W,
    timeout: core::time::Duration,
    rest: Vec<u8>,
}

impl<W: Write> Timed<W> {
    /// Reads from `from` in a thread of its own, which ends with the link or with the process, and writes to `to`.
    pub fn new(mut from: impl Read + Send + 'static, to: W, timeout: core::time::Duration) -> Self {
        let (sender, receiver) = std::sync::mpsc::sync_channel(64);
        std::thread::spawn(move || {
            loop {
                let mut window = vec![0; 4096];
                let read = from.read(&mut window).map(|bytes| {
                    window.truncate(bytes);
                    window
                });
                let ends = !matches!(&read, Ok(bytes) if !bytes.is_empty());
                if sender.send(read).is_err() || ends {
                    return;
                }
            }
        });
        Self { from: receiver, to, timeout, rest: Vec::new() }
    }
}

impl<W: Write> Read for Timed<W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = match self.from.recv_timeout(self.timeout) {
                Ok(bytes) => bytes?,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Ok(0),
            };
        }
        let bytes = self.rest.len().min(into.len());
        into[..bytes].copy_from_slice(&self.rest[..bytes]);
        self.rest.drain(..bytes);
        Ok(bytes)
    }
}

impl<W: Write> Write for Timed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
