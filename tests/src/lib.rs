//! Simulated media, an oracle, and the worlds that crash: how Strandline's promises are checked.
//!
//! ```text
//!   script ─► world ─► store ─► actions ─► system calls ─► simulated medium
//!               │                                                │ crash
//!             oracle ◄──────── recovered records ◄──── boot ◄────┘
//! ```
//!
//! Everything is decided by one seed. `cargo run --release -p strandline-tests --bin soak -- posix --states N` runs many;
//! `SEED=n` replays one.

pub mod boot;
pub mod chance;
pub mod coverage;
pub mod crafted;
pub mod device;
pub mod exhaustive;
pub mod handmade;
pub mod history;
pub mod kill;
pub mod nor;
pub mod oracle;
pub mod overload;
pub mod planted;
pub mod posix;
pub mod process;
pub mod recorded;
pub mod script;
pub mod settings;
pub mod setup;
pub mod soak;
pub mod state;
pub mod transcript;
pub mod witness;
pub mod world;
