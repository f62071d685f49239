//! What a reader hands out, and where its bytes stand.

use strandline_core::types::Lsn;

/// A record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record<'r> {
    /// Its LSN.
    pub lsn: Lsn,
    /// A cut may have torn it: the next start may not find it, unless something was written since.
    pub provisional: bool,
    /// What was appended.
    pub bytes: &'r [u8],
}

/// The scratch from its first aligned byte on: drivers that copy by DMA want that. Whole words follow each other in it.
pub(crate) fn aligned(scratch: &mut [u8]) -> &mut [u8] {
    let skipped = scratch.as_ptr().align_offset(ALIGNMENT);
    scratch.get_mut(skipped..).unwrap_or_default()
}

/// What DMA engines ask for.
const ALIGNMENT: usize = 4;
