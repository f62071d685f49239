//! What may be deleted, as a pure function with reasons.
//!
//! The log is kept from the second newest snapshot on, so that a damaged newest one can fall back to the one before plus the
//! log. With fewer than two snapshots everything is kept. A hold keeps a segment and all later ones. The floor can't be
//! configured away.

use crate::manifest::{Segment, Snapshot};
use crate::types::LogId;

/// Why a segment is kept or goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Kept: recovery from the second newest snapshot needs it.
    Floor,
    /// Kept: someone named it, for instance a reader or the archiver.
    Held,
    /// Goes: two snapshots cover it.
    Covered,
}

/// What retention looks at besides the segments.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// How many snapshots are kept; fewer than two count as two.
    pub keep_snapshots: usize,
    /// Segments from this one on are held.
    pub hold: Option<LogId>,
}

/// The first segment that recovery may still need; everything is needed while there are fewer than two snapshots.
#[must_use]
pub fn floor(snapshots: &[Snapshot]) -> LogId {
    match snapshots {
        [.., second, _newest] => second.position.log,
        _ => LogId(0),
    }
}

/// Says whether `segment` may go, and why.
#[must_use]
pub fn judge(segment: &Segment, snapshots: &[Snapshot], policy: &Policy) -> Reason {
    if segment.log >= floor(snapshots) {
        Reason::Floor
    } else if policy.hold.is_some_and(|hold| segment.log >= hold) {
        Reason::Held
    } else {
        Reason::Covered
    }
}

/// How many of the oldest snapshots go.
#[must_use]
pub fn surplus(snapshots: &[Snapshot], policy: &Policy) -> usize {
    snapshots.len().saturating_sub(policy.keep_snapshots.max(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Position;

    fn snapshot(log: u64) -> Snapshot {
        Snapshot { position: Position { log: LogId(log), offset: 8 }, ..Snapshot::default() }
    }

    fn segment(log: u64) -> Segment {
        Segment { log: LogId(log), ..Segment::default() }
    }

    #[test]
    fn the_log_is_kept_from_the_second_newest_snapshot() {
        let policy = Policy { keep_snapshots: 7, hold: None };
        let snapshots = [snapshot(2), snapshot(5), snapshot(9)];
        assert_eq!(judge(&segment(4), &snapshots, &policy), Reason::Covered);
        assert_eq!(judge(&segment(5), &snapshots, &policy), Reason::Floor);
        assert_eq!(judge(&segment(1), &snapshots[..1], &policy), Reason::Floor, "one snapshot: nothing goes");
        assert_eq!(judge(&segment(1), &[], &policy), Reason::Floor);
    }

    #[test]
    fn a_hold_keeps_it_and_all_later_ones() {
        let policy = Policy { keep_snapshots: 7, hold: Some(LogId(3)) };
        let snapshots = [snapshot(5), snapshot(9)];
        assert_eq!(judge(&segment(2), &snapshots, &policy), Reason::Covered);
        assert_eq!(judge(&segment(3), &snapshots, &policy), Reason::Held);
        assert_eq!(judge(&segment(4), &snapshots, &policy), Reason::Held);
    }

    #[test]
    fn two_snapshots_always_stay() {
        let snapshots = [snapshot(1), snapshot(2), snapshot(3)];
        assert_eq!(surplus(&snapshots, &Policy { keep_snapshots: 0, hold: None }), 1);
        assert_eq!(surplus(&snapshots, &Policy { keep_snapshots: 7, hold: None }), 0);
    }
}
