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

/// The packages that are compared with.
pub(crate) const PEERS: [&str; 2] = ["sequential-storage", "ekv"];

/// What bounds the rows that miss their goals.
pub(crate) const MISSED: [(&str, &str); 5] = [
    (
        "F3",
        "an update of 34 bytes is a frame of 44, so that the log alone programs 1.29 and fills 109 blocks. Of 16 blocks 6 stay free \
         (a snapshot, its manifest, the spare, and 2 for cuts in a row), so a snapshot is taken every 9 blocks. A part that looks \
         erased is not trusted: the first lap erases, too.",
    ),
    (
        "F7",
        "a record is handed out when the frame behind it has verified, so both stand in the buffer. With 256 bytes, and frames of 72, \
         a read brings 184 new bytes at most: 356 reads are the bound. Half of the peers' reads at the least.",
    ),
    (
        "F8",
        "the handle and the future are within the goal where the driver blocks (there is no future); the async twin has 96 / 1,120 / \
         2,668. Of the stack 288 bytes are handle, scratch and record; reading holds a reader, a frame and a window on top of a mount, \
         because any append may have to mount.",
    ),
    (
        "F9",
        "of the log's image 3.4 KB read and verify, 1.4 KB repair, 1.2 KB open and erase blocks, 3.7 KB mount, append, trim and \
         replay, and 1.5 KB are the compiler's memcpy and memset. Groups, newest-first reading, drop-oldest and damage that is told \
         from torn writes are in it; sequential-storage's queue has none of these.",
    ),
    (
        "F11",
        "the newest frame has no witness: one that a flip broke can't be told from one that a cut tore. Everything before it is found.",
    ),
];
