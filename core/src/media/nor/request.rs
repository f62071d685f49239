//! What an operation asks of the medium, and what it hands out.

use crate::types::Lsn;

/// One operation of the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Erase the block.
    Erase,
    /// Program bytes of the scratch, whole words, in ascending order.
    Program,
    /// Read into the scratch.
    Read,
}

/// What is asked of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What to do.
    pub operation: Operation,
    /// Index of the block.
    pub block: u32,
    /// Bytes from its start, whole words; 0 for an erase.
    pub offset: u32,
    /// Where the bytes stand in the scratch.
    pub start: u16,
    /// How many bytes, whole words; 0 for an erase.
    pub len: u16,
}

/// The medium failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault;

/// Bytes of the scratch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) start: u16,
    pub(super) len: u16,
}

impl Span {
    /// The bytes, of the scratch.
    #[must_use]
    pub fn of(self, scratch: &[u8]) -> &[u8] {
        let start = usize::from(self.start);
        scratch.get(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

impl Request {
    /// The bytes of the scratch that it is about.
    pub fn span<'b>(&self, scratch: &'b mut [u8]) -> &'b mut [u8] {
        let start = usize::from(self.start);
        scratch.get_mut(start..start + usize::from(self.len)).unwrap_or_default()
    }
}

/// A record, whose bytes stand in the scratch until the next operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its LSN.
    pub lsn: Lsn,
    /// It is in the last frame, and a cut may have torn that: the next start may not find it, unless something was written
    /// since.
    pub provisional: bool,
    /// Where its bytes stand.
    pub bytes: Span,
}
