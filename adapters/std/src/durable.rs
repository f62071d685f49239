//! Bring your own state machine: recovery, snapshots while writes go on, acknowledged updates.
//!
//! ```text
//!   update ─► lock state ─► decide a record ─► append ─► apply ─► unlock ─► wait for the acknowledgement
//!   snapshot ─► lock state ─► image + base ─► unlock ─► chunks ─► file ─► read back ─► named by the manifest
//! ```
//!
//! `apply` is the only thing that changes the state, live and in recovery alike, so that a replay is exact.

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use strandline_core::action::Refused;
use strandline_core::store::Priority;
use strandline_core::types::Lsn;

use crate::error::{AppendError, OpenError, SnapshotError};
use crate::log::{Log, SnapshotInfo};
use crate::options::Options;
use crate::recover::{Recovered, Replay};
use crate::snapshot::Image;

/// A state that is changed by records only.
///
/// [`Replay::restore`] takes the chunks that [`State::image`] yields; [`Replay::apply`] must not fail for a record that this
/// program has made.
pub trait State: Replay + Send + Sync + 'static {
    /// A point-in-time view that does not borrow the state.
    type Image: Image;

    /// Takes the view. Writers wait meanwhile, so it should be quick: see [`CowMap`](crate::CowMap) for maps.
    fn image(&mut self) -> Self::Image;
}

/// A durable state. Clones share it.
///
/// ```
/// use strandline::{BadState, CowMap, Durable, Image, Lsn, Options, Replay, State};
///
/// /// Counts words: the record is the word.
/// #[derive(Default)]
/// struct Words(CowMap<String, u64>);
///
/// impl Replay for Words {
///     fn reset(&mut self) {
///         self.0.clear();
///     }
///     fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
///         for line in core::str::from_utf8(chunk).unwrap_or_default().lines() {
///             let (word, count) = line.split_once(' ').ok_or_else(|| BadState(line.into()))?;
///             self.0.insert(word.into(), count.parse().map_err(|_| BadState(line.into()))?);
///         }
///         Ok(())
///     }
///     fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
///         let word = String::from_utf8_lossy(record).into_owned();
///         let count = self.0.get(&word).copied().unwrap_or(0);
///         self.0.insert(word, count + 1);
///         Ok(())
///     }
/// }
///
/// impl State for Words {
///     type Image = strandline::CowImage<String, u64>;
///     fn image(&mut self) -> Self::Image {
///         self.0.image(|word, count, chunk| chunk.extend(format!("{word} {count}\n").bytes()))
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let (words, _) = Durable::open(Options::new(directory.path()), Words::default())?;
/// words.update(b"shore")?;
/// words.update(b"shore")?;
/// assert_eq!(words.read().0.get("shore"), Some(&2));
/// words.snapshot()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Durable<S> {
    log: Log,
    state: Arc<RwLock<S>>,
}

impl<S> Clone for Durable<S> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), state: self.state.clone() }
    }
}

/// Why an update was not made, or not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError<E> {
    /// The decision was not to: nothing changed.
    #[error("{0}")]
    Declined(E),
    /// The log did not take or did not acknowledge the record.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The state refused its own record. It is in the log all the same: mend the state, then restart.
    #[error("the state refused its own record: {0}")]
    State(crate::BadState),
}

impl<S: State> Durable<S> {
    /// Opens or creates the log and recovers `state` from it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: Options, mut state: S) -> Result<(Self, Recovered), OpenError> {
        let (log, recovered) = Log::open(options, &mut state)?;
        Ok((Self { log, state: Arc::new(RwLock::new(state)) }, recovered))
    }

    /// Appends the record, applies it, and blocks until it is acknowledged.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn update(&self, record: &[u8]) -> Result<Lsn, UpdateError<core::convert::Infallible>> {
        self.update_with(|_, out| {
            out.extend_from_slice(record);
            Ok(())
        })
        .map(|(lsn, ())| lsn)
    }

    /// Decides a record from the state, appends and applies it, and blocks until it is acknowledged. Nobody else writes between
    /// the decision and its effect.
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn update_with<R, E>(
        &self,
        decide: impl FnOnce(&S, &mut Vec<u8>) -> Result<R, E>,
    ) -> Result<(Lsn, R), UpdateError<E>> {
        let (lsn, answer) = self.submit_with(decide)?;
        self.log.wait(lsn)?;
        Ok((lsn, answer))
    }

    /// As [`Self::update_with`], without waiting for the acknowledgement: see [`Log::wait`].
    ///
    /// # Errors
    /// See [`UpdateError`].
    pub fn submit_with<R, E>(
        &self,
        decide: impl FnOnce(&S, &mut Vec<u8>) -> Result<R, E>,
    ) -> Result<(Lsn, R), UpdateError<E>> {
        let mut state = self.state.write();
        let mut record = Vec::new();
        let answer = decide(&state, &mut record).map_err(UpdateError::Declined)?;
        let room = self.log.reserve_waiting(record.len(), Priority::Ordinary);
        let lsn = room.and_then(|room| room.append(&record)).map_err(AppendError::Refused)?;
        state.apply(lsn, &record).map_err(UpdateError::State)?;
        Ok((lsn, answer))
    }

    /// The state, to be read. It may show updates that are not acknowledged yet.
    pub fn read(&self) -> RwLockReadGuard<'_, S> {
        self.state.read()
    }

    /// Makes a snapshot while updates go on. Blocks until it counts.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub fn snapshot(&self) -> Result<SnapshotInfo, SnapshotError> {
        let (ticket, mut image) = {
            let mut state = self.state.write();
            (self.log.begin_snapshot(), state.image())
        };
        if self.log.stats().halted.is_some() {
            return Err(Refused::Halted.into());
        }
        self.log.write_snapshot(ticket, &mut image)
    }

    /// The log below.
    pub fn log(&self) -> &Log {
        &self.log
    }
}
