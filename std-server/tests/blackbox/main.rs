//! The real binary as a black box: processes, files and sockets, nothing else.
//!
//! ```text
//!  durable.rs    cases 1–3      acknowledged means kept, in every mode
//!  damage.rs     cases 4–7      torn, flipped, cut, missing, absurd and newer files
//!  repair.rs                    verify, repair and scrub over every kind of damage
//!  restore.rs                   segments made again from their archives
//!  snapshots.rs  cases 8, 9, 13, 14
//!  exact.rs      cases 10, 11   expiry and every kind of write come back as they were
//!  faults.rs     cases 12, 22   a full, a failing and a slow disk
//!  surroundings.rs              a directory that goes, turns read-only or answers late; no more file handles
//!  crash_points.rs              starts and snapshots that are cut, or fail, at each system call
//!  bad_input.rs                 requests and configuration that must not be believed
//!  stop.rs                      ends of every kind, under load and during recovery
//!  campaign.rs                  kills under load, a few rounds in each mode
//!  history.rs   case 15         kills while events are archived
//!  archives.rs  cases 16, 18–20 flipped bits, damaged ones among good ones, order, memory
//!  overload.rs  case 22         crowds, clients that do not behave, a device that takes little
//! ```
//!
//! The numbers are those of the ways in which the systems that this one follows lose data.
//!
//! A test damages copies of a data directory and asks what a server makes of it. `strace` makes calls of the system fail
//! or slow; it attaches to a server that runs already, so that exactly what the test means is hit.

mod archives;
mod bad_input;
mod campaign;
mod crash_points;
mod damage;
mod disk;
mod durable;
mod exact;
mod faults;
mod history;
mod overload;
mod repair;
mod restore;
mod snapshots;
mod stop;
mod support;
mod surroundings;
