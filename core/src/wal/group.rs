//! The payload of a group frame: several records under one checksum, so that all of them are there or none.
//!
//! ```text
//!  | length varint | record | length varint | record | ... |        a varint has at most four bytes, lowest seven bits first
//! ```

use crate::codec::varint::{self, Varint};

/// Bytes of the longest length: payloads stay below 2^28.
const MAX_HEAD: usize = 4;

/// Bytes of the payload that holds records of these lengths; `None` if one of them is too long.
pub fn payload_bytes(lengths: impl IntoIterator<Item = usize>) -> Option<usize> {
    lengths.into_iter().try_fold(0_usize, |sum, length| {
        let head = varint::varint_bytes(length as u64);
        sum.checked_add(head).filter(|_| head <= MAX_HEAD)?.checked_add(length)
    })
}

/// Writes the payload into `out`, which is exactly as long.
pub(super) fn encode(records: &[&[u8]], mut out: &mut [u8]) -> Option<()> {
    for record in records {
        for part in [Varint::new(record.len() as u64).as_ref(), record] {
            let (place, rest) = out.split_at_mut_checked(part.len())?;
            place.copy_from_slice(part);
            out = rest;
        }
    }
    out.is_empty().then_some(())
}

/// The first record, and the bytes that it takes with its length.
pub(super) fn split_first(payload: &[u8]) -> Option<(&[u8], u32)> {
    let mut rest = payload;
    let length = usize::try_from(varint::take(&mut rest)?).ok()?;
    let head = payload.len() - rest.len();
    let record = rest.get(..length).filter(|_| head <= MAX_HEAD)?;
    Some((record, u32::try_from(head + length).ok()?))
}

/// How many records a payload holds; `None` if it holds none, or is not one.
#[must_use]
pub fn count(mut payload: &[u8]) -> Option<u32> {
    let mut count = 0_u32;
    while !payload.is_empty() {
        let (_, used) = split_first(payload)?;
        payload = payload.get(used as usize..)?;
        count = count.checked_add(1)?;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn a_payload_is_these_bytes() {
        let long = [0x33; 200];
        let records: [&[u8]; 3] = [b"ab", b"", &long];
        let bytes = payload_bytes(records.iter().map(|record| record.len())).unwrap();
        let mut out = vec![0xee; bytes];
        encode(&records, &mut out).unwrap();
        assert_eq!(out[..6], [2, b'a', b'b', 0, 0xc8, 0x01]);
        assert_eq!((bytes, count(&out)), (6 + 200, Some(3)));
        assert_eq!(encode(&records, &mut out[1..]), None, "one byte short");
        assert_eq!(payload_bytes([1 << 28]), None);
    }

    #[test]
    fn what_is_given_back_is_what_was_put_in_and_bad_lengths_are_found() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
            let (first, second): (Vec<u8>, Vec<u8>) = (vec![7; length], vec![9; 3]);
            let records: [&[u8]; 2] = [&first, &second];
            let mut out = vec![0; payload_bytes([length, 3]).unwrap()];
            encode(&records, &mut out).unwrap();
            let (read, used) = split_first(&out).unwrap();
            assert_eq!(read, first);
            assert_eq!(split_first(&out[used as usize..]), Some((&second[..], 4)));
            assert_eq!(count(&out[..out.len() - 1]), None);
        }
        assert_eq!(count(&[]), None, "a group without records");
        assert_eq!(count(&[0x80, 0x80, 0x80, 0x80, 0x00]), None, "a length that is too long");
    }
}
