//! `Durable`: any state machine, exactly once, with snapshots while writes go on.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use strandline::{BadState, CowImage, CowMap, Durable, Lsn, Mode, Options, Replay, State, UpdateError};

/// Sums per key: a record that is applied twice, or not at all, shows.
#[derive(Default)]
struct Sums(CowMap<u32, u64>);

impl Replay for Sums {
    fn reset(&mut self) {
        self.0.clear();
    }

    fn restore(&mut self, chunk: &[u8]) -> Result<(), BadState> {
        for row in chunk.chunks(12) {
            let (Some(key), Some(sum)) = (row.first_chunk::<4>(), row.last_chunk::<8>()) else {
                return Err(BadState("a row is 12 bytes".into()));
            };
            self.0.insert(u32::from_le_bytes(*key), u64::from_le_bytes(*sum));
        }
        Ok(())
    }

    fn apply(&mut self, _: Lsn, record: &[u8]) -> Result<(), BadState> {
        let key = u32::from_le_bytes(*record.first_chunk().ok_or_else(|| BadState("short".into()))?);
        let sum = self.0.get(&key).copied().unwrap_or(0);
        self.0.insert(key, sum + 1);
        Ok(())
    }
}

impl State for Sums {
    type Image = CowImage<u32, u64>;

    fn image(&mut self) -> Self::Image {
        self.0.image(|key, sum, chunk| {
            chunk.extend(key.to_le_bytes());
            chunk.extend(sum.to_le_bytes());
        })
    }
}

fn open(directory: &std::path::Path) -> Durable<Sums> {
    let options = Options::new(directory).mode(Mode::Never).segment_bytes(256 << 10).batch_bytes(16 << 10);
    Durable::open(options, Sums::default()).unwrap().0
}

#[test]
fn snapshots_under_load_count_every_record_exactly_once() {
    let directory = tempfile::tempdir().unwrap();
    let (mut before, mut snapshots) = (0, 0);
    for _ in 0..4 {
        let sums = open(directory.path());
        assert_eq!(sums.read().0.iter().map(|(_, sum)| sum).sum::<u64>(), before);
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (sums, stop) = (sums.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut written = 0u32;
                while !stop.load(Ordering::Relaxed) || written < 1000 {
                    sums.update(&(written % 5000).to_le_bytes()).unwrap();
                    written += 1;
                }
                u64::from(written)
            })
        };
        for _ in 0..5 {
            let info = sums.snapshot().unwrap();
            assert!(info.snapshot.items <= 5000);
            snapshots += 1;
        }
        stop.store(true, Ordering::Relaxed);
        before += writer.join().unwrap();
    }
    let sums = open(directory.path());
    assert_eq!(sums.read().0.iter().map(|(_, sum)| sum).sum::<u64>(), before, "after {snapshots} snapshots");
}

#[test]
fn a_decision_sees_the_state_and_may_decline() {
    let directory = tempfile::tempdir().unwrap();
    let sums = open(directory.path());
    let once = |sums: &Durable<Sums>| {
        sums.update_with(|state, record| {
            if state.0.get(&7).is_some() {
                return Err("taken");
            }
            record.extend(7u32.to_le_bytes());
            Ok("first")
        })
    };
    assert_eq!(once(&sums).unwrap(), (Lsn(1), "first"));
    assert!(matches!(once(&sums), Err(UpdateError::Declined("taken"))));
    drop(sums);
    let sums = open(directory.path());
    assert!(matches!(once(&sums), Err(UpdateError::Declined("taken"))));
    assert_eq!(sums.log().next_lsn(), Lsn(2));
}
