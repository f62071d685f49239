//! The flash rows: the same part, the same work and the same data for ours and for every peer.
//!
//! ```text
//!  rows ──► subject::{Log, Settings} ──► ours | peers ──► medium::CountingFlash ──► counts
//! ```

mod medium;
mod ours;
mod peers;
pub(crate) mod rows;
mod subject;

use crate::table::Row;

/// What a run can be told.
pub(crate) struct Settings {
    /// Power-cut histories for each subject and word size.
    pub(crate) histories: u64,
    /// The seed of the first of them.
    pub(crate) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { histories: 20_000, seed: rows::cuts::SEED }
    }
}

type Measure = fn(&Settings) -> Row;

/// Every row, by name.
pub(crate) const ROWS: [(&str, Measure); 12] = [
    ("F1", |_| rows::append::programmed()),
    ("F2", |_| rows::append::reprogrammed()),
    ("F3", |_| rows::settings::updates()),
    ("F4", |_| rows::append::spread()),
    ("F5", |_| rows::append::erases_inside()),
    ("F6", |_| rows::mount::ready()),
    ("F7", |_| rows::mount::replay()),
    ("F8", |_| rows::images::sizes()),
    ("F9", |_| rows::images::code()),
    ("F10", |settings| rows::cuts::survived(settings)),
    ("F11", |_| rows::flips::silent()),
    ("F12", |_| rows::export::dropped()),
];
