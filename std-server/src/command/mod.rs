//! The command layer: one table of commands that serves the Redis protocol, HTTP and tests alike.
//!
//! ```text
//!            parse                         execute
//! words ───────────────► Request ──┬─ Data ──────────► Effect ─► record and keyspace
//!        table, families           ├─ Connection ────► session
//!        (refusals found first)    ├─ Server ────────► Host, or an Action to wait for
//!                                  └─ Transaction ───► many Data in one record
//! ```
//!
//! A request that was parsed can only be refused for what it finds in the keyspace, and then changes nothing.
//! Conditional and arithmetic commands are logged as their result, so that replay is exact.

mod args;
mod catalog;
mod client;
mod connection;
mod direct;
mod dispatch;
mod effects;
mod engine;
mod expiry;
mod glob;
mod info;
mod keys;
mod lcs;
mod long_double;
mod memory;
mod number;
mod object;
mod reply;
mod server;
mod session;
mod settings;
mod slowlog;
mod statistics;
mod strings;
mod table;
mod tally;
mod transaction;
mod unit;
mod watch;

pub use args::Args;
pub use connection::COMPATIBLE_VERSION;
pub use direct::ask;
pub use dispatch::{Outcome, dispatch};
pub use effects::Context;
pub use engine::{CommandLimits, Engine, Halted, Host, InfoSection, Progress, Stop, Ticket};
pub use memory::MemoryEngine;
pub(crate) use number::integer;
pub use reply::{Refusal, Replies, Reply};
pub use session::{Addresses, Clients, Protocol, Session};
pub use statistics::{Counts, Statistics, Usage};
pub use table::{Row, rows};
pub use tally::Tally;
pub use unit::{Command, Unit};
pub use watch::Watches;

/// A command that is well formed.
#[derive(Clone, Copy, Debug)]
enum Request<'a> {
    Data(Operation<'a>),
    Connection(connection::Connection<'a>),
    Client(client::ClientCommand<'a>),
    Catalog(catalog::Catalog<'a>),
    Server(server::Server<'a>),
    Transaction(transaction::Transaction<'a>),
}

/// A command on the keyspace.
#[derive(Clone, Copy, Debug)]
enum Operation<'a> {
    Strings(strings::Strings<'a>),
    Keys(keys::Keys<'a>),
    Expiry(expiry::Expiry<'a>),
    Object(object::Object<'a>),
}

/// What becomes of a connection after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Continue,
    /// It is closed once the replies are written.
    Close,
}
