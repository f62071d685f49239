//! CRC-32C with the processor's own instruction where it has one.

use strandline_core::codec::check::Checksum;

/// The checksum that the host uses: the same values as core's table.
#[derive(Clone, Copy, Debug)]
pub struct HardwareCheck;

impl Checksum for HardwareCheck {
    #[inline]
    fn extend(state: u32, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(state, bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use strandline_core::codec::check::{BitwiseCheck, TableCheck};

    use super::*;

    proptest! {
        #[test]
        fn all_implementations_agree(state: u32, bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let expected = TableCheck::extend(state, &bytes);
            prop_assert_eq!(HardwareCheck::extend(state, &bytes), expected);
            prop_assert_eq!(BitwiseCheck::extend(state, &bytes), expected);
        }
    }
}
