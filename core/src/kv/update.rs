//! An update of a map, as it is kept and as it is logged.

/// An entry, or the removal of one.
pub(super) struct Update<'b> {
    pub(super) key: &'b [u8],
    pub(super) value: Option<&'b [u8]>,
}

impl<'b> Update<'b> {
    /// The first update, and the rest.
    pub(super) fn parse(bytes: &'b [u8]) -> Option<(Self, &'b [u8])> {
        let (key_len, rest) = bytes.split_first()?;
        let key_bytes = usize::from(key_len & !REMOVED);
        if key_bytes == 0 {
            return None;
        }
        if key_len & REMOVED != 0 {
            let (key, rest) = rest.split_at_checked(key_bytes)?;
            return Some((Self { key, value: None }, rest));
        }
        let (len, rest) = rest.split_first()?;
        let (value_bytes, rest) = match *len {
            LONG => rest.split_first_chunk::<2>().map(|(len, rest)| (u16::from_le_bytes(*len), rest))?,
            len => (u16::from(len), rest),
        };
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let (value, rest) = rest.split_at_checked(usize::from(value_bytes))?;
        Some((Self { key, value: Some(value) }, rest))
    }
}

/// Where an entry stands, and how many bytes it takes.
pub(super) fn place_of(entries: &[u8], key: &[u8]) -> Option<(usize, usize)> {
    let mut rest = entries;
    while let Some((update, behind)) = Update::parse(rest) {
        if update.key == key {
            return Some((entries.len() - rest.len(), rest.len() - behind.len()));
        }
        rest = behind;
    }
    None
}

/// In the first byte of an update: the key is removed.
pub(super) const REMOVED: u8 = 0x80;
/// In place of a value's length: two bytes of length follow.
pub(super) const LONG: u8 = 255;
