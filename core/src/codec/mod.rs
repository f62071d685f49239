//! Bytes to values and back, without state.

pub mod check;
pub mod extent;
pub mod frame;
pub mod varint;
