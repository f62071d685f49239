//! The events of several shards as one row, and where a reader of it stands.
//!
//! ```text
//!  shard 0   10:00  10:04            each in the order of its LSNs
//!  shard 1   10:01  10:02  10:07     the one that comes next has the earliest timestamp, and of equal ones the lowest shard
//!  out       10:00  10:01  10:02  10:04  10:07
//! ```
//!
//! Newest first it is the latest timestamp, and the highest shard. Which one comes next follows from where the reader stands in each
//! shard and from nothing else: whoever goes on behind a cursor finds what an unbroken reader would have found. One event of
//! each shard is in memory.

use std::sync::Arc;

use super::cursor::{Cursor, Standing};
use super::query::{Order, Query};
use super::scan::{Found, Scan};
use super::shard::Shard;

/// Reads some shards together.
#[derive(Debug)]
pub(crate) struct Merge<'q> {
    order: Order,
    lanes: Vec<Lane<'q>>,
    standing: Standing,
    /// The lane whose event was given out last.
    last: Option<usize>,
}

/// One shard.
#[derive(Debug)]
struct Lane<'q> {
    scan: Scan<'q>,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// What comes next was not read yet.
    Behind,
    /// It stands at something that was not given out: a gap, or an event of this time.
    AtGap,
    At(u64),
    Ended,
}

impl<'q> Merge<'q> {
    /// Reads these shards, of a server with several or with one, each behind its cursor if it has one.
    pub(crate) fn new(shards: &[(Arc<Shard>, Option<Cursor>)], query: &'q Query, several: bool) -> Self {
        let begin = |(shard, at): &(Arc<Shard>, Option<Cursor>)| match (at, query.order) {
            (Some(at), _) => *at,
            (None, Order::OldestFirst) => Cursor { epoch: 0, lsn: 0 },
            // What is written from now on is not for those who read backwards.
            (None, Order::NewestFirst) => Cursor { epoch: shard.epoch(), lsn: shard.log.acknowledged().0 },
        };
        let cursors: Vec<Cursor> = shards.iter().map(begin).collect();
        let lanes = shards.iter().zip(&cursors).map(|((shard, _), at)| Lane {
            scan: Scan::new(Arc::clone(shard), query, Some(at.lsn), shards.len()),
            state: State::Behind,
        });
        let standing = match (shards, &cursors[..]) {
            ([(shard, _)], [at]) if several => Standing::Alone { shard: shard.number, at: *at },
            _ => Standing::Each(cursors.clone()),
        };
        Self { order: query.order, lanes: lanes.collect(), standing, last: None }
    }

    /// The next event or gap, and where a reader stands who has seen it.
    ///
    /// # Errors
    /// A shard can't be read. What was given out is right.
    pub(crate) fn next(&mut self) -> Result<Option<(Found<'_>, &Standing)>, String> {
        if let Some(last) = self.last.take() {
            self.lanes[last].state = State::Behind;
        }
        let named = self.lanes.len() > 1;
        self.lanes.iter_mut().try_for_each(|lane| lane.advance(named))?;
        let waiting = self.lanes.iter().enumerate().filter_map(|(at, lane)| Some((lane.key()?, at)));
        let next = match self.order {
            Order::OldestFirst => waiting.min(),
            // A gap has no time: it is told before anything else in both orders.
            Order::NewestFirst => waiting.max_by_key(|(key, at)| (key.is_none(), *key, *at)),
        };
        let Some((_, at)) = next else { return Ok(None) };
        self.last = Some(at);
        let found = self.lanes[at].scan.found();
        if let Some(Found::Event(seen)) = &found {
            let cursor = Cursor { epoch: seen.epoch, lsn: seen.lsn };
            match &mut self.standing {
                Standing::Alone { at, .. } => *at = cursor,
                Standing::Each(cursors) => cursors[at] = cursor,
            }
        }
        Ok(found.map(|found| (found, &self.standing)))
    }
}

impl Lane<'_> {
    /// Reads what comes next, if that was not done.
    fn advance(&mut self, named: bool) -> Result<(), String> {
        if self.state != State::Behind {
            return Ok(());
        }
        let number = self.scan.shard().number;
        let more = self.scan.advance();
        more.map_err(|why| if named { format!("shard {number}: {why}") } else { why })?;
        self.state = match self.scan.found() {
            None => State::Ended,
            Some(Found::Gap { .. }) => State::AtGap,
            Some(Found::Event(seen)) => State::At(seen.event.timestamp_ms),
        };
        Ok(())
    }

    /// The time of what it stands at, if it stands at something; a gap has none.
    const fn key(&self) -> Option<Option<u64>> {
        match self.state {
            State::Behind | State::Ended => None,
            State::AtGap => Some(None),
            State::At(time) => Some(Some(time)),
        }
    }
}
