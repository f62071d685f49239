//! What every corpus begins with: small, whole inputs as today's writers make them, from golden images, fixtures and by hand.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use std_server::events::Event;
use std_server::keyspace::{Effect, Keyspace, Options, encode_record};
use strandline::archive::{Entry, Header, Stamp, Value};
use strandline::{Epoch, LogId, Lsn, Millis, StoreId};
use strandline_core::archive::BlockRow;
use strandline_core::archive::writer::{Memory, Output, Push, Writer};
use strandline_core::codec::check::Seed;
use strandline_core::codec::extent::{ExtentHeader, FORMAT_VERSION, HeaderRole};
use strandline_core::codec::frame::{Framing, Kind, Slot};
use strandline_core::lower::posix::File;
use strandline_core::manifest::Snapshot;
use strandline_core::snapshot::Codec;
use strandline_core::snapshot::writer::{Owner, SnapshotWriter, chunk_bytes};
use strandline_core::types::{Extent, Position, Revision, Role, Settled};

use super::fuzz::{self, Blind, World};

type Seeds = Vec<(String, Vec<u8>)>;

/// All of them, by `target/name`.
pub(crate) fn all() -> Seeds {
    let mut all = Seeds::new();
    let media = [frames(), stores(), snapshots(), archives(), flash(), export()];
    let texts =
        [states(), configurations(), entries(), requests(), vec![("events/seed-paid".into(), event())]];
    media.into_iter().chain(texts).for_each(|seeds| all.extend(seeds));
    all
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the top").to_path_buf()
}

fn read(path: &str) -> Vec<u8> {
    fs::read(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A file of the newest golden images.
fn golden(name: &str) -> Vec<u8> {
    read(&format!("tests/golden/format-{FORMAT_VERSION}/{name}"))
}

fn named(target: &str, name: &str, parts: &[&[u8]]) -> (String, Vec<u8>) {
    (format!("{target}/seed-{name}"), parts.concat())
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    &bytes[..bytes.len() - zeros]
}

fn frames() -> Seeds {
    let framing = Framing { write_unit: 8, seed: Seed::HEADER };
    let slot = Slot { offset: 64, lsn: Lsn(5) };
    let mut record = vec![0; 64];
    let bytes =
        framing.encode::<Blind>(Kind::Record, slot, b"up to here", &mut record).expect("there is room");
    // A long frame, which this short a record would not be.
    let long =
        [0, 0, 0, 0, 0, 0, 5, Kind::Record as u8 | 0x80, 5, 0, 0, 0, b'w', b'a', b't', b'e', b'r', 0, 0, 0];
    let header = ExtentHeader {
        role: HeaderRole::Wal,
        geometry: (8, 512, 8192),
        store: StoreId(*b"a golden image\0\0"),
        log: LogId(7),
        epoch: Epoch(2),
        fence: Lsn(1000),
        settled: Settled { position: Position { log: LogId(6), offset: 4096 }, lsn: Lsn(990) },
        revision: Revision(12),
        time: Millis(1_700_000_000_000),
    };
    let mut extent = vec![0; 512];
    let of_header = header.encode::<Blind>(8, &mut extent).expect("there is room");
    let golden = golden("words/log-00000001.wal");
    vec![
        named("frame", "record", &[&[3, 64, 0], &record[..bytes]]),
        named("frame", "long", &[&[2, 0, 0], &long]),
        named("frame", "golden-header", &[&[3, 0, 0], &golden[..104]]),
        named("extent", "header", &[&extent[..of_header]]),
        named("extent", "golden", &[&golden[..104]]),
    ]
}

/// Segments and manifests by themselves, and whole directories.
fn stores() -> Seeds {
    let mut seeds = Seeds::new();
    for (name, sectors) in [("words", false), ("sectors", true)] {
        let mut world = World::new(sectors);
        let place = root().join(format!("tests/golden/format-{FORMAT_VERSION}/{name}"));
        for entry in fs::read_dir(&place).expect("golden images") {
            let entry = entry.expect("a file");
            if let Some(file) = File::parse(&entry.file_name().to_string_lossy(), "log") {
                world.put(file.extent(), fs::read(entry.path()).expect("it is read"));
            }
        }
        seeds.push(named("recovery", name, &[&world.encode(false)]));
        seeds.extend(extents(name, &world, sectors));
    }
    let world = World::blind();
    seeds.push(named("recovery", "blind", &[&world.encode(true)]));
    seeds.extend(extents("blind", &world, false));
    seeds
}

/// The first segment and the manifests of a world.
fn extents(name: &str, world: &World, sectors: bool) -> Seeds {
    let first_batch = if sectors { 512 } else { 104 };
    let mut seeds = Seeds::new();
    for (extent, bytes) in world.extents() {
        let Extent { role, number } = extent;
        let bytes = without_zeros(bytes);
        match role {
            Role::Manifest if !bytes.is_empty() => {
                seeds.push(named("manifest", &format!("{name}-{number}"), &[bytes]));
            }
            Role::Wal if number == 1 => {
                let bytes = bytes.get(first_batch..).unwrap_or_default();
                seeds.push(named("segment", name, &[&[u8::from(sectors)], bytes]));
                seeds.push(named(
                    "segment",
                    &format!("{name}-from-border"),
                    &[&[u8::from(sectors) | 2], bytes],
                ));
            }
            _ => {}
        }
    }
    seeds
}

fn snapshots() -> Seeds {
    let snapshot = Snapshot { number: 4, base: Lsn(9), time: Millis(7), ..Snapshot::default() };
    let owner = Owner { store: StoreId([5; 16]), epoch: Epoch(1), revision: Revision(3) };
    let mut file = vec![0; 512];
    let (mut writer, bytes) =
        SnapshotWriter::begin::<Blind>(owner, &snapshot, &mut file).expect("there is room");
    file.truncate(bytes);
    let mut rows = vec![];
    for chunk in [&b"one"[..], b"", b"three and more"] {
        let mut out = vec![0; chunk_bytes(chunk.len())];
        let len = u32::try_from(chunk.len()).expect("it is short");
        rows.extend(writer.chunk::<Blind>(Codec::Raw, len, chunk, &mut out).expect("there is room").encode());
        file.extend(out);
    }
    let mut end = vec![0; writer.finish_bytes(rows.len())];
    writer.finish::<Blind>(&rows, 3, &mut end).expect("there is room");
    file.extend(end);
    let golden = golden("words/snapshot-00000004.snap");
    vec![named("snapshot", "blind", &[&[4], &file]), named("snapshot", "golden", &[&[4], &golden])]
}

fn archives() -> Seeds {
    let golden = "tests/archives/format-1/wal-00005-1700000000-1700000000.wal.zst";
    let sneldb = "tests/archives/sneldb-v1/archived";
    vec![
        named("archive", "blind", &[&archive()]),
        named("archive", "golden", &[&read(golden)]),
        named("archive", "sneldb", &[&read(&format!("{sneldb}/shard-0/wal-00004-0-1700000005.wal.zst"))]),
        named(
            "archive",
            "sneldb-empty",
            &[&read(&format!("{sneldb}/shard-0/wal-00003-1700009000-1700009000.wal.zst"))],
        ),
        named(
            "archive",
            "sneldb-small",
            &[&read(&format!("{sneldb}/shard-1/wal-00001-1700000000-1700000009.wal.zst"))],
        ),
    ]
}

/// Two blocks that are not compressed, under checksums that are blind.
fn archive() -> Vec<u8> {
    let stamp = |lsn: u64| Stamp { lsn: Lsn(lsn), time: Millis(1_000_500 + lsn * 300), commit: Millis(0) };
    let entries: Vec<_> = (7..12).map(|lsn| Entry::record("pump", stamp(lsn), &[0x5a; 60])).collect();
    let mut header = Header { log: LogId(5), writer: "seeds", ..Header::EMPTY };
    entries.iter().for_each(|entry| header.totals.count(entry));
    let (mut block, mut stamps, mut table) = (vec![0; 1024], vec![0; 200], vec![BlockRow::default(); 8]);
    let memory = Memory { block: &mut block, stamps: &mut stamps, table: &mut table };
    let mut writer = Writer::<Blind>::begin(header, 300, memory).expect("it fits");
    let mut file = vec![];
    let drain = |writer: &mut Writer<'_, Blind>, file: &mut Vec<u8>| loop {
        match writer.poll().expect("it fits") {
            Output::Idle => break,
            Output::Append(bytes) => file.extend(bytes),
            Output::Encode(_) => unreachable!("nothing is compressed"),
        }
    };
    drain(&mut writer, &mut file);
    for entry in &entries {
        while writer.push(entry).expect("it fits") == Push::Drain {
            drain(&mut writer, &mut file);
        }
    }
    writer.finish().expect("it fits");
    drain(&mut writer, &mut file);
    assert!(writer.is_done());
    file
}

fn flash() -> Seeds {
    let golden = golden("nor/flash.bin");
    vec![
        named("nor", "golden", &[&[2, 3], &golden]),
        named("nor", "blind", &[&[2, 3], &fuzz::blind_flash()]),
        named("nor", "settings", &[&[2, 7], &fuzz::flash_settings()]),
    ]
}

/// A session of two records, chunk by chunk, and the golden one as it came over the link.
fn export() -> Seeds {
    let mut stream = vec![9, 1, 0, 0];
    stream.extend(b"a golden image\0\0");
    stream.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    stream.extend(b"\x0fthe water came\x0bup to here");
    stream.extend([0, 2, 0, 0, 0, 0, 0, 0, 0]);
    let mut chunks = vec![1];
    for (position, piece) in (0..).step_by(20).zip(stream.chunks(20)) {
        chunks.push(u8::try_from(piece.len()).expect("it is short"));
        chunks.extend(u16::to_le_bytes(position));
        chunks.extend(piece);
    }
    let link = read("tests/archives/format-1/export-20.cobs");
    vec![named("export", "chunks", &[&chunks]), named("export", "link", &[&[0], &link])]
}

fn states() -> Seeds {
    let effects = [
        Effect::Set { key: b"k", value: b"v1", expires_at_ms: None },
        Effect::Set { key: b"t", value: b"", expires_at_ms: Some(1_700_000_000_000) },
        Effect::Write { key: b"k", offset: 300, bytes: b"far" },
        Effect::Expire { key: b"k", at_ms: 1_700_000_000_000 },
        Effect::Persist { key: b"k" },
        Effect::Copy { from: b"k", to: b"c" },
        Effect::Rename { from: b"c", to: b"r" },
        Effect::Delete { key: b"t" },
    ];
    let (mut record, mut flushed) = (vec![], vec![]);
    encode_record(&effects, &mut record);
    encode_record(&[effects[0], Effect::Flush, effects[1]], &mut flushed);
    let mut keyspace = Keyspace::new(Options { seed: 7, ..Options::default() });
    effects[..6].iter().for_each(|effect| keyspace.apply(*effect));
    let shared = Arc::new(Mutex::new(keyspace));
    let (mut image, mut chunk) = (Keyspace::begin_image(&shared).expect("there is no other"), vec![]);
    assert!(image.next_chunk(&mut chunk));
    vec![
        named("effects", "each", &[&record]),
        named("effects", "flush", &[&flushed]),
        named("image", "three-keys", &[&chunk]),
    ]
}

fn event() -> Vec<u8> {
    let mut payload = vec![];
    Value::Map(vec![(Value::Text("amount".into()), Value::Float(12.5))]).encode(&mut payload);
    let event = Event {
        timestamp_ms: 1_700_000_000_123,
        event_id: Some(17),
        event_type: "paid",
        context_id: "order-1",
        payload: &payload,
    };
    let mut record = Vec::new();
    event.encode(&mut record);
    record
}

fn configurations() -> Seeds {
    let fixtures = fs::read_dir(root().join("std-server/tests/fixtures")).expect("fixtures");
    let mut seeds: Seeds = fixtures
        .map(|entry| {
            let path = entry.expect("a file").path();
            let kind = u8::from(path.extension().is_some_and(|extension| extension == "toml"));
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            named("configuration", &stem, &[&[kind], &fs::read(&path).expect("it is read")])
        })
        .collect();
    seeds.sort();
    seeds.push(named(
        "configuration",
        "aliases",
        &[b"\0a: &a {port: 0}\nserver: *a\nresp3: {<<: *a, enabled: true}\n"],
    ));
    seeds.push(named(
        "configuration",
        "sizes",
        &[b"\x01[wal]\nbuffer_size = \"8MB\"\nfsync_every_n = 100\n[kv_store]\nmax_value_size_bytes = '1KB'\n"],
    ));
    seeds
}

fn entries() -> Seeds {
    let log = read("tests/archives/sneldb-v1/wal/shard-1/wal-00001.log");
    let line = log.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let typed = br#"{"timestamp":1,"context_id":"c","event_type":"t","payload":{"b":{"$bytes":"AQI="},"f":{"$float":"NaN"},
        "t":{"$time":"1969-12-31T23:59:59.5Z"},"e":{"$ext":[5,"AA=="]},"p":{"$pairs":[[1,2],["x",-0.0]]},"n":[null,true,1e300]},
        "event_id":18446744073709551615,"lsn":7,"time_ms":8,"commit_ms":9}"#;
    let mut packed = vec![];
    let map = vec![
        (
            Value::Text("n".into()),
            Value::Array(vec![Value::Nil, Value::Signed(-40_000), Value::Unsigned(u64::MAX)]),
        ),
        (Value::Unsigned(3), Value::Extension(5, vec![1, 2, 3])),
        (Value::Bytes(vec![0xff]), Value::Float(f64::MIN_POSITIVE)),
    ];
    Value::Map(map).encode(&mut packed);
    let stamp = Stamp { lsn: Lsn(300), time: Millis(1_700_000_000_123), commit: Millis(0) };
    let (entry, mut bytes) = (Entry::record("pump", stamp, b"\x00on"), vec![0; 64]);
    let used = entry.encode(&mut bytes).expect("there is room");
    vec![
        named("entries", "sneldb-line", &[line]),
        named("entries", "typed-line", &[typed]),
        named("entries", "value", &[&packed]),
        named("entries", "entry", &[&bytes[..used]]),
    ]
}

/// Requests of both protocols.
fn requests() -> Seeds {
    let routes: [(u8, &str, &[u8]); 12] = [
        (0, "set", br#"{"key":"a","value":{"x":[1,"\u00e9"]},"ttl":60,"nx":true,"get":true}"#),
        (1, "msetnx", br#"{"pairs":[{"key":"a","value":1},{"key":"b","value":"two"}]}"#),
        (2, "command", br#"{"command":"kv.set","request_id":"1","payload":{"key":"k","value":"v","ttl":9}}"#),
        (2, "command-incr", br#"{"command":"kv.incrby","request_id":"x","payload":{"key":"n","amount":-3}}"#),
        (2, "command-scan", br#"{"command":"kv.scan","request_id":"x","payload":{"prefix":"a","limit":2}}"#),
        (3, "event", br#"{"event_type":"paid","context_id":"o","payload":{"n":1.5},"timestamp":"2023-11-14T22:13:20.5Z"}"#),
        (4, "events", b"{\"event_type\":\"a\",\"context_id\":\"c\",\"payload\":{}}\n{\"event_type\":\"b\",\"context_id\":\"c\",\"payload\":{\"t\":{\"$bytes\":\"AQI=\"}},\"event_id\":7}\n"),
        (6, "setrange", br#"{"offset":5,"value":"x"}"#),
        (8, "rename", br#"{"destination":"other"}"#),
        (9, "query", b"from_lsn=1&type=a&context=c&payload.n=1&order=newest&since=2020-01-01T00:00:00Z&cursor=1-1"),
        (10, "getrange", b"start=-3&end=-1"),
        (11, "raw", b"POST /kv/set HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}x\r\n0\r\n\r\n"),
    ];
    let mut seeds: Seeds =
        routes.iter().map(|(route, name, body)| named("http", name, &[&[*route], body])).collect();
    let words: [(&str, &[u8]); 6] = [
        ("set", b"*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\0\xff\n\r\n$2\r\nPX\r\n$5\r\n10000\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
        ("inline", b"SET 'a b' \"\\x41\\n\\\"\"\r\nGETRANGE \"a b\" 0 -1\nEXPIRE 'a b' 100 NX\n"),
        ("transaction", b"HELLO 3\r\nWATCH k\r\nMULTI\r\nINCRBY k 5\r\nINCRBYFLOAT k 1.5e1\r\nEXEC\r\n"),
        ("strings", b"APPEND k abc\r\nSETRANGE k 10 xyz\r\nLCS k k IDX\r\nMSET a 1 b 2\r\nMGET a b c\r\nOBJECT ENCODING a\r\n"),
        ("keys", b"SET a 1 EX 10\r\nKEYS [a-c]*\\?\r\nSCAN 0 MATCH * COUNT 10\r\nCOPY a b REPLACE\r\nRENAMENX a z\r\nTYPE z\r\n"),
        ("client", b"CLIENT SETINFO LIB-NAME x\r\nCLIENT LIST\r\nCOMMAND DOCS get\r\nINFO everything\r\nCONFIG GET *\r\nRESET\r\n"),
    ];
    seeds.extend(words.iter().map(|(name, bytes)| named("resp", name, &[bytes])));
    seeds
}
