//! Base-128 integers, the lowest seven bits first.
//!
//! ```text
//!  0xxxxxxx                 0 ..= 127
//!  1xxxxxxx 0xxxxxxx        128 ..= 16,383
//!  ...                      a u64 takes at most ten bytes
//! ```

/// Bytes of the longest one.
pub const MAX_VARINT: usize = 10;

/// An encoded integer; its bytes are those of [`AsRef`].
#[derive(Clone, Copy, Debug)]
pub struct Varint {
    bytes: [u8; MAX_VARINT],
    len: usize,
}

impl Varint {
    /// Encodes an integer.
    #[inline]
    #[must_use]
    pub fn new(mut number: u64) -> Self {
        let (mut bytes, mut len) = ([0; MAX_VARINT], 0);
        for byte in &mut bytes {
            let [low, ..] = number.to_le_bytes();
            number >>= BITS;
            len += 1;
            if number == 0 {
                *byte = low & !CONTINUES;
                break;
            }
            *byte = low | CONTINUES;
        }
        Self { bytes, len }
    }
}

impl AsRef<[u8]> for Varint {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// How many bytes an integer takes.
#[must_use]
pub const fn varint_bytes(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(BITS) as usize
}

/// Takes one integer off the front of `bytes`; `None` if it is cut off, or larger than a u64.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if first & CONTINUES == 0 {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(BITS as usize) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & !CONTINUES);
        if part << shift >> shift != part {
            return None;
        }
        number |= part << shift;
        if byte & CONTINUES == 0 {
            return Some(number);
        }
    }
    None
}

const BITS: u32 = 7;
const CONTINUES: u8 = 1 << BITS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes() {
        let cases: [(u64, &[u8]); 6] = [
            (0, &[0x00]),
            (127, &[0x7f]),
            (128, &[0x80, 0x01]),
            (300, &[0xac, 0x02]),
            (u64::from(u32::MAX), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (u64::MAX, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ];
        for (number, bytes) in cases {
            assert_eq!(Varint::new(number).as_ref(), bytes);
            assert_eq!(varint_bytes(number), bytes.len());
            let mut rest = bytes;
            assert_eq!((take(&mut rest), rest), (Some(number), &[][..]));
            assert_eq!(take(&mut &bytes[..bytes.len() - 1]), None, "{number} without its last byte");
        }
    }

    #[test]
    fn what_is_larger_than_a_u64_is_refused() {
        let mut large = [0xff; MAX_VARINT];
        large[MAX_VARINT - 1] = 0x02;
        assert_eq!(take(&mut &large[..]), None);
        assert_eq!(take(&mut &[0xff; 20][..]), None);
    }
}
