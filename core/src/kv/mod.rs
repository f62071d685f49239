//! A bounded map of settings over a log on NOR flash.
//!
//! ```text
//!  entries  | key len | value len | key | value | key len ... |  staged update |      free      |
//!           '------------------ live ------------------------'        │
//!                        ▲                                            ├─► append ─► durable ─► live
//!                        └── snapshot: these bytes, when the log is full of updates ◄──┘ refused
//! ```
//!
//! The map is one run of bytes in RAM: entries back to back, so that small ones take little. An update is laid out behind them in
//! the form in which it is logged, appended, and taken over when it is durable. Several updates are one record: all or nothing.
//! A record holds updates as the map holds entries; one with `REMOVED` in its first byte has a key only.
//!
//! Invariant: between operations `entries` is what the log says. One that was dropped leaves that to [`blocking::Kv::reload`].
//!
//! It does not sort, and looks for a key from the start: for settings by the dozen.

mod update;

/// The map over a driver that blocks.
#[path = "."]
pub mod blocking {
    use bisync_macros::internal_strip_async as twin;

    use crate::media::nor::blocking as ring;

    mod map;

    pub use map::Kv;
}

/// The map over a driver that waits: the same text.
#[path = "."]
pub mod asynch {
    use bisync_macros::internal_noop as twin;

    use crate::media::nor::asynch as ring;

    mod map;

    pub use map::Kv;
}

use crate::media::nor;

/// Why an operation of a map was refused or failed. What was acknowledged stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error {
    /// What the log said.
    Log(nor::Error),
    /// The entries and the update need more room than there is. Nothing was written.
    Full,
    /// The key is empty or longer than 127 bytes, or the value can't be encoded. Nothing was written.
    BadEntry,
    /// The value has another type.
    OtherType,
    /// The log holds something that is no update of a map.
    NotAMap,
}

impl From<nor::Error> for Error {
    fn from(error: nor::Error) -> Self {
        Self::Log(error)
    }
}
