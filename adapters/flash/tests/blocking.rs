//! The log over a driver that blocks: what it keeps, what it refuses, and what it makes of a flash that fails.

mod ram;

use core::cell::RefCell;

use ram::{BLOCK, Failure, Ram, WORD};
use strandline_flash::{
    Config, Error, GeometryError, Kv, Log, Lsn, Place, Policy, ReadFailure, Refusal, Shared, StoreId,
};

const STORE: StoreId = StoreId(*b"log of the tests");
const BLOCKS: usize = 6;
const PARTITION: core::ops::Range<u32> = 0..(BLOCKS * BLOCK) as u32;

fn config() -> Config<Failure> {
    Config::new(STORE)
}

/// A part whose words may be unreadable.
fn with_check_bits() -> Config<Failure> {
    let judge = |error: &Failure| match error {
        Failure::Ecc => ReadFailure::Unreadable,
        Failure::Misuse | Failure::Broken => ReadFailure::Medium,
    };
    Config { judge, ..config() }
}

fn record(number: u64) -> Vec<u8> {
    let len = 3 + (number * 7 % 40) as usize;
    // No byte of it is zero, as what is unreadable is.
    let bytes = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes().map(|byte| byte | 1);
    bytes.into_iter().cycle().take(len).collect()
}

fn all(log: &mut Log<'_, &mut Ram>) -> Vec<(u64, Vec<u8>)> {
    let mut found = vec![];
    let mut records = log.records().unwrap();
    while let Some(record) = records.next().unwrap() {
        found.push((record.lsn.0, record.bytes.to_vec()));
    }
    found
}

/// What is found is a suffix of what was appended, and ends with the newest.
fn check(log: &mut Log<'_, &mut Ram>, newest: u64) {
    let found = all(log);
    let first = found.first().map_or(newest + 1, |(lsn, _)| *lsn);
    let wanted: Vec<_> = (first..=newest).map(|lsn| (lsn, record(lsn))).collect();
    assert_eq!(found, wanted);
}

/// A flash with so many records.
fn filled(records: u64) -> Ram {
    let mut flash = Ram::new(BLOCKS);
    let mut scratch = [0; 256];
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    for lsn in 1..=records {
        assert_eq!(log.append(&record(lsn)), Ok(Lsn(lsn)));
    }
    flash
}

#[test]
fn records_come_back_from_both_ends_and_from_the_middle() {
    let mut flash = filled(200);
    let mut scratch = [0; 256];
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    check(&mut log, 200);
    let oldest = all(&mut log)[0].0;
    assert!(oldest > 1 && oldest < 180);
    let mut records = log.records_from(Lsn(190)).unwrap();
    assert_eq!(records.next().unwrap().map(|record| record.lsn), Some(Lsn(190)));
    let mut records = log.records_backward().unwrap();
    for lsn in (oldest..=200).rev() {
        let found = records.next().unwrap().unwrap();
        assert_eq!((found.lsn, found.bytes), (Lsn(lsn), &record(lsn)[..]));
    }
    assert_eq!(records.next(), Ok(None));
    assert_eq!(log.next_lsn(), Lsn(201));
}

#[test]
fn groups_trims_and_snapshots() {
    let mut flash = Ram::new(BLOCKS);
    let mut scratch = [0; 256];
    let config = || Config { policy: Policy::AskForSnapshot, reserve: 1, ..config() };
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    assert_eq!(log.append_all(&[b"a", b"", b"ccc"]), Ok(Lsn(3)));
    let full = (4..1000).find_map(|lsn| log.append(&record(lsn)).err().map(|error| (lsn, error)));
    let Some((next, Error::Log(Refusal::NeedsSnapshot))) = full else { panic!("never full: {full:?}") };
    let mut snapshot = log.begin_snapshot(1).unwrap();
    assert_eq!(snapshot.base(), Lsn(next - 1));
    log.write_snapshot(&mut snapshot, b"all that ").unwrap();
    log.write_snapshot(&mut snapshot, b"was").unwrap();
    log.commit_snapshot(snapshot).unwrap();
    log.append(b"after").unwrap();
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    let mut state = log.snapshot().unwrap().expect("it was committed");
    assert_eq!(state.base(), Lsn(next - 1));
    let mut bytes = vec![];
    while let Some(more) = state.next().unwrap() {
        bytes.extend_from_slice(more);
    }
    assert_eq!(bytes, b"all that was");
    assert_eq!(all(&mut log), [(next, b"after".to_vec())]);
    assert_eq!(log.trim(Lsn(next + 2)), Err(Error::Log(Refusal::NoSuchLsn)));
    assert_eq!(log.trim(Lsn(next)), Ok(Lsn(next)));
}

#[test]
fn what_is_no_log_of_ours_is_refused_by_name_and_left_as_it_is() {
    let ours = filled(60).bytes;
    let mut random = vec![0; ours.len()];
    let mut word = 1_u32;
    for byte in &mut random {
        word = word.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        *byte = (word >> 24) as u8;
    }
    let store = StoreId(*b"somebody else's.");
    let cases = [
        (ours.clone(), Config { store, ..config() }, Refusal::OtherStore),
        (ours.clone(), Config { block_bytes: 1024, ..config() }, Refusal::OtherGeometry),
        (ours, Config { word_bytes: 8, ..config() }, Refusal::OtherGeometry),
        (random, config(), Refusal::NotFormatted),
        (vec![0; BLOCKS * BLOCK], config(), Refusal::NotFormatted),
    ];
    for (bytes, config, refusal) in cases {
        let mut flash = Ram::holding(bytes.clone());
        let mut scratch = [0; 256];
        let opened = Log::open(&mut flash, PARTITION, config, &mut scratch).map(drop);
        assert_eq!(opened, Err(Error::Log(refusal)));
        assert!(flash.bytes == bytes && flash.programs + flash.erases == 0);
        let mut log = Log::format(&mut flash, PARTITION, self::config(), &mut scratch).unwrap();
        assert_eq!(log.append(&record(1)), Ok(Lsn(1)));
        check(&mut log, 1);
    }
}

#[test]
fn sizes_and_arguments_that_can_t_be_used_are_refused_by_name() {
    let mut scratch = [0; 256];
    let mut flash = Ram::new(BLOCKS);
    let mut open = |partition, config: Config<Failure>| {
        Log::open(&mut flash, partition, config, &mut scratch).map(drop).unwrap_err()
    };
    let block = BLOCK as u32;
    for partition in
        [0..7 * block, 100..6 * block, 0..5 * block + 4, 6 * block..2 * block, u32::MAX - 511..u32::MAX]
    {
        assert_eq!(open(partition, config()), Error::Partition);
    }
    assert_eq!(open(0..2 * block, config()), Error::Geometry(GeometryError::BlockCount));
    assert_eq!(open(0..0, config()), Error::Geometry(GeometryError::BlockCount));
    let word_bytes = |word_bytes| Config { word_bytes, ..config() };
    for word in [2, 12, 512] {
        assert_eq!(open(PARTITION, word_bytes(word)), Error::Geometry(GeometryError::Word));
    }
    let block_bytes = |block_bytes| Config { block_bytes, ..config() };
    for block in [256, 768, 1536] {
        assert_eq!(open(PARTITION, block_bytes(block)), Error::Geometry(GeometryError::BlockBytes));
    }
    assert!(matches!(
        Log::open(&mut flash, PARTITION, config(), &mut [0; 20]).map(drop),
        Err(Error::Log(Refusal::NeedsScratch { .. }))
    ));
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    let most = log.max_record();
    let too_large = Err(Error::Log(Refusal::TooLarge { most }));
    assert_eq!(log.append(&vec![1; most as usize + 1]), too_large);
    assert_eq!(log.append_all(&[]), too_large);
    assert_eq!(log.append_all(&[&b"x"[..]; 256]), too_large);
    assert_eq!(log.append(&vec![1; most as usize]), Ok(Lsn(1)));
    assert!(matches!(log.begin_snapshot(2), Err(Error::Log(Refusal::TooFewBlocks { needed: 7 }))));
}

#[test]
fn a_scratch_at_any_address_is_taken() {
    for skipped in 0..4 {
        let mut flash = filled(80);
        let mut scratch = [0; 300];
        let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch[skipped..]).unwrap();
        log.append(&record(81)).unwrap();
        check(&mut log, 81);
    }
}

#[test]
fn two_stores_share_one_part() {
    let part = RefCell::new(Ram::new(2 * BLOCKS));
    let (mut first, mut second) = ([0; 256], [0; 256]);
    let behind = PARTITION.end..2 * PARTITION.end;
    let other = || Config { store: StoreId(*b"another of tests"), ..config() };
    let mut one = Log::open(Shared::new(&part), PARTITION, config(), &mut first).unwrap();
    let mut two = Log::open(Shared::new(&part), behind.clone(), other(), &mut second).unwrap();
    for lsn in 1..=120 {
        one.append(&record(lsn)).unwrap();
        two.append(&record(lsn + 1)).unwrap();
    }
    let mut part = part.into_inner();
    let swapped = Log::open(&mut part, behind.clone(), config(), &mut first).map(drop);
    assert_eq!(swapped, Err(Error::Log(Refusal::OtherStore)));
    check(&mut Log::open(&mut part, PARTITION, config(), &mut first).unwrap(), 120);
    let mut two = Log::open(&mut part, behind, other(), &mut first).unwrap();
    assert!(all(&mut two).iter().all(|(lsn, bytes)| *bytes == record(lsn + 1)));
}

/// Where the last word stands that is not erased, for each block that has one.
fn ends(flash: &Ram) -> Vec<usize> {
    let blocks = flash.bytes.chunks(BLOCK).enumerate();
    let ends = blocks.map(|(block, bytes)| {
        let word = bytes.chunks(WORD).rposition(|word| word != [0xff; WORD])?;
        Some(block * BLOCK + word * WORD)
    });
    ends.flatten().collect()
}

fn read_to_end(log: &mut Log<'_, &mut Ram>) -> Result<(), Error<Failure>> {
    let mut records = log.records()?;
    while records.next()?.is_some() {}
    Ok(())
}

#[test]
fn an_unreadable_word_is_torn_at_the_end_and_corrupt_before_it() {
    // So few that nothing was given up.
    for records in [5, 12, 40] {
        let flash = filled(records);
        let ends = ends(&flash);
        for (number, end) in ends.iter().enumerate() {
            let mut torn = flash.clone();
            torn.tear(*end);
            let mut scratch = [0; 256];
            let opened = Log::open(&mut torn, PARTITION, config(), &mut scratch);
            let halted = opened.and_then(|mut log| read_to_end(&mut log));
            assert_eq!(halted, Err(Error::Flash(Failure::Ecc)));
            let mut log = Log::open(&mut torn, PARTITION, with_check_bits(), &mut scratch).unwrap();
            if number + 1 < ends.len() {
                assert_eq!(log.next_lsn(), Lsn(records + 1));
                let corrupt = read_to_end(&mut log);
                assert!(matches!(corrupt, Err(Error::Log(Refusal::Corrupt(Place { .. })))), "{corrupt:?}");
                continue;
            }
            assert_eq!(log.next_lsn(), Lsn(records));
            check(&mut log, records - 1);
            log.append(&record(records)).unwrap();
            check(&mut log, records);
            check(&mut Log::open(&mut torn, PARTITION, with_check_bits(), &mut scratch).unwrap(), records);
        }
    }
}

#[test]
fn a_driver_that_fails_once_anywhere_loses_nothing() {
    let mut failed = 0;
    for fails_at in 0.. {
        let mut flash = Ram::new(BLOCKS);
        flash.fails_at = Some(fails_at);
        let mut scratch = [0; 256];
        let mut log = match Log::open(&mut flash, PARTITION, config(), &mut scratch) {
            Ok(log) => log,
            Err(error) => {
                assert_eq!(error, Error::Flash(Failure::Broken));
                continue;
            }
        };
        let mut next = 1;
        let mut failures = 0;
        while next <= 90 {
            if next % 9 == 0 {
                failures += u64::from(log.maintain(200).is_err());
            }
            match log.append(&record(next)) {
                Ok(lsn) => {
                    assert_eq!(lsn, Lsn(next));
                    next += 1;
                }
                Err(error) => {
                    assert_eq!(error, Error::Flash(Failure::Broken));
                    failures += 1;
                    // It may be there all the same.
                    log.maintain(0).unwrap();
                    next = next.max(log.next_lsn().0);
                }
            }
        }
        assert!(failures <= 1);
        failed += failures;
        let done = flash.done;
        flash.fails_at = None;
        check(&mut Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap(), 90);
        if done <= fails_at {
            break;
        }
    }
    assert!(failed > 100, "only {failed} operations failed");
}

#[test]
fn a_block_that_will_not_erase_stops_writes_and_not_reads() {
    let mut flash = Ram::new(BLOCKS);
    flash.stuck = Some(2);
    let mut scratch = [0; 256];
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    let mut next = 1;
    while log.append(&record(next)).is_ok() {
        next += 1;
    }
    for _ in 0..3 {
        assert_eq!(log.append(&record(next)), Err(Error::Flash(Failure::Broken)));
        check(&mut log, next - 1);
    }
    log.into_flash().stuck = None;
    let mut log = Log::open(&mut flash, PARTITION, config(), &mut scratch).unwrap();
    for lsn in next..next + 100 {
        log.append(&record(lsn)).unwrap();
    }
    check(&mut log, next + 99);
}

/// Programs, erases and reads.
fn cost(log: &Log<'_, Shared<'_, Ram>>, part: &RefCell<Ram>, before: [u64; 3]) -> [u64; 3] {
    assert!(log.next_lsn() > Lsn(0));
    let now = counts(part);
    [now[0] - before[0], now[1] - before[1], now[2] - before[2]]
}

fn counts(part: &RefCell<Ram>) -> [u64; 3] {
    let part = part.borrow();
    [part.programs, part.erases, part.reads]
}

fn most(so_far: &mut [u64; 3], cost: [u64; 3]) {
    so_far.iter_mut().zip(cost).for_each(|(most, now)| *most = now.max(*most));
}

#[test]
fn calls_cost_no_more_than_the_crate_says() {
    let part = RefCell::new(Ram::new(16));
    let mut scratch = [0; 256];
    let (mut kept, mut bare, mut idle, mut first) = ([0; 3], [0; 3], [0; 3], [0; 3]);
    for start in 0..200 {
        let whole = 0..(16 * BLOCK) as u32;
        let mut log = Log::open(Shared::new(&part), whole, config(), &mut scratch).unwrap();
        let before = counts(&part);
        log.append(&record(start)).unwrap();
        most(&mut first, cost(&log, &part, before));
        for number in 0..7 + start % 40 {
            let maintain = start % 2 == 0;
            if maintain {
                let before = counts(&part);
                log.maintain(64).unwrap();
                most(&mut idle, cost(&log, &part, before));
            }
            let before = counts(&part);
            log.append(&record(number)).unwrap();
            most(if maintain { &mut kept } else { &mut bare }, cost(&log, &part, before));
        }
    }
    assert_eq!((kept, bare, idle, first), ([2, 0, 1], [3, 1, 1], [1, 1, 1], [5, 1, 4]));
}

#[test]
fn settings_of_any_type_come_back() {
    let mut flash = Ram::new(7);
    let whole = 0..(7 * BLOCK) as u32;
    let mut scratch = [0; 256];
    let mut map = Kv::<_, 128>::open(&mut flash, whole.clone(), config(), &mut scratch).unwrap();
    for number in 0..300_u32 {
        map.insert_value(b"limits", &(number, -1_i16, true)).unwrap();
        map.insert(b"name", format!("device {number}").as_bytes()).unwrap();
    }
    assert_eq!(map.remove(b"name"), Ok(true));
    assert_eq!(map.remove(b"name"), Ok(false));
    assert_eq!(map.insert(b"", b""), Err(Error::BadEntry));
    assert_eq!(map.insert(&[b'k'; 128], b""), Err(Error::BadEntry));
    assert_eq!(map.insert(b"large", &[0; 120]), Err(Error::MapFull));
    let erases = flash.erases;
    assert!(erases > 20);
    let map = Kv::<_, 128>::open(&mut flash, whole.clone(), config(), &mut scratch).unwrap();
    assert_eq!(map.value(b"limits"), Ok(Some((299_u32, -1_i16, true))));
    assert_eq!(map.value::<&str>(b"limits"), Err(Error::OtherType));
    assert_eq!(map.iter().count(), 1);
    let small = Kv::<_, 128>::open(&mut flash, 0..(6 * BLOCK) as u32, config(), &mut scratch).map(drop);
    assert_eq!(small, Err(Error::Log(Refusal::TooFewBlocks { needed: 7 })));
    // A log of other records is no map.
    let mut log = Log::format(&mut flash, whole.clone(), config(), &mut scratch).unwrap();
    log.append(&[0; 9]).unwrap();
    let strange = Kv::<_, 128>::open(&mut flash, whole, config(), &mut scratch).map(drop);
    assert_eq!(strange, Err(Error::NotAMap));
}
