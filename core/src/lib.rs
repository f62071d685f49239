//! Strandline's core: a write-ahead log, snapshots and recovery as pure state machines.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;
#[cfg(test)]
use std::{format, prelude::rust_2024::*, vec};

pub mod action;
pub mod codec;
pub mod geometry;
pub mod manifest;
pub mod retention;
pub mod staging;
pub mod store;
pub mod table;
pub mod types;
pub mod wal;
