//! Everything that reads bytes from outside, as functions of those bytes: what must hold whatever they are.
//!
//! ```text
//!  corpus/NAME/* ─► tests/tests/parsers.rs: as they are, and changed by chance ─┐
//!  libFuzzer ─────► fuzz_targets/NAME.rs ───────────────────────────────────────┴─► check ─► target
//!                                                                                     │
//!                                              memory at once ≤ most + each × bytes ◄─┘
//! ```
//!
//! A target panics where a property fails; more than "no panic": what was read and is encoded again is read as the same, the
//! result does not depend on how the bytes were cut, and a length that is claimed allocates nothing.
//!
//! Chance does not make right checksums. What verifies one is tried twice: as it is, and with [`Blind`], under which every
//! checksum is zero, so that what lies behind them is reached.

mod archive;
mod configuration;
mod effects;
mod entries;
mod events;
mod export;
mod frame;
mod http;
mod manifest;
mod nor;
mod recovery;
mod resp;
mod segment;
mod snapshot;

use strandline_core::codec::check::Checksum;

pub use nor::{blind_flash, flash_settings};
pub use recovery::World;

/// A function that reads bytes, and the memory that it may hold at once.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name; that of its corpus.
    pub name: &'static str,
    run: fn(&[u8]),
    /// Bytes, whatever the input.
    most: u64,
    /// Bytes for each byte of input.
    each: u64,
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    Target { name: "archive", run: archive::read, most: 24 << 20, each: 64 },
    Target { name: "configuration", run: configuration::load, most: 4 << 20, each: 1024 },
    Target { name: "effects", run: effects::record, most: 4 << 20, each: 64 },
    Target { name: "entries", run: entries::line_or_value, most: 64 << 10, each: 256 },
    Target { name: "events", run: events::record, most: 4 << 10, each: 64 },
    Target { name: "export", run: export::receive, most: 256 << 10, each: 8 },
    Target { name: "extent", run: frame::header, most: 64 << 10, each: 4 },
    Target { name: "frame", run: frame::frame, most: 4 << 10, each: 16 },
    Target { name: "http", run: http::request, most: 4 << 20, each: 64 },
    Target { name: "image", run: effects::image, most: 8 << 20, each: 64 },
    Target { name: "manifest", run: manifest::scan, most: 1 << 20, each: 64 },
    Target { name: "nor", run: nor::mount, most: 64 << 10, each: 16 },
    Target { name: "recovery", run: recovery::start, most: 8 << 20, each: 64 },
    Target { name: "resp", run: resp::requests, most: 4 << 20, each: 256 },
    Target { name: "segment", run: segment::read, most: 256 << 10, each: 64 },
    Target { name: "snapshot", run: snapshot::read, most: 4 << 10, each: 64 },
];

/// Runs a target.
///
/// # Panics
/// When a property does not hold, and when there is no target of this name.
pub fn check(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    let counted = allocation_counter::measure(|| (target.run)(bytes));
    let most = target.most + target.each * bytes.len() as u64;
    assert!(counted.bytes_max <= most, "{name} held {} bytes at once, of {most}", counted.bytes_max);
}

/// Takes every checksum for right that is zero.
#[derive(Clone, Copy, Debug)]
pub struct Blind;

impl Checksum for Blind {
    fn extend(_: u32, _: &[u8]) -> u32 {
        0
    }
}
