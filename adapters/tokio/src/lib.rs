//! An async handle over a [`strandline::Log`], whose own threads do the work: no file operation runs on the runtime.
//!
//! Cancel-safe by construction: a record is taken in one poll, so dropping a future before that changes nothing, and dropping
//! it afterwards does not drop the write.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! use strandline::Options;
//! use strandline_tokio::AsyncLog;
//!
//! let (log, _) = AsyncLog::open(Options::new(directory.path()), ()).await?;
//! let lsn = log.append(b"one").await?;
//! log.durable(lsn).await?;
//! log.close().await;
//! # Ok(())
//! # }
//! ```

use core::future::poll_fn;
use core::task::Poll;

use strandline::{AppendError, Log, Lsn, OpenError, Options, Priority, Recovered, Refused, Replay};

/// A durable log. Clones share it.
#[derive(Clone, Debug)]
pub struct AsyncLog {
    log: Log,
}

impl From<Log> for AsyncLog {
    fn from(log: Log) -> Self {
        Self { log }
    }
}

impl AsyncLog {
    /// Opens or creates the log on a blocking thread; `state` takes what it holds and is given back through `recovered`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open<S: Replay + Send + 'static>(
        options: Options,
        state: S,
    ) -> Result<(Self, Opened<S>), OpenError> {
        let mut state = state;
        let opening = tokio::task::spawn_blocking(move || {
            let (log, recovered) = Log::open(options, &mut state)?;
            Ok((Self { log }, Opened { state, recovered }))
        });
        opening.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Appends a record; ready when it is acknowledged as the mode promises.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn append(&self, record: &[u8]) -> Result<Lsn, AppendError> {
        let lsn = self.submit(record).await?;
        self.acknowledged(lsn).await?;
        Ok(lsn)
    }

    /// Appends a record; ready when it has been taken.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub async fn submit(&self, record: &[u8]) -> Result<Lsn, AppendError> {
        poll_fn(|context| {
            let room = self.log.reserve_or_wake(record.len(), Priority::Ordinary, context.waker());
            match room.and_then(|room| room.append(record)) {
                Ok(lsn) => Poll::Ready(Ok(lsn)),
                Err(Refused::Busy) => Poll::Pending,
                Err(refused) => Poll::Ready(Err(refused.into())),
            }
        })
        .await
    }

    /// Ready when the record is acknowledged.
    ///
    /// # Errors
    /// [`AppendError::Halted`].
    pub async fn acknowledged(&self, lsn: Lsn) -> Result<(), AppendError> {
        self.wait(lsn, false).await
    }

    /// Ready when the record is durable; asks for a sync in every mode.
    ///
    /// # Errors
    /// [`AppendError::Halted`].
    pub async fn durable(&self, lsn: Lsn) -> Result<(), AppendError> {
        self.wait(lsn, true).await
    }

    async fn wait(&self, lsn: Lsn, durable: bool) -> Result<(), AppendError> {
        poll_fn(|context| match self.log.poll_wait(lsn, durable, context.waker()) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }

    /// Flushes, syncs and seals the log, on a blocking thread.
    pub async fn close(&self) {
        let log = self.log.clone();
        let closing = tokio::task::spawn_blocking(move || log.close());
        if let Err(panic) = closing.await {
            std::panic::resume_unwind(panic.into_panic());
        }
    }

    /// The log below, for what blocks: reading, snapshots, statistics.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }
}

/// What [`AsyncLog::open`] recovered.
#[derive(Debug)]
pub struct Opened<S> {
    /// The state that was handed in, recovered.
    pub state: S,
    /// What was found.
    pub recovered: Recovered,
}

/// The pages whose examples are tested here.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/async.md")]
pub struct Pages;
