//! Every setting with its value and origin, after flags, environment, file and defaults were laid over each other.

use core::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use super::keys::{self, Fallback, Id, KEYS, Key};
use super::layers::Given;
use super::problem::Origin;
use super::value::Value;
use crate::auth::Account;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
    /// The weaker source, if there is one, whose value this one replaced.
    pub over: Option<Origin>,
}

/// All settings, in the order of the table of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `None`: nobody set it, and it has no value of its own.
    rows: Vec<Option<Setting>>,
}

impl Settings {
    /// Lays the sources over each other, the weakest first, and fills in the defaults.
    pub(super) fn settle(layers: impl IntoIterator<Item = Vec<Given>>) -> Self {
        let mut settings = Self { rows: KEYS.iter().map(|_| None).collect() };
        for given in layers.into_iter().flatten() {
            let row = &mut settings.rows[given.id as usize];
            let over = row.take().map(|weaker| weaker.origin);
            *row = Some(Setting { value: given.value, origin: given.origin, over });
        }
        for key in KEYS {
            if settings.rows[key.id as usize].is_none() {
                let value = settings.fallback(key);
                settings.rows[key.id as usize] =
                    value.map(|value| Setting { value, origin: Origin::Default, over: None });
            }
        }
        settings
    }

    /// The default of a key. `data_dir` is the first row, so that it is settled before a path below it is asked for.
    fn fallback(&self, key: &Key) -> Option<Value> {
        Some(match key.fallback {
            Fallback::Bool(value) => Value::Bool(value),
            Fallback::Number(value) => Value::Number(value),
            Fallback::Off => Value::Off,
            Fallback::Word(word) => Value::Word(word),
            Fallback::Path(path) => Value::Path(path.into()),
            Fallback::Below(path) => Value::Path(self.path(Id::DataDir).join(path)),
            Fallback::Loopback => Value::Host(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Fallback::Unset => return None,
        })
    }

    /// The setting at `path` (any of its spellings), or `None` if there is no such key or it has no value.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Setting> {
        keys::find(path).and_then(|key| self.row(key.id))
    }

    pub(super) fn row(&self, id: Id) -> Option<&Setting> {
        self.rows[id as usize].as_ref()
    }

    /// The setting if somebody set it.
    pub(super) fn given(&self, id: Id) -> Option<&Setting> {
        self.row(id).filter(|setting| setting.origin != Origin::Default)
    }

    /// Takes a setting out that another key overrules.
    pub(super) fn overrule(&mut self, loser: Id, winner: Id) {
        let weaker = self.rows[loser as usize].take().map(|setting| setting.origin);
        if let (Some(winner), Some(weaker)) = (&mut self.rows[winner as usize], weaker)
            && weaker != Origin::Default
        {
            winner.over = Some(weaker);
        }
    }

    pub(super) fn bool(&self, id: Id) -> bool {
        match self.value(id) {
            Value::Bool(value) => *value,
            other => mismatch(id, other),
        }
    }

    pub(super) fn number(&self, id: Id) -> u64 {
        match self.value(id) {
            Value::Number(value) => *value,
            other => mismatch(id, other),
        }
    }

    pub(super) fn number_or_off(&self, id: Id) -> Option<u64> {
        match self.value(id) {
            Value::Off => None,
            Value::Number(value) => Some(*value),
            other => mismatch(id, other),
        }
    }

    pub(super) fn word(&self, id: Id) -> &'static str {
        match self.value(id) {
            Value::Word(word) => word,
            other => mismatch(id, other),
        }
    }

    pub(super) fn path(&self, id: Id) -> &Path {
        match self.value(id) {
            Value::Path(path) => path,
            other => mismatch(id, other),
        }
    }

    pub(super) fn host(&self, id: Id) -> IpAddr {
        match self.value(id) {
            Value::Host(host) => *host,
            other => mismatch(id, other),
        }
    }

    pub(super) fn name(&self, id: Id) -> Option<&str> {
        match &self.row(id)?.value {
            Value::Name(name) => Some(name),
            other => mismatch(id, other),
        }
    }

    pub(super) fn users(&self, id: Id) -> Option<&[Account]> {
        match &self.row(id)?.value {
            Value::Users(users) => Some(users),
            other => mismatch(id, other),
        }
    }

    fn value(&self, id: Id) -> &Value {
        match self.row(id) {
            Some(setting) => &setting.value,
            None => unreachable!("{id:?} is read without having been given, and has no default"),
        }
    }
}

/// The table and its reader disagree about a kind: our mistake, and the default configuration already shows it.
fn mismatch(id: Id, value: &Value) -> ! {
    unreachable!("{id:?} is read as another kind than {value:?}")
}
