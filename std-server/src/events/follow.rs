//! The live tail: what is there already, then every event as it is acknowledged.
//!
//! ```text
//!  places, one a shard ─► scan up to what is acknowledged ─► wait for the next record ─► read it from the log ─┐
//!                                                                   └────────────────────────────────────────┘
//! ```

use core::future::poll_fn;
use core::ops::ControlFlow;
use core::task::Poll;
use std::sync::Arc;

use strandline::{LogReader, Lsn};

use super::cursor::Cursor;
use super::query::{Query, Seen};
use super::record::Event;
use super::scan::{Found, Sink, scan};
use super::shard::Shard;

/// Follows the events of some shards.
#[derive(Debug)]
pub(crate) struct Follow {
    query: Query,
    shards: Vec<Followed>,
}

#[derive(Debug)]
struct Followed {
    shard: Arc<Shard>,
    /// The next LSN.
    next: u64,
    reader: Option<LogReader>,
}

impl Follow {
    /// Follows each of `shards` from an LSN on; the query's own LSNs and order don't count.
    pub(crate) fn new(query: Query, shards: impl IntoIterator<Item = (Arc<Shard>, u64)>) -> Self {
        let followed = |(shard, next)| Followed { shard, next, reader: None };
        Self { query, shards: shards.into_iter().map(followed).collect() }
    }

    /// Where a reader stands in each shard.
    pub(crate) fn places(&self) -> impl Iterator<Item = (u16, Cursor)> {
        self.shards.iter().map(|one| {
            let at = Cursor { epoch: one.shard.epoch(), lsn: one.next.saturating_sub(1) };
            (one.shard.number, at)
        })
    }

    /// Waits until there is a record that was not read; `Err` if a log has halted or was closed.
    pub(crate) async fn wait(&self) -> Result<(), String> {
        poll_fn(|context| {
            for Followed { shard, next, .. } in &self.shards {
                match shard.log.poll_wait(Lsn(*next), false, context.waker()) {
                    Ok(true) => return Poll::Ready(Ok(())),
                    Ok(false) => {}
                    Err(error) => return Poll::Ready(Err(error.to_string())),
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Hands over what is acknowledged and was not read yet. Blocks on files.
    pub(crate) fn read(&mut self, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, String> {
        for followed in &mut self.shards {
            let flow = match followed.reader {
                None => followed.catch_up(&self.query, sink)?,
                Some(_) => followed.read(&self.query, sink)?,
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl Followed {
    /// Reads what lies in front of now, from wherever it is; the log is followed from then on.
    fn catch_up(&mut self, query: &Query, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, String> {
        let now = self.shard.log.acknowledged().0;
        let query = Query {
            lsns: (self.next, now.saturating_sub(1)),
            is_bounded: true,
            limit: None,
            ..query.clone()
        };
        if self.next < now && scan(&self.shard, &query, None, sink)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        self.next = self.next.max(now);
        self.reader = Some(self.shard.log.read_from(Lsn(self.next)).map_err(|error| error.to_string())?);
        self.read(&query, sink)
    }

    fn read(&mut self, query: &Query, sink: &mut Sink<'_>) -> Result<ControlFlow<()>, String> {
        let (number, epoch) = (self.shard.number, self.shard.epoch());
        let Some(reader) = &mut self.reader else { return Ok(ControlFlow::Continue(())) };
        while let Some(record) = reader.next().map_err(|error| error.to_string())? {
            self.next = record.lsn.0 + 1;
            let Some(event) = Event::decode(record.bytes).filter(|event| query.wants(event)) else {
                continue;
            };
            let seen = Seen { shard: number, epoch, lsn: record.lsn.0, event };
            if sink(Found::Event(seen)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}
