//! Archives against the rest of the world: SnelDB's own files are read, and what SnelDB's layout fixes has its very bytes; other
//! people's libraries read ours; of random flipped bits none goes unfound; what was once written is written again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use strandline::archive::{self, ArchiveError, Level, Timestamp, Value, Writing};
use strandline::core::archive::entry::{Entry, Payload, Stamp};
use strandline::core::archive::{Header, Prologue};
use strandline::core::types::{Epoch, LogId};
use strandline::{Lsn, Millis, StoreId};
use tempfile::tempdir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sneldb(name: &str) -> PathBuf {
    root().join("tests/archives/sneldb-v1/archived/shard-0").join(name)
}

const HEADER: Header<'static> = Header {
    store: StoreId(*b"a golden image\0\0"),
    epoch: Epoch(2),
    log: LogId(5),
    created: Millis(1_700_000_100_500),
    source: b"digest of source",
    writer: "golden",
    ..Header::EMPTY
};

/// Entries that own what they say.
struct Owned {
    timestamp: u64,
    context: String,
    event_type: String,
    map: Vec<u8>,
    event_id: u64,
}

impl Owned {
    fn entry(&self, lsn: u64) -> Entry<'_> {
        let stamp = Stamp { lsn: Lsn(lsn), time: Millis(self.timestamp * 1000), commit: Millis(0) };
        Entry {
            timestamp: self.timestamp,
            context: &self.context,
            event_type: &self.event_type,
            payload: Payload::Map(&self.map),
            event_id: self.event_id,
            stamp,
        }
    }
}

fn entries(path: &Path) -> Vec<Owned> {
    let mut all = vec![];
    archive::read(path, |entry| {
        let Payload::Map(map) = entry.payload else { panic!("a reader yields maps") };
        let (context, event_type) = (entry.context.to_owned(), entry.event_type.to_owned());
        let (timestamp, event_id) = (entry.timestamp, entry.event_id);
        all.push(Owned { timestamp, context, event_type, map: map.to_vec(), event_id });
        Ok(())
    })
    .unwrap();
    all
}

fn content(path: &Path) -> Vec<u8> {
    zstd::decode_all(&fs::read(path).unwrap()[..]).unwrap()
}

#[test]
fn files_of_sneldb_are_read_and_written_again_with_the_same_entries_to_the_byte() {
    let known = [
        ("wal-00001-1700000000-1700003600.wal.zst", 1, 1000),
        ("wal-00003-1700009000-1700009000.wal.zst", 3, 1),
        ("wal-00004-0-1700000005.wal.zst", 4, 8),
        ("wal-123456-1700020000-1700020002.wal.zst", 123_456, 3),
    ];
    for (name, log, count) in known {
        let path = sneldb(name);
        let theirs = entries(&path);
        let info = archive::verify(&path, Level::Quick).unwrap();
        assert_eq!((info.extended, info.log, info.entries), (None, LogId(log), count));
        let directory = tempdir().unwrap();
        let header = Header { log: LogId(log), created: Millis(1_802_267_890_000), ..HEADER };
        let written = archive::write(
            directory.path(),
            &header,
            Writing { level: Some(3), ..Writing::default() },
            |take| theirs.iter().zip(1..).try_for_each(|(entry, lsn)| take(&entry.entry(lsn))),
        )
        .unwrap();
        assert_eq!(written.file_name().unwrap().to_str().unwrap(), name);
        // Behind the prologue, whose integers are wider, everything is the same; and so is what the prologue says.
        let (ours, theirs) = (content(&written), content(&path));
        let ((our_header, our_start), (their_header, their_start)) =
            (Prologue::decode(&ours).unwrap(), Prologue::decode(&theirs).unwrap());
        assert_eq!(our_header, Prologue { created: our_header.created, ..their_header }, "{name}");
        assert!(ours[our_start..] == theirs[their_start..], "{name}");
        // The nine fields come in SnelDB's order: both begin with the same bytes up to the first wide integer.
        assert_eq!(ours[..3], theirs[..3]);
        let bytes = |path: &Path| fs::metadata(path).unwrap().len();
        assert!(bytes(&written) < bytes(&path) * 115 / 100 + 1200, "{name}: {} bytes", bytes(&written));
    }
}

#[test]
fn a_cut_or_foreign_file_is_named() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("wal-00001-0-0.wal.zst");
    let bytes = fs::read(sneldb("wal-00004-0-1700000005.wal.zst")).unwrap();
    for (what, bytes) in [("cut", &bytes[..600]), ("empty", &[][..]), ("foreign", b"not an archive at all")] {
        fs::write(&path, bytes).unwrap();
        let error = archive::verify(&path, Level::Full).unwrap_err();
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{what}: {error}");
        assert!(error.to_string().contains("wal-00001-0-0.wal.zst"), "{error}");
    }
}

fn sample(level: Option<i32>, directory: &Path) -> PathBuf {
    let writing = Writing { level, block_bytes: 1024, ..Writing::default() };
    archive::write(directory, &HEADER, writing, |take| {
        (0..200_u64).try_for_each(|at| {
            let time = 1_700_000_000_123 + at * 40;
            let stamp =
                Stamp { lsn: Lsn(11 + at), time: Millis(time), commit: Millis(time / 1000 * 1000 + 1007) };
            let record: Vec<u8> = (0..at % 60).map(|byte| (byte * 3 + at) as u8).collect();
            take(&Entry::record("pump-7", stamp, &record))
        })
    })
    .unwrap()
}

#[test]
fn of_400_flipped_bits_400_are_found() {
    for level in [None, Some(1)] {
        let directory = tempdir().unwrap();
        let path = sample(level, directory.path());
        let mut bytes = fs::read(&path).unwrap();
        let mut place = 12_345_usize;
        for _ in 0..400 {
            place = place.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bit = (place >> 20) % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(archive::verify(&path, Level::Full).is_err(), "full, bit {bit}");
            assert!(archive::verify(&path, Level::Blocks).is_err(), "blocks, bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&path, &bytes).unwrap();
        assert_eq!(archive::verify(&path, Level::Full).unwrap().entries, 200);
    }
}

#[test]
fn an_archive_of_another_store_is_not_replaced() {
    let directory = tempdir().unwrap();
    let path = sample(None, directory.path());
    let before = fs::read(&path).unwrap();
    let other = Header { store: StoreId([1; 16]), ..HEADER };
    let error = archive::write(directory.path(), &other, Writing::default(), |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("is an archive of another store: it is not replaced"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    sample(None, directory.path());
    assert_eq!(fs::read(&path).unwrap(), before, "the same archive may be written again");
}

#[test]
fn the_golden_archive_is_written_again_and_read() {
    let directory = tempdir().unwrap();
    let golden = root().join("tests/archives/format-1/wal-00005-1700000000-1700000000.wal.zst");
    let written = archive::write(
        directory.path(),
        &HEADER,
        Writing { level: None, block_bytes: 80, ..Writing::default() },
        |take| {
            let texts: [&[u8]; 3] = [b"the water came", b"", b"up to here"];
            texts.iter().zip(0..).try_for_each(|(text, at)| {
                let (time, commit) = (Millis(1_700_000_000_010 + at * 20), Millis(1_700_000_000_050));
                take(&Entry::record("pump-7", Stamp { lsn: Lsn(1 + at), time, commit }, text))
            })
        },
    );
    let written = written.unwrap();
    let bytes = fs::read(&written).unwrap();
    assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600, "nobody else reads it");
    if std::env::var_os("BLESS").is_some() && !golden.exists() {
        fs::create_dir_all(golden.parent().unwrap()).unwrap();
        fs::write(&golden, &bytes).unwrap();
    }
    assert_eq!(written.file_name(), golden.file_name());
    assert!(bytes == fs::read(&golden).unwrap(), "the writer makes other bytes than the golden archive");
    let info = archive::verify(&golden, Level::Full).unwrap();
    let theirs = info.extended.unwrap();
    assert_eq!((info.entries, theirs.blocks, theirs.lsns), (3, 2, (Lsn(1), Lsn(3))));
}

/// A Python with the libraries, made in the target directory; or why there is none.
fn python() -> Result<PathBuf, String> {
    let place = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root().join("target"), PathBuf::from)
        .join("python");
    let python = place.join("bin/python");
    let has = || {
        let tried = Command::new(&python).args(["-c", "import msgpack, pyzstd, zstandard"]).output();
        tried.is_ok_and(|output| output.status.success())
    };
    if !has() {
        let run = |command: &mut Command| match command.output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        run(Command::new("python3").args(["-m", "venv"]).arg(&place))
            .map_err(|why| format!("no Python: {why}"))?;
        let packages = ["-m", "pip", "-q", "install", "msgpack==1.2.*", "pyzstd==0.*", "zstandard==0.*"];
        run(Command::new(&python).args(packages)).map_err(|why| format!("no packages: {why}"))?;
    }
    has().then_some(python).ok_or_else(|| "the packages can't be imported".into())
}

#[test]
fn python_reads_an_archive_with_no_code_of_ours() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    for (level, codec) in [(None, 0), (Some(1), 1), (Some(3), 3)] {
        let directory = tempdir().unwrap();
        let path = sample(level, directory.path());
        let output = Command::new(&python)
            .arg(root().join("tests/python/read_archive.py"))
            .args([path.as_os_str(), "3000".as_ref()])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let header = format!("\"header\":[1,0,5,1700000000,1700000008,200,\"zstd\",{codec},1700000100]");
        assert!(text.contains(&header), "{text}");
        assert!(text.contains("\"entries\":200,\"first\":[1700000000,\"pump-7\",\"record\",11]"), "{text}");
        assert!(text.contains("\"last_event_id\":210") && text.contains("\"seek_agrees\":true"), "{text}");
        let bytes = content(&path);
        assert!(text.contains(&format!("\"content_bytes\":{}", bytes.len())), "{text}");
    }
}

#[test]
fn python_finds_every_type_of_a_payload() {
    let python = match python() {
        Ok(python) => python,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let time = |seconds, nanos| Value::Time(Timestamp { seconds, nanos });
    let payload = archive::encode_fields([
        // The three layouts of a time: 4, 8 and 12 bytes.
        (
            "a",
            Value::Array(vec![
                time(1_700_000_000, 0),
                time(1_700_000_000, 250_000_001),
                time(-1, 999_999_999),
            ]),
        ),
        ("b", Value::Array(vec![Value::Extension(5, vec![1, 2, 3]), Value::Extension(127, vec![0; 16])])),
        ("c", Value::Bytes(vec![0, 0xff])),
        (
            "d",
            Value::Array(vec![
                Value::Unsigned(u64::MAX),
                Value::Signed(i64::MIN),
                Value::Float(-0.5),
                Value::Nil,
            ]),
        ),
        ("e", Value::Map(vec![(Value::Unsigned(1), Value::Bool(true))])),
    ]);
    let entry = Entry {
        timestamp: 1_700_000_000,
        context: "c",
        event_type: "typed",
        payload: Payload::Map(&payload),
        event_id: 1,
        stamp: Stamp { lsn: Lsn(1), time: Millis(1_700_000_000_000), commit: Millis(0) },
    };
    let directory = tempdir().unwrap();
    let path = archive::write(directory.path(), &HEADER, Writing::default(), |take| take(&entry)).unwrap();
    let output =
        Command::new(&python).arg(root().join("tests/python/read_archive.py")).arg(path).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = [
        r#""a":[{"seconds":1700000000,"nanoseconds":0},{"seconds":1700000000,"nanoseconds":250000001},{"seconds":-1,"nanoseconds":999999999}]"#,
        r#""b":[{"type":5,"hex":"010203"},{"type":127,"hex":"00000000000000000000000000000000"}]"#,
        r#""c":{"hex":"00ff"}"#,
        r#""d":[18446744073709551615,-9223372036854775808,-0.5,null]"#,
        r#""e":{"1":true}"#,
    ];
    assert!(text.contains(&format!("\"first_payload\":{{{}}}", found.join(","))), "{text}");
}

#[test]
fn the_golden_export_is_made_again_and_read() {
    use strandline::HardwareCheck;
    use strandline::core::export::exporter::{Exporter, Next, Offer};
    use strandline::core::export::uart::{frame, frame_bytes};

    let records: [&[u8]; 3] = [b"the water came", b"", b"up to here"];
    let offer = Offer { first: Lsn(1), last: Lsn(3) };
    let mut exporter = Exporter::<HardwareCheck>::new(HEADER.store, offer);
    exporter.begin(0x0102);
    let (mut chunk, mut line) = ([0; 20], vec![]);
    loop {
        match exporter.next_chunk(&mut chunk) {
            Next::Read(lsn) => exporter.feed(lsn, records[usize::try_from(lsn.0).unwrap() - 1], &mut chunk),
            Next::Chunk(bytes) => {
                let mut out = [0; frame_bytes(20)];
                let bytes = frame(&chunk[..bytes], &mut out).unwrap();
                line.extend(&out[..bytes]);
            }
            Next::Idle => break,
        }
    }
    let golden = root().join("tests/archives/format-1/export-20.cobs");
    if std::env::var_os("BLESS").is_some() && !golden.exists() {
        fs::write(&golden, &line).unwrap();
    }
    assert!(line == fs::read(&golden).unwrap(), "the exporter makes other bytes than the golden export");

    let directory = tempdir().unwrap();
    let import = strandline::device::Import {
        directory: directory.path(),
        name: "pump-7",
        created: HEADER.created,
        writing: Writing::default(),
        time: |_| Millis(0),
        session: None,
    };
    let imported = strandline::device::import(&mut std::io::Cursor::new(line), &import).unwrap();
    let mut read = vec![];
    archive::read(&imported.archive.unwrap(), |entry| {
        read.push(entry.record_bytes().unwrap().to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(read, records);
}
