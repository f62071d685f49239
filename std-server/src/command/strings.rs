//! Commands on string values: GET, SET with all its options, the INCR family, APPEND, SETRANGE, MGET, MSET.
//!
//! What is logged is the result: INCR and SET NX become a plain `Set`, APPEND and SETRANGE a `Write` at an offset.

use super::args::{Args, Options, integer};
use super::effects::Scope;
use super::expiry::{Clock, Deadline, Unit};
use super::lcs::Common;
use super::reply::{Refusal, Reply};
use super::{Operation, Request};
use super::{long_double, number};
use crate::keyspace::Effect;

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Strings<'a> {
    /// The value.
    Get { key: &'a [u8] },
    /// A part of the value; negative places count from its end.
    Range { key: &'a [u8], first: i64, last: i64 },
    /// The value's length.
    Length { key: &'a [u8] },
    /// The value, deleted.
    GetDelete { key: &'a [u8] },
    /// The value, with another expiry.
    GetExpire { key: &'a [u8], written: Option<Written<'a>>, otherwise: ExpiryChange },
    /// Stores a value.
    Set(Set<'a>),
    /// Adds to an integer.
    Add { key: &'a [u8], amount: i64 },
    /// Adds to a number with a fraction.
    AddFloat { key: &'a [u8], amount: &'a [u8] },
    /// Adds at the end.
    Append { key: &'a [u8], bytes: &'a [u8] },
    /// Overwrites from an offset on, after zeros if the value was shorter.
    Overwrite { key: &'a [u8], offset: i64, bytes: &'a [u8] },
    /// The values of several keys.
    GetMany { keys: Args<'a> },
    /// What two values have in common.
    Common(Common<'a>),
    /// Stores several values; with `if_none_exist`, all or none.
    SetMany { pairs: Args<'a>, if_none_exist: bool },
}

/// SET and the older commands that are special cases of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set<'a> {
    key: &'a [u8],
    value: &'a [u8],
    expiry: ExpiryChange,
    condition: Existence,
    answer: Answer,
}

/// What becomes of the expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExpiryChange {
    /// It stays as it is.
    Keep,
    /// It is removed.
    Clear,
    /// It is set.
    At(Deadline),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Existence {
    Any,
    Missing,
    Present,
}

/// What SET answers: `OK` or null, 1 or 0, or the value that was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Status,
    Truth,
    OldValue,
}

impl<'a> Strings<'a> {
    /// At most how long a value is that is stored without being among the words.
    pub(super) const fn computed_bytes(&self) -> usize {
        match self {
            Self::Add { .. } => number::MAX_INTEGER_DIGITS,
            Self::AddFloat { .. } => long_double::MAX_SUM_BYTES,
            _ => 0,
        }
    }

    pub(super) fn execute<'k>(self, mut scope: Scope<'k>, name: &str) -> Reply<'k> {
        match self {
            Self::Get { key } => Reply::optional(scope.into_entry(key).map(|entry| entry.value)),
            Self::Range { key, first, last } => {
                let value = scope.into_entry(key).map_or(&[][..], |entry| entry.value);
                Reply::borrowed(slice(value, first, last))
            }
            Self::Length { key } => Reply::count(scope.get(key).map_or(0, |entry| entry.value.len())),
            Self::GetDelete { key } => {
                let value = owned_value(&scope, key);
                if value != Reply::Null {
                    scope.apply(Effect::Delete { key });
                }
                value
            }
            Self::GetExpire { key, written, otherwise } if scope.exists(key) => {
                match change(written, otherwise, name) {
                    Ok(change) => get_expire(scope, key, change, name),
                    Err(refusal) => refusal.into(),
                }
            }
            Self::GetExpire { .. } => Reply::Null,
            Self::Set(set) => set.execute(scope, name),
            Self::Add { key, amount } => add(&mut scope, key, amount),
            Self::AddFloat { key, amount } => add_float(&mut scope, key, amount),
            Self::Append { key, bytes } => {
                let length = scope.get(key).map_or(0, |entry| entry.value.len());
                write(&mut scope, key, length, bytes)
            }
            Self::Overwrite { key, offset, bytes } => overwrite(&mut scope, key, offset, bytes),
            Self::GetMany { keys } => {
                let Scope { keyspace, context, .. } = scope;
                let value = |key: &&[u8]| keyspace.get(key, context.now_ms).map(|entry| entry.value);
                Reply::Array(keys.iter().map(|key| Reply::optional(value(key))).collect())
            }
            Self::Common(common) => common.execute(&scope),
            Self::SetMany { pairs, if_none_exist } => set_many(&mut scope, pairs, if_none_exist),
        }
    }
}

impl<'a> Set<'a> {
    const fn plain(key: &'a [u8], value: &'a [u8]) -> Self {
        let (condition, answer) = (Existence::Any, Answer::Status);
        Self { key, value, expiry: ExpiryChange::Clear, condition, answer }
    }

    fn execute<'k>(self, mut scope: Scope<'k>, name: &str) -> Reply<'k> {
        let Self { key, value, expiry, condition, answer } = self;
        let now_ms = scope.now_ms();
        let new_expiry = match expiry {
            ExpiryChange::At(deadline) => {
                match deadline.at_ms(now_ms).and_then(|ms| u64::try_from(ms).ok()) {
                    Some(at_ms) => Some(at_ms),
                    None => return Refusal::expire_time(name).into(),
                }
            }
            ExpiryChange::Clear | ExpiryChange::Keep => None,
        };
        if value.len() > scope.max_value_bytes() {
            return Refusal::TOO_LONG.into();
        }
        let old_value = (answer == Answer::OldValue).then(|| owned_value(&scope, key));
        let fits = match condition {
            Existence::Any => true,
            Existence::Missing => !scope.exists(key),
            Existence::Present => scope.exists(key),
        };
        if fits {
            let kept = (expiry == ExpiryChange::Keep).then(|| scope.get(key)?.expires_at_ms).flatten();
            scope.apply(Effect::Set { key, value, expires_at_ms: new_expiry.or(kept) });
        }
        match (answer, fits) {
            (Answer::OldValue, _) => old_value.unwrap_or(Reply::Null),
            (Answer::Truth, _) => Reply::truth(fits),
            (Answer::Status, true) => Reply::OK,
            (Answer::Status, false) => Reply::Null,
        }
    }
}

fn owned_value<'k>(scope: &Scope<'_>, key: &[u8]) -> Reply<'k> {
    scope.get(key).map_or(Reply::Null, |entry| Reply::owned(entry.value))
}

/// The bytes from `first` to `last`, both included.
fn slice(value: &[u8], first: i64, last: i64) -> &[u8] {
    let length = i64::try_from(value.len()).unwrap_or(i64::MAX);
    if first < 0 && last < 0 && first > last {
        return &[];
    }
    let from_start = |place: i64| if place < 0 { (place.saturating_add(length)).max(0) } else { place };
    let (first, last) = (from_start(first), from_start(last).min(length - 1));
    match (usize::try_from(first), usize::try_from(last)) {
        (Ok(first), Ok(last)) => value.get(first..=last).unwrap_or_default(),
        _ => &[],
    }
}

fn get_expire<'k>(mut scope: Scope<'k>, key: &[u8], change: ExpiryChange, name: &str) -> Reply<'k> {
    let ExpiryChange::At(deadline) = change else {
        let expires = scope.get(key).is_some_and(|entry| entry.expires_at_ms.is_some());
        if change == ExpiryChange::Clear && expires {
            scope.apply(Effect::Persist { key });
        }
        return Reply::optional(scope.into_entry(key).map(|entry| entry.value));
    };
    let Some(at_ms) = deadline.at_ms(scope.now_ms()) else {
        return Refusal::expire_time(name).into();
    };
    let value = owned_value(&scope, key);
    if value != Reply::Null {
        scope.expire_or_delete(key, at_ms);
    }
    value
}

fn add<'k>(scope: &mut Scope<'_>, key: &[u8], amount: i64) -> Reply<'k> {
    let entry = scope.get(key);
    let expires_at_ms = entry.as_ref().and_then(|entry| entry.expires_at_ms);
    let Some(current) = entry.map_or(Some(0), |entry| number::integer(entry.value)) else {
        return Refusal::NOT_AN_INTEGER.into();
    };
    let Some(total) = current.checked_add(amount) else {
        return Refusal::OVERFLOW.into();
    };
    let mut digits = itoa::Buffer::new();
    let value = digits.format(total).as_bytes();
    scope.apply(Effect::Set { key, value, expires_at_ms });
    Reply::Integer(total)
}

fn add_float<'k>(scope: &mut Scope<'_>, key: &[u8], amount: &[u8]) -> Reply<'k> {
    let entry = scope.get(key);
    let expires_at_ms = entry.as_ref().and_then(|entry| entry.expires_at_ms);
    match long_double::sum(entry.map_or(b"0", |entry| entry.value), amount) {
        Ok(total) => {
            scope.apply(Effect::Set { key, value: total.as_bytes(), expires_at_ms });
            Reply::owned(total)
        }
        Err(refusal) => refusal.into(),
    }
}

fn overwrite<'k>(scope: &mut Scope<'_>, key: &[u8], offset: i64, bytes: &[u8]) -> Reply<'k> {
    let Ok(offset) = usize::try_from(offset) else {
        return Refusal::fixed("ERR offset is out of range").into();
    };
    if bytes.is_empty() {
        return Reply::count(scope.get(key).map_or(0, |entry| entry.value.len()));
    }
    write(scope, key, offset, bytes)
}

/// Writes at an offset and answers the new length.
fn write<'k>(scope: &mut Scope<'_>, key: &[u8], offset: usize, bytes: &[u8]) -> Reply<'k> {
    let fits = offset.checked_add(bytes.len()).filter(|end| *end <= scope.max_value_bytes());
    let (Some(end), Ok(place)) = (fits, u32::try_from(offset)) else {
        return Refusal::TOO_LONG.into();
    };
    let length = scope.get(key).map(|entry| entry.value.len());
    if length.is_none() || !bytes.is_empty() {
        scope.drop_if_expired(key);
        scope.apply(Effect::Write { key, offset: place, bytes });
    }
    Reply::count(length.unwrap_or(0).max(end))
}

fn set_many<'k>(scope: &mut Scope<'_>, pairs: Args<'_>, if_none_exist: bool) -> Reply<'k> {
    let pairs = pairs.as_chunks::<2>().0;
    if pairs.iter().any(|[_, value]| value.len() > scope.max_value_bytes()) {
        return Refusal::TOO_LONG.into();
    }
    if if_none_exist && pairs.iter().any(|[key, _]| scope.exists(key)) {
        return Reply::truth(false);
    }
    for [key, value] in pairs {
        scope.apply(Effect::Set { key, value, expires_at_ms: None });
    }
    if if_none_exist { Reply::truth(true) } else { Reply::OK }
}

fn request(strings: Strings<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Data(Operation::Strings(strings)))
}

pub(super) fn get(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Get { key: args[1] })
}

pub(super) fn getrange(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Range { key: args[1], first: integer(args[2])?, last: integer(args[3])? })
}

pub(super) fn strlen(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Length { key: args[1] })
}

pub(super) fn getdel(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::GetDelete { key: args[1] })
}

/// `EX s`, `PX ms`, `EXAT s` and `PXAT ms`, as SET and GETEX know them.
fn deadline_option(word: &[u8]) -> Option<(Clock, Unit)> {
    match word {
        b"EX" => Some((Clock::FromNow, Unit::Seconds)),
        b"PX" => Some((Clock::FromNow, Unit::Ms)),
        b"EXAT" => Some((Clock::Absolute, Unit::Seconds)),
        b"PXAT" => Some((Clock::Absolute, Unit::Ms)),
        _ => None,
    }
}

/// An expiry that is read only after every option is known to be well formed.
pub(super) type Written<'a> = (Clock, Unit, &'a [u8]);

/// Whether an option may follow what was read: the same one may, and then counts instead.
fn fits(written: Option<Written<'_>>, kind: (Clock, Unit)) -> bool {
    written.is_none_or(|(clock, unit, _)| (clock, unit) == kind)
}

fn change(
    written: Option<Written<'_>>,
    otherwise: ExpiryChange,
    name: &str,
) -> Result<ExpiryChange, Refusal> {
    let Some((clock, unit, amount)) = written else {
        return Ok(otherwise);
    };
    Deadline::positive(clock, unit, amount, name).map(ExpiryChange::At)
}

pub(super) fn getex(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let (mut written, mut persist) = (None, false);
    let mut options = Options::new(&args[2..]);
    while let Some(word) = options.word() {
        match (word.name(), deadline_option(word.name())) {
            (_, Some(kind)) if fits(written, kind) && !persist => {
                written = Some((kind.0, kind.1, options.value()?));
            }
            (b"PERSIST", _) if written.is_none() => persist = true,
            _ => return Err(Refusal::SYNTAX),
        }
    }
    let otherwise = if persist { ExpiryChange::Clear } else { ExpiryChange::Keep };
    request(Strings::GetExpire { key: args[1], written, otherwise })
}

pub(super) fn set(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut set = Set::plain(args[1], args[2]);
    let (mut written, mut keep) = (None, false);
    let mut options = Options::new(&args[3..]);
    while let Some(word) = options.word() {
        match (word.name(), deadline_option(word.name())) {
            (b"NX", _) if set.condition != Existence::Present => set.condition = Existence::Missing,
            (b"XX", _) if set.condition != Existence::Missing => set.condition = Existence::Present,
            (b"GET", _) => set.answer = Answer::OldValue,
            (b"KEEPTTL", _) if written.is_none() => keep = true,
            (_, Some(kind)) if fits(written, kind) && !keep => {
                written = Some((kind.0, kind.1, options.value()?));
            }
            _ => return Err(Refusal::SYNTAX),
        }
    }
    let otherwise = if keep { ExpiryChange::Keep } else { ExpiryChange::Clear };
    set.expiry = change(written, otherwise, "set")?;
    request(Strings::Set(set))
}

pub(super) fn setnx(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let (condition, answer) = (Existence::Missing, Answer::Truth);
    request(Strings::Set(Set { condition, answer, ..Set::plain(args[1], args[2]) }))
}

pub(super) fn setex(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    set_expiring(args, Unit::Seconds, "setex")
}

pub(super) fn psetex(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    set_expiring(args, Unit::Ms, "psetex")
}

fn set_expiring<'a>(args: Args<'a>, unit: Unit, name: &str) -> Result<Request<'a>, Refusal> {
    let expiry = ExpiryChange::At(Deadline::positive(Clock::FromNow, unit, args[2], name)?);
    request(Strings::Set(Set { expiry, ..Set::plain(args[1], args[3]) }))
}

pub(super) fn getset(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Set(Set { answer: Answer::OldValue, ..Set::plain(args[1], args[2]) }))
}

pub(super) fn incr(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Add { key: args[1], amount: 1 })
}

pub(super) fn decr(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Add { key: args[1], amount: -1 })
}

pub(super) fn incrby(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Add { key: args[1], amount: integer(args[2])? })
}

pub(super) fn decrby(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let amount = integer(args[2])?.checked_neg().ok_or(Refusal::fixed("ERR decrement would overflow"))?;
    request(Strings::Add { key: args[1], amount })
}

pub(super) fn incrbyfloat(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::AddFloat { key: args[1], amount: args[2] })
}

pub(super) fn append(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Append { key: args[1], bytes: args[2] })
}

pub(super) fn setrange(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::Overwrite { key: args[1], offset: integer(args[2])?, bytes: args[3] })
}

pub(super) fn mget(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Strings::GetMany { keys: &args[1..] })
}

pub(super) fn mset(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    set_pairs(args, false, "mset")
}

pub(super) fn msetnx(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    set_pairs(args, true, "msetnx")
}

fn set_pairs<'a>(args: Args<'a>, if_none_exist: bool, name: &str) -> Result<Request<'a>, Refusal> {
    let pairs = &args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Err(Refusal::arity(name));
    }
    request(Strings::SetMany { pairs, if_none_exist })
}
