//! Commands on the connection itself: PING, ECHO, HELLO, SELECT, AUTH, RESET, QUIT.

use super::args::{Args, Options, integer};
use super::client::{ClientCommand, printable};
use super::keys::only_database;
use super::number;
use super::reply::{Refusal, Replies, Reply};
use super::session::{Protocol, Session};
use super::{Next, Request};
use crate::auth::Credentials;
use std::sync::Arc;

/// What these commands do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Connection<'a> {
    /// Answers `PONG`, or the message.
    Ping { message: Option<&'a [u8]> },
    /// Answers the message.
    Echo { message: &'a [u8] },
    /// Chooses the protocol, names the connection, and tells who the server is.
    Hello { protocol: Option<Protocol>, name: Option<&'a [u8]>, pair: Option<Pair<'a>> },
    /// Selects database 0, which is selected already.
    Select,
    /// Shows who the client is.
    Authenticate { pair: Pair<'a> },
    /// Forgets the connection's state.
    Reset,
    /// Answers and closes.
    Quit,
}

/// A user and a password; without a user, the default one.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    user: Option<&'a [u8]>,
    secret: &'a [u8],
}

/// A password never comes into a log.
impl core::fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

impl Connection<'_> {
    pub(super) async fn execute(
        self,
        session: &mut Session,
        credentials: &Arc<Credentials>,
        replies: &mut impl Replies,
    ) -> Next {
        match self {
            Self::Authenticate { pair } => {
                let shown = authenticate(session, credentials, pair).await;
                replies.reply(shown.map_or_else(Reply::Refused, |()| Reply::OK));
            }
            Self::Hello { protocol, name, pair } => match introduce(session, credentials, pair).await {
                Ok(()) => {
                    if let Some(name) = name {
                        *session.client.name.lock() = name.to_vec();
                    }
                    let protocol = protocol.unwrap_or(session.protocol());
                    session.client.speak(protocol);
                    replies.speak(protocol);
                    replies.reply(greeting(session));
                }
                Err(refusal) => replies.reply(refusal.into()),
            },
            Self::Reset => {
                session.reset();
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
        match self {
            Self::Ping { message: None } => Reply::Status("PONG"),
            Self::Ping { message: Some(message) } | Self::Echo { message } => Reply::owned(message),
            Self::Hello { .. } => greeting(session),
            Self::Reset | Self::Quit | Self::Select | Self::Authenticate { .. } => Reply::OK,
        }
    }
}

/// With HELLO a client may show who it is, and must have when it has greeted.
async fn introduce(
    session: &mut Session,
    credentials: &Arc<Credentials>,
    pair: Option<Pair<'_>>,
) -> Result<(), Refusal> {
    if let Some(pair) = pair {
        authenticate(session, credentials, pair).await?;
    }
    if session.trusted { Ok(()) } else { Err(Refusal::fixed(HELLO_WITHOUT_AUTH)) }
}

/// A server without users knows the default one, who has no password, as Redis does.
async fn authenticate(
    session: &mut Session,
    credentials: &Arc<Credentials>,
    Pair { user, secret }: Pair<'_>,
) -> Result<(), Refusal> {
    if !session.asks {
        return match user {
            Some(b"default") => Ok(()),
            Some(_) => Err(WRONG_PAIR),
            None => Err(Refusal::fixed(NO_PASSWORD)),
        };
    }
    match credentials.authenticate(user.unwrap_or(b"default"), secret).await {
        Some(user) => {
            session.identify(user);
            Ok(())
        }
        None => Err(WRONG_PAIR),
    }
}

fn greeting(session: &Session) -> Reply<'static> {
    let text = |text: &'static str| Reply::borrowed(text.as_bytes());
    let rows = [
        ("server", text("redis")),
        ("version", text(COMPATIBLE_VERSION)),
        ("proto", Reply::Integer(session.protocol() as i64)),
        ("id", ClientCommand::Id.answer(&session.client)),
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
        return request(Connection::Hello { protocol: None, name: None, pair: None });
    };
    let protocol = match number::integer(version) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        Some(_) => return Err(Refusal::fixed("NOPROTO unsupported protocol version")),
        None => return Err(Refusal::fixed("ERR Protocol version is not an integer or out of range")),
    };
    let (mut name, mut pair) = (None, None);
    let mut options = Options::new(&args[2..]);
    while let Some(word) = options.word() {
        let malformed = || Refusal::naming("ERR Syntax error in HELLO option '", word.text, "'");
        match word.name() {
            b"AUTH" => {
                let user = Some(options.value().map_err(|_| malformed())?);
                pair = Some(Pair { user, secret: options.value().map_err(|_| malformed())? });
            }
            b"SETNAME" => name = Some(printable(options.value().map_err(|_| malformed())?)?),
            _ => return Err(malformed()),
        }
    }
    request(Connection::Hello { protocol: Some(protocol), name, pair })
}

pub(super) fn select(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    only_database(integer(args[1])?)?;
    request(Connection::Select)
}

pub(super) fn auth(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let pair = match args {
        [_, secret] => Pair { user: None, secret },
        [_, user, secret] => Pair { user: Some(user), secret },
        _ => return Err(Refusal::SYNTAX),
    };
    request(Connection::Authenticate { pair })
}

pub(super) fn reset(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::Reset)
}

pub(super) fn quit(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Connection::Quit)
}

const WRONG_PAIR: Refusal = Refusal::fixed("WRONGPASS invalid username-password pair or user is disabled.");
const NO_PASSWORD: &str = "ERR AUTH <password> called without any password configured for the default user. \
                           Are you sure your configuration is correct?";
const HELLO_WITHOUT_AUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
                                  AUTH <user> <pass> option can be used to authenticate the client and select the RESP \
                                  protocol version at the same time";
