//! Strandline's core: a write-ahead log, snapshots and recovery as pure state machines over lent bytes.
//!
//! ```text
//!             records                                          bytes, errors
//!                │                                                  ▲
//!                ▼                poll() ─► Action                  │
//!  Recovery ─► Store ─────────────────────────────────► lower ─► adapter ─► medium
//!     ▲          │ staging   two halves, group commit    posix    one step =
//!     │          │ durability what is written, synced    nor      one system call or
//!     │          │ space      segments, snapshots                 one flash operation
//!     │          │ revise     manifest revisions                     │
//!     └──────────┴───────────── complete() ◄─────────────────────────┘
//! ```
//!
//! There is no I/O, no clock and no allocator here. The rule of use, for every adapter:
//!
//! 1. Make a [`recovery::Recovery`] and do what its `poll` asks, until it is done or refuses. [`finish`] gives the only
//!    [`store::Store`] there is.
//! 2. Give it records with [`append`]; it answers an LSN, and copies the record into a lent half.
//! 3. Call [`store::Store::poll`] until it is idle. Carry out each [`action::Action`] with the steps that [`lower`] makes of it;
//!    actions that are handed out don't depend on each other.
//! 4. Tell the result with [`store::Store::complete`]. A record below [`acknowledged`] keeps its promise.
//!
//! `examples/by_hand.rs` is the whole of it with a map of vectors as the disk.
//!
//! NOR flash has no cache, so its log is a machine of its own over the same frames, [`media::nor`]:
//!
//! ```text
//!  append, trim, snapshot, records ─► Port ─► Request ─► driver ─► lower ─► flash
//! ```
//!
//! Modules, each importing only from its left: `types geometry table` ← [`codec`] (frames, checksums, headers) ← [`wal`],
//! [`snapshot`], [`manifest`], [`archive`], [`export`] (what bytes mean) ← [`retention`] (what may go) ← [`action`] ←
//! [`staging`], [`media`], [`store`], [`recovery`] (the machines) ← [`lower`], [`kv`].
//!
//! [`finish`]: recovery::Recovery::finish
//! [`append`]: store::Store::append
//! [`acknowledged`]: store::Store::acknowledged
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::duplicate_mod,
    reason = "operations on flash are one text, compiled with and without `async`"
)]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, reason = "small numbers in tests"))]

#[cfg(test)]
#[macro_use]
extern crate std;

pub mod action;
pub mod archive;
pub mod codec;
pub mod export;
pub mod geometry;
pub mod kv;
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
