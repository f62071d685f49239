//! The payload of a group frame: several records under one checksum, so that all of them are there or none.
//!
//! ```text
//!  | length varint | record | length varint | record | ... |        a varint has at most four bytes, lowest seven bits first
//! ```

/// The longest length, bytes: payloads stay below 2^28.
const MAX_VARINT: usize = 4;

/// Bytes of the payload that holds records of these lengths; `None` if one of them is too long.
pub fn payload_bytes(lengths: impl IntoIterator<Item = usize>) -> Option<usize> {
    lengths
        .into_iter()
        .try_fold(0_usize, |sum, length| sum.checked_add(varint_bytes(length)?)?.checked_add(length))
}

/// Writes the payload into `out`, which is exactly as long.
pub(super) fn encode(records: &[&[u8]], mut out: &mut [u8]) -> Option<()> {
    for record in records {
        let head = varint_bytes(record.len())?;
        let (length, rest) = out.split_at_mut_checked(head)?;
        let mut left = record.len();
        for (at, byte) in length.iter_mut().enumerate() {
            let more = if at + 1 < head { 0x80 } else { 0 };
            *byte = u8::try_from(left & 0x7f).ok()? | more;
            left >>= 7;
        }
        let (content, rest) = rest.split_at_mut_checked(record.len())?;
        content.copy_from_slice(record);
        out = rest;
    }
    out.is_empty().then_some(())
}

/// The first record, and the bytes that it takes with its length.
pub(super) fn split_first(payload: &[u8]) -> Option<(&[u8], u32)> {
    let mut length = 0;
    for (at, byte) in payload.iter().take(MAX_VARINT).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let head = at + 1;
            let record = payload.get(head..head.checked_add(length)?)?;
            return Some((record, u32::try_from(head + length).ok()?));
        }
    }
    None
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

const fn varint_bytes(length: usize) -> Option<usize> {
    Some(match length {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        0x20_0000..0x1000_0000 => MAX_VARINT,
        _ => return None,
    })
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
