//! Requests to a NOR medium: one step is one flash operation.
//!
//! | request | steps |
//! |---|---|
//! | Prepare | erase the block, program its erase part |
//! | Write | program |
//! | Sync, Release | none: a completed program is durable, and a block is erased when it is used again |
//! | Verify | verify |
//! | Read | read |
//!
//! Steps run in their order; a failed one fails the request and the rest is not run. A program runs from its first word to its
//! last: a cut leaves one torn word, and nothing behind it.

use crate::action::{Action, Buffer, Span};
use crate::media::nor::{Geometry, Request};

/// One flash operation. Offsets and lengths are whole words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Erase a block.
    Erase {
        /// Its index.
        block: u32,
    },
    /// Program words that are erased, in ascending order.
    Program {
        /// Index of the block.
        block: u32,
        /// Bytes from its start.
        offset: u32,
        /// What.
        bytes: Span,
    },
    /// Read back and compare.
    Verify {
        /// Index of the block.
        block: u32,
        /// Bytes from its start.
        offset: u32,
        /// What should be there.
        bytes: Span,
    },
    /// Read.
    Read {
        /// Index of the block.
        block: u32,
        /// Bytes from its start.
        offset: u32,
        /// Where to.
        bytes: Span,
    },
}

/// The steps of one request, in order.
pub type Steps = heapless::Vec<Step, 2>;

/// The steps of `request`.
#[must_use]
pub fn lower(request: Request, geometry: Geometry) -> Steps {
    let mut steps = Steps::new();
    let mut add = |step| {
        let fits = steps.push(step).is_ok();
        debug_assert!(fits);
    };
    match request {
        Request::Do(Action::Prepare { extent }) => {
            let block = geometry.block_of(extent.number);
            let bytes = Span { buffer: Buffer::Window, start: 0, len: geometry.open_at() };
            add(Step::Erase { block });
            add(Step::Program { block, offset: 0, bytes });
        }
        Request::Do(Action::Write { extent, offset, bytes }) => {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            add(Step::Program { block: geometry.block_of(extent.number), offset, bytes });
        }
        Request::Do(Action::Sync { .. } | Action::Release { .. }) => {}
        Request::Verify { extent, offset, bytes } => {
            add(Step::Verify { block: geometry.block_of(extent.number), offset, bytes });
        }
        Request::Read(fetch) => {
            add(Step::Read { block: fetch.block, offset: fetch.offset, bytes: fetch.bytes });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Extent;

    const GEOMETRY: Geometry = Geometry { word: 16, block_bytes: 4096, block_count: 16 };

    #[test]
    fn a_block_is_erased_before_its_erase_part_is_programmed() {
        let steps = lower(Request::Do(Action::Prepare { extent: Extent::wal(35) }), GEOMETRY);
        let bytes = Span { buffer: Buffer::Window, start: 0, len: 16 };
        assert_eq!(
            steps.as_slice(),
            [Step::Erase { block: 3 }, Step::Program { block: 3, offset: 0, bytes }]
        );
    }

    #[test]
    fn an_append_is_one_program_and_needs_no_sync() {
        let bytes = Span { buffer: Buffer::Window, start: 48, len: 80 };
        let write = Action::Write { extent: Extent::wal(16), offset: 256, bytes };
        assert_eq!(
            lower(Request::Do(write), GEOMETRY).as_slice(),
            [Step::Program { block: 0, offset: 256, bytes }]
        );
        assert!(lower(Request::Do(Action::Sync { extent: Extent::wal(16) }), GEOMETRY).is_empty());
    }
}
