//! One file for each kind of measurement.

pub(crate) mod archive;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod memory;
pub(crate) mod pauses;
pub(crate) mod rates;
pub(crate) mod restart;
pub(crate) mod snapshot;
