//! Simulated media, an oracle, and the worlds that crash: how Strandline's promises are checked.

pub mod chance;
pub mod posix;
