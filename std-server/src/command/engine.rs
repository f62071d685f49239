//! What the command layer asks of the rest of the server.
//!
//! ```text
//! dispatch ──Unit──► Engine::submit ──► room in the log? ─► lock ─► Unit::execute ─► append ──► Ticket
//!     │                                                                                          │
//!     └─ holds the reply back ◄──────────────── Engine::acknowledged(Ticket) ◄────────────────────┘
//! ```

use super::reply::{Refusal, Replies};
use super::session::Clients;
use super::unit::Unit;
use crate::auth::Credentials;
use std::sync::Arc;

/// The place of a record in the log; a later record has a greater one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Executes units one after the other, and tells when their records keep their promise.
pub trait Engine: Host {
    /// Executes a unit. Implementations make sure that the log takes [`Unit::record_bound`] bytes and that every one
    /// of [`Unit::written_keys`] may be written *before* they call [`Unit::execute`], and append the record under
    /// the same lock. The ticket is what the reply must wait for: the unit's own record, or for a read, if reads
    /// must only show what is acknowledged, the newest record it may have seen.
    ///
    /// # Errors
    /// A refusal: nothing was executed and nothing was replied.
    fn submit<R: Replies + Send>(
        &self,
        unit: &Unit<'_>,
        replies: &mut R,
    ) -> impl Future<Output = Result<Option<Ticket>, Refusal>> + Send;

    /// Hears of the keys that the next commands of a pipeline name, before these are executed: memory can be fetched for all of
    /// them at once.
    fn warm(&self, _keys: &[&[u8]]) {}

    /// Waits until the record of this ticket, and thus every earlier one, keeps the promise of the sync mode.
    ///
    /// # Errors
    /// The log has halted before; replies of later records must never be sent.
    fn acknowledged(&self, ticket: Ticket) -> impl Future<Output = Result<(), Halted>> + Send;
}

/// The log takes no more writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    /// The last record that keeps its promise, if there is one.
    pub acknowledged: Option<Ticket>,
    /// What every client with a later ticket is told.
    pub refusal: Refusal,
}

/// Facts about the server, and the few things it can be asked to do.
pub trait Host: Send + Sync + 'static {
    /// How far recovery is; `None` once it has finished. Asked before every command: it must be cheap.
    fn loading(&self) -> Option<Progress>;

    /// The limits that commands must keep.
    fn limits(&self) -> CommandLimits;

    /// Server time in microseconds since the Unix epoch; it never runs behind what the log has seen.
    fn now_us(&self) -> u64;

    /// When the newest snapshot was taken, seconds since the Unix epoch.
    fn last_save_s(&self) -> u64;

    /// The sections of INFO, in order.
    fn info(&self) -> Vec<InfoSection>;

    /// Every setting that CONFIG GET shows: name and value.
    fn settings(&self) -> Vec<(String, String)>;

    /// Who may come in over the Redis protocol; everybody if there are none.
    fn credentials(&self) -> &Arc<Credentials>;

    /// Commands that need memory are refused above this many bytes.
    fn max_memory(&self) -> Option<usize>;

    /// Changes [`Self::max_memory`] until the server ends.
    fn set_max_memory(&self, limit: Option<usize>);

    /// Whether memory is above [`Self::max_memory`].
    fn is_full(&self) -> bool;

    /// The list of connections.
    fn clients(&self) -> &Arc<Clients>;

    /// Starts a snapshot.
    ///
    /// # Errors
    /// One is being taken already, or none can be.
    fn begin_save(&self) -> Result<(), Refusal>;

    /// Takes a snapshot and waits for it.
    ///
    /// # Errors
    /// It failed.
    fn save(&self) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Syncs everything that was written before, whatever the sync mode.
    ///
    /// # Errors
    /// The log has halted.
    fn sync(&self) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Makes the server stop, and returns as soon as it is going to: it waits for this connection to end.
    ///
    /// # Errors
    /// It will not stop, because the snapshot that was asked for failed.
    fn stop(&self, stop: Stop) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// How the server stops; either way everything logged is synced first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At once.
    Now,
    /// After a snapshot.
    AfterSnapshot,
}

/// Limits of single commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLimits {
    /// The longest record that the log takes.
    pub record_bytes: usize,
    /// The longest command line, or lines between MULTI and EXEC, that is kept in memory.
    pub queued_bytes: usize,
}

/// How far recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is counted, such as `records of the log`.
    pub what: &'static str,
    /// How many were taken in.
    pub done: u64,
    /// How many there are, as far as known.
    pub total: u64,
}

impl Progress {
    /// The part that is done, 0 to 100.
    #[must_use]
    pub fn percent(self) -> u64 {
        let percent = u128::from(self.done) * 100 / u128::from(self.total.max(1));
        u64::try_from(percent).map_or(100, |percent| percent.min(100))
    }

    /// What a client is told that comes too early.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        Refusal::new(format!("LOADING Redis is loading the dataset in memory: {self}"))
    }
}

impl core::fmt::Display for Progress {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { what, done, total } = self;
        write!(f, "{}% ({done} of {total} {what})", self.percent())
    }
}

/// One section of INFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InfoSection {
    /// Its title, such as `Server`.
    pub name: &'static str,
    /// Name and value.
    pub lines: Vec<(&'static str, String)>,
}
