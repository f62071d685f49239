//! `import-device`: from a captured file, from standard input, from a serial line, cut and taken up again.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use strandline::HardwareCheck;
use strandline::core::export::exporter::{Exporter, Next, Offer};
use strandline::core::export::uart::{Deframer, frame, frame_bytes};
use strandline::{Lsn, StoreId};
use tempfile::tempdir;

use crate::process::outcome;

/// What a serial line carries when a device hands over `count` records unasked.
fn capture(store: u8, session: u16, first: u64, count: u64) -> Vec<u8> {
    let offer = Offer { first: Lsn(first), last: Lsn(first + count - 1) };
    let mut exporter = Exporter::<HardwareCheck>::new(StoreId([store; 16]), offer);
    exporter.begin(session);
    let (mut chunk, mut line) = ([0; 64], b"boot: garbage of a bootloader\n\0".to_vec());
    loop {
        match exporter.next_chunk(&mut chunk) {
            Next::Read(lsn) => exporter.feed(lsn, format!("sample {lsn}").as_bytes(), &mut chunk),
            Next::Chunk(bytes) => {
                let mut out = [0; frame_bytes(64)];
                let bytes = frame(&chunk[..bytes], &mut out).expect("there is room");
                line.extend(&out[..bytes]);
            }
            Next::Idle => return line,
        }
    }
}

fn import(from: &Path, out: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
    command.arg("import-device").arg("--from").arg(from).arg("--out").arg(out).args(["--name", "pump"]);
    let (code, printed, errors) = outcome(&mut command);
    (code, printed + &errors)
}

fn files(out: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(out)
        .expect("there")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[test]
fn a_captured_log_becomes_an_archive() {
    let place = tempdir().expect("a directory");
    let (from, out) = (place.path().join("capture.bin"), place.path().join("archives"));
    fs::write(&from, capture(1, 1, 1, 100)).expect("writable");
    let (code, text) = import(&from, &out);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("imported 100 records, LSN 1 to 100, 892 bytes, into "), "{text}");
    assert_eq!((text.lines().count(), files(&out)), (1, vec!["wal-00001-0-0.wal.zst".to_owned()]));
    let mut records = vec![];
    strandline::archive::read(&out.join("wal-00001-0-0.wal.zst"), |entry| {
        assert_eq!(entry.context, "pump");
        records.push(String::from_utf8_lossy(entry.record_bytes().expect("a record")).into_owned());
        Ok(())
    })
    .expect("readable");
    assert_eq!((records.len(), &*records[41]), (100, "sample 42"));

    let (code, text) = import(&from, &out);
    assert_eq!((code, &*text), (Some(0), "imported 0 records: nothing is new\n"));
    fs::write(&from, capture(1, 2, 105, 10)).expect("writable");
    let (code, text) = import(&from, &out);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("LSN 105 to 114") && text.contains("LSN 101 to before 105 are gone"), "{text}");
}

#[test]
fn what_was_cut_goes_on_and_another_device_is_refused() {
    let place = tempdir().expect("a directory");
    let (from, out) = (place.path().join("capture.bin"), place.path().join("archives"));
    let whole = capture(1, 1, 1, 100);
    fs::write(&from, &whole[..whole.len() / 2]).expect("writable");
    let (code, text) = import(&from, &out);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("records are kept for the next import"), "{text}");
    assert_eq!(files(&out), ["pump.partial"]);

    fs::write(&from, capture(2, 1, 1, 100)).expect("writable");
    let (code, text) = import(&from, &out);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("another device"), "{text}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_std-server"));
    command.args(["import-device", "--from", "-", "--name", "pump", "--out"]).arg(&out);
    fs::write(&from, &whole).expect("writable");
    command.stdin(Stdio::from(File::open(&from).expect("there")));
    let (code, text, errors) = outcome(&mut command);
    assert_eq!(code, Some(0), "{text}{errors}");
    assert!(text.contains("imported 100 records, LSN 1 to 100"), "{text}");
    assert_eq!(files(&out), ["wal-00001-0-0.wal.zst"]);

    let (code, text) = import(&place.path().join("nothing"), &out);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nothing"), "{text}");
}

/// Answers requests on its end of a serial line; one chunk in sixty is lost on the way.
fn device(mut line: File) {
    let mut exporter =
        Exporter::<HardwareCheck>::new(StoreId([3; 16]), Offer { first: Lsn(1), last: Lsn(200) });
    let mut heard = line.try_clone().expect("a descriptor");
    let (arrived, replies) = mpsc::channel();
    let listener = thread::spawn(move || {
        let mut bytes = [0; 256];
        // The line is gone when the host has closed its end.
        while let Ok(count) = heard.read(&mut bytes) {
            if arrived.send(bytes[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    let (mut chunk, mut deframer, mut sent) = ([0; 20], Deframer::new([0; 64]), 0);
    for bytes in replies {
        for byte in bytes {
            if let Some(reply) = deframer.push(byte) {
                let _ = exporter.ack(reply);
            }
        }
        loop {
            match exporter.next_chunk(&mut chunk) {
                Next::Read(lsn) => exporter.feed(lsn, format!("sample {lsn}").as_bytes(), &mut chunk),
                Next::Chunk(bytes) => {
                    let mut out = [0; frame_bytes(20)];
                    let bytes = frame(&chunk[..bytes], &mut out).expect("there is room");
                    sent += 1;
                    if sent % 60 != 30 && line.write_all(&out[..bytes]).is_err() {
                        break;
                    }
                }
                Next::Idle => break,
            }
        }
    }
    listener.join().expect("it ends with the line");
}

#[test]
fn a_device_on_a_serial_line_is_asked_until_everything_is_there() {
    let place = tempdir().expect("a directory");
    let far = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo terminal");
    grantpt(&far).and_then(|()| unlockpt(&far)).expect("it can be used");
    let name = ptsname(&far, Vec::new()).expect("it has a name");
    let path = Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
    // What `stty raw -echo` does. While this is open the line is up.
    let near = File::options().read(true).write(true).open(path).expect("the line");
    let mut settings = tcgetattr(&near).expect("settings");
    settings.make_raw();
    tcsetattr(&near, OptionalActions::Now, &settings).expect("a raw line");
    let device = thread::spawn(move || device(File::from(far)));

    let (code, text) = import(path, &place.path().join("archives"));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("imported 200 records, LSN 1 to 200"), "{text}");
    drop(near);
    device.join().expect("the device ends with the line");
}
