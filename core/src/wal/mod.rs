//! The log: how segments are laid out, written and judged.
//!
//! ```text
//!  segment  | EXTENT .. pad | batch | batch | ... | what was there before |
//!  batch    | MARK | RECORD | GROUP | ... | PAD to the batch border |
//! ```
//!
//! A batch is what one write carries. Its mark is encoded last, so that it witnesses everything that was durable by then.

pub mod group;
mod mark;
pub mod reader;
pub mod verdict;
pub mod writer;

pub use mark::{MARK_BODY, Mark};

use crate::codec::extent::EXTENT_BODY;
use crate::codec::frame::{HEADER, LONG_HEADER, MAX_PAYLOAD};
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

/// The largest record that a segment of this geometry can hold, bytes; never above [`MAX_PAYLOAD`].
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "a constant of 12")]
pub const fn max_record(geometry: Geometry) -> u32 {
    let overhead = batch_start(geometry) + mark_bytes(geometry) + geometry.pad(LONG_HEADER as u32);
    let room = geometry.extent_bytes.saturating_sub(overhead + geometry.batch_align);
    if room < MAX_PAYLOAD { room } else { MAX_PAYLOAD }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_16_mib_fits_a_default_segment() {
        assert_eq!(max_record(Geometry::HOST), 16 << 20);
        let small = Geometry { extent_bytes: 4096, ..Geometry::HOST };
        assert!(max_record(small) < 4096 && max_record(small) > 3600);
    }
}
