//! The lines of a file, one at a time.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use strandline::archive::{self, ArchiveError};

/// What is in a file now; what is appended while it is read does not belong to it.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    bytes: u64,
}

/// A line that is longer than any entry can be.
#[derive(Debug)]
pub(super) struct TooLong;

impl core::fmt::Display for TooLong {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("it is longer than an entry can be")
    }
}

impl Lines {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), bytes: fs::metadata(path)?.len() })
    }

    /// Hands over each line with its number, without its end.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(u64, Result<&[u8], TooLong>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let failed = |source| ArchiveError::Io { what: "read", path: self.path.clone(), source };
        let mut lines = BufReader::new(File::open(&self.path).map_err(failed)?.take(self.bytes));
        let mut text = Vec::new();
        for number in 1_u64.. {
            text.clear();
            let limit = MAX_LINE as u64 + 1;
            let bytes = (&mut lines).take(limit).read_until(b'\n', &mut text).map_err(failed)?;
            if bytes == 0 {
                break;
            }
            if bytes > MAX_LINE {
                if text.last() != Some(&b'\n') {
                    lines.skip_until(b'\n').map_err(failed)?;
                }
                take(number, Err(TooLong))?;
            } else {
                take(number, Ok(text.strip_suffix(b"\n").unwrap_or(&text)))?;
            }
        }
        Ok(())
    }
}

/// JSON takes at most six bytes for one of an entry.
const MAX_LINE: usize = 6 * archive::MAX_BLOCK;
