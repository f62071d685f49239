//! Where a reader stands: `epoch-lsn`, the last event that it has seen.
//!
//! ```text
//!  3-17        LSN 17 as epoch 3 knew it                  one shard
//!  2:3-17      the same of shard 2                        one that is read of several
//!  3-17,2-9    LSN 17 of shard 0, LSN 9 of shard 1        several that are read together, none left out
//!  3-17,0-0    of shard 1 nothing was seen
//! ```
//!
//! Whoever reads the newest first goes on below these LSNs; a shard of which nothing was seen has the LSN behind its newest.
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

/// Where a reader stands in the shards that it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It reads one shard of several.
    Alone { shard: u16, at: Cursor },
    /// It reads all of them: a cursor for each.
    Each(Vec<Cursor>),
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone { shard, at } => write!(f, "{shard}:{at}"),
            Self::Each(cursors) => cursors.iter().enumerate().try_for_each(|(shard, at)| {
                let comma = if shard == 0 { "" } else { "," };
                write!(f, "{comma}{at}")
            }),
        }
    }
}

impl FromStr for Standing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((shard, at)) => {
                let shard = shard.parse().map_err(|_| format!("{shard:?} is no shard"))?;
                Ok(Self::Alone { shard, at: at.parse()? })
            }
            None => text.split(',').map(str::parse).collect::<Result<_, _>>().map(Self::Each),
        }
    }
}

impl Standing {
    /// The cursor of each shard that is read: `only` that one of so many, or all of them.
    ///
    /// # Errors
    /// It is of other shards.
    pub(crate) fn places(&self, only: Option<u16>, shards: u16) -> Result<Vec<(u16, Cursor)>, String> {
        match self {
            Self::Alone { shard, .. } if *shard >= shards => {
                Err(format!("there are {shards} shards, from 0 on"))
            }
            Self::Alone { shard, at } if only == Some(*shard) || shards == 1 => Ok(vec![(*shard, *at)]),
            Self::Alone { shard, .. } => Err(match only {
                Some(only) => format!("{self} is a place in shard {shard}, and shard {only} is read"),
                None => format!(
                    "{self} is a place in shard {shard} alone: ask with shard={shard}, or go on with a cursor of all shards"
                ),
            }),
            Self::Each(cursors) if cursors.len() != usize::from(shards) => Err(match cursors.len() {
                1 => format!(
                    "{self} is of one shard, and there are {shards}: SHARD:{self}, or a cursor of each, joined by commas"
                ),
                many => format!("{self} is of {many} shards, and there are {shards}"),
            }),
            Self::Each(cursors) => {
                let each = (0..shards).zip(cursors.iter().copied());
                Ok(each.filter(|(shard, _)| only.is_none_or(|only| only == *shard)).collect())
            }
        }
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
    /// The cursor to go on from.
    pub(crate) go_on: Cursor,
}

impl fmt::Display for Diverged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cursor, at, epoch, go_on } = self;
        write!(
            f,
            "cursor {cursor} has diverged at LSN {at}: epoch {epoch} begins there, and what epoch {} held from there on is void. \
             Go on from {go_on}",
            cursor.epoch
        )
    }
}

impl Cursor {
    /// Whether what it names is still what the log holds, by the first LSN of each epoch that is known.
    pub(crate) fn check(self, epochs: impl Iterator<Item = (u32, u64)>) -> Result<(), Diverged> {
        let newer = epochs.filter(|(epoch, first)| *epoch > self.epoch && *first <= self.lsn);
        match newer.min_by_key(|(epoch, first)| (*first, *epoch)) {
            Some((epoch, at)) => {
                let go_on = Self { epoch, lsn: at.saturating_sub(1) };
                Err(Diverged { cursor: self, at, epoch, go_on })
            }
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
    fn a_standing_is_of_the_shards_that_are_read() {
        let at = |epoch, lsn| Cursor { epoch, lsn };
        let read = |text: &str, only, shards| {
            let standing: Standing = text.parse()?;
            assert_eq!(standing.to_string(), text);
            standing.places(only, shards)
        };
        assert_eq!(read("3-17", None, 1), Ok(vec![(0, at(3, 17))]));
        assert_eq!(read("3-17,0-0", None, 2), Ok(vec![(0, at(3, 17)), (1, at(0, 0))]));
        assert_eq!(read("3-17,2-9", Some(1), 2), Ok(vec![(1, at(2, 9))]));
        assert_eq!(read("1:2-9", Some(1), 2), Ok(vec![(1, at(2, 9))]));
        for (text, only, shards) in [
            ("1:2-9", None, 2),
            ("1:2-9", Some(0), 2),
            ("2:2-9", Some(2), 2),
            ("3-17", None, 2),
            ("3-17,2-9", None, 3),
            ("3-17,", None, 2),
            ("x:3-17", None, 2),
            ("1:3-17,2-9", None, 2),
        ] {
            assert!(read(text, only, shards).is_err(), "{text}");
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
