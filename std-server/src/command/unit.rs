//! What is executed without interruption: one command, or all commands of a transaction.
//!
//! ```text
//! Unit ──record_bound──► room in the log is made sure of
//!      ──written_keys──► the snapshot in progress lets go of them
//!      ──execute───────► keyspace changed, one record, replies written: no step of it can fail
//! ```

use super::args::Args;
use super::effects::{Context, Scope};
use super::reply::{Refusal, Replies, Reply};
use super::table::{DENYOOM, Row, WRITE};
use super::tally::Tally;
use super::watch::Watch;
use super::{Operation, Request};
use crate::keyspace::{Keyspace, MAX_KEY_BYTES};

/// A command on data with its words.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    row: &'static Row,
    words: Args<'a>,
    operation: Operation<'a>,
}

impl<'a> Command<'a> {
    /// Joins what was parsed with the row and words that it was parsed from.
    pub(super) fn new(row: &'static Row, words: Args<'a>, operation: Operation<'a>) -> Result<Self, Refusal> {
        if row.has(WRITE) && row.keys_of(words).any(|key| key.len() > MAX_KEY_BYTES) {
            return Err(Refusal::new(format!("ERR key is longer than the limit of {MAX_KEY_BYTES} bytes")));
        }
        Ok(Self { row, words, operation })
    }

    /// Finds, checks and parses a command on data, as HTTP and tests have it.
    ///
    /// # Errors
    /// Whatever is wrong with the words, or that the command is not about data.
    pub fn parse(words: Args<'a>) -> Result<Self, Refusal> {
        let row = if words.is_empty() { Err(Refusal::SYNTAX) } else { Row::find(words) }?;
        match (row.parse)(words)? {
            Request::Data(operation) => Self::new(row, words, operation),
            _ => Err(Refusal::new(format!("ERR '{}' is not a command on data", row.name))),
        }
    }

    /// At most how many bytes this command appends to a record: its words, its keys once more for leftovers of
    /// expired keys, and the result of an increment.
    #[must_use]
    pub fn record_bound(&self) -> usize {
        if !self.row.has(WRITE) {
            return 0;
        }
        let words: usize = self.words.iter().map(|word| word.len() + EFFECT_OVERHEAD).sum();
        let keys: usize = self.row.keys_of(self.words).map(|key| key.len() + EFFECT_OVERHEAD).sum();
        let computed = match self.operation {
            Operation::Strings(strings) => strings.computed_bytes(),
            Operation::Keys(_) | Operation::Expiry(_) | Operation::Object(_) => 0,
        };
        words + keys + computed
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.row.keys_of(self.words)
    }

    fn execute<'k>(&self, scope: Scope<'k>, tally: &mut Tally) -> Reply<'k> {
        let reply = match self.operation {
            Operation::Strings(strings) => strings.execute(scope, self.row.name),
            Operation::Keys(keys) => keys.execute(scope),
            Operation::Expiry(expiry) => expiry.execute(scope, self.row.name),
            Operation::Object(object) => object.execute(&scope),
        };
        *tally += Tally::of(self, &self.operation, &reply);
        reply
    }
}

/// One member of a transaction: a command, or an answer that is known already.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    Command(Command<'a>),
    Known(Reply<'static>),
}

/// Commands that are executed back to back and logged as one record.
#[derive(Clone, Debug)]
pub struct Unit<'a>(Steps<'a>);

#[derive(Clone, Debug)]
enum Steps<'a> {
    One(Command<'a>),
    Transaction(Vec<Step<'a>>, Option<&'a Watch>),
}

impl<'a> Unit<'a> {
    /// A single command.
    #[must_use]
    pub const fn command(command: Command<'a>) -> Self {
        Self(Steps::One(command))
    }

    /// Commands that are executed only if nothing watched has changed.
    pub(super) const fn transaction(steps: Vec<Step<'a>>, watch: Option<&'a Watch>) -> Self {
        Self(Steps::Transaction(steps, watch))
    }

    /// Whether it may change the keyspace.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.commands().any(|command| command.row.has(WRITE))
    }

    /// Whether it may need more memory afterwards; one that does not may use what the log keeps in reserve.
    #[must_use]
    pub fn grows(&self) -> bool {
        self.commands().any(|command| command.row.has(DENYOOM))
    }

    /// At most how many bytes [`Self::execute`] appends to the record; 0 for reads.
    #[must_use]
    pub fn record_bound(&self) -> usize {
        let bound: usize = self.commands().map(Command::record_bound).sum();
        if bound == 0 { 0 } else { bound + EFFECT_OVERHEAD }
    }

    /// Refuses a unit that could need a longer record than the log takes.
    pub(super) fn check_bound(&self, limit: usize) -> Result<(), Refusal> {
        let bound = self.record_bound();
        if bound <= limit {
            return Ok(());
        }
        let line = format!("ERR up to {bound} bytes to log exceed the limit of {limit} bytes for one record");
        Err(Refusal::new(line))
    }

    /// The keys that it may change, without those that FLUSHALL removes.
    pub fn written_keys(&self) -> impl Iterator<Item = &'a [u8]> {
        let writes = self.commands().filter(|command| command.row.has(WRITE));
        writes.flat_map(|command| command.row.keys_of(command.words))
    }

    /// The keys that its replies may depend on.
    pub fn keys(&self) -> impl Iterator<Item = &'a [u8]> {
        self.commands().flat_map(Command::keys)
    }

    /// Whether a command in it names no key and so concerns them all.
    #[must_use]
    pub fn concerns_all_keys(&self) -> bool {
        self.commands().any(|command| command.keys().next().is_none())
    }

    /// Changes the keyspace, appends what changed to `record`, which must be empty and stays empty when nothing
    /// did, and writes one complete reply. Answers what it did.
    pub fn execute<R: Replies>(
        &self,
        keyspace: &mut Keyspace,
        context: &Context,
        record: &mut Vec<u8>,
        replies: &mut R,
    ) -> Tally {
        debug_assert!(record.is_empty(), "one record per unit");
        let mut tally = Tally::default();
        let full = context.max_memory_bytes.is_some_and(|limit| keyspace.used_bytes() > limit);
        let refuses = full && self.commands().any(|command| command.row.has(DENYOOM));
        match &self.0 {
            Steps::One(_) if refuses => replies.reply(Refusal::OUT_OF_MEMORY.into()),
            Steps::One(command) => {
                replies.reply(command.execute(Scope::new(keyspace, *context, record), &mut tally));
            }
            Steps::Transaction(_, Some(watch)) if watch.is_broken(keyspace, context.now_ms) => {
                replies.reply(Reply::NullArray);
            }
            Steps::Transaction(..) if refuses => {
                let reason =
                    [b"EXECABORT Transaction discarded because of: ", Refusal::OUT_OF_MEMORY.line()].concat();
                replies.reply(Refusal::new(reason).into());
            }
            Steps::Transaction(steps, _) => {
                replies.begin_array(steps.len());
                for step in steps {
                    replies.reply(match step {
                        Step::Command(command) => {
                            command.execute(Scope::new(keyspace, *context, record), &mut tally)
                        }
                        Step::Known(reply) => reply.clone(),
                    });
                }
            }
        }
        debug_assert!(record.len() <= self.record_bound(), "a record within its bound");
        tally
    }

    fn commands(&self) -> impl Iterator<Item = &Command<'a>> {
        let (one, steps) = match &self.0 {
            Steps::One(command) => (Some(command), &[][..]),
            Steps::Transaction(steps, _) => (None, &steps[..]),
        };
        let members = steps.iter().filter_map(|step| match step {
            Step::Command(command) => Some(command),
            Step::Known(_) => None,
        });
        one.into_iter().chain(members)
    }
}

/// More than an effect's kind, lengths, offset and expiry take beside its words.
const EFFECT_OVERHEAD: usize = 32;

#[cfg(test)]
mod tests;
