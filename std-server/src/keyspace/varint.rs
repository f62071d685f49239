//! Lengths as little-endian base-128 integers of at most five bytes.
//!
//! ```text
//!  0xxxxxxx                     0 … 127
//!  1xxxxxxx 0xxxxxxx            128 … 16,383
//!  …                            up to u32::MAX
//! ```

/// Appends `value` to `out`.
pub(super) fn put(mut value: u32, out: &mut Vec<u8>) {
    while value >= CONTINUES {
        out.push((value as u8) | CONTINUES as u8);
        value >>= BITS;
    }
    out.push(value as u8);
}

/// Takes one integer off the front of `bytes`; `None` when it is cut or does not fit into 32 bits.
#[inline]
pub(super) fn take(bytes: &mut &[u8]) -> Option<u32> {
    let (&first, rest) = bytes.split_first()?;
    *bytes = rest;
    if u32::from(first) < CONTINUES { Some(u32::from(first)) } else { take_more(first, bytes) }
}

fn take_more(first: u8, bytes: &mut &[u8]) -> Option<u32> {
    let mut value = u64::from(first) & (u64::from(CONTINUES) - 1);
    for place in 1..MAX_BYTES {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= (u64::from(byte) & (u64::from(CONTINUES) - 1)) << (BITS as usize * place);
        if u32::from(byte) < CONTINUES {
            return u32::try_from(value).ok();
        }
    }
    None
}

const BITS: u32 = 7;
const CONTINUES: u32 = 1 << BITS;
const MAX_BYTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_bytes() {
        let cases: [(u32, &[u8]); 5] = [
            (0, &[0x00]),
            (127, &[0x7F]),
            (128, &[0x80, 0x01]),
            (300, &[0xAC, 0x02]),
            (u32::MAX, &[0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        ];
        for (value, bytes) in cases {
            let mut out = Vec::new();
            put(value, &mut out);
            assert_eq!(out, bytes);
            let mut rest = bytes;
            assert_eq!(take(&mut rest), Some(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn cut_or_too_large_is_refused() {
        for bytes in [&[][..], &[0x80], &[0xFF, 0xFF, 0xFF, 0xFF, 0x1F], &[0xFF; 9]] {
            let mut rest = bytes;
            assert_eq!(take(&mut rest), None, "{bytes:02x?}");
        }
    }
}
