//! Which entries: by time, LSN, type, context and field.

use core::str::FromStr;

use clap::Args;
use strandline::archive::json::Json;
use strandline::archive::{Entry, Payload, Range};
use strandline::core::archive::pack::{Unpack, Value};
use strandline::{Lsn, Millis};

#[derive(Debug, Args, Clone)]
pub(super) struct Select {
    /// Not before this time: RFC 3339, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = moment)]
    from: Option<u64>,
    /// Not after this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<u64>,
    /// One LSN, or a range: 7, 7..9, 7.., ..9; both ends belong to it
    #[arg(long, value_name = "LSNS")]
    lsn: Option<Lsns>,
    /// Of this type; of any of them if given several times
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Vec<String>,
    /// Of this context; of any of them if given several times
    #[arg(long, value_name = "ID")]
    context: Vec<String>,
    /// With this field, or with this value in it: text as it is, anything else as JSON; inner fields as OUTER.INNER. All if given
    /// several times
    #[arg(long, value_name = "NAME[=VALUE]")]
    field: Vec<Field>,
}

impl Select {
    /// Whether it leaves anything out.
    pub(super) fn is_all(&self) -> bool {
        let lists = self.event_type.is_empty() && self.context.is_empty() && self.field.is_empty();
        lists && self.range() == Range::ALL
    }

    pub(super) fn range(&self) -> Range {
        let lsns = self.lsn.map_or(Range::ALL.lsns, |lsns| (lsns.first, lsns.last));
        let until = self
            .until
            .map_or(u64::MAX, |until| until.saturating_add(if until % 1000 == 0 { 999 } else { 0 }));
        Range { lsns, times: (Millis(self.from.unwrap_or(0)), Millis(until)) }
    }

    /// Whether an entry of the range matches.
    pub(super) fn holds(&self, entry: &Entry<'_>) -> bool {
        let any = |words: &[String], word| words.is_empty() || words.iter().any(|wanted| wanted == word);
        any(&self.event_type, entry.event_type)
            && any(&self.context, entry.context)
            && self.field.iter().all(|field| field.is_in(entry))
    }
}

/// Milliseconds since 1970.
fn moment(text: &str) -> Result<u64, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(seconds.saturating_mul(1000));
    }
    let moment: jiff::Timestamp = text
        .parse()
        .map_err(|_| "neither RFC 3339, as 2026-01-31T12:00:00Z, nor seconds since 1970".to_owned())?;
    u64::try_from(moment.as_millisecond()).map_err(|_| "that is before 1970".to_owned())
}

#[derive(Debug, Clone, Copy)]
struct Lsns {
    first: Lsn,
    last: Lsn,
}

impl FromStr for Lsns {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str, otherwise| match text {
            "" => Ok(otherwise),
            text => text.parse().map_err(|_| format!("{text:?} is no LSN")),
        };
        let (first, last) = (Lsn(number(first, 0)?), Lsn(number(last, u64::MAX)?));
        if text.is_empty() || first > last {
            Err("that is no range".into())
        } else {
            Ok(Self { first, last })
        }
    }
}

#[derive(Debug, Clone)]
struct Field {
    path: Vec<String>,
    value: Option<String>,
}

impl FromStr for Field {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err("a field has a name".into());
        }
        Ok(Self { path: name.split('.').map(str::to_owned).collect(), value })
    }
}

impl Field {
    fn is_in(&self, entry: &Entry<'_>) -> bool {
        let Payload::Map(map) = entry.payload else { return false };
        // A name with a dot in it comes before an inner field.
        let whole = self.path.join(".");
        let found =
            find(map, &whole).or_else(|| self.path.iter().try_fold(map, |value, name| find(value, name)));
        match (found, &self.value) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(bytes), Some(wanted)) => match Unpack(bytes).value() {
                Ok(Value::Str(text)) => text == wanted,
                _ => serde_json::to_string(&Json(bytes)).is_ok_and(|text| text == *wanted),
            },
        }
    }
}

/// The bytes of the value of this name in a map.
fn find<'m>(map: &'m [u8], name: &str) -> Option<&'m [u8]> {
    let mut at = Unpack(map);
    let Ok(Value::Map(pairs)) = at.value() else { return None };
    for _ in 0..pairs {
        let key = at.value().ok()?;
        if matches!(key, Value::Array(_) | Value::Map(_)) {
            return None;
        }
        let value = at.0;
        at.skip().ok()?;
        if key == Value::Str(name) {
            return value.get(..value.len() - at.0.len());
        }
    }
    None
}
