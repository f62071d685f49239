//! Strandline's core: a write-ahead log, snapshots and recovery as pure state machines.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "small numbers in tests"))]

#[cfg(test)]
#[macro_use]
extern crate std;

pub mod action;
pub mod codec;
pub mod geometry;
pub mod lower;
pub mod manifest;
pub mod media;
pub mod recovery;
pub mod retention;
pub mod snapshot;
pub mod staging;
pub mod store;
pub mod table;
pub mod types;
pub mod wal;
