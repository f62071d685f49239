//! All files of a real process, whatever they are: its calls are replayed, cut, and what is left is made into real files again.
//!
//! ```text
//!   process ─► strace ─► calls ─► one simulated disk for each directory ─► crash ─► real files ─► whoever opens them
//!                          └──► what it has said and sent by then ────────────────────────────────────┘
//! ```
//!
//! A directory that was not synced into the one above it is lost with all that is in it. A call that changes files in a way that
//! is not simulated ends the replay: what is not understood is not passed over.

mod disks;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::{Line, descriptor, lines, number_at_end, quoted};
use crate::chance::Chance;
use crate::device::directory_in_memory;
use crate::posix::Profile;
use disks::Disks;

/// What a process did to the files below one directory, and what it said.
#[derive(Debug)]
pub struct Life {
    root: PathBuf,
    seen: Vec<Seen>,
}

/// What the world outside has heard of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Lines of its standard output.
    pub said: Vec<String>,
    /// What it has sent on each connection.
    pub sent: BTreeMap<String, Vec<u8>>,
}

/// Where and how often the power goes.
#[derive(Clone, Copy, Debug)]
pub struct Cuts {
    /// The device.
    pub profile: Profile,
    /// Outcomes that are looked at after one call.
    pub times: usize,
    /// Of so many calls one is cut; the end of the life always is.
    pub one_in: usize,
    /// Not before the process has sent something.
    pub when_heard: bool,
}

#[derive(Clone, Debug)]
enum Seen {
    Begun { thread: u32, act: Act },
    Ended { thread: u32, failed: bool },
    Said(String),
    Sent { to: String, bytes: Vec<u8> },
}

#[derive(Clone, Debug)]
enum Act {
    Directory(PathBuf),
    /// A file; one that is there is emptied, or left as it is.
    Create {
        path: PathBuf,
        empties: bool,
    },
    Write {
        path: PathBuf,
        offset: u64,
        bytes: Vec<u8>,
    },
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    /// What is not simulated.
    Strange(String),
}

impl Life {
    /// The calls that `strace` must show.
    pub const CALLS: &'static str = "trace=openat,mkdir,mkdirat,rmdir,pwrite64,pwritev,write,writev,sendto,sendmsg,fdatasync,\
        fsync,sync_file_range,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,ftruncate,truncate,\
        fallocate,copy_file_range,sendfile";

    /// Reads what `strace -f -y -xx -o FILE` wrote of a process that keeps its files in `root`, or of several after each other.
    #[must_use]
    pub fn parse(trace: &str, root: &Path) -> Self {
        let mut life = Self { root: root.to_path_buf(), seen: Vec::new() };
        // Where the next plain write to a file goes.
        let mut ends: HashMap<PathBuf, u64> = HashMap::new();
        for line in lines(trace) {
            match line {
                Line::Begun { name: "write", arguments, .. } if arguments.starts_with("1<") => {
                    let said = quoted(arguments).into_iter().next().unwrap_or_default();
                    life.seen.push(Seen::Said(String::from_utf8_lossy(&said).trim().to_owned()));
                }
                Line::Begun { name: "write" | "writev" | "sendto" | "sendmsg", arguments, .. }
                    if socket(arguments).is_some() =>
                {
                    let (to, bytes) = (socket(arguments).unwrap_or_default(), quoted(arguments).concat());
                    life.seen.push(Seen::Sent { to, bytes });
                }
                Line::Begun { thread, name, arguments } => {
                    let act = life.act(name, arguments, &mut ends);
                    life.seen.extend(act.map(|act| Seen::Begun { thread, act }));
                }
                Line::Ended { thread, failed } => life.seen.push(Seen::Ended { thread, failed }),
            }
        }
        life
    }

    fn act(&self, name: &str, arguments: &str, ends: &mut HashMap<PathBuf, u64>) -> Option<Act> {
        let mut texts = quoted(arguments).into_iter();
        let mut text = || texts.next();
        let named = |path: Vec<u8>| PathBuf::from(String::from_utf8_lossy(&path).into_owned());
        let below =
            |path| Some(named(path)).filter(|path| path.starts_with(&self.root) && *path != self.root);
        let open = || descriptor(arguments).map(named).filter(|path| path.starts_with(&self.root));
        match name {
            "openat" if arguments.contains("O_CREAT") => {
                let path = text().and_then(below)?;
                let empties = arguments.contains("O_TRUNC");
                if empties || !arguments.contains("O_APPEND") {
                    ends.insert(path.clone(), 0);
                }
                Some(Act::Create { path, empties })
            }
            "openat" => None,
            "mkdir" => text().and_then(below).map(Act::Directory),
            "pwrite64" => {
                let (path, offset) = (open()?, number_at_end(arguments));
                Some(Act::Write { path, offset, bytes: text()? })
            }
            "write" => {
                let (path, bytes) = (open()?, text()?);
                let end = ends.entry(path.clone()).or_default();
                let offset = *end;
                *end += bytes.len() as u64;
                Some(Act::Write { path, offset, bytes })
            }
            "ftruncate" if number_at_end(arguments) == 0 => {
                let path = open()?;
                ends.insert(path.clone(), 0);
                Some(Act::Create { path, empties: true })
            }
            "fdatasync" | "fsync" => open().map(Act::Sync),
            "rename" => {
                let (from, to) = (text().and_then(below)?, text().and_then(below)?);
                if let Some(end) = ends.remove(&from) {
                    ends.insert(to.clone(), end);
                }
                Some(Act::Rename(from, to))
            }
            "unlink" => text().and_then(below).map(Act::Remove),
            _ if open().is_some() || text().and_then(below).is_some() => Some(Act::Strange(name.to_owned())),
            _ => None,
        }
    }

    /// The same life without the syncs of these files and directories: what a process that forgets them would do.
    #[must_use]
    pub fn without_syncs(&self, forgotten: impl Fn(&Path) -> bool) -> Self {
        let is_kept =
            |seen: &&Seen| !matches!(seen, Seen::Begun { act: Act::Sync(path), .. } if forgotten(path));
        Self { root: self.root.clone(), seen: self.seen.iter().filter(is_kept).cloned().collect() }
    }

    /// Replays it on a device. After each call the power goes, and `check` gets a directory with what one of the many outcomes
    /// leaves, and what the process had told by then. Returns how often that was.
    ///
    /// # Errors
    /// What `check` found, or why the files could not be made.
    pub fn cut_everywhere(
        &self,
        cuts: Cuts,
        chance: &mut Chance,
        mut check: impl FnMut(&Path, &Outside) -> Result<(), String>,
    ) -> Result<usize, String> {
        let mut disks = Disks::new(&self.root, cuts.profile);
        let (mut begun, mut outside) = (HashMap::new(), Outside::default());
        let (mut calls, mut done) = (0usize, 0);
        let mut cut = |disks: &Disks, outside: &Outside, chance: &mut Chance, when: &str| {
            for _ in 0..cuts.times {
                let place = directory_in_memory().map_err(|error| error.to_string())?;
                disks.crash(place.path(), chance).map_err(|error| error.to_string())?;
                check(place.path(), outside).map_err(|broken| format!("{when}: {broken}"))?;
                done += 1;
            }
            Ok::<(), String>(())
        };
        for seen in &self.seen {
            match seen {
                Seen::Said(line) => outside.said.push(line.clone()),
                Seen::Sent { to, bytes } => outside.sent.entry(to.clone()).or_default().extend(bytes),
                Seen::Begun { act: act @ Act::Strange(_), .. } => return Err(act.name()),
                Seen::Begun { thread, act } => {
                    begun.insert(*thread, (act, disks.now(act)));
                }
                Seen::Ended { thread, failed } => {
                    let Some((act, since)) = begun.remove(thread).filter(|_| !failed) else { continue };
                    disks.carry_out(act, since, chance)?;
                    calls += 1;
                    let heard = !outside.sent.is_empty();
                    if calls.is_multiple_of(cuts.one_in) && (heard || !cuts.when_heard) {
                        cut(&disks, &outside, chance, &format!("after call {calls}, {}", act.name()))?;
                    }
                }
            }
        }
        cut(&disks, &outside, chance, "in the end")?;
        Ok(done)
    }
}

impl Cuts {
    /// After every call, once.
    #[must_use]
    pub const fn everywhere(profile: Profile) -> Self {
        Self { profile, times: 1, one_in: 1, when_heard: false }
    }
}

impl Act {
    fn name(&self) -> String {
        match self {
            Self::Directory(path) => format!("make {}", path.display()),
            Self::Create { path, .. } => format!("create {}", path.display()),
            Self::Write { path, offset, bytes } => {
                format!("write {} bytes at {offset} of {}", bytes.len(), path.display())
            }
            Self::Sync(path) => format!("sync {}", path.display()),
            Self::Rename(from, to) => format!("rename {} to {}", from.display(), to.display()),
            Self::Remove(path) => format!("remove {}", path.display()),
            Self::Strange(name) => format!("{name}, which is not simulated"),
        }
    }

    /// What decides which disk it is for.
    fn path(&self) -> &Path {
        match self {
            Self::Create { path, .. } | Self::Write { path, .. } => path,
            Self::Directory(path) | Self::Sync(path) | Self::Rename(path, _) | Self::Remove(path) => path,
            Self::Strange(_) => Path::new(""),
        }
    }
}

/// The connection behind the descriptor that is the first argument.
fn socket(arguments: &str) -> Option<String> {
    let path = String::from_utf8(descriptor(arguments)?).ok()?;
    path.starts_with("socket:").then_some(path)
}
