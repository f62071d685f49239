//! LCS: the longest common subsequence of two values.
//!
//! ```text
//!        b →            length[i][j] = the answer for the first i bytes of a and the first j of b
//!   a  ┌───────┐        the way back from the last corner gives the bytes, or the ranges of IDX
//!   ↓  └───────┘
//! ```
//!
//! The table takes 4 bytes a cell: values are refused whose table would be larger than 64 MiB.

use super::args::{Args, Options, integer};
use super::effects::Scope;
use super::reply::{Refusal, Reply};
use super::strings::Strings;
use super::{Operation, Request};

/// Two keys, and what is asked about their values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Common<'a> {
    keys: [&'a [u8]; 2],
    length_only: bool,
    ranges: bool,
    min_match: usize,
    with_lengths: bool,
}

impl Common<'_> {
    pub(super) fn execute<'k>(self, scope: &Scope<'_>) -> Reply<'k> {
        let [a, b] = self.keys.map(|key| scope.get(key).map_or(&[][..], |entry| entry.value));
        let Some(table) = Table::new(a, b) else {
            return Refusal::fixed(
                "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
            )
            .into();
        };
        let length = Reply::count(table.at(a.len(), b.len()) as usize);
        if self.length_only {
            return length;
        }
        let (bytes, ranges) = table.way_back(a, b);
        if !self.ranges {
            return Reply::owned(bytes);
        }
        let long = ranges.into_iter().filter(|range| range.length >= self.min_match);
        let matches = long.map(|range| range.into_reply(self.with_lengths)).collect();
        let name = |name: &'static str| Reply::borrowed(name.as_bytes());
        Reply::Map(vec![(name("matches"), Reply::Array(matches)), (name("len"), length)])
    }
}

struct Table {
    lengths: Vec<u32>,
    width: usize,
}

/// Bytes that are equal and adjacent in both values.
struct Match {
    starts: [usize; 2],
    length: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Option<Self> {
        let width = b.len() + 1;
        let cells = (a.len() + 1).checked_mul(width).filter(|cells| *cells <= MAX_CELLS)?;
        let mut table = Self { lengths: vec![0; cells], width };
        for (i, left) in a.iter().enumerate() {
            for (j, right) in b.iter().enumerate() {
                let length = if left == right {
                    table.at(i, j) + 1
                } else {
                    table.at(i, j + 1).max(table.at(i + 1, j))
                };
                table.lengths[(i + 1) * width + j + 1] = length;
            }
        }
        Some(table)
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[i * self.width + j]
    }

    /// The bytes, and the ranges from the last to the first.
    fn way_back(&self, a: &[u8], b: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let (mut i, mut j) = (a.len(), b.len());
        let (mut bytes, mut ranges): (Vec<u8>, Vec<Match>) = (Vec::new(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                (i, j) = (i - 1, j - 1);
                bytes.push(a[i]);
                match ranges.last_mut().filter(|range| range.starts == [i + 1, j + 1]) {
                    Some(range) => *range = Match { starts: [i, j], length: range.length + 1 },
                    None => ranges.push(Match { starts: [i, j], length: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        bytes.reverse();
        (bytes, ranges)
    }
}

impl Match {
    fn into_reply<'k>(self, with_length: bool) -> Reply<'k> {
        let range =
            |start: usize| Reply::Array(vec![Reply::count(start), Reply::count(start + self.length - 1)]);
        let mut parts = self.starts.map(range).to_vec();
        parts.extend(with_length.then(|| Reply::count(self.length)));
        Reply::Array(parts)
    }
}

pub(super) fn lcs(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut common = Common {
        keys: [args[1], args[2]],
        length_only: false,
        ranges: false,
        min_match: 0,
        with_lengths: false,
    };
    let mut options = Options::new(&args[3..]);
    while let Some(word) = options.word() {
        match word.name() {
            b"IDX" => common.ranges = true,
            b"LEN" => common.length_only = true,
            b"WITHMATCHLEN" => common.with_lengths = true,
            b"MINMATCHLEN" => common.min_match = usize::try_from(integer(options.value()?)?).unwrap_or(0),
            _ => return Err(Refusal::SYNTAX),
        }
    }
    if common.ranges && common.length_only {
        let line = "ERR If you want both the length and indexes, please just use IDX.";
        return Err(Refusal::fixed(line));
    }
    Ok(Request::Data(Operation::Strings(Strings::Common(common))))
}

const MAX_CELLS: usize = 16 << 20;
