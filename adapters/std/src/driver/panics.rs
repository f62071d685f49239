//! Code that panics on one of the log's threads, or on an appender's while it drives.
//!
//! ```text
//!  listener, lane, engine ─ panic ─► caught ─► halt, with the reason ─► everyone who waits is woken and told
//!  a waker, a completion  ─ panic ─► caught ─► the next one is woken or told all the same
//! ```
//!
//! Nobody knows what was carried out and what was not, so nothing is written any more; what is acknowledged stays readable.

use core::any::Any;
use core::panic::AssertUnwindSafe;
use core::task::Waker;
use std::panic::catch_unwind;

use strandline_core::action::Failure;

use super::{Shared, State};
use crate::sync::MutexGuard;

impl Shared {
    /// Halts the log because something panicked. The lock must be free.
    pub(super) fn fail(&self, why: String) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        if state.store.halted().is_none() {
            state.failure = Some(why);
        }
        state.store.halt(Failure::Io);
        let released = self.publish(&mut state);
        self.nudge(&mut state);
        self.room.notify_all();
        MutexGuard::unlocked(&mut state, || wake_all(released));
        state
    }
}

/// Runs `what`; if it panics, says why the log can't go on.
pub(super) fn guarded<T>(what: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(what))
        .map_err(|panic| format!("the log's code panicked: {}", said(&*panic)))
}

/// Wakes all of them. One that panics does not keep the others asleep.
pub(super) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        let _ = guarded(|| waker.wake());
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What a test has a lane panic at.
#[cfg(test)]
pub(super) const PLANTED: &[u8] = b"panic here";

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;
    use std::task::Wake;

    use core::time::Duration;
    use std::sync::mpsc::channel;

    use strandline_core::action::Action;
    use strandline_core::types::{EffectId, Extent, Lsn};

    use super::super::Job;
    use super::*;
    use crate::{AppendError, Log, Mode, Options};

    /// Longer than anything here takes, on any machine.
    const PATIENCE: Duration = Duration::from_secs(60);

    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    struct Bad;

    impl Wake for Bad {
        fn wake(self: Arc<Self>) {
            panic!("on purpose");
        }
    }

    #[test]
    fn a_waker_that_panics_does_not_keep_the_others_asleep() {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        wake_all(vec![Arc::new(Bad).into(), woken.clone().into()]);
        assert!(woken.0.load(Ordering::Relaxed));
    }

    #[test]
    fn a_lane_that_panics_halts_the_log_and_wakes_those_who_wait() {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = Log::open(Options::new(directory.path()).mode(Mode::Never), &mut ()).unwrap();
        log.append(b"one").unwrap();
        let (told, hears) = channel();
        let waits = log.clone();
        std::thread::spawn(move || told.send(waits.wait(Lsn(100))));
        let action = Action::Sync { extent: Extent::wal(1) };
        let job = Job { id: EffectId(0), action, bytes: PLANTED.to_vec() };
        log.shared().state.lock().lanes.as_ref().unwrap().sync.send(job).unwrap();
        let outcome = hears.recv_timeout(PATIENCE).unwrap();
        assert!(
            matches!(&outcome, Err(AppendError::Halted(why)) if why.contains("panicked: planted")),
            "{outcome:?}"
        );
        assert!(log.append(b"two").is_err());
        let mut reader = log.read_from(Lsn::FIRST).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().bytes, b"one");
        log.close();
    }
}
