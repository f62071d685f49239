//! Whole archives: written with little memory, read back, damaged bit by bit.

use proptest::prelude::*;

use super::entry::{Entry, Payload, Stamp};
use super::reader::{Audit, Index, TAIL_BYTES, Tail, begins_as_ours};
use super::writer::{Memory, Output, Push, Refused, Writer};
use super::{BlockRow, Codec, Header, MIN_BLOCK, Name, Prologue, Totals, Unreadable, zstd};
use crate::codec::check::TableCheck;
use crate::types::{Epoch, LogId, Lsn, Millis, StoreId, Timeline};

struct Lent {
    block: usize,
    stamps: usize,
    rows: usize,
    target: usize,
}

const SMALL: Lent = Lent { block: 1024, stamps: 200, rows: 64, target: 300 };

fn header(entries: &[Entry<'_>]) -> Header<'static> {
    let mut totals = Totals::NONE;
    entries.iter().for_each(|entry| totals.count(entry));
    Header {
        store: StoreId([3; 16]),
        timeline: Timeline(1),
        epoch: Epoch(2),
        shard: 4,
        log: LogId(123_456),
        created: Millis(1_800_000_000_999),
        totals,
        source: b"12345678",
        ..Header::EMPTY
    }
}

/// Writes an archive; with another codec than raw, `zstd::encode_raw` plays the compressor.
fn write(header: Header<'_>, entries: &[Entry<'_>], lent: &Lent) -> Result<std::vec::Vec<u8>, Refused> {
    let (mut block, mut stamps) = (vec![0; lent.block], vec![0; lent.stamps]);
    let mut table = vec![BlockRow::default(); lent.rows];
    let memory = Memory { block: &mut block, stamps: &mut stamps, table: &mut table };
    let mut writer = Writer::<TableCheck>::begin(header, lent.target, memory)?;
    let mut file = vec![];
    let drain = |writer: &mut Writer<'_, TableCheck>, file: &mut std::vec::Vec<u8>| loop {
        let encoded = match writer.poll()? {
            Output::Idle => return Ok(()),
            Output::Append(bytes) => {
                file.extend(bytes);
                continue;
            }
            Output::Encode(content) => {
                let mut frame = vec![0; content.len() + 100];
                let bytes = zstd::encode_raw(content, &mut frame).unwrap();
                frame.truncate(bytes);
                frame
            }
        };
        writer.encoded(&encoded)?;
        file.extend(encoded);
    };
    drain(&mut writer, &mut file)?;
    for entry in entries {
        while writer.push(entry)? == Push::Drain {
            drain(&mut writer, &mut file)?;
        }
    }
    writer.finish()?;
    drain(&mut writer, &mut file)?;
    assert!(writer.is_done());
    assert_eq!(writer.bytes(), file.len() as u64);
    Ok(file)
}

type Read = (u64, std::string::String, std::string::String, std::vec::Vec<u8>, u64, Stamp);

/// A full verification, as an adapter does it.
fn read(file: &[u8]) -> Result<std::vec::Vec<Read>, Unreadable> {
    let bytes = file.len() as u64;
    let tail = Tail::read(&file[file.len().saturating_sub(TAIL_BYTES)..], bytes)?;
    let index = Index::read::<TableCheck>(tail, &file[tail.offset as usize..])?;
    let front = usize::try_from(index.front_bytes()).unwrap();
    index.check_front::<TableCheck>(file.get(..front).ok_or(Unreadable::Damaged)?)?;
    let (mut audit, mut all) = (Audit::default(), vec![]);
    for number in 0..index.blocks() {
        let row = index.row(number).unwrap();
        let from = row.offset as usize;
        let window = file.get(from..from + (row.encoded + row.stamps) as usize).ok_or(Unreadable::Damaged)?;
        let block = row.check::<TableCheck>(number, window)?;
        let mut content = vec![0; row.raw as usize];
        block.decode_raw(&mut content).ok_or(Unreadable::Damaged)?;
        for entry in block.entries::<TableCheck>(&content)? {
            let entry = entry?;
            audit.count(&row, &entry)?;
            let Payload::Map(map) = entry.payload else { panic!("a reader yields maps") };
            let (context, kind) = (entry.context.into(), entry.event_type.into());
            all.push((entry.timestamp, context, kind, map.to_vec(), entry.event_id, entry.stamp));
        }
    }
    audit.finish(&index.header.totals)?;
    Ok(all)
}

fn stamp(lsn: u64, time: u64) -> Stamp {
    Stamp { lsn: Lsn(lsn), time: Millis(time), commit: Millis(time + 5) }
}

fn ten() -> std::vec::Vec<Entry<'static>> {
    let bytes = b"thirty bytes of a sensor's talk";
    (0..10).map(|at| Entry::record("pump", stamp(7 + at, 1_000_500 + at * 300), bytes)).collect()
}

#[test]
fn the_content_is_one_value_of_version_1() {
    let entries = ten();
    let file = write(header(&entries), &entries, &SMALL).unwrap();
    let mut content = vec![];
    let mut at = 0;
    while at < file.len() {
        let word = |from: usize| u32::from_le_bytes(file[from..from + 4].try_into().unwrap());
        let used = if word(at) == zstd::MAGIC {
            let size = word(at + 5) as usize;
            let frame = 9 + 3 + size + 4;
            let mut out = vec![0; size];
            assert_eq!(zstd::decode_raw(&file[at..at + frame], &mut out), Some(size));
            content.extend(out);
            frame
        } else {
            assert_eq!(word(at) & 0xffff_fff0, 0x184d_2a50);
            8 + word(at + 4) as usize
        };
        at += used;
    }
    assert_eq!(at, file.len());
    let (prologue, mut used) = Prologue::decode(&content).unwrap();
    assert_eq!((prologue.shard, prologue.log, prologue.entries), (4, 123_456, 10));
    assert_eq!((prologue.timestamps, prologue.created), ((1000, 1003), 1_800_000_000));
    for entry in &entries {
        let (read, bytes) = Entry::decode(&content[used..], entry.stamp).unwrap();
        assert_eq!(read.record_bytes(), entry.record_bytes());
        used += bytes;
    }
    assert_eq!(used, content.len());
}

#[test]
fn every_flipped_bit_and_every_length_is_found() {
    let entries = ten();
    let mut file = write(header(&entries), &entries, &SMALL).unwrap();
    assert_eq!(read(&file).unwrap().len(), 10);
    for bit in 0..file.len() * 8 {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&file).is_err(), "bit {bit}");
        file[bit / 8] ^= 1 << (bit % 8);
    }
    for len in 0..file.len() {
        assert!(read(&file[..len]).is_err(), "length {len}");
    }
    assert!(begins_as_ours(&file) && !begins_as_ours(&file[..80]));
    file.insert(0, 0);
    assert!(read(&file).is_err(), "shifted");
}

#[test]
fn refusals_are_named() {
    let entries = ten();
    let good = header(&entries);
    let with = |lent: Lent| write(good, &entries, &lent).unwrap_err();
    assert_eq!(with(Lent { block: MIN_BLOCK - 1, ..SMALL }), Refused::Memory);
    assert_eq!(with(Lent { stamps: 50, ..SMALL }), Refused::Memory);
    assert_eq!(with(Lent { rows: 1, ..SMALL }), Refused::TooManyBlocks);
    assert_eq!(write(good, &entries[1..], &SMALL).unwrap_err(), Refused::Totals);
    let mut twice = entries.clone();
    twice[5].stamp.lsn = twice[3].stamp.lsn;
    assert_eq!(write(header(&twice), &twice, &SMALL).unwrap_err(), Refused::Order);
    let large = [Entry::record("pump", stamp(1, 1), &[0; 2000])];
    assert_eq!(write(header(&large), &large, &SMALL).unwrap_err(), Refused::EntryTooLarge);
    let long = Header { source: &[0; 65], ..good };
    assert_eq!(write(long, &entries, &SMALL).unwrap_err(), Refused::Memory);
}

#[test]
fn the_header_fits_whatever_it_says() {
    let most = u64::MAX;
    let entry = Entry { timestamp: most, ..Entry::record("x", stamp(most, 1), b"") };
    let text: std::string::String = "w".repeat(64);
    let longest = Header {
        store: StoreId([255; 16]),
        timeline: Timeline(u32::MAX),
        epoch: Epoch(u32::MAX),
        shard: u32::MAX,
        log: LogId(most),
        created: Millis(most),
        level: i32::MIN,
        source: &[7; 64],
        previous: &[8; 64],
        writer: &text,
        ..header(&[entry])
    };
    let file = write(longest, &[entry], &Lent { block: MIN_BLOCK, ..SMALL }).unwrap();
    assert_eq!(read(&file).unwrap()[0].5, entry.stamp);
}

#[test]
fn an_archive_of_nothing_is_one() {
    let file = write(header(&[]), &[], &SMALL).unwrap();
    assert_eq!(read(&file), Ok(vec![]));
}

#[test]
fn large_entries_take_several_raw_blocks() {
    let bytes = vec![0xa5; 300_000];
    let entries = [1, 2, 3].map(|lsn| Entry::record("big", stamp(lsn, lsn), &bytes));
    let lent = Lent { block: 320_000, stamps: 4096, rows: 3, target: 64 << 10 };
    let file = write(header(&entries), &entries, &lent).unwrap();
    assert_eq!(read(&file).unwrap().len(), 3);
}

#[test]
fn blocks_are_found_by_lsn() {
    let entries = ten();
    let file = write(header(&entries), &entries, &Lent { target: 150, ..SMALL }).unwrap();
    let tail = Tail::read(&file, file.len() as u64).unwrap();
    let index = Index::read::<TableCheck>(tail, &file[tail.offset as usize..]).unwrap();
    assert!(index.blocks() > 2);
    for (number, row) in index.rows().enumerate() {
        assert_eq!(index.block_of(row.first), number.saturating_sub(1));
        assert_eq!(index.block_of(Lsn(row.first.0 + u64::from(row.entries) - 1)), number);
    }
    assert_eq!((index.block_of(Lsn(0)), index.block_of(Lsn(99))), (0, index.blocks() - 1));
    assert_eq!((index.header.log, index.header.source), (LogId(123_456), &b"12345678"[..]));
}

#[test]
fn names_are_those_of_sneldb() {
    let name = |log, start, end| Name { log: LogId(log), timestamps: (start, end) };
    assert_eq!(std::format!("{}", name(4, 0, 17)), "wal-00004-0-17.wal.zst");
    assert_eq!(std::format!("{}", name(123_456, 1, 2)), "wal-123456-1-2.wal.zst");
    assert_eq!(Name::parse("wal-123456-1-2.wal.zst"), Some(name(123_456, 1, 2)));
    for other in
        ["wal-0004-0-17.wal.zst", "wal-00004-0.wal.zst", "wal-00004--1-2.wal.zst", "wal-00004-+1-2.wal.zst"]
    {
        assert_eq!(Name::parse(other), None, "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn entries_read_back_whatever_memory_is_lent(
        records in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..300), 0..3000_u64, 0..4_u64), 0..60),
        target in 1..1000_usize,
        stamps in 112..400_usize,
        compressed: bool,
    ) {
        let mut lsn = 0;
        let entries: std::vec::Vec<_> = records.iter().map(|(bytes, time, step)| {
            lsn += step;
            Entry::record("node", stamp(lsn, *time), bytes)
        }).collect();
        let codec = if compressed { Codec::Zstd } else { Codec::Raw };
        let lent = Lent { block: 1024, stamps, rows: 64, target };
        let file = write(Header { codec, ..header(&entries) }, &entries, &lent).unwrap();
        let all = read(&file).unwrap();
        prop_assert_eq!(all.len(), entries.len());
        for (read, entry) in all.iter().zip(&entries) {
            prop_assert_eq!((read.0, &*read.1, read.4, read.5), (entry.timestamp, "node", entry.event_id, entry.stamp));
            prop_assert!(read.3.ends_with(entry.record_bytes().unwrap()));
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(mut bytes: std::vec::Vec<u8>, place in 0..4096_usize) {
        let _ = read(&bytes);
        let entries = ten();
        let mut file = write(header(&entries), &entries, &SMALL).unwrap();
        bytes.truncate(file.len());
        let from = place % (file.len() - bytes.len() + 1);
        let same = file[from..from + bytes.len()] == bytes[..];
        file[from..from + bytes.len()].copy_from_slice(&bytes);
        prop_assert_eq!(read(&file).is_ok(), same);
    }
}
