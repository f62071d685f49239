//! Commands to the server as a whole: INFO, CONFIG, TIME, SAVE, BGSAVE, LASTSAVE, WAITAOF, SHUTDOWN.
//!
//! What takes time is not done here but returned as an [`Action`] that the connection waits for.

use super::args::{Args, Options};
use super::engine::{Host, Stop};
use super::reply::{Refusal, Reply};
use super::slowlog::SlowLog;
use super::{Request, info, number, settings};
use core::time::Duration;

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Server<'a> {
    /// Sections of facts about the server.
    Info { sections: Args<'a> },
    /// Settings whose name matches one of the patterns.
    ConfigGet { patterns: Args<'a> },
    /// Changes settings until the server ends.
    ConfigSet { pairs: Args<'a> },
    /// Begins to count anew.
    ResetStatistics,
    /// The commands that took long.
    SlowLog(SlowLog<'a>),
    /// The server's time.
    Time,
    /// When the newest snapshot was taken.
    LastSave,
    /// Starts a snapshot.
    BackgroundSave,
    /// Something to wait for.
    Await(Action),
}

/// What a connection waits for, outside of every lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// A snapshot.
    Save,
    /// A sync of everything written before, in every mode, at most this long.
    Sync {
        /// `None` is for as long as it takes.
        at_most: Option<Duration>,
    },
    /// The end of the server.
    Stop(Stop),
}

impl Server<'_> {
    /// Answers at once, or says what to wait for.
    pub(super) fn execute(self, host: &impl Host) -> Result<Reply<'static>, Action> {
        Ok(match self {
            Self::Info { sections } => Reply::Text(info::text(host, sections)),
            Self::ConfigGet { patterns } => settings::shown(host, patterns),
            Self::ConfigSet { pairs } => {
                settings::change(host, pairs).map_or_else(Reply::Refused, |()| Reply::OK)
            }
            Self::ResetStatistics => {
                host.clients().reset_counts();
                Reply::OK
            }
            Self::SlowLog(slowlog) => slowlog.answer(host.clients()),
            Self::Time => {
                let now_us = host.now_us();
                let part = |number: u64| Reply::owned(number.to_string());
                Reply::Array(vec![part(now_us / 1_000_000), part(now_us % 1_000_000)])
            }
            Self::LastSave => Reply::Integer(i64::try_from(host.last_save_s()).unwrap_or(i64::MAX)),
            Self::BackgroundSave => match host.begin_save() {
                Ok(()) => Reply::Status("Background saving started"),
                Err(refusal) => refusal.into(),
            },
            Self::Await(action) => return Err(action),
        })
    }
}

/// Waits for an action. A server that stops answers nothing: the connection ends.
pub(super) async fn perform(action: Action, host: &impl Host) -> Option<Reply<'static>> {
    match action {
        Action::Save => Some(host.save().await.map_or_else(Reply::Refused, |()| Reply::OK)),
        Action::Sync { at_most: None } => Some(synced(host.sync().await)),
        Action::Sync { at_most: Some(limit) } => match tokio::time::timeout(limit, host.sync()).await {
            Ok(result) => Some(synced(result)),
            Err(_) => Some(acknowledged(0)),
        },
        Action::Stop(stop) => host.stop(stop).await.err().map(Reply::Refused),
    }
}

fn synced(result: Result<(), Refusal>) -> Reply<'static> {
    result.map_or_else(Reply::Refused, |()| acknowledged(1))
}

/// How many logs hold the writes durably: this one, and none of a replica.
fn acknowledged(local: i64) -> Reply<'static> {
    Reply::Array(vec![Reply::Integer(local), Reply::Integer(0)])
}

fn request(server: Server<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Server(server))
}

pub(super) fn info_of(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Server::Info { sections: &args[1..] })
}

pub(super) fn time(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Server::Time)
}

pub(super) fn lastsave(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Server::LastSave)
}

pub(super) fn bgsave(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    match args {
        [_] => request(Server::BackgroundSave),
        [_, word] if word.eq_ignore_ascii_case(b"schedule") => request(Server::BackgroundSave),
        _ => Err(Refusal::SYNTAX),
    }
}

pub(super) fn save(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Server::Await(Action::Save))
}

/// `WAITAOF numlocal numreplicas timeout`: there are no replicas, so nothing is waited for on their behalf.
pub(super) fn waitaof(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let out_of_range = "ERR value is out of range, value must between 0 and 1";
    match number::integer(args[1]) {
        Some(0 | 1) => {}
        Some(_) => return Err(Refusal::fixed(out_of_range)),
        None => return Err(Refusal::NOT_AN_INTEGER),
    }
    match number::integer(args[2]) {
        Some(0..) => {}
        Some(_) => return Err(Refusal::fixed("ERR value is out of range, must be positive")),
        None => return Err(Refusal::NOT_AN_INTEGER),
    }
    let timeout_ms = match number::integer(args[3]).map(u64::try_from) {
        Some(Ok(ms)) => ms,
        Some(Err(_)) => return Err(Refusal::fixed("ERR timeout is negative")),
        None => return Err(Refusal::fixed("ERR timeout is not an integer or out of range")),
    };
    let at_most = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
    request(Server::Await(Action::Sync { at_most }))
}

pub(super) fn shutdown(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut snapshot = None;
    let mut options = Options::new(&args[1..]);
    while let Some(word) = options.word() {
        match word.name() {
            b"SAVE" if snapshot != Some(false) => snapshot = Some(true),
            b"NOSAVE" if snapshot != Some(true) => snapshot = Some(false),
            b"NOW" | b"FORCE" => {}
            b"ABORT" if args.len() == 2 => return Err(Refusal::fixed("ERR No shutdown in progress.")),
            _ => return Err(Refusal::SYNTAX),
        }
    }
    let stop = if snapshot == Some(true) { Stop::AfterSnapshot } else { Stop::Now };
    request(Server::Await(Action::Stop(stop)))
}
