//! What may be deleted, as pure functions with reasons.
//!
//! *Segments*: the log is kept from the second newest snapshot on, so that a damaged newest one can fall back to the one before plus
//! the log. With fewer than two snapshots everything is kept. A hold keeps a segment and all later ones. The floor can't be
//! configured away.
//!
//! *Archives*: [`plan`] tries the rules in this order; the first that speaks decides.
//!
//! | # | rule | keeps | releases |
//! |---|---|---|---|
//! | 1 | floor | what holds an LSN at or above the second newest snapshot's base | |
//! | 2 | hold | what a hold that has not expired names | |
//! | 3 | window | what has an entry younger than the window | |
//! | 4 | count | the newest so many | |
//! | 5 | window and count | | the rest, if there is a window or a count |
//! | 6 | size | | the oldest of the rest, until all that is left fits; nothing at all, and an alarm, if that is not enough |
//!
//! Age is that of the newest entry, never that of a file; older and newer are by log id.

use crate::manifest::{Segment, Snapshot};
use crate::types::{LogId, Lsn, Millis};

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

/// An archive, as retention sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The segment that it is of.
    pub log: LogId,
    /// LSN of its last entry.
    pub last: Lsn,
    /// Time of its newest entry.
    pub latest: Millis,
    /// Bytes of its file.
    pub bytes: u64,
}

/// A named refusal to delete; the caller knows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// First and last segment whose archives it keeps.
    pub logs: (LogId, LogId),
    /// When it ends, if it does.
    pub expires: Option<Millis>,
}

/// What retention goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The base of the second newest snapshot; LSN 0 with fewer than two: everything is needed then.
    pub floor: Lsn,
    /// Now.
    pub now: Millis,
    /// How long entries stay, ms.
    pub window: Option<u64>,
    /// How many archives stay.
    pub count: Option<u64>,
    /// How many bytes they may take.
    pub bytes: Option<u64>,
}

impl Rules {
    /// The floor of these snapshots.
    #[must_use]
    pub fn floor_of(snapshots: &[Snapshot]) -> Lsn {
        match snapshots {
            [.., second, _newest] => second.base,
            _ => Lsn(0),
        }
    }
}

/// Why an archive stays or goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ruling {
    /// Stays: snapshots don't cover it.
    #[default]
    Floor,
    /// Stays: the hold with this index says so.
    Held(usize),
    /// Stays: it has an entry younger than the window.
    Young,
    /// Stays: it is among the newest.
    Counted,
    /// Stays: no rule says otherwise.
    Free,
    /// Goes: older than the window, and not among the newest.
    Expired,
    /// Goes: all of them take more than they may.
    Surplus,
}

impl Ruling {
    /// Whether the archive goes.
    #[must_use]
    pub const fn releases(self) -> bool {
        matches!(self, Self::Expired | Self::Surplus)
    }
}

/// What a plan comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes of what stays.
    pub kept_bytes: u64,
    /// What stays takes so many bytes more than it may: the rules contradict each other, and the size gave way.
    pub excess: Option<u64>,
}

/// Says of each archive whether it stays, and why. `items` are in order of log ids, `rulings` is as long.
#[must_use]
pub fn plan(items: &[Item], holds: &[Hold], rules: &Rules, rulings: &mut [Ruling]) -> Outcome {
    debug_assert!(items.is_sorted_by_key(|item| item.log), "in order of log ids");
    debug_assert_eq!(items.len(), rulings.len(), "a ruling for each");
    for (at, (item, ruling)) in items.iter().zip(rulings.iter_mut()).enumerate() {
        *ruling = rule(item, items.len() - at, holds, rules);
    }
    let bytes = |rulings: &[Ruling], which: fn(Ruling) -> bool| -> u64 {
        let chosen = items.iter().zip(rulings).filter(|(_, ruling)| which(**ruling));
        chosen.fold(0, |sum, (item, _)| sum.saturating_add(item.bytes))
    };
    let mut kept = bytes(rulings, |ruling| !ruling.releases());
    let free = bytes(rulings, |ruling| ruling == Ruling::Free);
    let Some(most) = rules.bytes.filter(|most| kept > *most) else {
        return Outcome { kept_bytes: kept, excess: None };
    };
    if kept - free > most {
        return Outcome { kept_bytes: kept, excess: Some(kept - most) };
    }
    for (item, ruling) in items.iter().zip(rulings.iter_mut()) {
        if kept > most && *ruling == Ruling::Free {
            *ruling = Ruling::Surplus;
            kept -= item.bytes;
        }
    }
    Outcome { kept_bytes: kept, excess: None }
}

/// Rows 1 to 5 of the table; `rank` is 1 for the newest.
fn rule(item: &Item, rank: usize, holds: &[Hold], rules: &Rules) -> Ruling {
    let holding = |hold: &Hold| {
        (hold.logs.0..=hold.logs.1).contains(&item.log) && hold.expires.is_none_or(|end| rules.now < end)
    };
    let young = |window: u64| rules.now.0.saturating_sub(item.latest.0) < window;
    if item.last >= rules.floor {
        Ruling::Floor
    } else if let Some(hold) = holds.iter().position(holding) {
        Ruling::Held(hold)
    } else if rules.window.is_some_and(young) {
        Ruling::Young
    } else if rules.count.is_some_and(|count| rank as u64 <= count) {
        Ruling::Counted
    } else if rules.window.is_some() || rules.count.is_some() {
        Ruling::Expired
    } else {
        Ruling::Free
    }
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
    fn the_floor_of_archives_is_the_base_of_the_second_newest_snapshot() {
        let of = |base| Snapshot { base: Lsn(base), ..Snapshot::default() };
        assert_eq!(Rules::floor_of(&[of(3), of(5), of(9)]), Lsn(5));
        assert_eq!([Rules::floor_of(&[of(9)]), Rules::floor_of(&[])], [Lsn(0); 2], "everything is needed");
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

    use proptest::prelude::*;
    use std::vec::Vec;

    fn rulings(items: &[Item], holds: &[Hold], rules: &Rules) -> (Vec<Ruling>, Outcome) {
        let mut rulings = vec![Ruling::default(); items.len()];
        let outcome = plan(items, holds, rules, &mut rulings);
        (rulings, outcome)
    }

    /// Ten archives of 100 bytes and ten LSNs each, a second apart; recovery needs the last two.
    fn ten() -> (Vec<Item>, Rules) {
        let item =
            |log: u64| Item { log: LogId(log), last: Lsn(10 * log), latest: Millis(1_000 * log), bytes: 100 };
        let rules = Rules { floor: Lsn(90), now: Millis(20_000), window: None, count: None, bytes: None };
        ((1..=10).map(item).collect(), rules)
    }

    #[test]
    fn one_row_of_the_table_after_the_other() {
        use Ruling::{Counted, Expired, Floor, Free, Held, Surplus, Young};
        let (items, rules) = ten();
        let holds = [
            Hold { logs: (LogId(1), LogId(1)), expires: Some(Millis(20_000)) },
            Hold { logs: (LogId(2), LogId(3)), expires: None },
        ];
        let (all, outcome) = rulings(
            &items,
            &holds,
            &Rules { window: Some(14_001), count: Some(6), bytes: Some(500), ..rules },
        );
        assert_eq!(all, [Expired, Held(1), Held(1), Expired, Counted, Young, Young, Young, Floor, Floor]);
        assert_eq!(outcome, Outcome { kept_bytes: 800, excess: Some(300) }, "the size gives way");
        let (all, outcome) = rulings(&items, &holds, &Rules { bytes: Some(750), ..rules });
        assert_eq!(all, [Surplus, Held(1), Held(1), Surplus, Surplus, Free, Free, Free, Floor, Floor]);
        assert_eq!(outcome, Outcome { kept_bytes: 700, excess: None });
        let (all, outcome) = rulings(&items, &[], &Rules { bytes: Some(150), ..rules });
        assert_eq!(
            (all[0], outcome.excess),
            (Free, Some(850)),
            "in conflict with the floor nothing is deleted"
        );
        let (all, _) = rulings(&items, &[], &Rules { floor: Lsn(0), window: Some(1), ..rules });
        assert_eq!(all, [Floor; 10], "fewer than two snapshots");
    }

    #[test]
    fn each_rule_at_its_border() {
        use Ruling::{Counted, Expired, Free, Surplus, Young};
        let (items, rules) = ten();
        let eight = |rules: Rules| rulings(&items[..8], &[], &rules);
        let (all, _) = eight(Rules { window: Some(15_000), ..rules });
        assert_eq!(all[4..6], [Expired, Young], "as old as the window: it goes; no count is needed for that");
        let (all, _) = eight(Rules { count: Some(3), ..rules });
        assert_eq!(all[4..6], [Expired, Counted]);
        let expiring = [Hold { logs: (LogId(5), LogId(5)), expires: Some(Millis(20_001)) }];
        let (all, _) = rulings(&items[..8], &expiring, &Rules { count: Some(0), ..rules });
        assert_eq!(all[4..6], [Ruling::Held(0), Expired], "until it ends, and not at its end");
        for (most, free) in [(800, 8), (799, 7), (600, 6), (100, 1), (0, 0)] {
            let (all, outcome) = eight(Rules { bytes: Some(most), ..rules });
            let (gone, left) = all.split_at(8 - free);
            assert!(
                gone.iter().all(|ruling| *ruling == Surplus) && left.iter().all(|ruling| *ruling == Free)
            );
            assert_eq!(outcome, Outcome { kept_bytes: 100 * free as u64, excess: None });
        }
        let (all, outcome) = rulings(&items, &[], &Rules { bytes: Some(200), ..rules });
        assert_eq!((all[0], all[7], outcome.excess), (Surplus, Surplus, None), "what must stay just fits");
    }

    fn any_items() -> impl Strategy<Value = Vec<Item>> {
        let one = (1_u64..4, 1_u64..50, 0_u64..100, 0_u64..1_000);
        proptest::collection::vec(one, 0..40).prop_map(|rows| {
            let (mut log, mut last) = (0, 0);
            let item = |(step, lsns, latest, bytes)| {
                (log, last) = (log + step, last + lsns);
                Item { log: LogId(log), last: Lsn(last), latest: Millis(latest), bytes }
            };
            rows.into_iter().map(item).collect()
        })
    }

    fn any_holds() -> impl Strategy<Value = Vec<Hold>> {
        let one = (0_u64..80, 0_u64..20, proptest::option::of(0_u64..200));
        proptest::collection::vec(one, 0..4).prop_map(|rows| {
            let hold = |(first, count, expires): (u64, u64, Option<u64>)| Hold {
                logs: (LogId(first), LogId(first + count)),
                expires: expires.map(Millis),
            };
            rows.into_iter().map(hold).collect()
        })
    }

    fn any_rules() -> impl Strategy<Value = Rules> {
        use proptest::option::of;
        (0_u64..1_500, 0_u64..200, of(0_u64..150), of(0_u64..30), of(0_u64..15_000)).prop_map(
            |(floor, now, window, count, bytes)| Rules {
                floor: Lsn(floor),
                now: Millis(now),
                window,
                count,
                bytes,
            },
        )
    }

    proptest! {
        #[test]
        fn what_recovery_needs_or_a_hold_names_never_goes(items in any_items(), holds in any_holds(), rules in any_rules()) {
            for (item, ruling) in items.iter().zip(rulings(&items, &holds, &rules).0) {
                let held = holds.iter().any(|hold| {
                    hold.logs.0 <= item.log && item.log <= hold.logs.1 && hold.expires.is_none_or(|end| rules.now < end)
                });
                prop_assert!(!ruling.releases() || (item.last < rules.floor && !held), "{item:?} {ruling:?}");
            }
        }

        #[test]
        fn what_goes_still_goes_later_and_with_a_higher_floor(items in any_items(), holds in any_holds(), rules in any_rules(), later in 0_u64..100, higher in 0_u64..200) {
            // A size that can't be met lets go of nothing; it may be met only later.
            let then = Rules { now: Millis(rules.now.0 + later), floor: Lsn(rules.floor.0 + higher), bytes: None, ..rules };
            let rules = Rules { bytes: None, ..rules };
            let (before, after) = (rulings(&items, &holds, &rules).0, rulings(&items, &holds, &then).0);
            for (before, after) in before.into_iter().zip(after) {
                prop_assert!(!before.releases() || after.releases(), "{before:?} {after:?}");
            }
        }

        #[test]
        fn once_applied_nothing_more_goes(items in any_items(), holds in any_holds(), rules in any_rules()) {
            let (first, outcome) = rulings(&items, &holds, &rules);
            let left: Vec<Item> =
                items.iter().zip(&first).filter(|(_, ruling)| !ruling.releases()).map(|(item, _)| *item).collect();
            let (again, same) = rulings(&left, &holds, &rules);
            prop_assert!(!again.iter().any(|ruling| ruling.releases()), "{again:?}");
            prop_assert_eq!(outcome, same);
            prop_assert_eq!(left.iter().map(|item| item.bytes).sum::<u64>(), same.kept_bytes);
        }

        #[test]
        fn the_size_is_met_or_said_to_be_exceeded(items in any_items(), rules in any_rules()) {
            let (rulings, outcome) = rulings(&items, &[], &rules);
            let most = rules.bytes.unwrap_or(u64::MAX);
            prop_assert_eq!(outcome.excess, outcome.kept_bytes.checked_sub(most).filter(|excess| *excess > 0));
            prop_assert!(outcome.excess.is_none() || !rulings.contains(&Ruling::Surplus));
        }
    }
}
