//! The configuration in words: `config show` and `config check`.

use core::fmt::Write as _;

use super::Loaded;
use super::keys::KEYS;
use super::types::{Config, FsyncMode};
use super::value::{Value, bytes};
use crate::auth::Account;

/// Every setting that counts, as YAML that loads again, each line with its origin as a comment.
pub(super) fn show(loaded: &Loaded) -> String {
    let mut lines: Vec<(String, String)> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for key in KEYS {
        let Some(setting) = loaded.settings.row(key.id) else { continue };
        let mut words: Vec<&str> = key.path.split('.').collect();
        let leaf = words.pop().unwrap_or_default();
        let common = open.iter().zip(&words).take_while(|(a, b)| a == b).count();
        open.truncate(common);
        for word in &words[common..] {
            lines.push((format!("{:indent$}{word}:", "", indent = 2 * open.len()), String::new()));
            open.push(word);
        }
        let hidden = if matches!(setting.value, Value::Users(_)) { "# " } else { "" };
        let line = format!("{:indent$}{hidden}{leaf}: {}", "", setting.value, indent = 2 * open.len());
        let over = setting.over.as_ref().map(|over| format!(", over {over}")).unwrap_or_default();
        lines.push((line, format!("# {}{over}", one_line(&setting.origin.to_string()))));
    }
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(MAX_COLUMN);
    let mut text = String::new();
    for (line, comment) in lines {
        let padded = if comment.is_empty() { line } else { format!("{line:width$}  {comment}") };
        text.push_str(&padded);
        text.push('\n');
    }
    text
}

/// A file may have a line break in its name; a comment must not.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// That the configuration is good, what it amounts to, and what may be unexpected about it.
pub(super) fn check(loaded: &Loaded) -> String {
    let config = &loaded.config;
    let source = loaded.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    let resp = config.resp.map_or("off".to_owned(), |address| address.to_string());
    let mut text = format!("configuration is good ({source})\n");
    for (name, line) in [
        ("log", log_line(config)),
        ("sync", sync_line(config)),
        ("snapshots", snapshot_line(config)),
        ("http", config.http.to_string()),
        ("resp", resp),
        ("users", users_line(config)),
        ("largest value", bytes(config.max_value_bytes as u64)),
        ("logging", format!("{}, {}", config.logging.level, config.logging.format)),
    ] {
        let _ = writeln!(text, "  {name:13}  {line}");
    }
    for note in &loaded.notes {
        let _ = writeln!(text, "note: {note}");
    }
    text
}

fn users_line(config: &Config) -> String {
    let count = |users: &[Account]| match users.len() {
        0 => "everybody on this machine".to_owned(),
        1 => "1 user".to_owned(),
        count => format!("{count} users"),
    };
    let resp = config.resp.map(|_| format!(", over RESP {}", count(&config.resp_users)));
    format!("over HTTP {}{}", count(&config.http_users), resp.unwrap_or_default())
}

fn log_line(config: &Config) -> String {
    let wal = &config.wal;
    if !config.persistence_enabled || !wal.enabled {
        return "off".to_owned();
    }
    let (dir, segment, batch) = (wal.dir.display(), bytes(wal.segment_bytes), bytes(wal.batch_bytes as u64));
    format!("{dir}, names begin with `{}`, segments of {segment}, batches of {batch}", wal.prefix)
}

fn sync_line(config: &Config) -> String {
    let wal = &config.wal;
    if !config.persistence_enabled || !wal.enabled {
        return "off".to_owned();
    }
    let interval_ms = wal.fsync_interval.as_millis();
    let promise = match wal.fsync_mode {
        FsyncMode::Always => "an acknowledged write survives power loss".to_owned(),
        FsyncMode::Periodic => {
            format!("an acknowledged write survives power loss once it is {interval_ms} ms old")
        }
        FsyncMode::Never => "the system decides when a write reaches the disk".to_owned(),
    };
    let after = wal
        .sync_after_writes
        .map(|writes| format!("; also synced after {writes} writes"))
        .unwrap_or_default();
    format!("{}: {promise}{after}", wal.fsync_mode)
}

fn snapshot_line(config: &Config) -> String {
    let snapshot = &config.snapshot;
    if !config.persistence_enabled || !snapshot.enabled {
        return "off".to_owned();
    }
    let when = match (snapshot.auto, snapshot.operation_threshold) {
        (false, _) => "on request".to_owned(),
        (true, None) => format!("every {} s", snapshot.interval.as_secs()),
        (true, Some(writes)) => format!("every {} s or {writes} writes", snapshot.interval.as_secs()),
    };
    let codec = if snapshot.compression { "zstd" } else { "not compressed" };
    format!("{}, {when}, {} kept, {codec}", snapshot.directory.display(), snapshot.keep_count)
}

/// The reference table of `docs/CONFIGURATION.md`.
pub(super) fn reference() -> String {
    let mut text = String::from("| key | value | default | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let alias = key.alias.map(|alias| format!(", also `{alias}`")).unwrap_or_default();
        let flag = key.flag.map(|flag| format!("; flag `{flag}`")).unwrap_or_default();
        let (kind, fallback) = (super::value::expected(key.kind), fallback_text(key.fallback));
        let _ = writeln!(text, "| `{}`{alias}{flag} | {kind} | {fallback} | {} |", key.path, key.doc);
    }
    text
}

fn fallback_text(fallback: super::keys::Fallback) -> String {
    use super::keys::Fallback;
    match fallback {
        Fallback::Bool(value) => Value::Bool(value).to_string(),
        Fallback::Number(value) => value.to_string(),
        Fallback::Off => "off".to_owned(),
        Fallback::Word(word) => word.to_owned(),
        Fallback::Path(path) => format!("`{path}`"),
        Fallback::Below(path) => format!("`<data_dir>/{path}`"),
        Fallback::Loopback => "127.0.0.1".to_owned(),
        Fallback::Unset => "–".to_owned(),
    }
}

/// Comments of longer lines follow their line instead of moving the whole column.
const MAX_COLUMN: usize = 60;
