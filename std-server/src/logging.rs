//! Log lines on standard error: text for people, or one JSON object a line.

use std::io;

use tracing::level_filters::LevelFilter;

use crate::config::{LogFormat, LogLevel, LoggingConfig};

/// Sends the lines of this process there. The first call counts.
pub(crate) fn start(config: LoggingConfig) {
    let level = match config.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(io::stderr).with_ansi(false);
    let started = match config.format {
        LogFormat::Human => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    if let Err(error) = started {
        tracing::debug!(%error, "log lines go where they went before");
    }
}
