//! What connections did: commands with their times, refusals by code, bytes, and the commands that took long.
//!
//! ```text
//!  connection ─► its own counts (nobody else's lock) ─┐
//!  departed   ◄─ added when it ends                   ├─► INFO commandstats, errorstats, stats
//!  slow commands ─► one bounded list ─────────────────┴─► SLOWLOG
//! ```

use super::args::Args;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use core::time::Duration;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// What one connection did, or several.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// The name of the newest command.
    pub(super) newest: &'static str,
    /// By name of the command, in no order: few are used by one connection.
    commands: Vec<(&'static str, Usage)>,
    errors: BTreeMap<Box<str>, u64>,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
}

/// How often a command was sent, and what it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Executed, refused ones included that were found to be wrong while executing.
    pub calls: u64,
    /// Time that all of them took.
    pub took: Duration,
    /// Refused before they were executed.
    pub rejected: u64,
    /// Refused while they were executed.
    pub failed: u64,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Rejected,
    Failed,
}

impl Counts {
    pub(super) fn used(&mut self, name: &'static str, took: Duration, ending: Ending) {
        self.newest = name;
        let usage = self.usage(name);
        if ending == Ending::Rejected {
            usage.rejected += 1;
            return;
        }
        usage.calls += 1;
        usage.took += took;
        usage.failed += u64::from(ending == Ending::Failed);
    }

    /// Codes are words of this program, save for a client's mistake with `ERR`: few.
    pub(super) fn refused(&mut self, code: &str) {
        match self.errors.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.errors.insert(code.into(), 1)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (name, usage) in &other.commands {
            let sum = self.usage(name);
            sum.calls += usage.calls;
            sum.took += usage.took;
            sum.rejected += usage.rejected;
            sum.failed += usage.failed;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        self.input_bytes += other.input_bytes;
        self.output_bytes += other.output_bytes;
    }

    /// Commands by name.
    #[must_use]
    pub fn commands(&self) -> BTreeMap<&'static str, Usage> {
        self.commands.iter().copied().collect()
    }

    /// Refusals by code.
    #[must_use]
    pub const fn errors(&self) -> &BTreeMap<Box<str>, u64> {
        &self.errors
    }

    fn usage(&mut self, name: &'static str) -> &mut Usage {
        // The same name is the same text in memory.
        let place = self.commands.iter().position(|(known, _)| core::ptr::eq(*known, name));
        let place = place.unwrap_or_else(|| {
            self.commands.push((name, Usage::default()));
            self.commands.len() - 1
        });
        &mut self.commands[place].1
    }
}

/// What outlives connections.
#[derive(Debug)]
pub struct Statistics {
    pub(super) departed: Mutex<Counts>,
    pub(super) output_cuts: AtomicU64,
    pub(super) turned_away: AtomicU64,
    /// When the rate was last told, how many commands there were then, and the rate.
    sample: Mutex<(Instant, u64, u64)>,
    slow: Mutex<Slow>,
    /// Slower commands are listed; negative: none.
    pub(super) slower_than_us: AtomicI64,
    pub(super) slow_max: AtomicUsize,
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            departed: Mutex::default(),
            output_cuts: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
            sample: Mutex::new((Instant::now(), 0, 0)),
            slow: Mutex::default(),
            slower_than_us: AtomicI64::new(10_000),
            slow_max: AtomicUsize::new(128),
        }
    }
}

#[derive(Debug, Default)]
struct Slow {
    next_id: i64,
    /// The newest first.
    entries: VecDeque<SlowCommand>,
}

/// A command that took long.
#[derive(Clone, Debug)]
pub(super) struct SlowCommand {
    pub(super) id: i64,
    pub(super) at_s: u64,
    pub(super) took: Duration,
    /// Its words, cut short.
    pub(super) words: Vec<Vec<u8>>,
    pub(super) peer: SocketAddr,
    pub(super) name: Vec<u8>,
}

/// Who sent a command, and when.
pub(super) struct Sender {
    pub(super) at_s: u64,
    pub(super) peer: SocketAddr,
    pub(super) name: Vec<u8>,
}

impl Statistics {
    /// Connections that were cut because they did not take their replies.
    #[must_use]
    pub fn output_cuts(&self) -> u64 {
        self.output_cuts.load(Ordering::Relaxed)
    }

    /// Connections that were one too many.
    #[must_use]
    pub fn turned_away(&self) -> u64 {
        self.turned_away.load(Ordering::Relaxed)
    }

    /// Notes a connection that is one too many.
    pub fn turn_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// Commands in a second, on average since somebody asked a second ago or earlier.
    pub(super) fn rate(&self, commands: u64) -> u64 {
        let mut sample = self.sample.lock();
        let (since, before, _) = *sample;
        if let Some(ms) = u64::try_from(since.elapsed().as_millis()).ok().filter(|ms| *ms >= 1000) {
            *sample = (Instant::now(), commands, commands.saturating_sub(before) * 1000 / ms);
        }
        sample.2
    }

    /// Whether a command that took so long is to be listed.
    pub(super) fn is_slow(&self, took: Duration) -> bool {
        let limit = self.slower_than_us.load(Ordering::Relaxed);
        u64::try_from(limit).is_ok_and(|limit| took >= Duration::from_micros(limit))
    }

    pub(super) fn note_slow(&self, words: Args<'_>, took: Duration, sender: Sender) {
        let Sender { at_s, peer, name } = sender;
        let most = self.slow_max.load(Ordering::Relaxed);
        let mut slow = self.slow.lock();
        let id = slow.next_id;
        slow.next_id += 1;
        slow.entries.push_front(SlowCommand { id, at_s, took, words: shortened(words), peer, name });
        slow.entries.truncate(most);
    }

    /// The newest slow commands.
    pub(super) fn slow(&self, count: usize) -> Vec<SlowCommand> {
        self.slow.lock().entries.iter().take(count).cloned().collect()
    }

    pub(super) fn slow_len(&self) -> usize {
        self.slow.lock().entries.len()
    }

    pub(super) fn forget_slow(&self) {
        self.slow.lock().entries.clear();
    }
}

/// At most 32 words of at most 128 bytes each. What may be a password is not kept.
fn shortened(words: Args<'_>) -> Vec<Vec<u8>> {
    let is_secret = words[0].eq_ignore_ascii_case(b"auth") || words[0].eq_ignore_ascii_case(b"hello");
    let kept = if words.len() > SLOW_WORDS { SLOW_WORDS - 1 } else { words.len() };
    let mut short: Vec<Vec<u8>> = Vec::with_capacity(SLOW_WORDS);
    for (place, word) in words[..kept].iter().enumerate() {
        short.push(match word.len().checked_sub(SLOW_WORD_BYTES) {
            _ if is_secret && place > 0 => b"(redacted)".to_vec(),
            Some(more @ 1..) => {
                [&word[..SLOW_WORD_BYTES], format!("... ({more} more bytes)").as_bytes()].concat()
            }
            _ => word.to_vec(),
        });
    }
    if kept < words.len() {
        short.push(format!("... ({} more arguments)", words.len() - kept).into_bytes());
    }
    short
}

const SLOW_WORDS: usize = 32;
const SLOW_WORD_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_command_and_code() {
        let (get, set) = ("get", "set");
        let mut one = Counts::default();
        one.used(get, Duration::from_micros(3), Ending::Done);
        one.used(get, Duration::from_micros(4), Ending::Failed);
        one.used(set, Duration::from_micros(9), Ending::Rejected);
        one.refused("ERR");
        let mut sum = one.clone();
        sum.add(&one);
        let usage = Usage { calls: 4, took: Duration::from_micros(14), rejected: 0, failed: 2 };
        assert_eq!(sum.commands()["get"], usage);
        assert_eq!(sum.commands()["set"], Usage { rejected: 2, ..Usage::default() });
        assert_eq!(sum.errors()["ERR"], 2);
    }

    #[test]
    fn slow_commands_are_kept_to_a_number_and_a_length_and_without_passwords() {
        let statistics = Statistics::default();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        statistics.slow_max.store(2, Ordering::Relaxed);
        let (long, many) = (vec![b'x'; 200], vec![&b"k"[..]; 50]);
        for words in [&[b"AUTH", &b"hunter2"[..]][..], &[b"SET", &long], &many] {
            let sender = Sender { at_s: 1, peer, name: Vec::new() };
            statistics.note_slow(words, Duration::from_secs(1), sender);
        }
        let [newest, older] = &statistics.slow(10)[..] else { panic!("two are kept") };
        assert_eq!(
            (newest.id, newest.words.len(), &newest.words[31][..]),
            (2, 32, &b"... (19 more arguments)"[..])
        );
        assert!(older.words[1].ends_with(b"x... (72 more bytes)"));
        assert_eq!(
            shortened(&[b"auth", b"a", b"hunter2"])[1..],
            [b"(redacted)".to_vec(), b"(redacted)".to_vec()]
        );
        assert!(
            statistics.is_slow(Duration::from_millis(10)) && !statistics.is_slow(Duration::from_millis(9))
        );
        statistics.slower_than_us.store(-1, Ordering::Relaxed);
        assert!(!statistics.is_slow(Duration::MAX));
    }
}
