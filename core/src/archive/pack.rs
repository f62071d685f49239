//! The part of MessagePack that archives need: written into a buffer, read from a window, nothing copied.
//!
//! Integers have the shortest form, as SnelDB's library writes them, except where a fixed width is asked for. Reading never
//! recurses and believes no length before the bytes are there.
#![expect(clippy::big_endian_bytes, reason = "MessagePack is big-endian")]

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The window ends inside the value.
    Short,
    /// It is not what was expected there.
    Bad,
}

/// Writes values, one behind the other.
#[derive(Debug)]
pub struct Pack<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

/// `None` from any of the methods: the buffer is full.
impl<'b> Pack<'b> {
    /// Writes to the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were written.
    #[must_use]
    pub fn used(&self) -> usize {
        self.at
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at.checked_add(bytes.len())?;
        self.bytes.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    /// Nil.
    pub fn nil(&mut self) -> Option<()> {
        self.raw(&[0xc0])
    }

    /// An unsigned integer in its shortest form.
    pub fn uint(&mut self, number: u64) -> Option<()> {
        self.sized(number, [(0x7f, 0), (0xff, 0xcc), (0xffff, 0xcd), (0xffff_ffff, 0xce)], 0xcf)
    }

    /// A signed integer in its shortest form.
    pub fn int(&mut self, number: i64) -> Option<()> {
        if let Ok(number) = u64::try_from(number) {
            return self.uint(number);
        }
        let [.., b3, b2, b1, b0] = number.to_be_bytes();
        match number {
            -32.. => self.raw(&[b0]),
            -0x80.. => self.raw(&[0xd0, b0]),
            -0x8000.. => self.raw(&[0xd1, b1, b0]),
            -0x8000_0000.. => self.raw(&[0xd2, b3, b2, b1, b0]),
            _ => self.raw(&[0xd3]).and_then(|()| self.raw(&number.to_be_bytes())),
        }
    }

    /// An unsigned integer of nine bytes.
    pub fn wide(&mut self, number: u64) -> Option<()> {
        self.raw(&[0xcf])?;
        self.raw(&number.to_be_bytes())
    }

    /// A signed integer of five bytes.
    pub fn wide_signed(&mut self, number: i32) -> Option<()> {
        self.raw(&[0xd2])?;
        self.raw(&number.to_be_bytes())
    }

    /// A string.
    pub fn text(&mut self, text: &str) -> Option<()> {
        let len = text.len() as u64;
        match len {
            0..0x20 => self.raw(&[0xa0 | len.to_be_bytes()[7]])?,
            _ => self.length(len, [0xd9, 0xda, 0xdb])?,
        }
        self.raw(text.as_bytes())
    }

    /// Bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.length(bytes.len() as u64, [0xc4, 0xc5, 0xc6])?;
        self.raw(bytes)
    }

    /// The head of an array of fewer than 16 items.
    pub fn array(&mut self, items: u8) -> Option<()> {
        (items < 16).then_some(())?;
        self.raw(&[0x90 | items])
    }

    /// The head of an array, in five bytes.
    pub fn wide_array(&mut self, items: u32) -> Option<()> {
        self.raw(&[0xdd])?;
        self.raw(&items.to_be_bytes())
    }

    /// The head of a map.
    pub fn map(&mut self, pairs: u16) -> Option<()> {
        let [high, low] = pairs.to_be_bytes();
        if pairs < 16 { self.raw(&[0x80 | low]) } else { self.raw(&[0xde, high, low]) }
    }

    /// The name of a field; its value comes next.
    pub fn field(&mut self, name: &str) -> Option<&mut Self> {
        self.text(name)?;
        Some(self)
    }

    fn length(&mut self, len: u64, [short, middle, long]: [u8; 3]) -> Option<()> {
        let len = u64::from(u32::try_from(len).ok()?);
        self.sized(len, [(0xff, short), (0xff, short), (0xffff, middle), (0xffff_ffff, long)], long)
    }

    /// A number behind the first mark whose limit it does not pass: in no byte for the mark 0, then in 1, 2, 4 or 8.
    fn sized(&mut self, number: u64, marks: [(u64, u8); 4], widest: u8) -> Option<()> {
        let bytes = number.to_be_bytes();
        let [tiny, one, two, four] = marks;
        if number <= tiny.0 && tiny.1 == 0 {
            return self.raw(bytes.get(7..)?);
        }
        let (mark, from) = match number {
            _ if number <= one.0 => (one.1, 7),
            _ if number <= two.0 => (two.1, 6),
            _ if number <= four.0 => (four.1, 4),
            _ => (widest, 0),
        };
        self.raw(&[mark])?;
        self.raw(bytes.get(from..)?)
    }
}

/// One value; of an array or a map only its head, its items come next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'w> {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// An integer from 0 up.
    Unsigned(u64),
    /// An integer below 0.
    Signed(i64),
    /// A floating-point number.
    Float(f64),
    /// A string.
    Str(&'w str),
    /// Bytes.
    Bin(&'w [u8]),
    /// This many items follow.
    Array(u32),
    /// This many pairs follow.
    Map(u32),
    /// Bytes of an extension type.
    Extension(i8, &'w [u8]),
}

/// Reads values from a window.
#[derive(Clone, Copy, Debug)]
pub struct Unpack<'w>(
    /// What is left.
    pub &'w [u8],
);

/// Errors of all methods: [`Stop`]. After an error the position is not defined.
impl<'w> Unpack<'w> {
    /// The next value.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn value(&mut self) -> Result<Value<'w>, Stop> {
        let [first] = self.array()?;
        let low = u32::from(first);
        Ok(match first {
            0x00..=0x7f => Value::Unsigned(u64::from(first)),
            0x80..=0x8f => Value::Map(low & 0xf),
            0x90..=0x9f => Value::Array(low & 0xf),
            0xa0..=0xbf => self.string(low & 0x1f)?,
            0xc0 => Value::Nil,
            0xc1 => return Err(Stop::Bad),
            0xc2 | 0xc3 => Value::Bool(first == 0xc3),
            0xc4..=0xc6 => {
                let len = self.length(first - 0xc4)?;
                Value::Bin(self.take(len)?)
            }
            0xc7..=0xc9 => {
                let len = self.length(first - 0xc7)?;
                self.extension(len)?
            }
            0xca => Value::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Value::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Value::Unsigned(u64::from(u8::from_be_bytes(self.array()?))),
            0xcd => Value::Unsigned(u64::from(u16::from_be_bytes(self.array()?))),
            0xce => Value::Unsigned(u64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Value::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => self.extension(1 << (first - 0xd4))?,
            0xd9..=0xdb => {
                let len = self.length(first - 0xd9)?;
                self.string(len)?
            }
            0xdc => Value::Array(u32::from(u16::from_be_bytes(self.array()?))),
            0xdd => Value::Array(u32::from_be_bytes(self.array()?)),
            0xde => Value::Map(u32::from(u16::from_be_bytes(self.array()?))),
            0xdf => Value::Map(u32::from_be_bytes(self.array()?)),
            0xe0..=0xff => signed(i64::from(i8::from_be_bytes([first]))),
        })
    }

    /// An integer from 0 up.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn unsigned(&mut self) -> Result<u64, Stop> {
        if let Value::Unsigned(number) = self.value()? { Ok(number) } else { Err(Stop::Bad) }
    }

    /// An integer.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn signed(&mut self) -> Result<i64, Stop> {
        match self.value()? {
            Value::Signed(number) => Ok(number),
            Value::Unsigned(number) => i64::try_from(number).map_err(|_| Stop::Bad),
            _ => Err(Stop::Bad),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn text(&mut self) -> Result<&'w str, Stop> {
        if let Value::Str(text) = self.value()? { Ok(text) } else { Err(Stop::Bad) }
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn bytes(&mut self) -> Result<&'w [u8], Stop> {
        if let Value::Bin(bytes) = self.value()? { Ok(bytes) } else { Err(Stop::Bad) }
    }

    /// Passes over one value with everything in it.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn skip(&mut self) -> Result<(), Stop> {
        let mut wanted: u64 = 1;
        while wanted > 0 {
            wanted -= 1;
            match self.value()? {
                Value::Array(items) => wanted = wanted.saturating_add(u64::from(items)),
                Value::Map(pairs) => wanted = wanted.saturating_add(u64::from(pairs) * 2),
                _ => {}
            }
        }
        Ok(())
    }

    fn string(&mut self, len: u32) -> Result<Value<'w>, Stop> {
        core::str::from_utf8(self.take(len)?).map(Value::Str).map_err(|_| Stop::Bad)
    }

    fn extension(&mut self, len: u32) -> Result<Value<'w>, Stop> {
        let kind = i8::from_be_bytes(self.array()?);
        Ok(Value::Extension(kind, self.take(len)?))
    }

    /// A length in one, two or four bytes.
    fn length(&mut self, width: u8) -> Result<u32, Stop> {
        Ok(match width {
            0 => u32::from(u8::from_be_bytes(self.array()?)),
            1 => u32::from(u16::from_be_bytes(self.array()?)),
            _ => u32::from_be_bytes(self.array()?),
        })
    }

    fn take(&mut self, len: u32) -> Result<&'w [u8], Stop> {
        let len = usize::try_from(len).map_err(|_| Stop::Bad)?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(Stop::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

fn signed(number: i64) -> Value<'static> {
    u64::try_from(number).map_or(Value::Signed(number), Value::Unsigned)
}

/// Bytes that [`Pack::uint`] takes.
#[must_use]
pub fn uint_bytes(number: u64) -> usize {
    match number {
        0..=0x7f => 1,
        0x80..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Bytes that [`Pack::text`] takes for a string of this length.
#[must_use]
pub fn text_bytes(len: usize) -> usize {
    if len < 0x20 { 1 + len } else { bin_bytes(len) }
}

/// Bytes that [`Pack::bytes`] takes for this length.
#[must_use]
pub fn bin_bytes(len: usize) -> usize {
    let head = match len {
        0..=0xff => 2,
        0x100..=0xffff => 3,
        _ => 5,
    };
    len.saturating_add(head)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packed(write: impl Fn(&mut Pack<'_>) -> Option<()>) -> std::vec::Vec<u8> {
        let mut out = [0; 100_000];
        let mut pack = Pack::new(&mut out);
        write(&mut pack).expect("there is room");
        let used = pack.used();
        out[..used].to_vec()
    }

    #[test]
    fn integers_have_the_bytes_of_the_specification() {
        let unsigned = |number| packed(|pack| pack.uint(number));
        assert_eq!(unsigned(127), [0x7f]);
        assert_eq!(unsigned(128), [0xcc, 0x80]);
        assert_eq!(unsigned(255), [0xcc, 0xff]);
        assert_eq!(unsigned(256), [0xcd, 1, 0]);
        assert_eq!(unsigned(65_536), [0xce, 0, 1, 0, 0]);
        assert_eq!(unsigned(1 << 32), [0xcf, 0, 0, 0, 1, 0, 0, 0, 0]);
        let signed = |number| packed(|pack| pack.int(number));
        assert_eq!(signed(-1), [0xff]);
        assert_eq!(signed(-32), [0xe0]);
        assert_eq!(signed(-33), [0xd0, 0xdf]);
        assert_eq!(signed(-129), [0xd1, 0xff, 0x7f]);
        assert_eq!(signed(-32_769), [0xd2, 0xff, 0xff, 0x7f, 0xff]);
        assert_eq!(signed(5), [5]);
    }

    #[test]
    fn a_bomb_of_nested_arrays_is_short_and_not_a_deep_call() {
        let nested = vec![0xdd; 1 << 20];
        assert_eq!(Unpack(&nested).skip(), Err(Stop::Short));
        assert_eq!(Unpack(&[0xc6, 0xff, 0xff, 0xff, 0xff]).bytes(), Err(Stop::Short));
        assert_eq!(Unpack(&[0xc1]).skip(), Err(Stop::Bad));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, negative in i64::MIN..0, text in ".{0,300}", bytes: std::vec::Vec<u8>) {
            let all = packed(|pack| {
                pack.uint(number)?;
                pack.int(negative)?;
                pack.wide(number)?;
                pack.text(&text)?;
                pack.bytes(&bytes)
            });
            let sizes = uint_bytes(number) + text_bytes(text.len()) + bin_bytes(bytes.len()) + 9;
            let mut at = Unpack(&all);
            prop_assert_eq!(at.unsigned(), Ok(number));
            let before = at.0.len();
            prop_assert_eq!(at.signed(), Ok(negative));
            prop_assert_eq!(all.len() - (before - at.0.len()), sizes);
            prop_assert_eq!(at.unsigned(), Ok(number));
            prop_assert_eq!(at.text(), Ok(text.as_str()));
            prop_assert_eq!(at.bytes(), Ok(&bytes[..]));
            prop_assert!(at.0.is_empty());
            for end in 0..all.len().min(40) {
                let mut short = Unpack(&all[..end]);
                let read = (0..5).try_for_each(|_| short.skip());
                prop_assert_eq!(read, Err(Stop::Short));
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: std::vec::Vec<u8>) {
            let mut at = Unpack(&bytes);
            while at.skip().is_ok() {}
        }
    }
}
