//! SLOWLOG and LATENCY: the commands that took long.

use super::args::Args;
use super::number;
use super::reply::{Refusal, Reply};
use super::session::Clients;
use super::statistics::SlowCommand;
use super::{Request, server};

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum SlowLog<'a> {
    /// The newest ones.
    Get { count: usize },
    /// How many are listed.
    Len,
    /// Empties the list.
    Reset,
    /// No event is watched, so that there is nothing to tell.
    NoLatency,
    /// How many of the events had samples.
    ResetLatency,
    /// The same in words.
    Doctor,
    /// An event without samples.
    NoSamples { event: &'a [u8] },
}

impl SlowLog<'_> {
    pub(super) fn answer(self, clients: &Clients) -> Reply<'static> {
        let statistics = clients.statistics();
        match self {
            Self::Get { count } => {
                Reply::Array(statistics.slow(count).into_iter().map(SlowCommand::into_reply).collect())
            }
            Self::Len => Reply::count(statistics.slow_len()),
            Self::Reset => {
                statistics.forget_slow();
                Reply::OK
            }
            Self::NoLatency => Reply::Array(Vec::new()),
            Self::ResetLatency => Reply::Integer(0),
            Self::Doctor => Reply::Text(DOCTOR.into()),
            Self::NoSamples { event } => {
                Refusal::naming("ERR No samples available for event '", event, "'").into()
            }
        }
    }
}

impl SlowCommand {
    fn into_reply(self) -> Reply<'static> {
        let Self { id, at_s, took, words, peer, name } = self;
        let number = |number: u128| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
        Reply::Array(vec![
            Reply::Integer(id),
            number(at_s.into()),
            number(took.as_micros()),
            Reply::Array(words.into_iter().map(Reply::owned).collect()),
            Reply::owned(peer.to_string()),
            Reply::owned(name),
        ])
    }
}

fn request(slowlog: SlowLog<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Server(server::Server::SlowLog(slowlog)))
}

pub(super) fn get(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let wanted = match args {
        [_, _] => 10,
        [_, _, count] => number::integer(count).unwrap_or(-2),
        _ => return Err(Refusal::arity("slowlog|get")),
    };
    if wanted < -1 {
        return Err(Refusal::fixed("ERR count should be greater than or equal to -1"));
    }
    request(SlowLog::Get { count: usize::try_from(wanted).unwrap_or(usize::MAX) })
}

pub(super) fn len(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(SlowLog::Len)
}

pub(super) fn reset(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(SlowLog::Reset)
}

pub(super) fn no_latency(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(SlowLog::NoLatency)
}

pub(super) fn reset_latency(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(SlowLog::ResetLatency)
}

pub(super) fn doctor(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(SlowLog::Doctor)
}

pub(super) fn graph(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(SlowLog::NoSamples { event: args[2] })
}

const DOCTOR: &str = "Latency events are not watched. SLOWLOG GET lists slow commands, INFO commandstats the time of each \
                      command, and the metrics of the HTTP listener how long syncs take.\n";
