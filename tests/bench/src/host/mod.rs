//! The host rows: ours and the peer work on the same machine in one run, turn by turn.
//!
//! ```text
//!  rows ──► compare::interleaved ─┬─► servers::Ours   ◄── load (redis-benchmark, our HTTP client) ──► figures of each round
//!                                 └─► servers::Redis  ◄──┘                                              └─► medians, ratio
//! ```
//!
//! Absolute figures move with the machine; the ratio is the median of the ratios of the rounds. Data lies in memory, and where a
//! row waits for syncs, each of them takes one millisecond for both (`strandline_tests::device`).

pub(crate) mod compare;
pub(crate) mod echo;
mod http_load;
mod load;
mod rows;
pub(crate) mod servers;

use std::path::PathBuf;

use self::compare::Comparison;

/// What a run can be told.
pub(crate) struct Settings {
    /// Repetitions of each measurement.
    pub(crate) rounds: usize,
    /// A server that is built already.
    pub(crate) server: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rounds: 5, server: None }
    }
}

type Measure = fn(&Settings) -> Comparison;

/// Every row, by name. A row is a function that measures ours and the peer and says what the goal is.
pub(crate) const ROWS: &[(&str, Measure)] = &[
    ("H6", rows::rates::durable_sets),
    ("H9", rows::restart::million),
    ("H10", rows::restart::ten_million),
    ("H11", rows::snapshot::durations),
    ("H14", rows::memory::bytes_a_key),
    ("H15", rows::rates::sets),
    ("H16", rows::rates::gets),
    ("H17", rows::archive::build),
    ("H17-read-back", rows::archive::read_back),
    ("H17-size", rows::archive::size),
    ("H17-memory", rows::archive::memory),
    ("H18", rows::pauses::writes),
    ("H19", rows::archive::look),
    ("HTTP", rows::http::sets),
];
