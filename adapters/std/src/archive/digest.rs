//! The digest that links archives: SHA-256 of the whole file, as `sha256sum` prints it.

use core::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::ArchiveError;

/// SHA-256 of a file; prints itself as hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Of the file at `path`, read in pieces.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn of_file(path: &Path) -> Result<Self, ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: path.into(), source };
        let mut file = File::open(path).map_err(failed)?;
        let (mut digester, mut piece) = (Digester::default(), vec![0; PIECE]);
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => return Ok(digester.finish()),
                bytes => digester.update(&piece[..bytes]),
            }
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes a [`Digest`] of what comes in pieces, for the source that a [`super::Header`] names.
#[derive(Clone, Debug, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all of them.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

const PIECE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_sha256sum_prints() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"abc").unwrap();
        let digest = Digest::of_file(file.path()).unwrap().to_string();
        assert_eq!(digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
