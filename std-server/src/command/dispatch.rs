//! From the words of a client to its reply.
//!
//! ```text
//! words ─► row, arity ─► allowed now? ─┬─► queue (between MULTI and EXEC)
//!                                      └─► parse ─► data: Engine::submit    everything else: here
//! ```

use super::args::Args;
use super::engine::{Engine, Ticket};
use super::reply::{Refusal, Replies, Reply};
use super::session::Session;
use super::table::{IMMEDIATE, LOADING, NO_MULTI, Row};
use super::transaction::{Queue, Transaction};
use super::unit::{Command, Step, Unit};
use super::{Next, Request, server};

/// What a command leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the reply must wait for.
    pub ticket: Option<Ticket>,
    /// What becomes of the connection.
    pub next: Next,
}

impl Outcome {
    const DONE: Self = Self { ticket: None, next: Next::Continue };
}

/// Executes one command line, whose name is `words[0]`, and writes exactly one reply.
pub async fn dispatch<E: Engine, R: Replies + Send>(
    engine: &E,
    session: &mut Session,
    words: Args<'_>,
    replies: &mut R,
) -> Outcome {
    let row = match admit(engine, session, words) {
        Ok(row) => row,
        Err(refusal) => {
            if let Some(queue) = &mut session.queue {
                queue.break_off();
            }
            replies.reply(refusal.into());
            return Outcome::DONE;
        }
    };
    if let Some(queue) = session.queue.as_mut().filter(|_| !row.has(IMMEDIATE)) {
        let queued = queue.push(words, engine.limits().queued_bytes);
        replies.reply(queued.map_or_else(Reply::Refused, |()| Reply::Status("QUEUED")));
        return Outcome::DONE;
    }
    match (row.parse)(words) {
        Ok(Request::Data(operation)) => match Command::new(row, words, operation) {
            Ok(command) => submit(engine, &Unit::command(command), replies).await,
            Err(refusal) => refused(refusal, replies),
        },
        Ok(Request::Connection(connection)) => {
            Outcome { ticket: None, next: connection.execute(session, replies) }
        }
        Ok(Request::Catalog(catalog)) => replied(catalog.answer(), replies),
        Ok(Request::Transaction(step)) => transact(engine, session, step, replies).await,
        Ok(Request::Server(request)) => match request.execute(engine) {
            Ok(reply) => replied(reply, replies),
            Err(action) => match server::perform(action, engine).await {
                Some(reply) => replied(reply, replies),
                None => Outcome { ticket: None, next: Next::Close },
            },
        },
        Err(refusal) => refused(refusal, replies),
    }
}

/// Finds the command, and refuses it when it is malformed or not allowed now.
fn admit<E: Engine>(engine: &E, session: &Session, words: Args<'_>) -> Result<&'static Row, Refusal> {
    let row = Row::find(words)?;
    if let Some(progress) = engine.loading().filter(|_| !row.has(LOADING)) {
        return Err(progress.refusal());
    }
    if session.queue.is_some() && row.has(NO_MULTI) {
        return Err(Refusal::fixed("ERR Command not allowed inside a transaction"));
    }
    Ok(row)
}

async fn transact<E: Engine, R: Replies + Send>(
    engine: &E,
    session: &mut Session,
    step: Transaction,
    replies: &mut R,
) -> Outcome {
    match (step, session.queue.take()) {
        (Transaction::Multi, None) => {
            session.queue = Some(Queue::default());
            replied(Reply::OK, replies)
        }
        (Transaction::Multi, queue) => {
            session.queue = queue;
            refused(Refusal::fixed("ERR MULTI calls can not be nested"), replies)
        }
        (Transaction::Discard, Some(_)) => replied(Reply::OK, replies),
        (Transaction::Discard, None) => refused(Refusal::fixed("ERR DISCARD without MULTI"), replies),
        (Transaction::Exec, None) => refused(Refusal::fixed("ERR EXEC without MULTI"), replies),
        (Transaction::Exec, Some(queue)) => match queue.words() {
            Ok(words) => {
                let steps = queue.commands(&words).map(|words| prepare(engine, session, words)).collect();
                submit(engine, &Unit::transaction(steps), replies).await
            }
            Err(refusal) => refused(refusal, replies),
        },
    }
}

/// Parses a queued command; one that is not about data is answered here, because its answer depends on no other.
fn prepare<'a, E: Engine>(engine: &E, session: &Session, words: Args<'a>) -> Step<'a> {
    let parse = || {
        let row = Row::find(words)?;
        Ok(match (row.parse)(words)? {
            Request::Data(operation) => Step::Command(Command::new(row, words, operation)?),
            Request::Connection(connection) => Step::Known(connection.answer(session)),
            Request::Catalog(catalog) => Step::Known(catalog.answer()),
            Request::Server(request) => Step::Known(request.execute(engine).unwrap_or(NOT_IN_TRANSACTION)),
            Request::Transaction(_) => Step::Known(NOT_IN_TRANSACTION),
        })
    };
    parse().unwrap_or_else(|refusal: Refusal| Step::Known(refusal.into()))
}

async fn submit<E: Engine, R: Replies + Send>(engine: &E, unit: &Unit<'_>, replies: &mut R) -> Outcome {
    if let Err(refusal) = unit.check_bound(engine.limits().record_bytes) {
        return refused(refusal, replies);
    }
    match engine.submit(unit, replies).await {
        Ok(ticket) => Outcome { ticket, next: Next::Continue },
        Err(refusal) => refused(refusal, replies),
    }
}

fn replied(reply: Reply<'_>, replies: &mut impl Replies) -> Outcome {
    replies.reply(reply);
    Outcome::DONE
}

fn refused(refusal: Refusal, replies: &mut impl Replies) -> Outcome {
    replied(refusal.into(), replies)
}

const NOT_IN_TRANSACTION: Reply<'static> =
    Reply::Refused(Refusal::fixed("ERR Command not allowed inside a transaction"));
