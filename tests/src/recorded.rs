//! The system calls of real processes, replayed onto the simulated medium: a small program over the library here, any process in
//! `life.rs`, and the server in `server.rs`.
//!
//! ```text
//!   drive ─► strace ─► calls ─► simulated medium ─► crash after each call ─► recovery ─► every acknowledged record?
//! ```
//!
//! So the ordering of the adapter and its threads is proven, not only core's. A sync covers what had been written when it
//! began, as strace saw it; a write counts from its end.

mod life;
mod server;

use std::collections::HashMap;
use std::path::Path;

use strandline_core::action::{Buffer, Span};
use strandline_core::geometry::Geometry;
use strandline_core::lower::posix::{Directory, File, Step};
use strandline_core::store::{Config, Mode};
use strandline_core::types::Lsn;

use crate::boot::{Boot, Ending, Plan};
use crate::chance::Chance;
use crate::oracle::{Oracle, Violation, broken};
use crate::posix::{Call, Disk, Profile};
use crate::setup::Setup;
use crate::transcript::Transcript;

pub use life::{Cuts, Life, Outside};
pub use server::{Found, Promised, Shown, World};

/// Records that `drive` appends.
pub const RECORDS: u64 = 180;
/// Size of its segments.
pub const SEGMENT_BYTES: u32 = 16 << 10;
/// What its segments' names begin with.
const PREFIX: &str = "log";

/// The record with this number.
#[must_use]
pub fn record(number: u64) -> Vec<u8> {
    let len = usize::try_from(number * 131 % 900).unwrap_or(0);
    let mut record = format!("record {number} ").into_bytes();
    record.resize(record.len() + len, b'a' + u8::try_from(number % 26).unwrap_or(0));
    record
}

/// What was seen of one system call.
#[derive(Debug)]
enum Seen {
    /// A thread has begun a call.
    Begun { thread: u32, step: Step, bytes: Vec<u8> },
    /// It has come back.
    Ended { thread: u32 },
    /// Everything up to this record was said to be durable.
    Acknowledged(u64),
}

/// A recorded life of a store.
#[derive(Debug, Default)]
pub struct Recording {
    seen: Vec<Seen>,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// System calls.
    pub calls: u64,
    /// Crashes.
    pub crashes: u64,
    /// Records that had been acknowledged in the end.
    pub acknowledged: u64,
}

impl Recording {
    /// Reads what `strace -f -y -xx -o FILE` wrote of a store in `directory`.
    #[must_use]
    pub fn parse(trace: &str, directory: &Path) -> Self {
        let mut recording = Self::default();
        for line in lines(trace) {
            match line {
                Line::Begun { thread, name, arguments } => {
                    recording.begin(thread, name, arguments, directory)
                }
                Line::Ended { thread, failed: false } => recording.seen.push(Seen::Ended { thread }),
                Line::Ended { failed: true, .. } => {}
            }
        }
        recording
    }

    /// The same life without some of its calls: what an adapter that forgets them would do.
    #[must_use]
    pub fn without(mut self, forgotten: impl Fn(&Step) -> bool) -> Self {
        self.seen.retain(|seen| !matches!(seen, Seen::Begun { step, .. } if forgotten(step)));
        self
    }

    fn begin(&mut self, thread: u32, name: &str, arguments: &str, directory: &Path) {
        let texts = quoted(arguments);
        let path = || descriptor(arguments).map(|path| ours(&path, directory));
        let found = match name {
            "openat" if arguments.contains("O_CREAT") => {
                match texts.first().map(|path| ours(path, directory)) {
                    Some(Place::File(file)) => Some((Step::Create(file), vec![])),
                    _ => None,
                }
            }
            "pwrite64" => match path() {
                Some(Place::File(file)) => {
                    Some((write(file, arguments), texts.into_iter().next().unwrap_or_default()))
                }
                _ => None,
            },
            "fdatasync" | "fsync" => match path() {
                Some(Place::File(file)) => Some((Step::Sync(file), vec![])),
                Some(Place::Directory(directory)) => Some((Step::SyncDirectory(directory), vec![])),
                _ => None,
            },
            "rename" => match texts.iter().map(|path| ours(path, directory)).collect::<Vec<_>>()[..] {
                [Place::File(from), Place::File(to)] => Some((Step::Rename { from, to }, vec![])),
                _ => None,
            },
            "unlink" => match texts.first().map(|path| ours(path, directory)) {
                Some(Place::File(file)) => Some((Step::Remove(file), vec![])),
                _ => None,
            },
            "write" if arguments.starts_with("1<") || arguments.starts_with("1,") => {
                let text =
                    texts.first().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
                let number = text.strip_prefix("ack ").and_then(|number| number.trim().parse().ok());
                self.seen.extend(number.map(Seen::Acknowledged));
                None
            }
            _ => None,
        };
        if let Some((step, bytes)) = found {
            self.seen.push(Seen::Begun { thread, step, bytes });
        }
    }

    /// Replays it on a device with this profile and crashes it `times` after each call.
    ///
    /// # Errors
    /// The promise that a recovery broke.
    pub fn check(&self, profile: Profile, seed: u64, times: u32) -> Result<Checked, Violation> {
        let setup = setup(profile);
        let mut chance = Chance::new(seed);
        let mut disk = Disk::new(profile);
        let mut oracle = Oracle::default();
        for number in 1..=RECORDS {
            oracle.taken(Lsn(number), &record(number))?;
        }
        let mut begun = HashMap::new();
        let mut checked = Checked::default();
        for seen in &self.seen {
            match seen {
                Seen::Acknowledged(number) => checked.acknowledged = *number,
                Seen::Begun { thread, step, bytes } => {
                    begun.insert(*thread, (*step, bytes, disk.now()));
                }
                Seen::Ended { thread } => {
                    let Some((step, bytes, begun)) = begun.remove(thread) else { continue };
                    let call = Call { bytes, fault: None, begun };
                    if let Err(failure) = disk.finish(step, call, &mut chance) {
                        return broken("recorded calls replay", format!("{step:?}: {failure:?}"));
                    }
                    checked.calls += 1;
                    for _ in 0..times {
                        crash(&setup, &oracle, &disk, checked, &mut chance)?;
                        checked.crashes += 1;
                    }
                }
            }
        }
        Ok(checked)
    }
}

/// Crashes a copy and recovers it: a prefix that holds every acknowledged record.
fn crash(
    setup: &Setup,
    oracle: &Oracle,
    disk: &Disk,
    so_far: Checked,
    chance: &mut Chance,
) -> Result<(), Violation> {
    let mut crashed = disk.crash(chance);
    let mut transcript = Transcript::none();
    let boot = Boot::new(setup, oracle, Plan::default(), &mut crashed, chance, &mut transcript);
    match boot.run()?.0 {
        Ending::Opened(opened) if opened.state.records >= so_far.acknowledged => Ok(()),
        Ending::Opened(opened) => broken(
            "an acknowledged write survives power loss",
            format!("{} of {} after call {}", opened.state.records, so_far.acknowledged, so_far.calls),
        ),
        Ending::Refused(refusal) => {
            broken("it starts after a plain crash", format!("{refusal:?} after call {}", so_far.calls))
        }
        Ending::Cut => broken("recovery ends", "cut, and nobody cut it".to_owned()),
    }
}

/// The store that `drive` makes, with the memory of the simulated ones.
fn setup(profile: Profile) -> Setup {
    Setup {
        profile,
        geometry: Geometry { extent_bytes: SEGMENT_BYTES, ..Geometry::HOST },
        config: Config::new(Mode::Always),
        half_bytes: 8192,
        window_bytes: 64 << 10,
        segments: 64,
    }
}

/// What a path names.
enum Place {
    File(File),
    Directory(Directory),
    Other,
}

fn ours(path: &[u8], directory: &Path) -> Place {
    let path = String::from_utf8_lossy(path).into_owned();
    let path = Path::new(&path);
    if path == directory {
        return Place::Directory(Directory::Log);
    }
    if path == directory.join("snapshots") {
        return Place::Directory(Directory::Snapshots);
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match File::parse(&name, PREFIX).filter(|_| path.starts_with(directory)) {
        Some(file) => Place::File(file),
        None => Place::Other,
    }
}

fn write(file: File, arguments: &str) -> Step {
    let offset = number_at_end(arguments);
    Step::Write { file, offset, bytes: Span { buffer: Buffer::Window, start: 0, len: 0 } }
}

/// A line of a trace: half a call, or a whole one in two.
enum Line<'t> {
    Begun { thread: u32, name: &'t str, arguments: &'t str },
    Ended { thread: u32, failed: bool },
}

/// A call that failed has changed nothing: if it is seen whole it is left out.
fn lines(trace: &str) -> impl Iterator<Item = Line<'_>> {
    trace
        .lines()
        .flat_map(|line| {
            let (thread, rest) = line.split_once(char::is_whitespace).unwrap_or_default();
            let Ok(thread) = thread.parse() else { return [None, None] };
            let rest = rest.trim_start();
            if ["+++", "---"].iter().any(|word| rest.starts_with(word)) {
                return [None, None];
            }
            let ends = !rest.ends_with("<unfinished ...>");
            let failed = ends && rest.rsplit_once(") = ").is_some_and(|(_, result)| result.starts_with('-'));
            let call = rest.strip_suffix("<unfinished ...>").unwrap_or(rest).split_once('(');
            let begun = call.filter(|_| !failed && !rest.starts_with("<... "));
            let begun = begun.map(|(name, arguments)| Line::Begun { thread, name, arguments });
            [begun, ends.then_some(Line::Ended { thread, failed })]
        })
        .flatten()
}

/// The last argument.
fn number_at_end(arguments: &str) -> u64 {
    let numbers = arguments.rsplit_once(')').map_or(arguments, |(arguments, _)| arguments);
    numbers.rsplit(", ").next().and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The path behind the descriptor that is the first argument.
fn descriptor(arguments: &str) -> Option<Vec<u8>> {
    let (_, rest) = arguments.split_once('<')?;
    Some(unescape(rest.split_once('>')?.0))
}

/// The strings among the arguments.
fn quoted(arguments: &str) -> Vec<Vec<u8>> {
    arguments.split('"').skip(1).step_by(2).map(unescape).collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if let ([b'\\', b'x', high, low, ..], Some(more)) = (rest, rest.get(4..))
            && let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16))
        {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or(0));
            rest = more;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}
