//! A log is handed over a link that loses, doubles and delays chunks, by a device that starts again in the middle.

mod ram;

use ram::{BLOCK, Failure, Ram};
use strandline_core::codec::check::TableCheck;
use strandline_core::export::receiver::{Event, Memory, RING_BYTES, Receiver};
use strandline_flash::{Config, Export, Log, Lsn, Refused, StoreId};

const STORE: StoreId = StoreId(*b"a device's log..");
const BLOCKS: usize = 6;
const PARTITION: core::ops::Range<u32> = 0..(BLOCKS * BLOCK) as u32;

type Device<'s, 'f> = Log<'s, &'f mut Ram>;

fn config() -> Config<Failure> {
    Config::new(STORE)
}

fn record(lsn: u64) -> Vec<u8> {
    (0..lsn * 7 % 60).map(|byte| (byte * 31 + lsn) as u8).collect()
}

fn fill<'s, 'f>(flash: &'f mut Ram, scratch: &'s mut [u8], records: u64) -> Device<'s, 'f> {
    let mut log = Log::open(flash, PARTITION, config(), scratch).unwrap();
    for lsn in 1..=records {
        log.append(&record(lsn)).unwrap();
    }
    log
}

/// Numbers that are decided by a seed.
struct Chance(u64);

impl Chance {
    fn one_in(&mut self, most: u64) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33).is_multiple_of(most)
    }
}

/// What the host has, by LSN.
#[derive(Default)]
struct Host {
    records: Vec<(u64, Vec<u8>)>,
    complete: bool,
}

impl Host {
    fn drain(&mut self, receiver: &mut Receiver<'_, TableCheck>) {
        loop {
            match receiver.poll() {
                Event::Record { lsn, bytes } => self.records.push((lsn.0, bytes.to_vec())),
                Event::Complete { .. } => self.complete = true,
                Event::Failed(failure) => panic!("{failure:?}"),
                Event::Idle => return,
                _ => {}
            }
        }
    }
}

/// Sends until the host is complete; one chunk in `loss` and one reply in `loss` is lost. Answers how many chunks were sent.
fn transfer(log: &mut Device<'_, '_>, host: &mut Host, mtu: usize, loss: u64, seed: u64) -> usize {
    let mut chance = Chance(seed);
    let (mut ring, mut whole) = (vec![0; RING_BYTES], vec![0; 512]);
    let next = host.records.last().map_or(Lsn(0), |(lsn, _)| Lsn(lsn + 1));
    let mut receiver: Receiver<'_, TableCheck> =
        Receiver::resume(next, Some(STORE), Memory { ring: &mut ring, record: &mut whole });
    let mut export = log.export(STORE).unwrap();
    receiver.request(seed as u16 | 1);
    let (mut sent, mut chunk) = (0, vec![0; mtu]);
    host.complete = false;
    for _ in 0..100_000 {
        while let Some(reply) = receiver.reply() {
            if !chance.one_in(loss) {
                let _ = export.ack(&reply);
            }
        }
        match log.next_chunk(&mut export, &mut chunk).unwrap() {
            None if host.complete => return sent,
            None => receiver.nudge(),
            Some(bytes) => {
                sent += 1;
                if !chance.one_in(loss) {
                    let _ = receiver.take(&chunk[..bytes]);
                    if chance.one_in(loss) {
                        let _ = receiver.take(&chunk[..bytes]);
                    }
                }
                host.drain(&mut receiver);
            }
        }
    }
    panic!("SEED={seed}: the export never ends");
}

#[test]
fn every_record_arrives_once_whatever_is_lost() {
    for (seed, loss) in [(1, 1_000_000), (2, 10), (3, 4), (4, 3)] {
        for mtu in [12, 20, 244] {
            let (mut flash, mut scratch) = (Ram::new(BLOCKS), [0; 256]);
            let mut log = fill(&mut flash, &mut scratch, 120);
            let mut host = Host::default();
            transfer(&mut log, &mut host, mtu, loss, seed);
            let first = host.records[0].0;
            assert!(first > 1, "the ring has dropped some");
            let wanted: Vec<_> = (first..=120).map(|lsn| (lsn, record(lsn))).collect();
            assert_eq!(host.records, wanted, "SEED={seed} mtu {mtu}");
        }
    }
}

#[test]
fn what_is_appended_meanwhile_and_after_a_restart_follows_without_a_gap() {
    let mut flash = Ram::new(BLOCKS);
    let mut host = Host::default();
    {
        let mut scratch = [0; 256];
        let mut log = fill(&mut flash, &mut scratch, 30);
        transfer(&mut log, &mut host, 20, 5, 7);
        assert_eq!(host.records.len(), 30);
        log.append(&record(31)).unwrap();
    }
    let mut scratch = [0; 256];
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    transfer(&mut log, &mut host, 20, 5, 8);
    assert_eq!(host.records.len(), 30, "the last one may have been torn");
    log.append(&record(32)).unwrap();
    transfer(&mut log, &mut host, 20, 5, 9);
    assert_eq!(host.records, (1..=32).map(|lsn| (lsn, record(lsn))).collect::<Vec<_>>());
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_changes_nothing() {
    let (mut flash, mut scratch) = (Ram::new(BLOCKS), [0; 256]);
    let mut log = fill(&mut flash, &mut scratch, 5);
    let mut export: Export = log.export(STORE).unwrap();
    assert_eq!(export.ack(&[0; 20]), Err(Refused::Noise));
    assert_eq!(export.ack(b"short"), Err(Refused::Noise));
    assert_eq!(export.kept(), Lsn(0));
    assert_eq!(log.next_chunk(&mut export, &mut [0; 20]), Ok(None), "nobody asked for anything");
}
