//! CONFIG: settings by the names that Redis has for them. A few can be changed while the server runs, until it ends.

use super::Request;
use super::args::Args;
use super::engine::Host;
use super::glob;
use super::number;
use super::reply::{Refusal, Reply};
use super::server::Server;
use core::sync::atomic::Ordering;

/// A setting that can be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    MaxMemory(Option<usize>),
    SlowerThanUs(i64),
    SlowMax(usize),
    /// Set to the only value that it can have.
    Nothing,
}

/// What CONFIG GET shows for these patterns.
pub(super) fn shown(host: &impl Host, patterns: Args<'_>) -> Reply<'static> {
    let is_wanted = |name: &str| {
        patterns
            .iter()
            .any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name.to_ascii_lowercase().as_bytes()))
    };
    let settings = all(host).into_iter().filter(|(name, _)| is_wanted(name));
    Reply::Map(settings.map(|(name, value)| (Reply::owned(name), Reply::owned(value))).collect())
}

/// The host's settings and those of this layer.
fn all(host: &impl Host) -> Vec<(String, String)> {
    let statistics = host.clients().statistics();
    let slower_than_us = statistics.slower_than_us.load(Ordering::Relaxed);
    let slow_max = statistics.slow_max.load(Ordering::Relaxed);
    let mut settings = host.settings();
    settings.extend(
        [
            ("maxmemory", host.max_memory().unwrap_or(0).to_string()),
            ("maxmemory-policy", NO_EVICTION.to_owned()),
            ("slowlog-log-slower-than", slower_than_us.to_string()),
            ("slowlog-max-len", slow_max.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    settings
}

/// Changes all of the named settings, or none.
pub(super) fn change(host: &impl Host, pairs: Args<'_>) -> Result<(), Refusal> {
    let pairs = pairs.as_chunks::<2>().0;
    let known = all(host);
    let mut changes = Vec::with_capacity(pairs.len());
    for (place, [name, value]) in pairs.iter().enumerate() {
        let is_known = known.iter().any(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        if !is_known {
            let line = "ERR Unknown option or number of arguments for CONFIG SET - '";
            return Err(Refusal::naming(line, name, "'"));
        }
        let is_repeated = pairs[..place].iter().any(|[other, _]| other.eq_ignore_ascii_case(name));
        let parsed = if is_repeated { Err("duplicate parameter") } else { parse(name, value) };
        changes.push(parsed.map_err(|why| failed(name, why))?);
    }
    for change in changes {
        let statistics = host.clients().statistics();
        match change {
            Change::MaxMemory(limit) => host.set_max_memory(limit),
            Change::SlowerThanUs(us) => statistics.slower_than_us.store(us, Ordering::Relaxed),
            Change::SlowMax(most) => statistics.slow_max.store(most, Ordering::Relaxed),
            Change::Nothing => {}
        }
    }
    Ok(())
}

fn failed(name: &[u8], why: &str) -> Refusal {
    let before = "ERR CONFIG SET failed (possibly related to argument '";
    Refusal::naming(before, name, &format!("') - {why}"))
}

fn parse(name: &[u8], value: &[u8]) -> Result<Change, &'static str> {
    match name.to_ascii_lowercase().as_slice() {
        b"maxmemory" => {
            let bytes = memory(value).ok_or("argument must be a memory value")?;
            Ok(Change::MaxMemory(Some(bytes).filter(|bytes| *bytes > 0)))
        }
        b"maxmemory-policy" if value.eq_ignore_ascii_case(NO_EVICTION.as_bytes()) => Ok(Change::Nothing),
        b"maxmemory-policy" => Err("argument(s) must be one of the following: noeviction"),
        b"slowlog-log-slower-than" => match number::integer(value) {
            Some(us @ -1..) => Ok(Change::SlowerThanUs(us)),
            Some(_) => Err("argument must be between -1 and 9223372036854775807 inclusive"),
            None => Err("argument couldn't be parsed into an integer"),
        },
        b"slowlog-max-len" => match number::integer(value).map(usize::try_from) {
            // What is kept is bounded, whatever is asked for.
            Some(Ok(most)) => Ok(Change::SlowMax(most.min(MAX_SLOW))),
            Some(Err(_)) => Err("argument must be between 0 and 9223372036854775807 inclusive"),
            None => Err("argument couldn't be parsed into an integer"),
        },
        _ => Err("can't set immutable config"),
    }
}

/// Bytes as Redis writes them: `100`, `100mb` (1024-based), `100m` (1000-based).
fn memory(text: &[u8]) -> Option<usize> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number: u64 = core::str::from_utf8(number).ok()?.parse().ok()?;
    usize::try_from(number.checked_mul(scale)?).ok()
}

pub(super) fn get(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Server(Server::ConfigGet { patterns: &args[2..] }))
}

pub(super) fn set(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let pairs = &args[2..];
    if !pairs.len().is_multiple_of(2) {
        return Err(Refusal::SYNTAX);
    }
    Ok(Request::Server(Server::ConfigSet { pairs }))
}

pub(super) fn resetstat(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Server(Server::ResetStatistics))
}

/// Flags, variables and a file make the configuration: there is no one place to write it back to.
pub(super) fn rewrite(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    Err(Refusal::fixed("ERR The server is running without a config file"))
}

const NO_EVICTION: &str = "noeviction";
const MAX_SLOW: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        let rows = [
            ("0", Some(0)),
            ("100", Some(100)),
            ("3k", Some(3000)),
            ("3KB", Some(3072)),
            ("2m", Some(2_000_000)),
            ("2Mb", Some(2 << 20)),
            ("1g", Some(1_000_000_000)),
            ("1gb", Some(1 << 30)),
            ("7b", Some(7)),
            ("", None),
            ("mb", None),
            ("-1", None),
            ("1.5gb", None),
            ("1tb", None),
            ("99999999999999999999", None),
            ("18446744073709551615gb", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(memory(text.as_bytes()), bytes, "{text}");
        }
    }
}
