//! A bounded list over lent memory: `&mut [T]`, an array or a `Vec`. A full one is a value, not a panic.

/// A list of at most as many items as the lent memory holds.
#[derive(Debug)]
pub struct Table<B> {
    items: B,
    len: usize,
}

/// The lent memory is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableFull;

impl<B> Table<B> {
    /// An empty list in `items`, whose content does not matter.
    #[must_use]
    pub const fn new(items: B) -> Self {
        Self { items, len: 0 }
    }
}

impl<B> Table<B> {
    /// The items, in order.
    #[must_use]
    pub fn as_slice<T>(&self) -> &[T]
    where
        B: AsRef<[T]>,
    {
        self.items.as_ref().get(..self.len).unwrap_or_default()
    }

    /// The items, in order.
    #[must_use]
    pub fn as_mut_slice<T>(&mut self) -> &mut [T]
    where
        B: AsMut<[T]>,
    {
        self.items.as_mut().get_mut(..self.len).unwrap_or_default()
    }

    /// How many more items fit.
    #[must_use]
    pub fn room<T>(&self) -> usize
    where
        B: AsRef<[T]>,
    {
        self.items.as_ref().len() - self.len
    }

    /// Adds an item at the end.
    ///
    /// # Errors
    /// [`TableFull`], and nothing changed.
    pub fn push<T>(&mut self, item: T) -> Result<(), TableFull>
    where
        B: AsMut<[T]>,
    {
        let slot = self.items.as_mut().get_mut(self.len).ok_or(TableFull)?;
        *slot = item;
        self.len += 1;
        Ok(())
    }

    /// Removes the items for which `keep` is false; the others stay in order.
    pub fn retain<T: Copy>(&mut self, mut keep: impl FnMut(&T) -> bool)
    where
        B: AsMut<[T]>,
    {
        let mut kept = 0;
        let items = self.as_mut_slice();
        for at in 0..items.len() {
            let Some(item) = items.get(at).copied().filter(&mut keep) else { continue };
            if let Some(slot) = items.get_mut(kept) {
                *slot = item;
                kept += 1;
            }
        }
        self.len = kept;
    }

    /// Forgets all items.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_is_a_value_and_retain_keeps_order() {
        let mut table = Table::new([0u32; 4]);
        assert!((1..=4).all(|n| table.push(n).is_ok()));
        assert_eq!(table.push(5), Err(TableFull));
        table.retain(|n: &u32| n.is_multiple_of(2));
        assert_eq!(table.as_slice(), [2, 4]);
        assert_eq!(table.room::<u32>(), 2);
    }
}
