//! One life of the image in QEMU: from power-on until it is killed or ends.

use core::time::Duration;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::{self, JoinHandle};
use std::time::Instant;

/// A running image.
pub(crate) struct Life {
    qemu: Child,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    said: Vec<String>,
}

/// What is left of one.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None: a signal ended it.
    pub(crate) code: Option<i32>,
    /// All whole lines that it said. What was said was said before the end.
    pub(crate) said: Vec<String>,
}

impl Life {
    /// Powers the image on, with its flash in `flash`, to keep so many samples; 0 means for ever.
    pub(crate) fn start(image: &Path, flash: &Path, samples: u32) -> Result<Self, String> {
        let flash =
            flash.to_str().filter(|path| !path.contains(',')).ok_or("the flash file needs a plain path")?;
        let mut command = Command::new("qemu-system-arm");
        command.args(["-machine", "mps2-an386", "-cpu", "cortex-m4", "-display", "none", "-monitor", "none"]);
        command.args(["-serial", "none", "-semihosting-config"]);
        command.arg(format!("enable=on,target=native,arg=firmware,arg={flash},arg={samples}"));
        command.arg("-kernel").arg(image).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut qemu = command.spawn().map_err(|error| format!("qemu-system-arm: {error}"))?;
        let stdout = qemu.stdout.take().ok_or("no output")?;
        let (sender, lines) = channel();
        let reader = thread::spawn(move || each_line(stdout, |line| drop(sender.send(line))));
        Ok(Self { qemu, lines, reader: Some(reader), said: Vec::new() })
    }

    /// Waits until it has said a line that begins with `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let found = line.starts_with(text);
                    self.said.push(line);
                    if found {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no `{text}` in time: {:?}", self.said));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("ended without `{text}`: {:?}", self.said));
                }
            }
        }
    }

    /// Kills it, however far it is.
    pub(crate) fn kill(mut self) -> Result<Ended, String> {
        self.qemu.kill().map_err(|error| format!("kill: {error}"))?;
        self.end()
    }

    /// Waits until it ends by itself.
    pub(crate) fn wait(mut self) -> Result<Ended, String> {
        let deadline = Instant::now() + PATIENCE;
        while self.exited()?.is_none() {
            if Instant::now() > deadline {
                return Err("the image does not end".into());
            }
            thread::sleep(Duration::from_millis(1));
        }
        self.end()
    }

    fn exited(&mut self) -> Result<Option<ExitStatus>, String> {
        self.qemu.try_wait().map_err(|error| format!("wait: {error}"))
    }

    fn end(&mut self) -> Result<Ended, String> {
        let status = self.qemu.wait().map_err(|error| format!("wait: {error}"))?;
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| "the reader panicked")?;
        }
        self.said.extend(self.lines.try_iter());
        Ok(Ended { code: status.code(), said: core::mem::take(&mut self.said) })
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        drop(self.qemu.kill());
        drop(self.qemu.wait());
    }
}

/// Hands over whole lines only: a line without its end was being said when the end came.
fn each_line(stdout: ChildStdout, mut take: impl FnMut(String)) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while stdout.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with(b"\n") {
        take(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
}

/// Whatever takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
