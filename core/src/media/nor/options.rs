//! How a log is to behave.

/// What happens when the ring is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Policy {
    /// The oldest block is given up, but never the newest snapshot.
    DropOldest,
    /// Records are refused with [`super::Error::Full`].
    Reject,
    /// Records are refused with [`super::Error::NeedsSnapshot`].
    AskForSnapshot,
}

/// How a log is to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Options {
    /// What happens when the ring is full.
    pub policy: Policy,
    /// How many blocks are kept free for the next snapshot. With snapshots of this size there must be three more than twice as
    /// many blocks.
    pub reserve: u8,
}
