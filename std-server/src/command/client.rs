//! CLIENT: what a client says about itself, what is known about the others, and how one is ended.

use super::args::{Args, Options};
use super::number;
use super::reply::{Refusal, Reply};
use super::session::{Client, Session, Speech};
use super::{Next, Request};
use core::net::SocketAddr;
use core::sync::atomic::Ordering;

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClientCommand<'a> {
    /// The connection's number.
    Id,
    /// The connection's name.
    Name,
    /// Names the connection.
    SetName { name: &'a [u8] },
    /// Notes the name (0) or version (1) of the client's library.
    SetInfo { field: usize, text: &'a [u8] },
    /// Describes this connection.
    Info,
    /// Describes these connections, or all.
    List { ids: Option<Args<'a>> },
    /// Ends the connection of this peer.
    KillPeer { peer: &'a [u8] },
    /// Ends all connections that fit.
    Kill(Wanted<'a>),
    /// Whether replies are heard.
    Speak(Speech),
    /// Noted: no connection is ever evicted.
    NoEvict { on: bool },
    /// Noted: reads never change what is kept.
    NoTouch { on: bool },
}

/// Which connections CLIENT KILL ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    id: Option<u64>,
    user: Option<&'a [u8]>,
    peer: Option<&'a [u8]>,
    local: Option<&'a [u8]>,
    /// There is no other kind of connection than an ordinary one.
    ordinary: bool,
    skip_me: bool,
}

impl Wanted<'_> {
    fn fits(&self, client: &Client, me: u64) -> bool {
        let at = |wanted: Option<&[u8]>, address: SocketAddr| {
            wanted.is_none_or(|text| text == address.to_string().as_bytes())
        };
        self.ordinary
            && self.id.is_none_or(|id| id == client.id)
            && self.user.is_none_or(|user| user == client.user_name().as_bytes())
            && at(self.peer, client.addresses.peer)
            && at(self.local, client.addresses.local)
            && !(self.skip_me && client.id == me)
    }
}

impl ClientCommand<'_> {
    /// Answers, and says what becomes of this very connection.
    pub(super) fn execute(self, session: &mut Session) -> (Reply<'static>, Next) {
        let client = &session.client;
        let reply = match self {
            Self::Kill(wanted) => {
                let (killed, me) = kill(client, |other| wanted.fits(other, client.id));
                return (Reply::count(killed), if me { Next::Close } else { Next::Continue });
            }
            Self::KillPeer { peer } => {
                let (killed, me) = kill(client, |other| other.addresses.peer.to_string().as_bytes() == peer);
                let reply = if killed > 0 { Reply::OK } else { Refusal::fixed("ERR No such client").into() };
                return (reply, if me { Next::Close } else { Next::Continue });
            }
            Self::Speak(Speech::SkipNext) if session.speech == Speech::Off => Reply::OK,
            Self::Speak(speech) => {
                session.speech = speech;
                Reply::OK
            }
            other => other.answer(client),
        };
        (reply, Next::Continue)
    }

    /// The answer of those that neither end nor silence a connection.
    pub(super) fn answer(self, client: &Client) -> Reply<'static> {
        match self {
            Self::Id => Reply::Integer(i64::try_from(client.id).unwrap_or(i64::MAX)),
            Self::Name => {
                let name = client.name.lock();
                if name.is_empty() { Reply::Null } else { Reply::owned(&name[..]) }
            }
            Self::SetName { name } => {
                *client.name.lock() = name.to_vec();
                Reply::OK
            }
            Self::SetInfo { field, text } => {
                client.library.lock()[field] = text.to_vec();
                Reply::OK
            }
            Self::Info => Reply::Text(client.all().describe(|id| id == client.id)),
            Self::List { ids } => {
                let is_wanted = |id: u64, ids: Args<'_>| ids.iter().any(|text| id_of(text) == Some(id));
                Reply::Text(client.all().describe(|id| ids.is_none_or(|ids| is_wanted(id, ids))))
            }
            Self::NoEvict { on } => {
                client.no_evict.store(on, Ordering::Relaxed);
                Reply::OK
            }
            Self::NoTouch { on } => {
                client.no_touch.store(on, Ordering::Relaxed);
                Reply::OK
            }
            Self::Kill(_) | Self::KillPeer { .. } | Self::Speak(_) => Reply::OK,
        }
    }
}

/// Ends other connections at once; whether this one was meant too is for the caller, after its reply.
fn kill(me: &Client, fits: impl Fn(&Client) -> bool) -> (usize, bool) {
    let meant: Vec<_> = me.all().everybody().into_iter().filter(|client| fits(client)).collect();
    meant.iter().filter(|client| client.id != me.id).for_each(|client| client.end.cancel());
    (meant.len(), meant.iter().any(|client| client.id == me.id))
}

fn request(command: ClientCommand<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Client(command))
}

pub(super) fn id(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::Id)
}

pub(super) fn getname(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::Name)
}

pub(super) fn setname(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::SetName { name: printable(args[2])? })
}

/// A name that can stand in a list of connections.
pub(super) fn printable(name: &[u8]) -> Result<&[u8], Refusal> {
    let refusal = "ERR Client names cannot contain spaces, newlines or special characters.";
    if name.iter().all(u8::is_ascii_graphic) { Ok(name) } else { Err(Refusal::fixed(refusal)) }
}

pub(super) fn setinfo(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let field = match args[2].to_ascii_lowercase().as_slice() {
        b"lib-name" => 0,
        b"lib-ver" => 1,
        _ => return Err(Refusal::naming("ERR Unrecognized option '", args[2], "'")),
    };
    if !args[3].iter().all(u8::is_ascii_graphic) {
        let name = ["lib-name", "lib-ver"][field];
        let line = format!("ERR {name} cannot contain spaces, newlines or special characters.");
        return Err(Refusal::new(line));
    }
    request(ClientCommand::SetInfo { field, text: args[3] })
}

pub(super) fn info(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::Info)
}

pub(super) fn list(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut options = Options::new(&args[2..]);
    let ids = match options.word() {
        None => None,
        Some(word) if word.name() == b"ID" && args.len() > 3 => Some(&args[3..]),
        Some(word) if word.name() == b"TYPE" && args.len() == 4 => {
            if is_ordinary(args[3])? {
                None
            } else {
                Some(&[][..])
            }
        }
        Some(_) => return Err(Refusal::SYNTAX),
    };
    if ids.is_some_and(|ids| ids.iter().any(|id| id_of(id).is_none())) {
        return Err(Refusal::fixed("ERR Invalid client ID"));
    }
    request(ClientCommand::List { ids })
}

fn is_ordinary(kind: &[u8]) -> Result<bool, Refusal> {
    match kind.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(true),
        b"master" | b"replica" | b"slave" | b"pubsub" => Ok(false),
        _ => Err(Refusal::naming("ERR Unknown client type '", kind, "'")),
    }
}

pub(super) fn kill_some(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    if let [_, _, peer] = args {
        return request(ClientCommand::KillPeer { peer });
    }
    let mut wanted = Wanted { id: None, user: None, peer: None, local: None, ordinary: true, skip_me: true };
    let mut options = Options::new(&args[2..]);
    while let Some(word) = options.word() {
        let value = options.value()?;
        match word.name() {
            b"ID" => {
                let id = id_of(value).ok_or(Refusal::fixed("ERR client-id should be greater than 0"))?;
                wanted.id = Some(id);
            }
            b"TYPE" => wanted.ordinary = is_ordinary(value)?,
            b"ADDR" => wanted.peer = Some(value),
            b"LADDR" => wanted.local = Some(value),
            b"USER" => wanted.user = Some(value),
            b"SKIPME" if value.eq_ignore_ascii_case(b"yes") => wanted.skip_me = true,
            b"SKIPME" if value.eq_ignore_ascii_case(b"no") => wanted.skip_me = false,
            _ => return Err(Refusal::SYNTAX),
        }
    }
    request(ClientCommand::Kill(wanted))
}

pub(super) fn reply(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::Speak(match args[2].to_ascii_lowercase().as_slice() {
        b"on" => Speech::On,
        b"off" => Speech::Off,
        b"skip" => Speech::SkipNext,
        _ => return Err(Refusal::SYNTAX),
    }))
}

pub(super) fn no_evict(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::NoEvict { on: switch(args[2])? })
}

pub(super) fn no_touch(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(ClientCommand::NoTouch { on: switch(args[2])? })
}

fn switch(word: &[u8]) -> Result<bool, Refusal> {
    match word.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(Refusal::SYNTAX),
    }
}

fn id_of(text: &[u8]) -> Option<u64> {
    number::integer(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0)
}
