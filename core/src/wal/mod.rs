//! The log: how segments are laid out, written and judged.
//!
//! ```text
//!  segment  | EXTENT .. pad | batch | batch | ... | what was there before |
//!  batch    | MARK | RECORD | RECORD | ... | PAD to the batch border |
//! ```
//!
//! A batch is what one write carries. Its mark is encoded last, so that it witnesses everything that was durable by then.

mod mark;
pub mod reader;
pub mod verdict;
pub mod writer;

pub use mark::{MARK_BODY, Mark};

use crate::codec::extent::EXTENT_BODY;
use crate::codec::frame::HEADER;
use crate::geometry::Geometry;

/// Offset of the first batch of a segment.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a constant of about 100")]
pub const fn batch_start(geometry: Geometry) -> u32 {
    geometry.align(geometry.pad((HEADER + EXTENT_BODY) as u32))
}

/// Bytes of a mark frame.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a constant of about 60")]
pub const fn mark_bytes(geometry: Geometry) -> u32 {
    geometry.pad((HEADER + MARK_BODY) as u32)
}
