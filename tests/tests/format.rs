//! `docs/FORMAT.md` keeps its word: every hex block is what stands in a golden image, its check values are the right ones, and a
//! reader made from that page alone, sharing no code with core, reads the images.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// CRC-32C bit by bit, going on from the checksum `state` of what came before.
fn crc32c(state: u32, bytes: &[u8]) -> u32 {
    let mut crc = !state;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
        }
    }
    !crc
}

const STORE: &[u8; 16] = b"a golden image\0\0";
const HEADER_SEED: u32 = 0x5354_524e;

fn wal_seed(epoch: u32, log: u64) -> u32 {
    crc32c(crc32c(crc32c(crc32c(0, STORE), b"w"), &epoch.to_le_bytes()), &log.to_le_bytes())
}

fn manifest_seed() -> u32 {
    crc32c(crc32c(0, STORE), b"m")
}

fn snapshot_seed(number: u32) -> u32 {
    crc32c(crc32c(crc32c(0, STORE), b"s"), &number.to_le_bytes())
}

/// An intact frame: kind without the long flag, seq, payload, and bytes with padding to 8.
struct Frame<'b> {
    kind: u8,
    seq: u8,
    payload: &'b [u8],
    bytes: usize,
}

fn frame(extent: &[u8], offset: usize, seed: u32) -> Option<Frame<'_>> {
    let bytes = &extent[offset..];
    let header: [u8; 8] = bytes.get(..8)?.try_into().unwrap();
    let (start, len) = if header[7] & 0x80 == 0 {
        (8, usize::from(u16::from_le_bytes([header[4], header[5]])))
    } else {
        (12, u32_at(bytes.get(8..12)?, 0) as usize)
    };
    let covered = bytes.get(..(start + len).next_multiple_of(8))?;
    let low = u32::try_from(offset).unwrap();
    let intact = crc32c(seed ^ low, &covered[4..]) == u32_at(covered, 0);
    intact.then(|| Frame {
        kind: header[7] & 0x7f,
        seq: header[6],
        payload: &covered[start..start + len],
        bytes: covered.len(),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Records of one segment by LSN, read as the page says: header, batches, marks.
fn read_segment(extent: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let header = frame(extent, 0, HEADER_SEED).filter(|header| header.kind == 0x20);
    let Some(header) = header else { return BTreeMap::new() };
    let body = header.payload;
    assert_eq!((body.len(), &body[..8], &body[8..12]), (96, &b"STRNDLN\x1a"[..], &[1, 0, 1, 0][..]));
    assert_eq!(&body[24..40], STORE);
    let batch_border = u32_at(body, 16) as usize;
    let seed = wal_seed(u32_at(body, 48), u64_at(body, 40));
    let mut next = u64_at(body, 52);
    let mut at = header.bytes.next_multiple_of(batch_border);
    let (mut records, mut batch_end) = (BTreeMap::new(), at);
    while let Some(frame) = frame(extent, at, seed) {
        assert_eq!(frame.seq, u8::try_from(next & 0xff).unwrap());
        match frame.kind {
            0x01 => {
                records.insert(next, frame.payload.to_vec());
                next += 1;
            }
            0x03 => {
                let mut group = frame.payload;
                while !group.is_empty() {
                    let (len, rest) = varint(group);
                    let (record, rest) = rest.split_at(usize::try_from(len).unwrap());
                    records.insert(next, record.to_vec());
                    (next, group) = (next + 1, rest);
                }
            }
            0x10 => {
                assert_eq!((at, at % batch_border, frame.payload.len()), (batch_end, 0, 56));
                assert_eq!(u64_at(frame.payload, 20), next);
                batch_end = at + u32_at(frame.payload, 44) as usize;
            }
            0x11 => assert!(frame.payload.iter().all(|byte| *byte == 0)),
            other => panic!("kind {other:#04x} in a segment"),
        }
        at += frame.bytes;
    }
    assert_eq!(at, batch_end, "the last batch is whole");
    records
}

/// The numbers of a manifest body behind its prefix: postcard writes each as a base-128 varint, and nothing else.
fn varints(mut body: &[u8]) -> Vec<u64> {
    let mut numbers = vec![];
    while !body.is_empty() {
        let (number, rest) = varint(body);
        numbers.push(number);
        body = rest;
    }
    numbers
}

/// A varint, and what stands behind it.
fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let len = bytes.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let (number, rest) = bytes.split_at(len);
    (number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)), rest)
}

/// The newest revision in the manifest extents: head, counts and lists as one row of numbers.
fn newest_manifest(extents: &[Vec<u8>]) -> Vec<u64> {
    let slots = extents.iter().flat_map(|extent| (0..extent.len()).step_by(512).map(move |at| (extent, at)));
    let frames = slots.filter_map(|(extent, at)| frame(extent, at, manifest_seed()));
    let bodies = frames.filter(|frame| frame.kind == 0x30).map(|frame| frame.payload);
    bodies
        .map(|body| {
            assert_eq!((&body[..16], &body[16..18]), (&STORE[..], &[1, 0][..]));
            varints(&body[18..])
        })
        .max_by_key(|numbers| numbers[0])
        .unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn image(path: &str) -> Vec<u8> {
    let place = if path.starts_with("archives/") { "tests" } else { "tests/golden" };
    fs::read(root().join(place).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn every_hex_block_of_the_format_page_is_what_an_image_holds() {
    let text = page("docs/FORMAT.md");
    let mut blocks = 0;
    for block in text.split("\n```hex ").skip(1) {
        let (title, rest) = block.split_once('\n').unwrap();
        let (path, range) = title.split_once(' ').unwrap();
        let (start, end) = range.split_once("..").unwrap();
        let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
        let lines = rest.split("\n```").next().unwrap().lines();
        let bytes: Vec<u8> = lines
            .flat_map(|line| line.split('#').next().unwrap().split_whitespace())
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        assert_eq!(bytes, image(path)[start..end], "{title}");
        blocks += 1;
    }
    assert!(blocks >= 5, "only {blocks} blocks were compared");
}

#[test]
fn the_check_values_of_the_format_page_are_right() {
    let text = page("docs/FORMAT.md");
    let row = |what: &str, value: u32| {
        let line = format!("| {what} | `0x{value:08x}` |");
        assert!(text.contains(&line), "FORMAT.md lacks {line}");
    };
    row("CRC-32C of \"123456789\"", crc32c(0, b"123456789"));
    row("seed of segment 1 in epoch 1", wal_seed(1, 1));
    row("seed of segment 5 in epoch 2", wal_seed(2, 5));
    row("seed of the manifest", manifest_seed());
    row("seed of snapshot 4", snapshot_seed(4));
    row("segment 1 in epoch 1, offset 168: the checksum starts from", wal_seed(1, 1) ^ 168);
}

#[test]
fn a_reader_made_from_the_page_reads_the_segments() {
    let read = |number: u32| read_segment(&image(&format!("format-1/words/log-{number:08}.wal")));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let first = read(1);
    assert_eq!(first.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(
        [&first[&1], &first[&2], &first[&3]].map(|record| text(record)),
        ["the water came", "", "up to here"]
    );
    assert_eq!(first[&4], [0x5a; 3500]);
    assert_eq!(read(2), BTreeMap::from([(5, vec![0xa5; 200])]));
    assert_eq!(read(3), BTreeMap::new(), "listed and never begun");
    let fifth = read(5);
    assert_eq!(fifth.keys().copied().collect::<Vec<_>>(), [6, 7, 8, 9]);
    assert_eq!([6, 7, 8, 9].map(|lsn| text(&fifth[&lsn])), ["a second start", "all", "", "or none"]);
    let aligned = read_segment(&image("format-1/sectors/log-00000001.wal"));
    assert_eq!(aligned, BTreeMap::from([(1, b"on a border".to_vec())]));
}

#[test]
fn a_reader_made_from_the_page_reads_the_manifest() {
    let extents: Vec<_> = (0..3).map(|number| image(&format!("format-1/words/manifest-{number}"))).collect();
    let numbers = newest_manifest(&extents);
    let (head, rest) = numbers.split_at(15);
    assert_eq!(head[..5], [7, 6, 0, 2, 8], "revision, proven, its extent, epoch, next log id");
    assert_eq!(head[5..10], [5, 168, 6, 0, 0], "settled log id, offset and LSN, timeline, archived");
    assert_eq!(head[11..], [0, 8, 8, 4096], "losses, write unit, batch border, extent");
    let (counts, rest) = rest.split_at(4);
    assert_eq!(counts, [4, 0, 1, 0]);
    let (runs, rest) = rest.split_at(4 * 5);
    let unknown = u64::MAX;
    let expected = [[1, 1, 1, 1, 2], [5, 5, 2, 6, 1], [6, 3, 2, unknown, 1], [7, 6, 2, unknown, 1]];
    assert_eq!(runs, expected.as_flattened(), "log id, extent, epoch, fence, count");
    assert_eq!(rest[..6], [4, 4, 1, 352, 272, 2], "number, base, position, bytes, items");
    assert_eq!(rest.len(), 7);
}

#[test]
fn a_reader_made_from_the_page_reads_the_snapshot() {
    let file = image("format-1/words/snapshot-00000004.snap");
    let seed = snapshot_seed(4);
    let end = frame(&file, file.len() - 56, seed).filter(|end| end.kind == 0x42).unwrap().payload;
    let fields: Vec<u64> = (0..6).map(|at| u64_at(end, at * 8)).collect();
    assert_eq!(fields, [176, 40, 2, 2, 36, 4], "index, its bytes, chunks, items, state bytes, base");
    let index = frame(&file, 176, seed).filter(|index| index.kind == 0x41).unwrap();
    assert_eq!(index.bytes, 40);
    let chunks = index.payload.chunks_exact(16).map(|row| {
        let (offset, bytes, state) = (u64_at(row, 0), u32_at(row, 8), u32_at(row, 12));
        let chunk = frame(&file, usize::try_from(offset).unwrap(), seed).unwrap();
        assert_eq!((chunk.kind, chunk.bytes), (0x40, bytes as usize));
        assert_eq!((&chunk.payload[..4], u32_at(chunk.payload, 4)), (&[0; 4][..], state));
        String::from_utf8(chunk.payload[8..].to_vec()).unwrap()
    });
    assert_eq!(chunks.collect::<Vec<_>>(), ["everything before LSN 4", "in two chunks"]);
}
