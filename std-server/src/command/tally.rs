//! What a unit did, in numbers that operators watch.

use super::keys::Keys;
use super::reply::Reply;
use super::strings::Strings;
use super::{Command, Operation};
use core::ops::AddAssign;

/// Counts of looked-up, stored and deleted keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands executed.
    pub commands: u64,
    /// Keys read for their values.
    pub gets: u64,
    /// Those of them that existed.
    pub hits: u64,
    /// Keys stored.
    pub sets: u64,
    /// Keys deleted.
    pub dels: u64,
}

impl Tally {
    /// Keys read for their values that did not exist.
    #[must_use]
    pub const fn misses(&self) -> u64 {
        self.gets - self.hits
    }

    /// Counts one command by what it answered.
    pub(super) fn of(command: &Command<'_>, operation: &Operation<'_>, reply: &Reply<'_>) -> Self {
        let one = Self { commands: 1, ..Self::default() };
        if matches!(reply, Reply::Refused(_)) {
            return one;
        }
        match operation {
            Operation::Strings(Strings::Get { .. } | Strings::GetExpire { .. }) => {
                Self { gets: 1, hits: exists(reply), ..one }
            }
            Operation::Strings(Strings::GetDelete { .. }) => {
                Self { gets: 1, hits: exists(reply), dels: exists(reply), ..one }
            }
            Operation::Strings(Strings::GetMany { .. }) => {
                let Reply::Array(values) = reply else { return one };
                Self { gets: values.len() as u64, hits: values.iter().map(exists).sum(), ..one }
            }
            Operation::Strings(Strings::Range { .. } | Strings::Length { .. } | Strings::Common(_)) => one,
            Operation::Strings(_) => {
                // A condition that did not hold answers null or 0; what a command returns otherwise is never told apart.
                let stored = !matches!(reply, Reply::Null | Reply::Integer(0));
                Self { sets: if stored { command.keys().count() as u64 } else { 0 }, ..one }
            }
            Operation::Keys(Keys::Delete { .. }) => match reply {
                Reply::Integer(count) => Self { dels: u64::try_from(*count).unwrap_or(0), ..one },
                _ => one,
            },
            Operation::Keys(_) | Operation::Expiry(_) | Operation::Object(_) => one,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.commands += more.commands;
        self.gets += more.gets;
        self.hits += more.hits;
        self.sets += more.sets;
        self.dels += more.dels;
    }
}

fn exists(reply: &Reply<'_>) -> u64 {
    u64::from(*reply != Reply::Null)
}
