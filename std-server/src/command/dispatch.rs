//! From the words of a client to its reply.
//!
//! ```text
//! words ─► row, arity ─► allowed now? ─┬─► queue (between MULTI and EXEC)
//!                                      └─► parse ─► data: Engine::submit    everything else: here
//! ```

use super::args::Args;
use super::engine::{Engine, Ticket};
use super::reply::{Refusal, Replies, Reply};
use super::session::{Protocol, Session};
use super::statistics::{Ending, Sender};
use super::table::{IMMEDIATE, LOADING, NO_AUTH, NO_MULTI, Row};
use super::transaction::{Queue, Transaction};
use super::unit::{Command, Step, Unit};
use super::watch::Watch;
use super::{Next, Request, server};
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::time::Instant;

/// What a command leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the reply must wait for.
    pub ticket: Option<Ticket>,
    /// What becomes of the connection.
    pub next: Next,
    /// The client does not want to hear the reply.
    pub silent: bool,
}

impl Outcome {
    const DONE: Self = Self { ticket: None, next: Next::Continue, silent: false };
}

/// Executes one command line, whose name is `words[0]`, and writes exactly one reply. Counts it, with the time since
/// `begun`, and answers when it ended.
pub async fn dispatch<E: Engine, R: Replies + Send>(
    engine: &E,
    session: &mut Session,
    words: Args<'_>,
    replies: &mut R,
    begun: Instant,
) -> (Outcome, Instant) {
    let found = Row::find(words);
    let name = found.as_ref().map(|row| row.name).ok();
    let refused_before = replies.refused();
    let (mut outcome, admitted) = match found.and_then(|row| admit(engine, session, row)) {
        Ok(row) => (execute(engine, session, row, words, replies).await, true),
        Err(refusal) => (refused(discarding(session, words, refusal), replies), false),
    };
    let ended = Instant::now();
    if let Some(name) = name {
        let ending = match (admitted, replies.refused() > refused_before) {
            (false, _) => Ending::Rejected,
            (true, true) => Ending::Failed,
            (true, false) => Ending::Done,
        };
        count(engine, session, words, Counted { name, took: ended - begun, ending });
    }
    outcome.silent = session.is_silent();
    (outcome, ended)
}

/// A command that is refused breaks the transaction off; EXEC that is refused ends it.
fn discarding(session: &mut Session, words: Args<'_>, refusal: Refusal) -> Refusal {
    if words[0].eq_ignore_ascii_case(b"EXEC") {
        session.set_queue(None);
        session.set_watch(None);
        let why = refusal.line().strip_prefix(b"ERR ").unwrap_or(refusal.line());
        return Refusal::new([b"EXECABORT Transaction discarded because of: ", why].concat());
    }
    if let Some(queue) = &mut session.queue {
        queue.break_off();
    }
    refusal
}

struct Counted {
    name: &'static str,
    took: Duration,
    ending: Ending,
}

fn count<E: Engine>(engine: &E, session: &Session, words: Args<'_>, counted: Counted) {
    let Counted { name, took, ending } = counted;
    let client = &session.client;
    client.counts.lock().used(name, took, ending);
    let statistics = engine.clients().statistics();
    if statistics.is_slow(took) && ending != Ending::Rejected {
        let (at_s, peer) = (engine.now_us() / 1_000_000, client.addresses.peer);
        statistics.note_slow(words, took, Sender { at_s, peer, name: client.name.lock().clone() });
    }
}

/// Executes a command that is allowed now, or queues it.
async fn execute<E: Engine, R: Replies + Send>(
    engine: &E,
    session: &mut Session,
    row: &'static Row,
    words: Args<'_>,
    replies: &mut R,
) -> Outcome {
    if let Some(queue) = session.queue.as_mut().filter(|_| !row.has(IMMEDIATE)) {
        let queued = queue.push(words, engine.limits().queued_bytes);
        let count = i64::try_from(queue.len()).unwrap_or(i64::MAX);
        session.client.queued.store(count, Ordering::Relaxed);
        replies.reply(queued.map_or_else(Reply::Refused, |()| Reply::Status("QUEUED")));
        return Outcome::DONE;
    }
    match (row.parse)(words) {
        Ok(Request::Data(operation)) => match Command::new(row, words, operation) {
            Ok(command) => submit(engine, &Unit::command(command), replies).await,
            Err(refusal) => refused(refusal, replies),
        },
        Ok(Request::Connection(connection)) => {
            let next = connection.execute(session, engine.credentials(), replies).await;
            Outcome { next, ..Outcome::DONE }
        }
        Ok(Request::Client(command)) => {
            let (reply, next) = command.execute(session);
            replies.reply(reply);
            Outcome { next, ..Outcome::DONE }
        }
        Ok(Request::Catalog(catalog)) => replied(catalog.answer(), replies),
        Ok(Request::Transaction(step)) => transact(engine, session, step, replies).await,
        Ok(Request::Server(request)) => match request.execute(engine) {
            Ok(reply) => replied(reply, replies),
            Err(action) => match server::perform(action, engine).await {
                Some(reply) => replied(reply, replies),
                None => Outcome { next: Next::Close, ..Outcome::DONE },
            },
        },
        Err(refusal) => refused(refusal, replies),
    }
}

/// Refuses a command that is not allowed now.
fn admit<E: Engine>(engine: &E, session: &Session, row: &'static Row) -> Result<&'static Row, Refusal> {
    if !session.trusted && !row.has(NO_AUTH) {
        return Err(Refusal::fixed("NOAUTH Authentication required."));
    }
    if let Some(progress) = engine.loading().filter(|_| !row.has(LOADING)) {
        return Err(progress.refusal());
    }
    if session.queue.is_some() && row.has(NO_MULTI) {
        return Err(Refusal::fixed("ERR Command not allowed inside a transaction"));
    }
    // What is queued takes memory too.
    if session.queue.is_some() && !row.has(IMMEDIATE) && engine.is_full() {
        return Err(Refusal::OUT_OF_MEMORY);
    }
    Ok(row)
}

async fn transact<E: Engine, R: Replies + Send>(
    engine: &E,
    session: &mut Session,
    step: Transaction<'_>,
    replies: &mut R,
) -> Outcome {
    match (step, session.queue.is_some()) {
        (Transaction::Multi, false) => {
            session.set_queue(Some(Queue::default()));
            replied(Reply::OK, replies)
        }
        (Transaction::Multi, true) => refused(Refusal::fixed("ERR MULTI calls can not be nested"), replies),
        (Transaction::Watch { .. }, true) => {
            refused(Refusal::fixed("ERR WATCH inside MULTI is not allowed"), replies)
        }
        (Transaction::Watch { keys }, false) => match watch(engine, session, keys).await {
            Ok(()) => replied(Reply::OK, replies),
            Err(refusal) => refused(refusal, replies),
        },
        (Transaction::Unwatch, _) => {
            session.set_watch(None);
            replied(Reply::OK, replies)
        }
        (Transaction::Discard, true) => {
            session.set_queue(None);
            session.set_watch(None);
            replied(Reply::OK, replies)
        }
        (Transaction::Discard, false) => refused(Refusal::fixed("ERR DISCARD without MULTI"), replies),
        (Transaction::Exec, false) => refused(Refusal::fixed("ERR EXEC without MULTI"), replies),
        (Transaction::Exec, true) => exec(engine, session, replies).await,
    }
}

async fn exec<E: Engine, R: Replies + Send>(engine: &E, session: &mut Session, replies: &mut R) -> Outcome {
    let (queue, watch) = (session.set_queue(None).unwrap_or_default(), session.set_watch(None));
    match queue.words() {
        Ok(words) => {
            let steps = queue.commands(&words).map(|words| prepare(engine, session, words)).collect();
            submit(engine, &Unit::transaction(steps, watch.as_ref()), replies).await
        }
        Err(refusal) => refused(refusal, replies),
    }
}

/// Watches keys from now on: first their changes are noted, then it is asked which of them there are.
async fn watch<E: Engine>(engine: &E, session: &mut Session, keys: Args<'_>) -> Result<(), Refusal> {
    let mut watch = session.set_watch(None).unwrap_or_else(|| Watch::new(engine.clients().watches()));
    let known = watch.len();
    let mut added = keys.iter().try_for_each(|key| watch.add(key, engine.limits().queued_bytes));
    if added.is_ok() && watch.len() > known {
        let questions: Vec<[&[u8]; 2]> = keys.iter().map(|key| [&b"EXISTS"[..], key]).collect();
        let steps = questions.iter().map(|words| Command::parse(words).map(Step::Command)).collect();
        let mut found = Found::default();
        added = match steps {
            Ok(steps) => engine.submit(&Unit::transaction(steps, None), &mut found).await.map(drop),
            Err(refusal) => Err(refusal),
        };
        let there = keys.iter().zip(&found.there).filter(|(_, there)| **there);
        there.for_each(|(key, _)| watch.found(key));
    }
    session.set_watch(Some(watch));
    added
}

/// The answers to EXISTS, one key each.
#[derive(Default)]
struct Found {
    there: Vec<bool>,
}

impl Replies for Found {
    fn reply(&mut self, reply: Reply<'_>) {
        self.there.push(reply == Reply::Integer(1));
    }

    fn begin_array(&mut self, _: usize) {}

    fn speak(&mut self, _: Protocol) {}
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
            Request::Client(command) => Step::Known(command.answer(&session.client)),
            Request::Transaction(Transaction::Unwatch) => Step::Known(Reply::OK),
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
        Ok(ticket) => Outcome { ticket, ..Outcome::DONE },
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
