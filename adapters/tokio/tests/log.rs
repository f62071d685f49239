//! The async handle: acknowledged appends, cancelled futures, shared syncs.

use core::future::Future;
use core::task::{Context, Waker};
use std::path::Path;

use strandline::{BadState, Lsn, Mode, Options, Replay};
use strandline_tokio::AsyncLog;

#[derive(Default)]
struct List(Vec<Vec<u8>>);

impl Replay for List {
    fn reset(&mut self) {
        self.0.clear();
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), BadState> {
        Err(BadState("no snapshots here".into()))
    }

    fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
        self.0.push(record.to_vec());
        Ok(())
    }
}

fn options(directory: &Path) -> Options {
    Options::new(directory).mode(Mode::Always).segment_bytes(64 << 10).batch_bytes(4 << 10)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_appends_are_all_there_after_a_reopen() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = AsyncLog::open(options(directory.path()), List::default()).await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                for number in 0..50 {
                    let lsn = log.append(format!("{task}/{number}").as_bytes()).await.unwrap();
                    assert!(log.log().durable() > lsn);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    log.close().await;
    assert!(log.append(b"late").await.is_err());
    drop(log);
    let (_, opened) = AsyncLog::open(options(directory.path()), List::default()).await.unwrap();
    assert_eq!(opened.state.0.len(), 1000);
    assert!(opened.recovered.report.sealed);
}

#[tokio::test]
async fn a_dropped_future_does_not_drop_the_write() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = AsyncLog::open(options(directory.path()), List::default()).await.unwrap();
    {
        let append = core::pin::pin!(log.append(b"taken in the first poll"));
        let mut context = Context::from_waker(Waker::noop());
        let _ = append.poll(&mut context);
    }
    {
        let _never_polled = log.append(b"never polled");
    }
    assert_eq!(log.append(b"second").await.unwrap(), Lsn(2));
    log.close().await;
    drop(log);
    let (_, opened) = AsyncLog::open(options(directory.path()), List::default()).await.unwrap();
    assert_eq!(opened.state.0, [&b"taken in the first poll"[..], b"second"]);
}
