//! Where a reader stands: `epoch-lsn`, the last event that it has seen.
//!
//! ```text
//!  3-17        LSN 17 as epoch 3 knew it                  one shard
//!  2:3-17      the same of shard 2                        several: events come shard by shard
//!  3-17,2-9    LSN 17 of shard 0, LSN 9 of shard 1        the live tail of several
//! ```
//!
//! Another epoch may have begun in front of what the reader has seen: then the tail that it saw is void, and it is told from
//! which LSN on.

use core::fmt;
use core::str::FromStr;

/// An event as a reader remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: u32,
    /// 0: nothing was seen yet.
    pub(crate) lsn: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.lsn)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(epoch, lsn)| {
            let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let (epoch, lsn) = (digits(epoch) && digits(lsn)).then_some((epoch, lsn))?;
            Some(Self { epoch: epoch.parse().ok()?, lsn: lsn.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            format!("{text:?} is no cursor: one is the epoch, a dash and the LSN, such as 3-17")
        })
    }
}

/// A reader has seen what is void now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Diverged {
    pub(crate) cursor: Cursor,
    /// The first LSN that is another record now.
    pub(crate) at: u64,
    /// The epoch that it is of.
    pub(crate) epoch: u32,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cursor, at, epoch } = self;
        write!(
            f,
            "cursor {cursor} has diverged at LSN {at}: epoch {epoch} begins there, and what epoch {} held from there on is void. \
             Go on from {epoch}-{}",
            cursor.epoch,
            at - 1
        )
    }
}

impl Cursor {
    /// Whether what it names is still what the log holds, by the first LSN of each epoch that is known.
    pub(crate) fn check(self, epochs: impl Iterator<Item = (u32, u64)>) -> Result<(), Diverged> {
        let newer = epochs.filter(|(epoch, first)| *epoch > self.epoch && *first <= self.lsn);
        match newer.min_by_key(|(epoch, first)| (*first, *epoch)) {
            Some((epoch, at)) => Err(Diverged { cursor: self, at, epoch }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back_and_nothing_else_is_one() {
        let cursor = Cursor { epoch: 3, lsn: 17 };
        assert_eq!("3-17".parse(), Ok(cursor));
        assert_eq!(cursor.to_string(), "3-17");
        for bad in ["", "3", "3-", "-17", "3-17-1", "+3-17", "3 - 17", "4294967296-1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_diverges_where_a_newer_epoch_begins_at_or_below_it() {
        let epochs = [(1, 1), (2, 10), (3, 18), (4, 15)];
        let check = |epoch, lsn| {
            Cursor { epoch, lsn }.check(epochs.into_iter()).map_err(|gone| (gone.at, gone.epoch))
        };
        assert_eq!(check(1, 9), Ok(()));
        assert_eq!(check(1, 10), Err((10, 2)));
        assert_eq!(check(2, 14), Ok(()));
        assert_eq!(check(2, 30), Err((15, 4)));
        assert_eq!(check(4, 30), Ok(()));
    }
}
