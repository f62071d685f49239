//! Looks at the image of a partition, block by block and frame by frame: for tools.

use super::header::{ERASE_PART, Erased, Open, Opened, identify, take_erased};
use super::{Geometry, SNAPSHOT_SALT, Volume};
use crate::codec::check::Checksum;
use crate::codec::frame::{Framing, Parsed};
use crate::types::Lsn;

/// Whose partition an image is of, and its sizes, as the erase part of a block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub(super) Volume);

/// What the header of a block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    /// How often the block was erased, if its erase part verifies.
    pub erases: Option<u32>,
    /// How it was opened, if its open part verifies.
    pub open: Option<OpenHeader>,
}

/// How a block was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHeader {
    /// Its sequence number.
    pub sequence: u32,
    /// LSN of its first new record.
    pub fence: Lsn,
    /// Oldest block that was needed then.
    pub floor: u32,
    /// The first block of the snapshot that it is part of; 0 for a block of the log.
    pub run: u32,
}

impl Identity {
    /// What a block's first bytes say; `None` if they are no erase part of this version.
    #[must_use]
    pub fn read<C: Checksum>(block: &[u8]) -> Option<Self> {
        identify::<C>(block.get(..ERASE_PART as usize)?).map(Self)
    }

    /// The sizes of the partition.
    #[must_use]
    pub const fn geometry(self) -> Geometry {
        self.0.geometry
    }

    /// The checksum of the store's id.
    #[must_use]
    pub const fn label(self) -> u32 {
        self.0.label
    }

    /// What the header of the block with this index says.
    #[must_use]
    pub fn header<C: Checksum>(self, index: u32, block: &[u8]) -> BlockHeader {
        let geometry = self.0.geometry;
        let (erased, open) = block.split_at_checked(geometry.open_at() as usize).unwrap_or_default();
        let open = open.get(..super::header::OPEN_PART as usize).unwrap_or_default();
        BlockHeader {
            erases: match take_erased::<C>(self.0, erased) {
                Erased::Ours(erases) => Some(erases),
                _ => None,
            },
            open: match Open::take::<C>(self.0, index, open) {
                Opened::Open(Open { sequence, fence, floor, run }) => {
                    Some(OpenHeader { sequence, fence, floor, run })
                }
                Opened::Blank | Opened::Bad => None,
            },
        }
    }

    /// What stands at an offset of a block that was opened so.
    #[must_use]
    pub fn frame<C: Checksum>(self, open: OpenHeader, block: &[u8], offset: u32) -> Parsed<'_> {
        let salt = if open.run == 0 { 0 } else { SNAPSHOT_SALT };
        let framing: Framing = self.0.framing::<C>(open.sequence ^ salt);
        let rest = block.get(offset as usize..).unwrap_or_default();
        framing.decode::<C>(rest, u64::from(offset), rest.len() as u64)
    }
}
