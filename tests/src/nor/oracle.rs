//! The oracle: what a start may find after what was acknowledged.
//!
//! ```text
//!  acknowledged records | one of the suffixes that may stand behind them        newest snapshot that was acknowledged, or a newer
//! ```

use strandline_core::media::nor::asynch::{Driver, Port};
use strandline_core::media::nor::{Error, Policy};

use super::{NorLog, Summary, World};

/// What a boot found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Base and state of the snapshot.
    pub snapshot: Option<(u64, Vec<u8>)>,
    /// LSN, bytes, and whether it is provisional.
    pub records: Vec<(u64, Vec<u8>, bool)>,
}

impl World {
    /// What is read now is what a start would find now.
    pub(super) fn check_now(&self, log: &NorLog) -> Result<(), String> {
        let found = self.read(log)?;
        self.check_backward(log, &found)?;
        let again = self.mount().map_err(|error| format!("it starts without a cut: {error:?}"))?;
        let mut then = self.read(&again)?;
        for (record, now) in then.records.iter_mut().zip(&found.records) {
            // A start can't know what this one proved.
            record.2 = now.2;
        }
        let lsns = |found: &Found| found.records.iter().map(|(lsn, ..)| *lsn).collect::<Vec<_>>();
        match found == then {
            true => Ok(()),
            false => Err(format!(
                "what is read now is what a start finds: {:?}, by another mount: {:?}",
                lsns(&found),
                lsns(&then)
            )),
        }
    }

    pub(super) fn judge(&mut self, found: &Found, next: u64, summary: &mut Summary) -> Result<(), String> {
        let known = self.acknowledged.len() as u64;
        let base = match &found.snapshot {
            Some((base, state)) => {
                summary.snapshots += 1;
                if Some(*base) < self.base || !self.states.contains(&(*base, state.clone())) {
                    return Err(format!(
                        "a snapshot that was acknowledged is there: one of {base} is, {:?} was acknowledged",
                        self.base
                    ));
                }
                *base
            }
            None if self.base.is_some() => {
                return Err(format!("a snapshot that was acknowledged is there: {:?} is gone", self.base));
            }
            None => found.records.first().map_or(next, |(lsn, ..)| *lsn) - 1,
        };
        self.found_base = found.snapshot.as_ref().map(|(base, _)| *base);
        let drops = self.setup.options.policy == Policy::DropOldest;
        if found.snapshot.is_none() && !drops && base + 1 > self.kept {
            return Err(format!(
                "nothing goes that was not given up: the log begins at {}, records from {} on were kept",
                base + 1,
                self.kept
            ));
        }
        // A RESUME that begins the oldest block carries what stood last before it.
        if found.snapshot.is_none() && next > base + 1 && base + 6 < self.trimmed {
            return Err(format!(
                "what was trimmed does not come back: the log begins at {}, and was trimmed before {}",
                base + 1,
                self.trimmed
            ));
        }
        summary.dropped += u64::from(base > 0);
        for (number, (lsn, record, provisional)) in found.records.iter().enumerate() {
            if *lsn != base + 1 + number as u64 {
                return Err(format!(
                    "never a hole, never a record twice: record {} of the log has LSN {lsn}",
                    number + 1
                ));
            }
            if self.acknowledged.get((lsn - 1) as usize).is_some_and(|wanted| wanted != record) {
                return Err(format!("never a value nobody wrote: LSN {lsn} is {record:02x?}"));
            }
            if *provisional && number + 6 < found.records.len() {
                return Err(format!("only the last frame is provisional: LSN {lsn} is"));
            }
        }
        if next <= known || found.records.last().is_some_and(|(lsn, ..)| lsn + 1 != next) {
            return Err(format!(
                "an acknowledged record is there: {known} were acknowledged, the next is {next}"
            ));
        }
        // What was given up to make room, or is in a snapshot, is not among the records.
        let tail: Vec<&Vec<u8>> =
            found.records.iter().filter(|(lsn, ..)| *lsn > known).map(|(_, record, _)| record).collect();
        let fits = |maybe: &&Vec<Vec<u8>>| {
            known + maybe.len() as u64 == next - 1
                && maybe.iter().rev().zip(tail.iter().rev()).all(|(a, b)| a == *b)
        };
        let suffix = match next - 1 == known {
            true => Vec::new(),
            false => match self.maybe.iter().rev().find(fits) {
                Some(maybe) => maybe.clone(),
                None => {
                    return Err(format!("never a value nobody wrote: behind LSN {known} stands {tail:02x?}"));
                }
            },
        };
        summary.provisional += u64::from(!suffix.is_empty());
        self.suffix = suffix;
        Ok(())
    }

    /// A write was acknowledged: what this boot found before it is certain now, and so are these records.
    pub(super) fn acknowledge(&mut self, records: &[Vec<u8>]) {
        self.acknowledged.append(&mut self.suffix);
        self.acknowledged.extend_from_slice(records);
        self.maybe.clear();
        self.base = self.base.max(self.found_base);
    }

    pub(super) fn check_backward(&self, log: &NorLog, found: &Found) -> Result<(), String> {
        let wanted: Vec<_> = found.records.iter().rev().cloned().collect();
        let backward = self.look(async |port| backward(log, port, wanted.len()).await);
        match backward {
            Ok(backward) if backward == wanted => Ok(()),
            other => {
                Err(format!("backward as forward: backward {other:02x?}, forward: {:02x?}", found.records))
            }
        }
    }
}

pub(super) async fn found(log: &NorLog, port: &mut Port<'_, impl Driver>) -> Result<Found, Error> {
    let mut snapshot = None;
    if let Some(mut reader) = log.snapshot(port).await? {
        let mut state = Vec::new();
        while let Some(span) = reader.next(log, port).await? {
            state.extend_from_slice(port.bytes(span));
        }
        snapshot = Some((reader.base().0, state));
    }
    let mut records = Vec::new();
    let mut reader = log.records(port).await?;
    while let Some(record) = reader.next(port).await? {
        let bytes = port.bytes(record.bytes).to_vec();
        records.push((record.lsn.0, bytes, record.provisional));
    }
    Ok(Found { snapshot, records })
}

async fn backward(
    log: &NorLog,
    port: &mut Port<'_, impl Driver>,
    most: usize,
) -> Result<Vec<(u64, Vec<u8>, bool)>, Error> {
    let mut records = Vec::new();
    let mut reader = log.records_backward();
    while let Some(record) = reader.next(log, port).await? {
        if records.len() == most {
            break;
        }
        let bytes = port.bytes(record.bytes).to_vec();
        records.push((record.lsn.0, bytes, record.provisional));
    }
    Ok(records)
}
