//! What a run has reached: a simulation that never meets a case proves nothing about it.

use std::collections::BTreeMap;

use strandline_core::action::{Event, Refused};
use strandline_core::recovery::Refusal;
use strandline_core::types::Lsn;

use crate::boot::Ending;

/// How often each case was met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    /// Starts that were judged.
    pub states: u64,
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
                    Some(strandline_core::wal::verdict::Verdict::Clean) => "verdict: clean",
                    Some(strandline_core::wal::verdict::Verdict::Torn) => "verdict: torn",
                    Some(_) => "verdict: other",
                    None => "verdict: none, a first start",
                });
                for (met, name) in [
                    (opened.passed.fenced, "verdict: fenced on the way"),
                    (opened.passed.rotated, "verdict: rotated on the way"),
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
        Refusal::Corrupt(_) => "refused: corrupt",
        Refusal::Newer { .. } => "refused: newer",
        Refusal::Unreadable { .. } => "refused: unreadable",
        Refusal::RolledBack { .. } => "refused: rolled back",
        Refusal::NoManifest { .. } => "refused: no manifest",
        Refusal::SeveralStores { .. } => "refused: several stores",
        Refusal::NoSnapshot { .. } => "refused: no snapshot",
        Refusal::Unstable { .. } => "refused: unstable",
        Refusal::Failed { .. } => "refused: a call failed",
        _ => "refused: other",
    }
}
