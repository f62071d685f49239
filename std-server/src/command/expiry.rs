//! When a key expires: EXPIRE, TTL, PERSIST and the expiry options of SET and GETEX.
//!
//! ```text
//! "EX 10" ──parse──► Deadline::InMs(10_000) ──now──► absolute ms, the only form that is logged
//! ```

use super::args::{Args, Options, integer};
use super::effects::Scope;
use super::reply::{Refusal, Reply};
use super::{Operation, Request};
use crate::keyspace::Effect;

/// What these commands do to or tell about an expiry.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expiry<'a> {
    /// Sets the expiry if `condition` holds; a moment that has passed deletes the key.
    Set { key: &'a [u8], deadline: Deadline, condition: Condition },
    /// Tells the expiry.
    Tell { key: &'a [u8], clock: Clock, unit: Unit },
    /// Removes the expiry.
    Persist { key: &'a [u8] },
}

/// A moment as a client gives it, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deadline {
    /// Counted from the moment of execution.
    InMs(i64),
    /// Counted from the Unix epoch.
    AtMs(i64),
}

impl Deadline {
    /// The absolute moment; `None` when it does not fit 64 bits.
    pub(super) fn at_ms(self, now_ms: u64) -> Option<i64> {
        match self {
            Self::InMs(ms) => ms.checked_add(i64::try_from(now_ms).ok()?),
            Self::AtMs(ms) => Some(ms),
        }
    }

    fn new(clock: Clock, unit: Unit, amount: i64) -> Option<Self> {
        let ms = amount.checked_mul(unit.ms())?;
        Some(match clock {
            Clock::FromNow => Self::InMs(ms),
            Clock::Absolute => Self::AtMs(ms),
        })
    }

    /// The expiry of a value being stored: it must be positive.
    pub(super) fn positive(clock: Clock, unit: Unit, amount: &[u8], name: &str) -> Result<Self, Refusal> {
        let amount = integer(amount)?;
        Self::new(clock, unit, amount).filter(|_| amount > 0).ok_or_else(|| Refusal::expire_time(name))
    }
}

/// Where a time is counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clock {
    /// The moment of execution.
    FromNow,
    /// The Unix epoch.
    Absolute,
}

/// What a time is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Ms,
}

impl Unit {
    const fn ms(self) -> i64 {
        match self {
            Self::Seconds => 1000,
            Self::Ms => 1,
        }
    }
}

/// NX, XX, GT and LT of the EXPIRE family; no expiry counts as later than any other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(words: Args<'_>) -> Result<Self, Refusal> {
        let mut condition = Self::default();
        let mut options = Options::new(words);
        while let Some(word) = options.word() {
            match word.name() {
                b"NX" => condition.nx = true,
                b"XX" => condition.xx = true,
                b"GT" => condition.gt = true,
                b"LT" => condition.lt = true,
                _ => return Err(Refusal::naming("ERR Unsupported option ", word.text, "")),
            }
        }
        let Self { nx, xx, gt, lt } = condition;
        if nx && (xx || gt || lt) {
            return Err(Refusal::fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(Refusal::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    fn holds(self, current_ms: Option<u64>, new_ms: i64) -> bool {
        let current = current_ms.map(i128::from);
        let new = i128::from(new_ms);
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && current.is_none_or(|current| new <= current)
            || self.lt && current.is_some_and(|current| new >= current))
    }
}

impl<'a> Expiry<'a> {
    pub(super) fn execute<'k>(self, mut scope: Scope<'k>, name: &str) -> Reply<'k> {
        match self {
            Self::Set { key, deadline, condition } => set(&mut scope, key, deadline, condition, name),
            Self::Tell { key, clock, unit } => tell(&scope, key, clock, unit),
            Self::Persist { key } => {
                let had_expiry = scope.get(key).is_some_and(|entry| entry.expires_at_ms.is_some());
                if had_expiry {
                    scope.apply(Effect::Persist { key });
                }
                Reply::truth(had_expiry)
            }
        }
    }
}

fn set<'k>(
    scope: &mut Scope<'_>,
    key: &[u8],
    deadline: Deadline,
    condition: Condition,
    name: &str,
) -> Reply<'k> {
    let Some(at_ms) = deadline.at_ms(scope.now_ms()) else {
        return Refusal::expire_time(name).into();
    };
    let Some(current_ms) = scope.get(key).map(|entry| entry.expires_at_ms) else {
        return Reply::truth(false);
    };
    if !condition.holds(current_ms, at_ms) {
        return Reply::truth(false);
    }
    scope.expire_or_delete(key, at_ms);
    Reply::truth(true)
}

fn tell<'k>(scope: &Scope<'_>, key: &[u8], clock: Clock, unit: Unit) -> Reply<'k> {
    let Some(entry) = scope.get(key) else {
        return Reply::Integer(-2);
    };
    let Some(at_ms) = entry.expires_at_ms else {
        return Reply::Integer(-1);
    };
    let ms = match clock {
        Clock::FromNow => at_ms.saturating_sub(scope.now_ms()),
        Clock::Absolute => at_ms,
    };
    let shown = match unit {
        Unit::Ms => ms,
        Unit::Seconds => ms.saturating_add(500) / 1000,
    };
    Reply::Integer(i64::try_from(shown).unwrap_or(i64::MAX))
}

fn parse_set<'a>(args: Args<'a>, clock: Clock, unit: Unit, name: &str) -> Result<Request<'a>, Refusal> {
    let condition = Condition::parse(&args[3..])?;
    let deadline = Deadline::new(clock, unit, integer(args[2])?).ok_or_else(|| Refusal::expire_time(name))?;
    request(Expiry::Set { key: args[1], deadline, condition })
}

fn parse_tell(args: Args<'_>, clock: Clock, unit: Unit) -> Result<Request<'_>, Refusal> {
    request(Expiry::Tell { key: args[1], clock, unit })
}

fn request(expiry: Expiry<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Data(Operation::Expiry(expiry)))
}

pub(super) fn expire(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_set(args, Clock::FromNow, Unit::Seconds, "expire")
}

pub(super) fn pexpire(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_set(args, Clock::FromNow, Unit::Ms, "pexpire")
}

pub(super) fn expireat(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_set(args, Clock::Absolute, Unit::Seconds, "expireat")
}

pub(super) fn pexpireat(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_set(args, Clock::Absolute, Unit::Ms, "pexpireat")
}

pub(super) fn ttl(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_tell(args, Clock::FromNow, Unit::Seconds)
}

pub(super) fn pttl(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_tell(args, Clock::FromNow, Unit::Ms)
}

pub(super) fn expiretime(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_tell(args, Clock::Absolute, Unit::Seconds)
}

pub(super) fn pexpiretime(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    parse_tell(args, Clock::Absolute, Unit::Ms)
}

pub(super) fn persist(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Expiry::Persist { key: args[1] })
}
