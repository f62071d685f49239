//! Commands on the connection itself: PING, ECHO, HELLO, CLIENT, SELECT, AUTH, RESET, QUIT.

use super::args::{Args, Options, integer};
use super::keys::only_database;
use super::number;
use super::reply::{Refusal, Replies, Reply};
use super::session::{Protocol, Session};
use super::{Next, Request};

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Connection<'a> {
    /// Answers `PONG`, or the message.
    Ping { message: Option<&'a [u8]> },
    /// Answers the message.
    Echo { message: &'a [u8] },
    /// Chooses the protocol, names the connection, and tells who the server is.
    Hello { protocol: Option<Protocol>, name: Option<&'a [u8]> },
    /// Selects database 0, which is selected already.
    Select,
    /// Accepts any password of the default user, which has none.
    Authenticate,
    /// Forgets the connection's state.
    Reset,
    /// Answers and closes.
    Quit,
    /// The connection's number.
    ClientId,
    /// The connection's name.
    ClientName,
    /// Names the connection.
    NameClient { name: &'a [u8] },
    /// Describes this connection.
    ClientInfo,
    /// Describes these connections, or all.
    ClientList { ids: Option<Args<'a>> },
    /// Accepted: no connection is ever evicted.
    NoEvict,
}

impl Connection<'_> {
    pub(super) fn execute(self, session: &mut Session, replies: &mut impl Replies) -> Next {
        match self {
            Self::Hello { protocol, name } => {
                if let Some(name) = name {
                    *session.client.name.lock() = name.to_vec();
                }
                let protocol = protocol.unwrap_or(session.protocol());
                session.client.speak(protocol);
                replies.speak(protocol);
                replies.reply(greeting(session));
            }
            Self::Reset => {
                session.queue = None;
                session.client.name.lock().clear();
                session.client.speak(Protocol::Resp2);
                replies.speak(Protocol::Resp2);
                replies.reply(Reply::Status("RESET"));
            }
            Self::Quit => {
                replies.reply(Reply::OK);
                return Next::Close;
            }
            other => replies.reply(other.answer(session)),
        }
        Next::Continue
    }

    /// The answer of those commands that leave the connection as it is.
    pub(super) fn answer(self, session: &Session) -> Reply<'static> {
        let client = &session.client;
        match self {
            Self::Ping { message: None } => Reply::Status("PONG"),
            Self::Ping { message: Some(message) } | Self::Echo { message } => Reply::owned(message),
            Self::ClientId => Reply::Integer(i64::try_from(client.id).unwrap_or(i64::MAX)),
            Self::ClientName => {
                let name = client.name.lock();
                if name.is_empty() { Reply::Null } else { Reply::owned(&name[..]) }
            }
            Self::NameClient { name } => {
                *client.name.lock() = name.to_vec();
                Reply::OK
            }
            Self::ClientInfo => Reply::Text(client.all().describe(|id| id == client.id)),
            Self::ClientList { ids } => {
                let is_wanted = |id: u64, ids: Args<'_>| ids.iter().any(|text| id_of(text) == Some(id));
                Reply::Text(client.all().describe(|id| ids.is_none_or(|ids| is_wanted(id, ids))))
            }
            Self::Hello { .. } => greeting(session),
            Self::Reset | Self::Quit | Self::Select | Self::Authenticate | Self::NoEvict => Reply::OK,
        }
    }
}

fn greeting(session: &Session) -> Reply<'static> {
    let text = |text: &'static str| Reply::borrowed(text.as_bytes());
    let rows = [
        ("server", text("redis")),
        ("version", text(COMPATIBLE_VERSION)),
        ("proto", Reply::Integer(session.protocol() as i64)),
        ("id", Connection::ClientId.answer(session)),
        ("mode", text("standalone")),
        ("role", text("master")),
        ("modules", Reply::Array(Vec::new())),
    ];
    Reply::Map(rows.into_iter().map(|(name, value)| (text(name), value)).collect())
}

/// Clients decide by this version of Redis which commands they may send.
pub const COMPATIBLE_VERSION: &str = "7.0.15";

fn request(connection: Connection<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Connection(connection))
}

pub(super) fn ping(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    if args.len() > 2 {
        return Err(Refusal::arity("ping"));
    }
    request(Connection::Ping { message: args.get(1).copied() })
}

pub(super) fn echo(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::Echo { message: args[1] })
}

pub(super) fn hello(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let Some(version) = args.get(1) else {
        return request(Connection::Hello { protocol: None, name: None });
    };
    let protocol = match number::integer(version) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        Some(_) => return Err(Refusal::fixed("NOPROTO unsupported protocol version")),
        None => return Err(Refusal::fixed("ERR Protocol version is not an integer or out of range")),
    };
    let mut name = None;
    let mut options = Options::new(&args[2..]);
    while let Some(word) = options.word() {
        let malformed = || Refusal::new([b"ERR Syntax error in HELLO option '", word.text, b"'"].concat());
        match word.name() {
            b"AUTH" => {
                let user = options.value().map_err(|_| malformed())?;
                options.value().map_err(|_| malformed())?;
                default_user(user)?;
            }
            b"SETNAME" => name = Some(printable(options.value().map_err(|_| malformed())?)?),
            _ => return Err(malformed()),
        }
    }
    request(Connection::Hello { protocol: Some(protocol), name })
}

pub(super) fn select(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    only_database(integer(args[1])?)?;
    request(Connection::Select)
}

pub(super) fn auth(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    match args {
        [_, _] => Err(Refusal::fixed(
            "ERR AUTH <password> called without any password configured for the default user. \
             Are you sure your configuration is correct?",
        )),
        [_, user, _] => {
            default_user(user)?;
            request(Connection::Authenticate)
        }
        _ => Err(Refusal::SYNTAX),
    }
}

fn default_user(user: &[u8]) -> Result<(), Refusal> {
    let wrong = Refusal::fixed("WRONGPASS invalid username-password pair or user is disabled.");
    if user == b"default" { Ok(()) } else { Err(wrong) }
}

pub(super) fn reset(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::Reset)
}

pub(super) fn quit(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::Quit)
}

pub(super) fn client_id(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::ClientId)
}

pub(super) fn client_getname(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::ClientName)
}

pub(super) fn client_setname(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::NameClient { name: printable(args[2])? })
}

/// A name that can stand in a list of connections.
fn printable(name: &[u8]) -> Result<&[u8], Refusal> {
    let refusal = "ERR Client names cannot contain spaces, newlines or special characters.";
    if name.iter().all(u8::is_ascii_graphic) { Ok(name) } else { Err(Refusal::fixed(refusal)) }
}

pub(super) fn client_info(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::ClientInfo)
}

pub(super) fn client_list(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut options = Options::new(&args[2..]);
    let ids = match options.word() {
        None => None,
        Some(word) if word.name() == b"ID" && args.len() > 3 => Some(&args[3..]),
        Some(word) if word.name() == b"TYPE" && args.len() == 4 => {
            match args[3].to_ascii_lowercase().as_slice() {
                b"normal" => None,
                b"master" | b"replica" | b"slave" | b"pubsub" => Some(&[][..]),
                _ => return Err(Refusal::new([b"ERR Unknown client type '", args[3], b"'"].concat())),
            }
        }
        Some(_) => return Err(Refusal::SYNTAX),
    };
    if ids.is_some_and(|ids| ids.iter().any(|id| id_of(id).is_none())) {
        return Err(Refusal::fixed("ERR Invalid client ID"));
    }
    request(Connection::ClientList { ids })
}

fn id_of(text: &[u8]) -> Option<u64> {
    number::integer(text).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0)
}

pub(super) fn client_no_evict(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let is_switch = args[2].eq_ignore_ascii_case(b"on") || args[2].eq_ignore_ascii_case(b"off");
    if is_switch { request(Connection::NoEvict) } else { Err(Refusal::SYNTAX) }
}
