//! A bar on standard error for long work, if somebody looks.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for this many entries; invisible for few, and where nobody looks.
pub(super) fn bar(entries: u64) -> ProgressBar {
    styled(entries, WORTH_IT, "{wide_bar} {human_pos}/{human_len} entries, {per_sec}, {eta} left")
}

fn styled(length: u64, worth_it: u64, template: &str) -> ProgressBar {
    if length < worth_it || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// A bar that follows a count of bytes until it is dropped.
pub(super) struct BytesBar {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl BytesBar {
    /// Of so many bytes; invisible for few, and where nobody looks.
    pub(super) fn follow(read: &Arc<AtomicU64>, total: u64) -> Self {
        let bar =
            styled(total, WORTH_IT_BYTES, "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left");
        let done = Arc::<AtomicBool>::default();
        if bar.is_hidden() {
            return Self { done, thread: None };
        }
        let (read, stop) = (Arc::clone(read), Arc::clone(&done));
        let thread = thread::spawn(move || {
            while !stop.load(Relaxed) {
                bar.set_position(read.load(Relaxed).min(total));
                thread::park_timeout(STEP);
            }
            bar.finish_and_clear();
        });
        Self { done, thread: Some(thread) }
    }
}

impl Drop for BytesBar {
    fn drop(&mut self) {
        self.done.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It only draws.
            drop(thread.join());
        }
    }
}

const WORTH_IT: u64 = 200_000;
const WORTH_IT_BYTES: u64 = 64 << 20;
const STEP: Duration = Duration::from_millis(100);
