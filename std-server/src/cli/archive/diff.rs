//! `diff`: the entries of two archives beside each other.
//!
//! Entries with the same number are compared; a number that only one side has is that side's alone. What is only a matter of
//! files, such as LSNs, blocks and compression, is not compared.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use strandline::archive::json::JsonEntry;
use strandline::archive::{Entries, OwnedEntry, Range};

use super::words::opened;
use super::{Exit, Failure, output_error};

pub(super) fn run(left: &Path, right: &Path) -> Result<Exit, Failure> {
    let (left, right) = (opened(left)?, opened(right)?);
    let mut out = Difference { out: BufWriter::new(io::stdout().lock()), only: [0; 2], changed: 0, same: 0 };
    let headers =
        [left.info(), right.info()].map(|info| (info.shard, info.log.0, info.timestamps, info.entries));
    let mut sides = [Side::new(left.entries(Range::ALL)?)?, Side::new(right.entries(Range::ALL)?)?];
    loop {
        let [a, b] = &sides;
        match (&a.next, &b.next) {
            (None, None) => break,
            (Some(a), Some(b)) if a.event_id == b.event_id => {
                out.compare(a, b)?;
                sides[0].step()?;
                sides[1].step()?;
            }
            (Some(a), b) if b.as_ref().is_none_or(|b| a.event_id < b.event_id) => {
                out.only(0, a)?;
                sides[0].step()?;
            }
            (_, Some(b)) => {
                out.only(1, b)?;
                sides[1].step()?;
            }
            (Some(_), None) => break,
        }
    }
    let Difference { mut out, only, changed, same } = out;
    let line = format!("{same} the same, {changed} changed, {} only left, {} only right", only[0], only[1]);
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|error| output_error(&error))?;
    let equal = changed == 0 && only == [0; 2] && headers[0] == headers[1];
    Ok(if equal { Exit::Done } else { Exit::Error })
}

/// One archive, read up to its next entry.
struct Side {
    entries: Entries,
    next: Option<OwnedEntry>,
}

impl Side {
    fn new(entries: Entries) -> Result<Self, Failure> {
        let mut side = Self { entries, next: None };
        side.step()?;
        Ok(side)
    }

    fn step(&mut self) -> Result<(), Failure> {
        self.next = self.entries.next().transpose()?;
        Ok(())
    }
}

struct Difference<W> {
    out: W,
    only: [u64; 2],
    changed: u64,
    same: u64,
}

impl<W: Write> Difference<W> {
    fn compare(&mut self, left: &OwnedEntry, right: &OwnedEntry) -> Result<(), Failure> {
        let said = |entry: &OwnedEntry| (entry.timestamp, entry.context.clone(), entry.event_type.clone());
        let same =
            said(left) == said(right) && (left.payload == right.payload || sorted(left)? == sorted(right)?);
        if same {
            self.same += 1;
            return Ok(());
        }
        self.changed += 1;
        self.line('-', left)?;
        self.line('+', right)
    }

    fn only(&mut self, side: usize, entry: &OwnedEntry) -> Result<(), Failure> {
        self.only[side] += 1;
        self.line(['-', '+'][side], entry)
    }

    fn line(&mut self, mark: char, entry: &OwnedEntry) -> Result<(), Failure> {
        let borrowed = entry.entry();
        let text = serde_json::to_string(&JsonEntry::version_1(&borrowed));
        let text = text.map_err(|error| Failure::new(Exit::Error, error.to_string()))?;
        Ok(writeln!(self.out, "{mark} {text}").map_err(|error| output_error(&error))?)
    }
}

/// The fields in an order that does not matter.
fn sorted(entry: &OwnedEntry) -> Result<Vec<(String, strandline::archive::Value)>, Failure> {
    let mut fields = entry.fields()?;
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(fields)
}
