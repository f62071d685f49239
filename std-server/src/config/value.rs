//! From a raw value to a value of its key's kind, or what is wrong with it.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::keys::Kind;
use super::tree::Raw;
use crate::auth::Account;

/// A value of the right kind and in range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// For a key that is on or off.
    Bool(bool),
    /// A count, a time, or a size in bytes.
    Number(u64),
    /// A count that is switched off.
    Off,
    /// One of a few words.
    Word(&'static str),
    /// A path, as written.
    Path(PathBuf),
    /// A listening address.
    Host(IpAddr),
    /// A name of a host, in small letters.
    Name(String),
    /// Users; only their names are ever shown.
    Users(Vec<Account>),
}

impl fmt::Display for Value {
    /// As a configuration file would hold it, in YAML and in TOML (save for `off`, which TOML wants quoted).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Number(value) => write!(f, "{value}"),
            Self::Off => f.write_str("off"),
            Self::Word(word) => write!(f, "\"{word}\""),
            Self::Path(path) => quoted(f, &path.to_string_lossy()),
            Self::Host(host) => write!(f, "\"{host}\""),
            Self::Name(name) => write!(f, "\"{name}\""),
            Self::Users(users) => {
                let names: Vec<&str> = users.iter().map(Account::name).collect();
                write!(f, "{} (hashes are not shown)", names.join(", "))
            }
        }
    }
}

/// Text in double quotes, with the escapes that YAML and TOML share.
fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

/// What is wrong with one value: the two halves of a problem.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) found: String,
    pub(super) next: String,
}

/// Reads a raw value as a value of `kind`.
pub(super) fn parse(kind: Kind, raw: &Raw) -> Result<Value, Unfit> {
    if let Raw::Null = raw {
        return unfit("has no value".to_owned(), format!("give it {}, or delete the line", expected(kind)));
    }
    if let Raw::Word(word) = raw
        && word.is_empty()
    {
        return unfit("is empty".to_owned(), format!("give it {}, or unset it", expected(kind)));
    }
    let value = match kind {
        Kind::Users => return parse_users(raw).map(Value::Users),
        Kind::Bool => parse_bool(raw),
        Kind::Number { min, max, .. } => {
            whole(raw).and_then(|number| within(number, min, max)).map(Value::Number)
        }
        Kind::NumberOrOff { .. } if is_off(raw) => Some(Value::Off),
        Kind::NumberOrOff { min, max, .. } => {
            whole(raw).and_then(|number| within(number, min, max)).map(Value::Number)
        }
        Kind::SizeOrOff { .. } if is_off(raw) => Some(Value::Off),
        Kind::Size { min, max } | Kind::SizeOrOff { min, max } => {
            size(raw).and_then(|bytes| within(bytes, min, max)).map(Value::Number)
        }
        Kind::DurationOr(word) if is_off(raw) || text(raw) == Some(word) => Some(Value::Off),
        Kind::DurationOr(_) => text(raw).and_then(seconds).map(Value::Number),
        Kind::Choice(words) => {
            text(raw).and_then(|text| words.iter().find(|word| **word == text)).map(|word| Value::Word(word))
        }
        Kind::Path => parse_path(raw),
        Kind::Host => text(raw).and_then(parse_host).map(Value::Host),
        Kind::Name => text(raw).and_then(parse_name).map(Value::Name),
    };
    value.map_or_else(|| unfit(format!("is {}", shown(raw)), hint(kind, raw)), Ok)
}

fn unfit<T>(found: String, next: String) -> Result<T, Unfit> {
    Err(Unfit { found, next })
}

fn is_off(raw: &Raw) -> bool {
    matches!(raw, Raw::Bool(false)) || text(raw) == Some("off")
}

fn parse_bool(raw: &Raw) -> Option<Value> {
    match raw {
        Raw::Bool(value) => Some(Value::Bool(*value)),
        Raw::Word(word) if word == "true" => Some(Value::Bool(true)),
        Raw::Word(word) if word == "false" => Some(Value::Bool(false)),
        _ => None,
    }
}

fn parse_name(text: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let fits = !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.chars().all(allowed);
    fits.then(|| text.to_ascii_lowercase())
}

/// A section of names and hashes, or `name:hash` pairs with spaces between them. What is wrong is never repeated: it may be
/// a password.
fn parse_users(raw: &Raw) -> Result<Vec<Account>, Unfit> {
    let pairs: Option<Vec<(&str, &str)>> = match raw {
        Raw::Section(entries) => {
            entries.iter().map(|row| Some((row.key.as_str(), text(&row.value)?))).collect()
        }
        _ => text(raw).and_then(|text| text.split_whitespace().map(|pair| pair.split_once(':')).collect()),
    };
    let next = || format!("give it {}", expected(Kind::Users));
    let Some(pairs) = pairs else { return unfit("does not name users".to_owned(), next()) };
    let mut users: Vec<Account> = Vec::with_capacity(pairs.len());
    for (number, (name, hash)) in pairs.into_iter().enumerate() {
        match Account::new(name, hash) {
            Ok(user) if users.iter().any(|other| other.name() == name) => {
                return unfit(format!("names {} twice", user.name()), "keep one of the two".to_owned());
            }
            Ok(user) => users.push(user),
            Err(what) => return unfit(format!("can't be used (user {}): {what}", number + 1), next()),
        }
    }
    Ok(users)
}

/// A NUL can't stand in a path: the system would cut the name there.
fn parse_path(raw: &Raw) -> Option<Value> {
    let path = match raw {
        Raw::Text(text) => PathBuf::from(text),
        Raw::Word(word) => PathBuf::from(word),
        _ => return None,
    };
    let bytes = path.as_os_str().as_encoded_bytes();
    (!bytes.is_empty() && !bytes.contains(&0)).then_some(Value::Path(path))
}

/// An IP address, with or without the brackets of IPv6, or `localhost`.
pub(super) fn parse_host(text: &str) -> Option<IpAddr> {
    if text.eq_ignore_ascii_case("localhost") {
        return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

fn whole(raw: &Raw) -> Option<i128> {
    match raw {
        Raw::Int(number) => Some(*number),
        Raw::Word(_) => text(raw)?.parse().ok(),
        _ => None,
    }
}

fn within(number: i128, min: u64, max: u64) -> Option<u64> {
    u64::try_from(number).ok().filter(|number| (min..=max).contains(number))
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Text(text) => Some(text),
        Raw::Word(word) => word.to_str(),
        _ => None,
    }
}

/// Bytes: a number, or digits with a unit, `8MB` or `8 MiB`; both count in 1024s.
fn size(raw: &Raw) -> Option<i128> {
    if let Raw::Int(number) = raw {
        return Some(*number);
    }
    let text = text(raw)?.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale: i128 = match unit.trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" | "KB" | "KIB" => 1 << 10,
        "M" | "MB" | "MIB" => 1 << 20,
        "G" | "GB" | "GIB" => 1 << 30,
        _ => return None,
    };
    number.parse::<i128>().ok()?.checked_mul(scale)
}

/// A time of whole seconds, `30d`, `12h`, `90m` or `45s`, in seconds; at most a thousand years.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = text.trim().split_at_checked(text.trim().len().checked_sub(1)?)?;
    let scale = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = is_plain.then(|| number.parse::<u64>().ok()?.checked_mul(scale)).flatten()?;
    (1..=MAX_SECONDS).contains(&seconds).then_some(seconds)
}

/// What a value of this kind looks like, for errors and for the reference page.
pub(super) fn expected(kind: Kind) -> String {
    let span = |min: u64, max: u64, unit: &str| {
        let unit = if unit.is_empty() { String::new() } else { format!(" ({unit})") };
        format!("a whole number from {min} to {max}{unit}")
    };
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Number { min, max, unit } => span(min, max, unit),
        Kind::NumberOrOff { min, max, unit } => format!("{}, or off", span(min, max, unit)),
        Kind::Size { min, max } => {
            format!("a size from {} to {}: bytes, or text such as \"8MB\"", bytes(min), bytes(max))
        }
        Kind::SizeOrOff { min, max } => format!("{}, or off", expected(Kind::Size { min, max })),
        Kind::DurationOr(word) => format!("a time such as 30d, 12h, 90m or 45s, or {word}"),
        Kind::Choice([only]) => format!("\"{only}\", the only choice"),
        Kind::Choice(words) => {
            let (last, rest) = words.split_last().expect("a choice has words");
            format!("{} or {last}", rest.join(", "))
        }
        Kind::Path => "a path".to_owned(),
        Kind::Host => "an IP address or localhost".to_owned(),
        Kind::Name => "a name of a host, without a port".to_owned(),
        Kind::Users => "a section of `name: hash`, or text of `name:hash` pairs".to_owned(),
    }
}

/// A size as people write it: in the largest unit that divides it.
pub(super) fn bytes(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{} MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{} KiB", b >> 10),
        1 => "1 byte".to_owned(),
        b => format!("{b} bytes"),
    }
}

/// What to do about a value that does not fit.
fn hint(kind: Kind, raw: &Raw) -> String {
    let expected = expected(kind);
    let written = text(raw).unwrap_or("");
    let quoted_number =
        matches!(kind, Kind::Number { .. } | Kind::NumberOrOff { .. }) && written.parse::<u64>().is_ok();
    let quoted_bool = kind == Kind::Bool && matches!(written, "true" | "false");
    if matches!(raw, Raw::Text(_)) && (quoted_number || quoted_bool) {
        return format!("write {expected}, without quotes");
    }
    if let Kind::Choice(words) = kind
        && let Some(near) = super::nearest::nearest(written, words.iter().copied())
    {
        return format!("write {expected}; the nearest is {near}");
    }
    format!("write {expected}")
}

/// The value as an error names it: cut short, on one line.
fn shown(raw: &Raw) -> String {
    let cut = |text: &str| {
        let mut short: String = text.chars().take(SHOWN_CHARS).collect();
        if text.chars().nth(SHOWN_CHARS).is_some() {
            short.push('…');
        }
        format!("{short:?}")
    };
    match raw {
        Raw::Bool(value) => value.to_string(),
        Raw::Int(number) => number.to_string(),
        Raw::Float(number) => number.to_string(),
        Raw::Text(text) => cut(text),
        Raw::Word(word) => cut(&word.to_string_lossy()),
        Raw::Date(date) => format!("the date {date}"),
        Raw::Null | Raw::List | Raw::Section(_) => raw.noun().to_owned(),
    }
}

/// A thousand years.
const MAX_SECONDS: u64 = 1000 * 366 * 86_400;
/// How much of a wrong text an error repeats.
const SHOWN_CHARS: usize = 60;
/// The longest name that DNS knows.
const MAX_NAME_BYTES: usize = 253;
