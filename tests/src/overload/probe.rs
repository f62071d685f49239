//! A client that behaves: it writes, reads back and asks for health, one after the other, and is answered.

use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use core::time::Duration;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::process::resp::Reply;
use crate::process::{http, resp};

/// What the probe met since it was last asked.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// How long each round of it took, microseconds.
    rounds: Vec<u64>,
}

impl Figures {
    /// Rounds that were answered.
    #[must_use]
    pub const fn rounds(&self) -> usize {
        self.rounds.len()
    }

    fn part(&self, percent: usize) -> f64 {
        let mut sorted = self.rounds.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |micros| *micros as f64 / 1000.0)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, all] = [50, 99, 100].map(|percent| self.part(percent));
        write!(
            f,
            "the probe: {} rounds, p50 {half:.1} ms, p99 {most:.1} ms, longest {all:.1} ms",
            self.rounds()
        )
    }
}

pub(super) struct Probe {
    stop: Arc<AtomicBool>,
    figures: Arc<Mutex<Figures>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Probe {
    pub(super) fn start(resp: SocketAddr, http: SocketAddr) -> Self {
        let (stop, figures) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Figures>>::default());
        let (told, ends) = (Arc::clone(&figures), Arc::clone(&stop));
        let thread = Some(thread::spawn(move || go_round(resp, http, &ends, &told)));
        Self { stop, figures, thread }
    }

    /// What it met since this was last asked; waits until it has met something.
    pub(super) fn take(&mut self) -> Result<Figures, String> {
        loop {
            let figures = core::mem::take(&mut *self.figures.lock().unwrap_or_else(PoisonError::into_inner));
            if figures.rounds() > 0 {
                return Ok(figures);
            }
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return Err(self.join().err().unwrap_or_else(|| "the probe ended".into()));
            }
            thread::sleep(PAUSE);
        }
    }

    /// Ends it: everything that it asked was answered.
    pub(super) fn end(mut self) -> Result<(), String> {
        self.join()
    }

    fn join(&mut self) -> Result<(), String> {
        self.stop.store(true, Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        let ended = thread.join().map_err(super::panicked)?;
        ended.map_err(|error| format!("the probe was not served: {error}"))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        drop(self.join());
    }
}

fn go_round(
    resp: SocketAddr,
    http: SocketAddr,
    stop: &AtomicBool,
    figures: &Mutex<Figures>,
) -> io::Result<()> {
    let mut client = resp::Client::connect(resp)?;
    let mut health = http::Client::connect(http)?;
    let mut number = 0_u64;
    while !stop.load(Relaxed) {
        number += 1;
        let (begun, text) = (Instant::now(), number.to_string());
        expect(client.ask(&["SET", "probe", &text])?, &Reply::Status("OK".into()))?;
        expect(client.ask(&["GET", "probe"])?, &Reply::Bulk(text.into_bytes()))?;
        let answer = health.request("GET", "/livez", "")?;
        if answer.status != 200 {
            return Err(io::Error::other(format!("/livez: {}", answer.status)));
        }
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        figures.lock().unwrap_or_else(PoisonError::into_inner).rounds.push(took);
        thread::sleep(PAUSE);
    }
    Ok(())
}

fn expect(reply: Reply, wanted: &Reply) -> io::Result<()> {
    if reply == *wanted { Ok(()) } else { Err(io::Error::other(format!("{reply} instead of {wanted}"))) }
}

const PAUSE: Duration = Duration::from_millis(2);
