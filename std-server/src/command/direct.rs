//! One command on data from a caller without a connection, such as an HTTP request.
//!
//! ```text
//! words ─► Command::parse ─► Engine::submit ─► Engine::acknowledged ─► Reply
//! ```

use super::args::Args;
use super::engine::Engine;
use super::reply::{Refusal, Replies, Reply};
use super::session::Protocol;
use super::unit::{Command, Unit};

/// Executes one command line and answers once its record keeps the promise of the sync mode.
///
/// # Errors
/// A refusal. Unless the log has halted, nothing was executed.
pub async fn ask<E: Engine>(engine: &E, words: Args<'_>) -> Result<Reply<'static>, Refusal> {
    if let Some(progress) = engine.loading() {
        return Err(progress.refusal());
    }
    let unit = Unit::command(Command::parse(words)?);
    unit.check_bound(engine.limits().record_bytes)?;
    let mut kept = Kept(Reply::Null);
    if let Some(ticket) = engine.submit(&unit, &mut kept).await? {
        engine.acknowledged(ticket).await.map_err(|halted| halted.refusal)?;
    }
    match kept.0 {
        Reply::Refused(refusal) => Err(refusal),
        reply => Ok(reply),
    }
}

/// Keeps the reply of a unit that is one command.
struct Kept(Reply<'static>);

impl Replies for Kept {
    fn reply(&mut self, reply: Reply<'_>) {
        self.0 = reply.into_owned();
    }

    /// Only transactions announce arrays.
    fn begin_array(&mut self, _: usize) {}

    fn speak(&mut self, _: Protocol) {}
}
