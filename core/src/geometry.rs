//! Sizes as data: what is true of the medium below, never `cfg`.

/// Smallest border at which a manifest frame may begin, bytes: the scan tries each one.
pub const MANIFEST_SLOT: u32 = 512;

/// No extent has more bytes.
pub(crate) const LARGEST: u32 = 1 << 30;

/// Sizes of a cached medium. All are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Frames begin at and are padded to multiples of this: a power of two from 8 to 4096.
    pub write_unit: u32,
    /// Batches begin at multiples of this: the write unit where overwriting a sector keeps its durable bytes,
    /// else the device's sector (512 or 4096).
    pub batch_align: u32,
    /// Size of a WAL extent: a multiple of `batch_align`, at most 1 GiB.
    pub extent_bytes: u32,
    /// Size of each of the three manifest extents.
    pub manifest_bytes: u32,
}

impl Default for Geometry {
    fn default() -> Self {
        Self::HOST
    }
}

/// Why a [`Geometry`] is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeometryError {
    /// The write unit is not a power of two from 8 to 4096.
    WriteUnit,
    /// The batch border is not a power of two from the write unit to 4096.
    BatchAlign,
    /// The extent is not a multiple of 4096 from 4 KiB to 1 GiB.
    ExtentBytes,
    /// The manifest extent is not a multiple of 4096 from 4 KiB to 1 GiB.
    ManifestBytes,
}

impl Geometry {
    /// 64 MiB segments with 8-byte frames on a device that keeps durable bytes when their sector is rewritten.
    pub const HOST: Self =
        Self { write_unit: 8, batch_align: 8, extent_bytes: 64 << 20, manifest_bytes: 1 << 20 };

    /// Checks every field.
    ///
    /// # Errors
    /// Names the first field that can't be used.
    pub const fn check(self) -> Result<Self, GeometryError> {
        if !self.write_unit.is_power_of_two() || self.write_unit < 8 || self.write_unit > 4096 {
            return Err(GeometryError::WriteUnit);
        }
        if !self.batch_align.is_power_of_two()
            || self.batch_align < self.write_unit
            || self.batch_align > 4096
        {
            return Err(GeometryError::BatchAlign);
        }
        if self.extent_bytes < 4096 || !self.extent_bytes.is_multiple_of(4096) || self.extent_bytes > LARGEST
        {
            return Err(GeometryError::ExtentBytes);
        }
        if self.manifest_bytes < 4096
            || !self.manifest_bytes.is_multiple_of(4096)
            || self.manifest_bytes > LARGEST
        {
            return Err(GeometryError::ManifestBytes);
        }
        Ok(self)
    }

    /// `bytes` rounded up to the write unit.
    #[must_use]
    pub const fn pad(self, bytes: u32) -> u32 {
        round_up(bytes, self.write_unit)
    }

    /// `bytes` rounded up to the batch border.
    #[must_use]
    pub const fn align(self, bytes: u32) -> u32 {
        round_up(bytes, self.batch_align)
    }

    /// The border at which manifest frames begin.
    #[must_use]
    pub const fn manifest_slot(self) -> u32 {
        if self.batch_align > MANIFEST_SLOT { self.batch_align } else { MANIFEST_SLOT }
    }
}

/// `value` rounded up to a multiple of `unit`, a power of two.
#[must_use]
pub const fn round_up(value: u32, unit: u32) -> u32 {
    value.saturating_add(unit - 1) & !(unit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_refused_by_name() {
        let host = Geometry::HOST;
        assert_eq!(host.check(), Ok(host));
        for (bad, error) in [
            (Geometry { write_unit: 4, ..host }, GeometryError::WriteUnit),
            (Geometry { write_unit: 24, ..host }, GeometryError::WriteUnit),
            (Geometry { batch_align: 4, ..host }, GeometryError::BatchAlign),
            (Geometry { batch_align: 8192, ..host }, GeometryError::BatchAlign),
            (Geometry { extent_bytes: 5000, ..host }, GeometryError::ExtentBytes),
            (Geometry { extent_bytes: (1 << 30) + 4096, ..host }, GeometryError::ExtentBytes),
            (Geometry { manifest_bytes: 0, ..host }, GeometryError::ManifestBytes),
        ] {
            assert_eq!(bad.check(), Err(error));
        }
    }
}
