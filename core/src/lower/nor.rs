//! Requests to a NOR medium: one step is one flash operation, at an address of the partition.
//!
//! | request | step |
//! |---|---|
//! | Erase | erase one block |
//! | Program | program words in ascending order, each once between erases |
//! | Read | read whole words |
//!
//! A failed step fails its request. A completed program is durable: nothing is synced. A program runs from its first word to its
//! last: a cut leaves one torn word, and nothing behind it.

use crate::media::nor::{Geometry, Operation, Request};

/// One flash operation. Addresses are bytes from the start of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Erase from an address up to another.
    Erase {
        /// The first byte.
        from: u32,
        /// Behind the last byte.
        to: u32,
    },
    /// Program the request's bytes here.
    Program {
        /// Of the first byte.
        address: u32,
    },
    /// Read bytes from here into the request's place.
    Read {
        /// Of the first byte.
        address: u32,
    },
}

/// Places a request in a partition.
#[must_use]
pub const fn lower(request: Request, geometry: Geometry) -> Step {
    let from = request.block.saturating_mul(geometry.block_bytes());
    let address = from.saturating_add(request.offset);
    match request.operation {
        Operation::Erase => Step::Erase { from, to: from.saturating_add(geometry.block_bytes()) },
        Operation::Program => Step::Program { address },
        Operation::Read => Step::Read { address },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_placed_in_the_partition() {
        let geometry = Geometry::new(16, 4096, 16).unwrap();
        let at = |operation| lower(Request { operation, block: 3, offset: 48, start: 0, len: 16 }, geometry);
        assert_eq!(at(Operation::Erase), Step::Erase { from: 12_288, to: 16_384 });
        assert_eq!(at(Operation::Program), Step::Program { address: 12_336 });
        assert_eq!(at(Operation::Read), Step::Read { address: 12_336 });
    }
}
