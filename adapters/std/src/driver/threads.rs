//! The threads of one log.
//!
//! | thread | carries out |
//! |---|---|
//! | `strandline-log` | batches, and their syncs in `always`, when no appender drives |
//! | `strandline-sync` | syncs of segments in `periodic` and `never` |
//! | `strandline-back` | the manifest, segments ahead, what is released |
//! | `strandline-tell` | completions of appenders that did not wait |

use std::sync::Arc;

use strandline_core::action::Action;
use strandline_core::store::Mode;
use strandline_core::types::{EffectId, Lsn, Role as ExtentRole};

use super::panics::{guarded, wake_all};
use super::{Role, Shared, State};
use crate::error::AppendError;
use crate::sync::mpsc::{Receiver, Sender, channel};
use crate::sync::thread::{self, JoinHandle};
use crate::waiters::Completion;

pub(super) struct Lanes {
    pub(super) sync: Sender<Job>,
    background: Sender<Job>,
    pub(super) tell: Sender<Told>,
}

/// A completion and what it is told.
pub(super) type Told = (Completion, Result<Lsn, AppendError>);

pub(super) struct Job {
    pub(super) id: EffectId,
    pub(super) action: Action,
    pub(super) bytes: Vec<u8>,
}

/// The threads of one log.
pub(crate) struct Threads {
    driver: JoinHandle<()>,
    lanes: Vec<JoinHandle<()>>,
}

impl Shared {
    /// The thread that an action goes to, if not this one.
    pub(super) fn lane<'l>(&self, state: &'l State, action: Action) -> Option<&'l Sender<Job>> {
        let lanes = state.lanes.as_ref()?;
        match action {
            Action::Write { extent, .. } | Action::Sync { extent } if extent.role == ExtentRole::Manifest => {
                Some(&lanes.background)
            }
            Action::Write { .. } => None,
            Action::Sync { .. } if self.mode == Mode::Always => None,
            Action::Sync { .. } => Some(&lanes.sync),
            Action::Prepare { .. } | Action::Release { .. } => Some(&lanes.background),
        }
    }

    /// Starts the driver thread and the lanes.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<Threads> {
        let (sync, syncs) = channel();
        let (background, jobs) = channel();
        let (tell, told) = channel();
        let lane = |name: &str, jobs: Receiver<Job>| {
            let shared = self.clone();
            thread::Builder::new().name(name.into()).spawn(move || shared.run_lane(&jobs))
        };
        let telling = thread::Builder::new().name("strandline-tell".into()).spawn(move || tell_all(&told))?;
        let lanes = vec![lane("strandline-sync", syncs)?, lane("strandline-back", jobs)?, telling];
        self.state.lock().lanes = Some(Lanes { sync, background, tell });
        let shared = self.clone();
        let driver =
            thread::Builder::new().name("strandline-log".into()).spawn(move || shared.run_driver())?;
        Ok(Threads { driver, lanes })
    }

    fn run_lane(&self, jobs: &Receiver<Job>) {
        for Job { id, action, bytes } in jobs {
            let carried_out = guarded(|| {
                let result = self.perform(action, &bytes);
                self.complete(self.state.lock(), id, result);
            });
            if let Err(why) = carried_out {
                drop(self.fail(why));
            }
        }
    }

    fn run_driver(&self) {
        let mut state = self.state.lock();
        while !state.stopping {
            let mut idle_until = None;
            if !state.driving {
                (state, idle_until) = self.drive(state, Role::Thread, &|_| false);
            }
            if !state.stopping {
                state.resting = true;
                state.rest_until = idle_until;
                self.wait_on(&self.rest, &mut state, idle_until);
                state.resting = false;
            }
        }
        // The lanes end when nobody can send to them.
        state.lanes = None;
    }

    /// Closes the store: flushes, syncs, seals. Blocks until that is done or the store has halted.
    pub(crate) fn close(&self, threads: Threads) {
        let mut state = self.state.lock();
        state.store.close();
        self.nudge(&mut state);
        while !state.store.is_closed() && state.store.halted().is_none() {
            self.room.wait(&mut state);
        }
        state.stopping = true;
        let released = self.publish(&mut state);
        self.work.notify_all();
        self.rest.notify_all();
        drop(state);
        wake_all(released);
        let own = thread::current().id();
        for ended in core::iter::once(threads.driver).chain(threads.lanes) {
            // A completion may let go of the last handle: its thread can't wait for itself.
            if ended.thread().id() != own {
                let _ = ended.join();
            }
        }
    }
}

/// Tells completions, in order. One that panics does not keep the others from being told.
fn tell_all(told: &Receiver<Told>) {
    for (done, result) in told {
        let _ = guarded(|| done(result));
    }
}
