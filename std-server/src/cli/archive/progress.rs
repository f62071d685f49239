//! A bar on standard error for long work, if somebody looks.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for this many entries; invisible for few, and where nobody looks.
pub(super) fn bar(entries: u64) -> ProgressBar {
    if entries < WORTH_IT || !stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {human_pos}/{human_len} entries, {per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(entries).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

const WORTH_IT: u64 = 200_000;
