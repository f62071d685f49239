//! Puts more on a server than it can take, and looks at its memory and at a client that behaves.
//!
//! ```text
//!  calm ─► idle ─► active ─► deaf ─► pipeline ─► slow HTTP          one server, every load stays while the next is added
//!  slow disk                                                       another one, whose device takes little
//!     └── all the time: a probe writes, reads back and asks for health; resident memory is watched
//! ```
//!
//! What must hold: the probe is always answered, and rightly; memory stays below a bound that follows from the number of
//! connections alone, whatever is sent. How long the probe waits is told and not judged.

mod clients;
mod probe;

use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use self::clients::{Active, Deaf, Idle, Pipeline, SlowHttp, Writers};
use self::probe::{Figures, Probe};
use crate::device::Device;
use crate::process::{Server, Setup, raise_open_files};

/// What to put on a server.
#[derive(Clone, Debug)]
pub struct Overload {
    /// The binary.
    pub server: PathBuf,
    /// Connections that say nothing.
    pub idle: usize,
    /// Connections that always have a write in flight.
    pub active: usize,
    /// Bytes of one pipeline.
    pub pipeline_bytes: usize,
    /// HTTP requests that arrive byte by byte.
    pub slow_http: usize,
    /// How long each load is watched.
    pub each: Duration,
}

/// What is written to a slow device.
#[derive(Clone, Copy, Debug)]
pub struct SlowDisk {
    /// Connections that write as fast as the server takes it.
    pub writers: usize,
    /// What the device takes.
    pub bytes_per_second: u32,
    /// What a sync takes.
    pub sync_micros: u32,
    /// How long they go on.
    pub lasts: Duration,
}

/// What was seen under one load.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The load, and what came of it.
    pub load: String,
    /// What the probe met.
    pub probe: Figures,
    /// The most memory that was resident, bytes, above what the empty server has.
    pub grown_bytes: u64,
    /// The most that it may be.
    pub bound_bytes: u64,
}

impl Overload {
    /// Puts one load on another; `watch` hears of each.
    ///
    /// # Errors
    /// The probe was not answered, or wrongly, or memory went beyond its bound.
    pub fn run(&self, mut watch: impl FnMut(&Seen)) -> Result<(), String> {
        raise_open_files((self.idle + self.active + self.slow_http + SPARE) as u64)?;
        let device = Device::new()?;
        let setup = Setup::new(&self.server, device.path().join("data"))
            .under(device.entry())
            .set("resp3.max_clients", self.idle + self.active + SPARE)
            .set("server.max_connections", self.slow_http + SPARE);
        let server = setup.start().map_err(|ended| ended.to_string())?;
        let mut scene = Scene::begin(&server);
        scene.look("calm", 0, self.each, &mut watch)?;

        let idle =
            Idle::connect(server.resp(), self.idle).map_err(|error| format!("an idle client: {error}"))?;
        scene.look(&format!("{} idle clients", self.idle), self.idle, self.each, &mut watch)?;

        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = Ends(&stop);
            let active = Active::connect(server.resp(), self.active)?;
            let busy = scope.spawn(|| active.write_until(&stop));
            scene.look(
                &format!("and {} that always write", self.active),
                self.active,
                self.each,
                &mut watch,
            )?;

            let deaf = Deaf::connect(server.resp())?;
            let ask = scope.spawn(|| deaf.ask_until(&stop));
            scene.look("and one that never reads its replies", 1, self.each, &mut watch)?;

            let pipeline = Pipeline::new(server.resp(), self.pipeline_bytes);
            let sent = scope.spawn(move || pipeline.run());
            while !sent.is_finished() {
                scene.watch();
                thread::sleep(LOOK);
            }
            sent.join().map_err(panicked)??;
            scene.told(
                &format!("and a pipeline of {} MiB, answered whole", self.pipeline_bytes >> 20),
                1,
                &mut watch,
            )?;

            let (slow, stop) = (SlowHttp::new(server.http(), self.slow_http), &stop);
            let drip = scope.spawn(move || slow.drip_until(stop));
            scene.look(
                &format!("and {} HTTP requests that arrive byte by byte", self.slow_http),
                self.slow_http,
                self.each,
                &mut watch,
            )?;

            stop.store(true, Relaxed);
            busy.join().map_err(panicked)??;
            ask.join().map_err(panicked)??;
            drip.join().map_err(panicked)?
        })?;
        idle.check()?;
        scene.end()
    }
}

impl SlowDisk {
    /// Writes to a device that takes less.
    ///
    /// # Errors
    /// The probe was not answered, or wrongly, or memory went beyond its bound.
    pub fn run(&self, server: &PathBuf, mode: &str, mut watch: impl FnMut(&Seen)) -> Result<(), String> {
        let device = Device::new()?.sync_micros(self.sync_micros).bytes_per_second(self.bytes_per_second);
        let setup = Setup::new(server, device.path().join("data")).under(device.entry()).mode(mode);
        // Snapshots free what the log has behind them: memory is what this is about, not room.
        let setup = setup
            .set("persistence.snapshot.operation_threshold", 20_000)
            .set("persistence.wal.max_size_mb", 4);
        let server = setup.start().map_err(|ended| ended.to_string())?;
        let mut scene = Scene::begin(&server);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let _ends = Ends(&stop);
            let writers = Writers::connect(server.resp(), self.writers)?;
            let writing = scope.spawn(|| writers.write_until(&stop));
            let (begun, mut more) = (Instant::now(), self.writers);
            while begun.elapsed() < self.lasts {
                let until = begun.elapsed() + self.lasts.min(TELL_EVERY);
                let load = format!(
                    "{mode}: {} writers faster than the device, up to {} s",
                    self.writers,
                    until.as_secs()
                );
                scene.look(&load, core::mem::take(&mut more), self.lasts.min(TELL_EVERY), &mut watch)?;
            }
            stop.store(true, Relaxed);
            writing.join().map_err(panicked)?
        })?;
        scene.end()
    }
}

/// Ends the clients whichever way a scene ends: a scope waits for its threads.
struct Ends<'s>(&'s AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// A server under load, its probe and its memory.
struct Scene<'s> {
    server: &'s Server,
    probe: Probe,
    empty_bytes: u64,
    most_bytes: u64,
    connections: usize,
}

impl<'s> Scene<'s> {
    fn begin(server: &'s Server) -> Self {
        let empty_bytes = server.resident_bytes();
        let probe = Probe::start(server.resp(), server.http());
        Self { server, probe, empty_bytes, most_bytes: 0, connections: 0 }
    }

    /// Watches for a while, and tells.
    fn look(
        &mut self,
        load: &str,
        more: usize,
        lasts: Duration,
        watch: &mut impl FnMut(&Seen),
    ) -> Result<(), String> {
        let begun = Instant::now();
        while begun.elapsed() < lasts {
            self.watch();
            thread::sleep(LOOK);
        }
        self.told(load, more, watch)
    }

    fn watch(&mut self) {
        self.most_bytes = self.most_bytes.max(self.server.resident_bytes());
    }

    fn told(&mut self, load: &str, more: usize, watch: &mut impl FnMut(&Seen)) -> Result<(), String> {
        self.connections += more;
        self.watch();
        let probe = self.probe.take()?;
        let grown_bytes = core::mem::take(&mut self.most_bytes).saturating_sub(self.empty_bytes);
        let bound_bytes = BOUND_BYTES + self.connections as u64 * BYTES_A_CONNECTION;
        let seen = Seen { load: load.into(), probe, grown_bytes, bound_bytes };
        watch(&seen);
        if grown_bytes > bound_bytes { Err(format!("too much memory: {seen}")) } else { Ok(()) }
    }

    fn end(self) -> Result<(), String> {
        self.probe.end().map(drop)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { load, probe, grown_bytes, bound_bytes } = self;
        let (grown, bound) = (*grown_bytes as f64 / MIB, *bound_bytes as f64 / MIB);
        write!(f, "{load}: +{grown:.1} MiB (bound {bound:.0}); {probe}")
    }
}

fn panicked(_: Box<dyn core::any::Any + Send>) -> String {
    "a client panicked".into()
}

/// What the server may take whatever comes: batches, the keyspace of these loads, images of snapshots, threads.
const BOUND_BYTES: u64 = 96 << 20;
const BYTES_A_CONNECTION: u64 = 24 << 10;
const MIB: f64 = (1 << 20) as f64;
/// Connections besides those that are counted.
const SPARE: usize = 64;
const LOOK: Duration = Duration::from_millis(20);
const TELL_EVERY: Duration = Duration::from_secs(30);
