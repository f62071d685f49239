//! Changes bytes as accidents and attackers do: bits, numbers, lengths, pieces that are missing, doubled or from elsewhere.

use strandline_tests::chance::Chance;

/// No input grows beyond this, bytes.
const LONGEST: usize = 64 << 10;
/// Borders of lengths, counts and signs.
const NUMBERS: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x0100_0000, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];

/// Changes `bytes` once; `other` may lend a piece.
pub(crate) fn once(chance: &mut Chance, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.push(0);
    }
    let at = chance.below(bytes.len());
    match chance.below(9) {
        0 => bytes[at] ^= 1 << chance.below(8),
        1 => bytes[at] = chance.bits().to_le_bytes()[0],
        2 => number(chance, bytes, at),
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..(at + chance.between(1, 16)).min(bytes.len()))),
        5 => insert(bytes, at, &[chance.pick(&[0, 0xff, b'\n', b'"', b'0'])].repeat(chance.between(1, 16))),
        6 => {
            let len = chance.between(1, 64).min(bytes.len() - at);
            let piece = bytes[at..at + len].to_vec();
            let to = chance.below(bytes.len());
            insert(bytes, to, &piece);
        }
        7 => {
            let from = chance.below(other.len());
            let piece = &other[from..other.len().min(from + chance.between(1, 256))];
            insert(bytes, at, piece);
        }
        _ => {
            let from = chance.below(other.len());
            let piece = &other[from..other.len().min(from + chance.between(1, 256))];
            let len = piece.len().min(bytes.len() - at);
            bytes[at..at + len].copy_from_slice(&piece[..len]);
        }
    }
}

/// Puts a number of one to eight bytes over what is there; one in two is near the one that it replaces.
fn number(chance: &mut Chance, bytes: &mut [u8], at: usize) {
    let width = (1 << chance.below(4)).min(bytes.len() - at);
    let mut old = [0; 8];
    old[..width].copy_from_slice(&bytes[at..at + width]);
    let new = if chance.one_in(2) {
        u64::from_le_bytes(old).wrapping_add(chance.below(17) as u64).wrapping_sub(8)
    } else {
        chance.pick(&NUMBERS)
    };
    let new = new.to_le_bytes();
    bytes[at..at + width].copy_from_slice(&new[..width]);
}

fn insert(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    bytes.splice(at..at, piece.iter().copied());
    bytes.truncate(LONGEST);
}
