//! Group commit under a checker that picks the order in which threads run: `tests/check interleavings`.
//!
//! ```text
//!   writers ─ append, submit, ask later ─► one log of small batches ─► closed ─► opened again: everything is there, in order
//! ```
//!
//! A wake-up that gets lost ends in a deadlock that the checker reports, with a schedule that shows it again.
#![cfg(shuttle)]

use core::pin::pin;
use core::task::{Context, Poll, Waker};
use std::env;
use std::path::Path;
use std::sync::Arc;
use std::task::Wake;

use shuttle::sync::mpsc::channel;
use shuttle::thread::{self, Thread};
use strandline::{AppendError, Log, Lsn, Mode, Options, Recovered, Replay};

const MODES: [Mode; 3] =
    [Mode::Always, Mode::Periodic { interval_micros: 1_000, records: Some(2) }, Mode::Never];

/// Everything that was replayed.
#[derive(Default)]
struct Kept(Vec<(Lsn, Vec<u8>)>);

impl Replay for Kept {
    fn reset(&mut self) {
        self.0.clear();
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), strandline::BadState> {
        unreachable!("there are no snapshots")
    }

    fn apply(&mut self, lsn: Lsn, record: &[u8]) -> Result<(), strandline::BadState> {
        self.0.push((lsn, record.to_vec()));
        Ok(())
    }
}

fn open(directory: &Path, mode: Mode, kept: &mut Kept) -> (Log, Recovered) {
    let options = Options::new(directory).mode(mode).segment_bytes(16 << 10).batch_bytes(8 << 10);
    Log::open(options, kept).expect("it opens")
}

/// Runs `each` under so many schedules: `SCHEDULES=n` for others than the usual number.
fn check(each: impl Fn() + Send + Sync + 'static) {
    let schedules = env::var("SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(300);
    shuttle::check_pct(each, schedules, 3);
}

/// `write` says what one of the writers appends, and returns it with the LSNs.
fn written(mode: Mode, writers: u8, write: fn(&Log, u8) -> Vec<(Lsn, Vec<u8>)>) {
    let place = tempfile::tempdir().expect("a directory");
    let (log, _) = open(place.path(), mode, &mut Kept::default());
    let threads: Vec<_> = (0..writers)
        .map(|writer| {
            let log = log.clone();
            thread::spawn(move || write(&log, writer))
        })
        .collect();
    let mut sent = Vec::new();
    for thread in threads {
        let own = thread.join().expect("it does not panic");
        assert!(own.is_sorted(), "a writer's records keep their order");
        sent.extend(own);
    }
    sent.sort();
    drop(log);
    let mut kept = Kept::default();
    let (log, _) = open(place.path(), mode, &mut kept);
    drop(log);
    assert_eq!(kept.0, sent);
}

fn record(writer: u8, number: u8, len: usize) -> Vec<u8> {
    let mut record = vec![writer; len];
    record[1] = number;
    record
}

#[test]
fn appends_are_acknowledged_and_kept() {
    for mode in MODES {
        check(move || {
            written(mode, 3, |log, writer| {
                let append = |number| {
                    // Long ones fill a segment meanwhile.
                    let record = record(writer, number, if number == 1 { 6_000 } else { 40 });
                    let lsn = log.append(&record).expect("appended");
                    assert!(log.acknowledged() > lsn);
                    (lsn, record)
                };
                (0..3).map(append).collect()
            });
        });
    }
}

#[test]
fn what_was_submitted_can_be_waited_for_in_any_way() {
    for mode in MODES {
        check(move || {
            written(mode, 3, |log, writer| {
                let first = record(writer, 0, 40);
                let lsn = log.submit(&first).expect("submitted");
                match writer {
                    0 => log.wait_durable(lsn).expect("durable"),
                    1 => wait_as_a_task(log, lsn),
                    _ => log.wait(lsn).expect("acknowledged"),
                }
                assert!(log.acknowledged() > lsn);
                let (tell, told) = channel();
                let second = record(writer, 1, 40);
                let then = log.append_with(&second, move |result| drop(tell.send(result))).expect("taken");
                assert!(matches!(told.recv().expect("told"), Ok(of) if of == then));
                vec![(lsn, first), (then, second)]
            });
        });
    }
}

#[test]
fn a_task_that_writes_itself_is_woken() {
    check(|| {
        let place = tempfile::tempdir().expect("a directory");
        let options = Options::new(place.path()).mode(MODES[1]).segment_bytes(16 << 10).write_on_wait(true);
        let (log, _) = Log::open(options, &mut ()).expect("it opens");
        let tasks: Vec<_> = (0..3_u8)
            .map(|writer| {
                let log = log.clone();
                thread::spawn(move || {
                    for number in 0..2 {
                        let lsn = log.submit(&record(writer, number, 40)).expect("submitted");
                        wait_as_a_task(&log, lsn);
                    }
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().expect("it does not panic"));
        assert_eq!(log.acknowledged(), Lsn(7));
    });
}

#[test]
fn whoever_appends_while_the_log_closes_is_answered() {
    check(|| {
        let place = tempfile::tempdir().expect("a directory");
        let (log, _) = open(place.path(), Mode::Always, &mut Kept::default());
        let writer = {
            let log = log.clone();
            thread::spawn(move || {
                let mut kept = Vec::new();
                for number in 0..4 {
                    let record = record(1, number, 40);
                    match log.append(&record) {
                        Ok(lsn) => kept.push((lsn, record)),
                        Err(AppendError::Refused(_) | AppendError::Halted(_)) => break,
                        Err(other) => panic!("{other}"),
                    }
                }
                kept
            })
        };
        log.close();
        let acknowledged = writer.join().expect("it does not panic");
        drop(log);
        let mut kept = Kept::default();
        drop(open(place.path(), Mode::Always, &mut kept));
        assert!(kept.0.starts_with(&acknowledged), "{} of {}", kept.0.len(), acknowledged.len());
    });
}

/// Polls as a runtime would: looks again only when woken.
fn wait_as_a_task(log: &Log, lsn: Lsn) {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker: Waker = Arc::new(Unpark(thread::current())).into();
    let mut asked = pin!(core::future::poll_fn(|context| {
        match log.poll_wait(lsn, false, context.waker()) {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }));
    while asked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        thread::park();
    }
}
