//! The host rows: ours and the peer work on the same machine in one run, turn by turn.
//!
//! ```text
//!  rows ──► compare::interleaved ─┬─► servers::Ours   ◄── load (redis-benchmark, our HTTP client) ──► figures of each round
//!                                 ├─► servers::Redis  ◄──┘                                              ├─► medians, ratio
//!                                 └─► logs::Job: ours, other logs, bounds, each in a process ───────────┘
//! ```
//!
//! Absolute figures move with the machine; the ratio is the median of the ratios of the rounds. Data lies in memory, and where a
//! row waits for syncs, each of them takes one millisecond for both (`strandline_tests::device`).

pub(crate) mod compare;
pub(crate) mod echo;
mod http_load;
mod load;
pub(crate) mod logs;
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

/// The packages that are compared with.
pub(crate) const PEERS: [&str; 6] =
    ["axum", "commitlog", "okaywal", "open-wal", "raft-engine", "walrus-rust"];

/// Why rows miss their goals.
pub(crate) const MISSED: [(&str, &str); 11] = [
    (
        "H2",
        "records of 1 KiB meet the goal. With 100 B the thread that writes wakes for every 96 KB and spends about half of its time with \
         waking up and waiting for the lock that the appending thread has.",
    ),
    ("H2-bound", "the bound has no lock, no LSN, and writes on the thread that frames."),
    ("H4", "an append takes 50 µs more than its write and its sync. Where they go has not been found out."),
    (
        "H5",
        "one sync serves about 30 of 50 clients: with two processors for all threads the others have not been woken and appended again when \
         the gather ends.",
    ),
    (
        "H6",
        "the client takes one of the two processors. One sync serves 26 to 30 of the 50 clients: the replies and requests of the others \
         are still being worked through when the gather ends after half a sync.",
    ),
    (
        "H8",
        "of 350 ns for a record of 1 KiB about 140 are its checksum and about 130 the kernel's copy out of its cache; one after the other on \
         one thread. The bound reads no file.",
    ),
    (
        "H9",
        "of a log alone: one thread applies it and mostly waits for memory. A second thread for reading and verifying made it no faster.",
    ),
    (
        "H10",
        "of a log alone: one thread applies it and mostly waits for memory. A second thread for reading and verifying made it no faster. \
         Restarts from a snapshot meet the goal. A server that takes snapshots reads 1 GiB of log at most.",
    ),
    (
        "H13",
        "beginning a snapshot meets the goal. The longest of ten million inserts, page faults included, was not looked into.",
    ),
    (
        "H16",
        "the client takes one of the two processors, and is as busy as the server; the ratio moved between 1.1 and 1.4 from run to run.",
    ),
    (
        "H19",
        "the index of this archive is 5 MB for 67,000 blocks, and all of it is read and verified, once. The rest is the start of a \
         process.",
    ),
];

/// Every row, by name. A row is a function that measures ours and the peer and says what the goal is.
pub(crate) const ROWS: &[(&str, Measure)] = &[
    ("H1", rows::log::frames),
    ("H2", rows::log::appends),
    ("H2-bound", rows::log::appends_bound),
    ("H3", rows::log::crowds),
    ("H4", rows::log::one_client),
    ("H5", rows::log::group_commit),
    ("H5-okaywal", rows::log::group_commit_again),
    ("H5-p50", rows::log::medians),
    ("H6", rows::rates::durable_sets),
    ("H7", rows::log::system_calls),
    ("H8", rows::log::replays),
    ("H8-bound", rows::log::replays_bound),
    ("H9", rows::restart::million),
    ("H10", rows::restart::ten_million),
    ("H11", rows::snapshot::durations),
    ("H12", rows::snapshot::memory),
    ("H13", rows::pauses::longest),
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
