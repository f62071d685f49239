//! Who waits for which record, in the order of the log; exactly the released ones are woken.

use core::task::Waker;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Wake;

use strandline_core::types::Lsn;

use crate::error::AppendError;
use crate::sync::thread::{self, Thread};
use crate::sync::thread_local;

/// Runs when a record is acknowledged, or will not be.
pub(crate) type Completion = Box<dyn FnOnce(Result<Lsn, AppendError>) + Send>;

/// Someone who waits.
pub(crate) enum Waiter {
    /// Looks again when woken.
    Wake(Waker),
    /// Is told.
    Tell(Completion),
}

/// Those who wait for one kind of progress.
#[derive(Default)]
pub(crate) struct Waiters {
    /// By LSN, ascending.
    queue: VecDeque<(Lsn, Waiter)>,
}

impl Waiters {
    /// Waits until progress is above `lsn`. One who waits for it already is not added again.
    pub(crate) fn add(&mut self, lsn: Lsn, waiter: Waiter) {
        let at = match self.queue.back() {
            Some((last, _)) if *last > lsn => self.queue.partition_point(|(of, _)| *of <= lsn),
            _ => self.queue.len(),
        };
        let same = self.queue.range(..at).rev().take_while(|(of, _)| *of == lsn);
        if let Waiter::Wake(waker) = &waiter
            && same
                .into_iter()
                .any(|(_, other)| matches!(other, Waiter::Wake(other) if other.will_wake(waker)))
        {
            return;
        }
        self.queue.insert(at, (lsn, waiter));
    }

    /// Moves those to `released` whose records lie below `progress`.
    pub(crate) fn release(&mut self, progress: Lsn, released: &mut Vec<(Lsn, Waiter)>) {
        while self.queue.front().is_some_and(|(lsn, _)| *lsn < progress) {
            released.extend(self.queue.pop_front());
        }
    }

    /// Moves everyone to `released`.
    pub(crate) fn release_all(&mut self, released: &mut Vec<(Lsn, Waiter)>) {
        released.extend(self.queue.drain(..));
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A waker that unparks this thread.
pub(crate) fn this_thread() -> Waker {
    thread_local!(static WAKER: Waker = Arc::new(Unpark(thread::current())).into());
    WAKER.with(Waker::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_released_in_order_and_one_who_asks_again_is_not_added_twice() {
        let mut waiters = Waiters::default();
        for lsn in [3, 1, 2, 3, 2] {
            waiters.add(Lsn(lsn), Waiter::Wake(this_thread()));
        }
        let mut released = vec![];
        waiters.release(Lsn(3), &mut released);
        assert_eq!(released.iter().map(|(lsn, _)| lsn.0).collect::<Vec<_>>(), [1, 2]);
        waiters.release_all(&mut released);
        assert_eq!(released.len(), 3);
    }
}
