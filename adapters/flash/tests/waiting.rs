//! The log over a driver that waits: the same bytes as over one that blocks, and futures that are dropped at every await.
#![cfg(feature = "async")]

mod ram;

use core::pin::pin;
use core::task::{Context, Poll, Waker};

use ram::{BLOCK, Failure, Ram};
use strandline_flash::{Config, Error, Lsn, Policy, Refusal, StoreId, asynch};

const BLOCKS: usize = 7;
const PARTITION: core::ops::Range<u32> = 0..(BLOCKS * BLOCK) as u32;

fn config() -> Config<Failure> {
    Config { policy: Policy::DropOldest, reserve: 1, ..Config::new(StoreId(*b"log of the tests")) }
}

/// Polls until the end, or drops the future after so many polls.
fn poll<T>(operation: impl Future<Output = T>, polls: &mut u64) -> Option<T> {
    let mut operation = pin!(operation);
    loop {
        if *polls == 0 {
            return None;
        }
        *polls -= 1;
        if let Poll::Ready(value) = operation.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(value);
        }
    }
}

fn finish<T>(operation: impl Future<Output = T>) -> T {
    poll(operation, &mut u64::MAX.clone()).expect("it ends")
}

fn record(number: u64) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(3 + (number * 11 % 50) as usize).collect()
}

/// What a script step did to a log: appends, a group, a trim, idle time, a snapshot.
macro_rules! step {
    ($log:expr, $number:expr $(, $wait:tt)?) => {{
        let (log, number) = ($log, $number);
        match number % 23 {
            7 => log.append_all(&[&record(number), b"", &record(number + 1)])$(.$wait)?.map(drop),
            11 => log.maintain(300)$(.$wait)?,
            17 => {
                let before = Lsn(log.next_lsn().0 - 5);
                log.trim(before)$(.$wait)?.map(drop)
            }
            19 => match log.begin_snapshot(1)$(.$wait)? {
                Err(error) => Err(error),
                Ok(mut snapshot) => match log.write_snapshot(&mut snapshot, &record(number))$(.$wait)? {
                    Err(error) => Err(error),
                    Ok(()) => log.commit_snapshot(snapshot)$(.$wait)?,
                },
            },
            _ => log.append(&record(number))$(.$wait)?.map(drop),
        }
    }};
}

#[test]
fn what_blocks_and_what_waits_leave_the_same_bytes() {
    let (mut one, mut two) = (Ram::new(BLOCKS), Ram::new(BLOCKS));
    let (mut first, mut second) = ([0; 256], [0; 256]);
    let mut blocks = strandline_flash::Log::open(&mut one, PARTITION, config(), &mut first).unwrap();
    let mut waits = finish(asynch::Log::open(&mut two, PARTITION, config(), &mut second)).unwrap();
    for number in 10..400 {
        let (by_one, by_other) =
            (step!(&mut blocks, number), finish(async { step!(&mut waits, number, await) }));
        assert_eq!(by_one, by_other, "step {number}");
        assert_eq!(blocks.next_lsn(), waits.next_lsn());
    }
    assert!(one.bytes == two.bytes);
    assert_eq!((one.reads, one.programs, one.erases), (two.reads, two.programs, two.erases));
    assert!(one.erases > 30);
}

/// All records that are there.
async fn all(log: &mut asynch::Log<'_, &mut Ram>) -> Result<Vec<(u64, Vec<u8>)>, Error<Failure>> {
    let mut found = vec![];
    let mut records = log.records().await?;
    while let Some(record) = records.next().await? {
        found.push((record.lsn.0, record.bytes.to_vec()));
    }
    Ok(found)
}

/// What was acknowledged, and what an operation that was dropped may have written behind it.
#[derive(Default)]
struct Oracle {
    acknowledged: Vec<Vec<u8>>,
    maybe: Vec<u8>,
}

impl Oracle {
    fn check(&mut self, found: &[(u64, Vec<u8>)], next: Lsn) {
        let known = self.acknowledged.len() as u64;
        assert!(next.0 == known + 1 || next.0 == known + 2, "{known} were acknowledged, the next is {next}");
        if next.0 == known + 2 {
            self.acknowledged.push(core::mem::take(&mut self.maybe));
        }
        for (lsn, bytes) in found {
            assert_eq!(self.acknowledged[*lsn as usize - 1], *bytes, "LSN {lsn}");
        }
        let newest = found.last().map_or(next.0 - 1, |(lsn, _)| *lsn);
        assert_eq!(newest, next.0 - 1);
    }
}

#[test]
fn a_future_that_is_dropped_at_any_await_is_a_power_cut() {
    let mut dropped = 0;
    for begun in [0_u64, 37, 90].into_iter().chain(56..72) {
        for polls in 1..400 {
            let mut flash = Ram::new(BLOCKS);
            let mut scratch = [0; 256];
            let mut log = finish(asynch::Log::open(&mut flash, PARTITION, config(), &mut scratch)).unwrap();
            let mut oracle = Oracle::default();
            for number in 1..=begun {
                finish(log.append(&record(number))).unwrap();
                oracle.acknowledged.push(record(number));
            }
            // Dropped again and again, also in the mount and in the repair that follow.
            let mut left = polls;
            let mut ended = true;
            for number in 1000..1006 {
                oracle.maybe = record(number);
                match poll(log.append(&record(number)), &mut left) {
                    None => {
                        left = polls / 2 + 1;
                        ended = false;
                        dropped += 1;
                        let found = finish(all(&mut log)).unwrap();
                        oracle.check(&found, log.next_lsn());
                    }
                    Some(done) => {
                        oracle.acknowledged.push(record(number));
                        assert_eq!(done, Ok(Lsn(oracle.acknowledged.len() as u64)));
                    }
                }
            }
            let found = finish(all(&mut log)).unwrap();
            oracle.check(&found, log.next_lsn());
            if ended {
                break;
            }
        }
    }
    assert!(dropped > 1_000, "only {dropped} futures were dropped");
}

#[test]
fn a_snapshot_that_was_begun_before_a_drop_is_void() {
    let mut flash = Ram::new(BLOCKS);
    let mut scratch = [0; 256];
    let mut log = finish(asynch::Log::open(&mut flash, PARTITION, config(), &mut scratch)).unwrap();
    finish(log.append(b"one")).unwrap();
    let mut before = finish(log.begin_snapshot(1)).unwrap();
    assert!(poll(log.write_snapshot(&mut before, b"state"), &mut 2).is_none());
    let again = finish(log.write_snapshot(&mut before, b"state"));
    assert_eq!(again, Err(Error::Log(Refusal::Abandoned)));
    let mut after = finish(log.begin_snapshot(1)).unwrap();
    finish(log.write_snapshot(&mut after, b"state")).unwrap();
    assert_eq!(finish(log.commit_snapshot(before)), Err(Error::Log(Refusal::Abandoned)));
    finish(log.commit_snapshot(after)).unwrap();
    let mut state = finish(log.snapshot()).unwrap().expect("it was committed");
    assert_eq!(finish(state.next()), Ok(Some(&b"state"[..])));
}

#[test]
fn a_reader_that_was_dropped_in_the_middle_says_so() {
    let mut flash = Ram::new(BLOCKS);
    let mut scratch = [0; 256];
    let mut log = finish(asynch::Log::open(&mut flash, PARTITION, config(), &mut scratch)).unwrap();
    for number in 0..20 {
        finish(log.append(&record(number))).unwrap();
    }
    let mut records = finish(log.records()).unwrap();
    assert!(poll(records.next(), &mut 1).is_none());
    assert_eq!(finish(records.next()), Err(Error::Log(Refusal::Interrupted)));
    assert_eq!(finish(all(&mut log)).map(|found| found.len()), Ok(20));
}

#[test]
fn a_map_is_whole_wherever_its_update_is_dropped() {
    let mut dropped = 0;
    for polls in 1..3_000 {
        let mut flash = Ram::new(BLOCKS);
        let mut scratch = [0; 256];
        let open = asynch::Kv::<_, 128>::open(&mut flash, PARTITION, config(), &mut scratch);
        let mut map = finish(open).unwrap();
        let mut left = polls;
        let mut drops = 0;
        let mut newest = 0_u32;
        for number in 1..60_u32 {
            let bytes = number.to_le_bytes();
            match poll(map.insert_all(&[(b"one", &bytes), (b"two", &bytes)]), &mut left) {
                Some(done) => {
                    assert_eq!(done, Ok(()));
                    newest = number;
                }
                None => {
                    finish(map.refresh()).unwrap();
                    dropped += 1;
                    drops += 1;
                    // Each drop in a write that makes room takes some of what is kept for it: two are covered.
                    left = if drops < 2 { polls % 97 + 5 } else { u64::MAX };
                    let both = [b"one", b"two"].map(|key| map.get(key).map(<[u8]>::to_vec));
                    assert_eq!(both[0], both[1]);
                    let found =
                        both[0].as_deref().map_or(0, |value| u32::from_le_bytes(value.try_into().unwrap()));
                    assert!(found == number || found == newest, "{found}, not {newest} or {number}");
                    newest = found;
                }
            }
        }
        if drops == 0 {
            assert!(dropped > 400, "only {dropped} updates were dropped");
            return;
        }
    }
    panic!("never ends");
}
