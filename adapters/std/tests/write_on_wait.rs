//! Writing on the thread that asks: nobody waits for ever, and what was acknowledged is there.

use core::task::Waker;
use core::time::Duration;
use std::sync::Arc;
use std::task::Wake;
use std::thread::{self, Thread};
use std::time::Instant;

use strandline::{BadState, Log, Lsn, Mode, Options, Priority, Replay};

const PERIODIC: Mode = Mode::Periodic { interval_micros: 2_000, records: None };

#[derive(Default)]
struct Count(u64);

impl Replay for Count {
    fn reset(&mut self) {
        self.0 = 0;
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), BadState> {
        Ok(())
    }

    fn apply(&mut self, _: Lsn, _: &[u8]) -> Result<(), BadState> {
        self.0 += 1;
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// As a task waits: asks, and asks again when woken.
fn wait(log: &Log, lsn: Lsn, durable: bool) {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let begun = Instant::now();
    while !log.poll_wait(lsn, durable, &waker).unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{lsn} is never acknowledged");
        thread::park_timeout(Duration::from_secs(20));
    }
}

fn open(directory: &std::path::Path, mode: Mode) -> (Log, Count) {
    let mut count = Count::default();
    let options = Options::new(directory).mode(mode).segment_bytes(64 << 10).batch_bytes(8 << 10);
    let (log, _) = Log::open(options.write_on_wait(true), &mut count).unwrap();
    (log, count)
}

fn append(log: &Log, record: &[u8]) -> Lsn {
    log.reserve_waiting(record.len(), Priority::Ordinary).unwrap().append(record).unwrap()
}

#[test]
fn everyone_who_asks_is_answered() {
    for mode in [Mode::Always, PERIODIC, Mode::Never] {
        let directory = tempfile::tempdir().unwrap();
        let (log, _) = open(directory.path(), mode);
        thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| (0..500).for_each(|n| wait(&log, append(&log, &[7; 200]), n % 100 == 99)));
            }
        });
        assert!(log.stats().rotations > 5, "segments were turned");
        // Nobody asks for this one: closing writes it.
        append(&log, b"last");
        log.close();
        assert_eq!(open(directory.path(), mode).1.0, 3001, "{mode:?}");
    }
}

#[test]
fn the_timer_of_periodic_runs_without_anyone_asking_again() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = open(directory.path(), PERIODIC);
    for round in 1..=20 {
        let lsn = append(&log, b"record");
        wait(&log, lsn, false);
        let begun = Instant::now();
        while log.durable() <= lsn {
            assert!(begun.elapsed() < Duration::from_secs(20), "round {round} is never synced");
            thread::sleep(Duration::from_millis(1));
        }
    }
}
