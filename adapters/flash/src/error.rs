//! Why an operation was refused or failed.

use core::fmt;

use strandline_core::kv;
use strandline_core::media::nor::{Error as Refusal, GeometryError};

/// Why an operation was refused or failed. The driver's error is `E`. Whatever it is, what was acknowledged stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// What the driver said. The next operation mounts again and goes on with what is there.
    Flash(E),
    /// What the log said. After [`Refusal::Medium`] what was written did not read back.
    Log(Refusal),
    /// The partition does not lie in the flash, or its ends are not multiples of the block.
    Partition,
    /// The sizes can't be used.
    Geometry(GeometryError),
    /// The entries of a map and the update of them need more room than it has. Nothing was written.
    MapFull,
    /// The key is empty or longer than 127 bytes, or the value can't be encoded. Nothing was written.
    BadEntry,
    /// The value has another type.
    OtherType,
    /// The partition holds a log that is no map.
    NotAMap,
}

impl<E> From<Refusal> for Error<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Log(refusal)
    }
}

impl<E> From<kv::Error> for Error<E> {
    fn from(error: kv::Error) -> Self {
        match error {
            kv::Error::Log(refusal) => Self::Log(refusal),
            kv::Error::Full => Self::MapFull,
            kv::Error::BadEntry => Self::BadEntry,
            kv::Error::OtherType => Self::OtherType,
            // Whatever later versions add is about what was found.
            _ => Self::NotAMap,
        }
    }
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(error) => write!(f, "the flash failed: {error:?}"),
            Self::Log(refusal) => write!(f, "the log refused: {refusal:?}"),
            Self::Partition => {
                f.write_str("the partition does not lie in the flash, or its ends are inside a block")
            }
            Self::Geometry(error) => write!(f, "the sizes can't be used: {error:?}"),
            Self::MapFull => f.write_str("the map has no room for the entry"),
            Self::BadEntry => f.write_str("the key or the value can't be kept"),
            Self::OtherType => f.write_str("the value has another type"),
            Self::NotAMap => f.write_str("the partition holds a log that is no map"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}
