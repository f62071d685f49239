//! The records of the log, oldest first or newest first.

use core::marker::PhantomData;

use heapless::Deque;

use super::log::Log;
use super::port::{Driver, Port, Range};
use super::reader::{Reader, Run, member};
use super::twin;
use crate::codec::check::Checksum;
use crate::media::nor::{Content, Error, FRAME_HEADER, Record, Span, Volume, holds};
use crate::types::Lsn;

/// Reads records from the oldest to the newest. The log must not be written meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Records<C> {
    volume: Volume,
    reader: Reader,
    /// What came out last, and which of its records is next.
    run: Run,
    member: u8,
    /// Nothing before this is wanted.
    since: Lsn,
    /// What was found at the end is certain.
    sure: bool,
    check: PhantomData<C>,
}

#[twin]
impl<C: Checksum> Log<C> {
    /// Reads all records that a snapshot does not hold, or all that there are.
    ///
    /// # Errors
    /// [`Error::Medium`]; [`Error::Corrupt`].
    pub async fn records(&self, port: &mut Port<'_, impl Driver>) -> Result<Records<C>, Error> {
        let since = match self.found.run {
            0 => Lsn(0),
            _ => self.opened(port, self.found.floor).await?.1.fence,
        };
        Ok(self.records_in(self.found.floor, since))
    }

    /// Reads all records from this LSN on.
    ///
    /// # Errors
    /// As [`Log::records`].
    pub async fn records_from(
        &self,
        port: &mut Port<'_, impl Driver>,
        lsn: Lsn,
    ) -> Result<Records<C>, Error> {
        let from = self.block_with(port, lsn).await?;
        Ok(self.records_in(from, lsn))
    }

    /// Reads records from the newest to the oldest.
    #[must_use]
    pub fn records_backward(&self) -> Backward {
        Backward { next: self.next, runs: Deque::new() }
    }

    fn records_in(&self, from: u32, since: Lsn) -> Records<C> {
        let none = Run { lsn: Lsn(0), content: Content::default(), provisional: false };
        Records {
            volume: self.volume,
            reader: Reader::new(from, self.head),
            run: none,
            member: 0,
            since,
            sure: self.resumed,
            check: PhantomData,
        }
    }
}

#[twin]
impl<C: Checksum> Records<C> {
    /// The next record.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Newer`], [`Error::Medium`]; [`Error::NeedsScratch`] if it does not fit.
    pub async fn next(&mut self, port: &mut Port<'_, impl Driver>) -> Result<Option<Record>, Error> {
        loop {
            while self.member < self.run.content.count {
                let record = record(self.volume, port, &self.run, self.member).await?;
                self.member = self.member.saturating_add(1);
                if record.lsn >= self.since {
                    let provisional = record.provisional && !self.sure;
                    return Ok(Some(Record { provisional, ..record }));
                }
            }
            match self.reader.advance::<C>(self.volume, port).await? {
                None => return Ok(None),
                Some(run) => (self.run, self.member) = (run, 0),
            }
        }
    }
}

/// Brings one record of a frame into the scratch.
#[twin]
async fn record(
    volume: Volume,
    port: &mut Port<'_, impl Driver>,
    run: &Run,
    number: u8,
) -> Result<Record, Error> {
    let Run { lsn, content, provisional } = *run;
    let geometry = volume.geometry;
    let lead = FRAME_HEADER.saturating_add(content.lead());
    let range = Range {
        block: geometry.block_of(content.at.sequence),
        offset: content.at.offset,
        len: lead.saturating_add(u32::from(content.len)),
        limit: geometry.block_bytes(),
    };
    let start = port.want(geometry.word(), range).await? + lead as usize;
    let lsn = lsn.plus(u64::from(number));
    let whole = |start, len| Record { lsn, provisional, bytes: Span { start, len } };
    let corrupt = Error::Corrupt(content.at);
    if !content.is(holds::GROUP) {
        return Ok(whole(u16::try_from(start).map_err(|_| corrupt)?, content.len));
    }
    let found = port.scratch().get(start..start + usize::from(content.len)).and_then(|records| {
        let mut rest = records;
        for _ in 0..number {
            rest = member(rest)?.1;
        }
        let (record, behind) = member(rest)?;
        let end = start + usize::from(content.len) - behind.len();
        Some((u16::try_from(end - record.len()).ok()?, u16::try_from(record.len()).ok()?))
    });
    found.map(|(start, len)| whole(start, len)).ok_or(corrupt)
}

/// Reads records from the newest to the oldest. The log must not be written meanwhile.
///
/// Frames can only be read forward: the places of the last few before the wanted LSN are kept, and found again when they are
/// used up.
#[derive(Debug)]
pub struct Backward {
    /// The LSN after the one that is next.
    next: Lsn,
    runs: Deque<Run, 16>,
}

#[twin]
impl Backward {
    /// The next older record.
    ///
    /// # Errors
    /// As [`Records::next`].
    pub async fn next<C: Checksum>(
        &mut self,
        log: &Log<C>,
        port: &mut Port<'_, impl Driver>,
    ) -> Result<Option<Record>, Error> {
        let lsn = Lsn(self.next.0.saturating_sub(1));
        if self.runs.back().is_none_or(|run| run.lsn > lsn) {
            self.runs.pop_back();
            if self.runs.is_empty() {
                self.find(log, port, lsn).await?;
            }
        }
        let Some(run) = self.runs.back().copied().filter(|run| run.lsn <= lsn) else { return Ok(None) };
        let number = u8::try_from(lsn.0.saturating_sub(run.lsn.0)).unwrap_or(u8::MAX);
        if number >= run.content.count {
            return Ok(None);
        }
        let record = record(log.volume, port, &run, number).await?;
        self.next = lsn;
        Ok(Some(Record { provisional: record.provisional && !log.resumed, ..record }))
    }

    async fn find<C: Checksum>(
        &mut self,
        log: &Log<C>,
        port: &mut Port<'_, impl Driver>,
        lsn: Lsn,
    ) -> Result<(), Error> {
        let mut reader = Reader::new(log.block_with(port, lsn).await?, log.head);
        while let Some(run) = reader.advance::<C>(log.volume, port).await? {
            if run.lsn > lsn {
                break;
            }
            if run.content.count == 0 {
                continue;
            }
            if self.runs.is_full() {
                self.runs.pop_front();
            }
            let kept = self.runs.push_back(run).is_ok();
            debug_assert!(kept);
        }
        Ok(())
    }
}
