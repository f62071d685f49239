//! What a run has reached: a simulation that never meets a case proves nothing about it.

use std::collections::BTreeMap;

use strandline_core::action::{Event, Refused};
use strandline_core::lower::posix::Step;
use strandline_core::recovery::Refusal;
use strandline_core::types::{Lsn, Role};
use strandline_core::wal::verdict::Verdict;

use crate::boot::Ending;
use crate::posix::{Disk, Fault, Unwritten, What};

/// How often each case was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    /// Starts that were judged.
    pub states: u64,
    /// The most draws that the crashes of one world, or of a copy of its medium, have made.
    pub draws: u32,
}

impl Coverage {
    /// Counts a start.
    pub fn ending(&mut self, ending: &Ending) {
        self.states += 1;
        match ending {
            Ending::Cut => self.count("start: cut short"),
            Ending::Refused(refusal) => self.count(refused(refusal)),
            Ending::Opened(opened) => {
                let report = &opened.report;
                self.count(match report.verdict {
                    Some(Verdict::Clean) => "verdict 6: clean",
                    Some(Verdict::Torn) => "verdict 7: torn",
                    Some(_) => "verdict 5: corrupt, and gone past by choice",
                    None => "verdict: none, a first start",
                });
                for (met, name) in [
                    (opened.passed.fenced, "verdict 2: fenced, on the way"),
                    (opened.passed.rotated, "verdict 4: rotated, on the way"),
                    (report.sealed, "report: sealed"),
                    (report.rewritten > 0, "report: a tail was written again"),
                    (report.void_bytes > 0, "report: bytes were void"),
                    (report.snapshot.is_some(), "report: from a snapshot"),
                    (report.damaged_snapshots > 0, "report: fell back to an older snapshot"),
                    (report.unneeded_damage > 0, "report: damage that is not needed"),
                ] {
                    if met {
                        self.count(name);
                    }
                }
            }
        }
    }

    /// Counts the answer to a group of records.
    pub fn group(&mut self, answer: Result<Lsn, Refused>) {
        self.count(if answer.is_ok() { "append: a group" } else { "append: a group was refused" });
    }

    /// Counts what a power loss left, by the headings of the crash model.
    pub fn crash(&mut self, disk: &Disk) {
        self.draws = self.draws.max(disk.draws());
        let mut lost = false;
        for name in disk.fates().iter().filter_map(|fate| match fate.what {
            What::Entry { survived, .. } => {
                let earlier_lost = lost;
                lost |= !survived;
                match (survived, earlier_lost) {
                    (true, true) => Some("fault: directory entries: kept after one that was lost"),
                    (true, false) => None,
                    (false, _) => Some("fault: directory entries: lost"),
                }
            }
            What::Size { left, newest, .. } => (left != newest).then_some("fault: sizes: an older one"),
            What::Sector { torn: true, .. } if disk.profile().powersafe => {
                Some("fault: torn sectors: words of two writes")
            }
            What::Sector { torn: true, .. } => Some("fault: torn sectors: garbage"),
            What::Sector { unwritten: Some(Unwritten::Zeros), .. } => {
                Some("fault: sizes: zeros without data")
            }
            What::Sector { unwritten: Some(Unwritten::Stale), .. } => {
                Some("fault: sizes: what a deleted file left")
            }
            What::Sector { kept, of, .. } if kept == of => None,
            What::Sector { kept: 0, .. } => Some("fault: sectors: lost"),
            What::Sector { .. } => Some("fault: sectors: an older write"),
        }) {
            self.count(name);
        }
    }

    /// Counts a system call: how it fails, and whether something was changed while it ran.
    pub fn call(&mut self, step: Step, fault: Option<Fault>, meanwhile: bool) {
        match (step, fault) {
            (Step::Sync(_), Some(Fault::Io)) => self.count("fault: syncs: failed"),
            (Step::Write { .. } | Step::Zero { .. }, Some(Fault::Io)) => {
                self.count("fault: failing calls: a write, in part");
            }
            (_, Some(Fault::Io)) => self.count("fault: failing calls: another one"),
            (_, Some(Fault::NoSpace)) => self.count("fault: failing calls: no space"),
            (Step::Sync(_) | Step::SyncDirectory(_), None) if meanwhile => {
                self.count("fault: syncs: something was changed meanwhile");
            }
            _ => {}
        }
    }

    /// Counts a kill in the middle of a write.
    pub fn killed_inside(&mut self) {
        self.count("fault: kills: inside a write");
    }

    /// Counts reads that found pages dropped that a failed sync left.
    pub fn dropped(&mut self, times: u64) {
        if times > 0 {
            self.count("fault: syncs: a page was dropped after a failed one");
        }
    }

    /// Counts an event.
    pub fn event(&mut self, event: Event) {
        self.count(match event {
            Event::Rotated { .. } => "event: rotated",
            Event::Revised(_) => "event: revised",
            Event::Full => "event: full",
            Event::Healed => "event: healed",
            Event::Halted(_) => "event: halted",
            Event::SnapshotKept { .. } => "event: snapshot kept",
            Event::Released(_) => "event: released",
            _ => "event: other",
        });
    }

    /// Counts the answer to an append.
    pub fn answer(&mut self, answer: Result<Lsn, Refused>) {
        self.count(match answer {
            Ok(_) => "append: taken",
            Err(Refused::Busy) => "append: busy",
            Err(Refused::NeedsBuffer(_)) => "append: needs a buffer",
            Err(Refused::Full) => "append: full",
            Err(Refused::Halted) => "append: halted",
            Err(Refused::TooLarge { .. }) => "append: too large",
            Err(Refused::Closed) => "append: closed",
            Err(_) => "append: other",
        });
    }

    /// Adds what another run has met.
    pub fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.draws = self.draws.max(other.draws);
        for (name, count) in &other.counts {
            *self.counts.entry(name).or_default() += count;
        }
    }

    /// How often a case was met.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }

    fn count(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }
}

impl core::fmt::Display for Coverage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (name, count) in &self.counts {
            writeln!(f, "{count:>10}  {name}")?;
        }
        Ok(())
    }
}

const fn refused(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Corrupt(_) => "verdict 5: corrupt",
        Refusal::Newer { extent, .. } if matches!(extent.role, Role::Wal) => "verdict 3: newer",
        Refusal::Newer { .. } => "refused: newer, not a record",
        Refusal::Unreadable { extent, .. } if matches!(extent.role, Role::Wal) => "verdict 1: unreadable",
        Refusal::Unreadable { .. } => "refused: unreadable, not a segment",
        Refusal::RolledBack { .. } => "refused: rolled back",
        Refusal::NoManifest { .. } => "refused: no manifest",
        Refusal::SeveralStores { .. } => "refused: several stores",
        Refusal::NoSnapshot { .. } => "refused: no snapshot",
        Refusal::Unstable { .. } => "refused: unstable",
        Refusal::Failed { .. } => "refused: a call failed",
        _ => "refused: other",
    }
}
