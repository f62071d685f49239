//! Reads the log while it is written: records in order, only acknowledged ones, following the segments.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::Segment;
use strandline_core::types::{LogId, Lsn, Millis, Position};
use strandline_core::wal::batch_start;
use strandline_core::wal::reader::{Item, Reader};

use crate::check::HardwareCheck;
use crate::log::Log;
use crate::window::Window;

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Retention has let go of it.
    #[error("record {wanted} has been released; the oldest kept one is {oldest}")]
    Released {
        /// What was wanted.
        wanted: Lsn,
        /// What there is.
        oldest: Lsn,
    },
    /// A frame that was acknowledged does not read back.
    #[error("segment {} is damaged at offset {} (LSN {lsn})", position.log, position.offset)]
    Damaged {
        /// Where.
        position: Position,
        /// The record that was expected.
        lsn: Lsn,
    },
    /// The file could not be read.
    #[error("read: {0}")]
    Io(#[from] io::Error),
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'r> {
    /// Its number.
    pub lsn: Lsn,
    /// When its batch was closed, as the log's clock said.
    pub time: Millis,
    /// Its bytes.
    pub bytes: &'r [u8],
}

/// What the readers of a log still need: a count for each segment.
#[derive(Debug, Default)]
pub(crate) struct Holds(Mutex<BTreeMap<LogId, usize>>);

impl Holds {
    pub(crate) fn change(&self, log: &Log, from: Option<LogId>, to: Option<LogId>) {
        let mut held = self.0.lock();
        if let Some(to) = to {
            *held.entry(to).or_default() += 1;
        }
        if let Some(from) = from
            && let Some(count) = held.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                held.remove(&from);
            }
        }
        let shared = log.shared();
        let mut state = shared.state.lock();
        state.store.hold(held.keys().next().copied());
        shared.nudge(&mut state);
    }
}

/// Reads records in order. See [`Log::read_from`].
#[derive(Debug)]
pub struct LogReader {
    log: Log,
    segment: Segment,
    file: Arc<File>,
    reader: Reader,
    /// Where this segment's records end, once the next one has begun.
    fence: Option<Lsn>,
    wanted: Lsn,
    window: Window,
}

impl LogReader {
    pub(crate) fn new(log: Log, from: Lsn) -> Result<Self, ReadError> {
        // Everything is held until it is known what is needed.
        let holds = log.holds().clone();
        holds.change(&log, None, Some(LogId(0)));
        let found = find(&log, from);
        holds.change(&log, Some(LogId(0)), found.as_ref().ok().map(|(segment, _)| segment.log));
        let (segment, fence) = found?;
        let opened = open(&log, &segment);
        let (file, reader) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                holds.change(&log, Some(segment.log), None);
                return Err(error.into());
            }
        };
        Ok(Self { log, segment, file, reader, fence, wanted: from, window: Window::new() })
    }

    /// The next acknowledged record, or `None` if there is none yet.
    ///
    /// # Errors
    /// See [`ReadError`].
    #[expect(clippy::should_implement_trait, reason = "the record borrows the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let Some((lsn, len)) = self.advance()? else { return Ok(None) };
        let end = u64::from(self.reader.payload_end());
        Ok(Some(Record { lsn, time: self.reader.time, bytes: self.window.before(end, len) }))
    }

    /// The next record, waiting up to `timeout` for one to be acknowledged.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn tail(&mut self, timeout: Duration) -> Result<Option<Record<'_>>, ReadError> {
        let lsn = self.wanted.max(self.reader.expected());
        self.log.shared().wait_until(lsn, timeout);
        self.next()
    }

    /// Reads on to a wanted record: its LSN and length.
    fn advance(&mut self) -> Result<Option<(Lsn, usize)>, ReadError> {
        loop {
            let expected = self.reader.expected();
            if expected >= self.log.acknowledged() {
                return Ok(None);
            }
            if self.fence.is_some_and(|fence| fence <= expected) {
                self.turn(expected)?;
                continue;
            }
            let before = u64::from(self.reader.offset());
            let held = self.window.from(before);
            let is_empty = held.is_empty();
            match self.reader.next::<HardwareCheck>(held) {
                Item::Record { lsn, payload } if lsn >= self.wanted => return Ok(Some((lsn, payload.len()))),
                Item::Record { .. } => {}
                Item::Mark(_) => {}
                Item::Need(bytes) => self.fill(bytes)?,
                Item::Stop(_) if !is_empty => {
                    self.window.forget_from(before);
                    self.reread(expected)?;
                }
                Item::Stop(_) => self.turn(expected)?,
            }
        }
    }

    /// Reads the place where the reader stopped again; goes on or turns to the next segment.
    fn reread(&mut self, expected: Lsn) -> Result<(), ReadError> {
        self.fill(strandline_core::codec::frame::HEADER)?;
        let mut probe = self.reader;
        let mut need = 0;
        loop {
            match probe.next::<HardwareCheck>(self.window.from(u64::from(self.reader.offset()))) {
                Item::Need(bytes) if bytes > need => {
                    need = bytes;
                    self.fill(bytes)?;
                }
                Item::Need(_) | Item::Stop(_) => return self.turn(expected),
                Item::Record { .. } | Item::Mark(_) => return Ok(()),
            }
        }
    }

    /// Makes the window begin at the reader and hold at least `need` bytes, unless the file ends.
    fn fill(&mut self, need: usize) -> Result<(), ReadError> {
        let offset = u64::from(self.reader.offset());
        if self.window.fill(&self.file, offset, need)? { Ok(()) } else { self.damaged() }
    }

    fn damaged(&self) -> Result<(), ReadError> {
        Err(ReadError::Damaged { position: self.reader.position(), lsn: self.reader.expected() })
    }

    /// Goes on in the segment that begins with `expected`.
    fn turn(&mut self, expected: Lsn) -> Result<(), ReadError> {
        let (segment, fence) = find(&self.log, expected)?;
        if segment.log == self.segment.log {
            if self.fence == fence {
                return self.damaged();
            }
            self.fence = fence;
            return Ok(());
        }
        if segment.fence != expected {
            return self.damaged();
        }
        self.log.holds().clone().change(&self.log, Some(self.segment.log), Some(segment.log));
        self.segment = segment;
        self.fence = fence;
        (self.file, self.reader) = open(&self.log, &segment)?;
        self.window.restart(u64::from(self.reader.offset()));
        Ok(())
    }
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.log.holds().clone().change(&self.log, Some(self.segment.log), None);
    }
}

/// The segment that holds `lsn`, and where its records end if another one follows.
fn find(log: &Log, lsn: Lsn) -> Result<(Segment, Option<Lsn>), ReadError> {
    let state = log.shared().state.lock();
    let begun = state.store.segments().iter().filter(|segment| segment.fence != Lsn::UNKNOWN);
    let mut found = None;
    for segment in begun {
        if segment.fence > lsn {
            return found
                .map(|found| (found, Some(segment.fence)))
                .ok_or(ReadError::Released { wanted: lsn, oldest: segment.fence });
        }
        found = Some(*segment);
    }
    found.map(|found| (found, None)).ok_or(ReadError::Released { wanted: lsn, oldest: lsn })
}

fn open(log: &Log, segment: &Segment) -> io::Result<(Arc<File>, Reader)> {
    let shared = log.shared();
    let file = shared.dir.open_to_read(Name::Segment(segment.extent))?;
    let store = shared.state.lock().store.store_id();
    let from = Position { log: segment.log, offset: batch_start(segment.geometry) };
    Ok((file, Reader::new::<HardwareCheck>(store, segment.epoch, from, segment.fence, segment.geometry)))
}
