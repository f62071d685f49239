//! MULTI, EXEC, DISCARD, WATCH and UNWATCH.
//!
//! ```text
//!           MULTI             EXEC ──► one unit, one record: all or nothing after a crash
//!  direct ─────────► queueing ─────┤
//!                     │   ▲        DISCARD, or EXEC after a refusal ──► nothing happens
//!                     └───┘ commands are counted and checked, and kept as their words
//! ```

use super::Request;
use super::args::Args;
use super::reply::Refusal;

/// The words that steer a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction<'a> {
    /// Begins to queue.
    Multi,
    /// Executes what was queued.
    Exec,
    /// Forgets what was queued.
    Discard,
    /// Makes EXEC depend on keys not being changed.
    Watch { keys: Args<'a> },
    /// Makes EXEC depend on nothing.
    Unwatch,
}

/// Commands between MULTI and EXEC, kept as one run of bytes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    word_ends: Vec<usize>,
    command_ends: Vec<usize>,
    broken: bool,
}

impl Queue {
    /// Adds a command if the queue stays within `max_bytes`.
    ///
    /// # Errors
    /// A refusal, after which EXEC will refuse too.
    pub(super) fn push(&mut self, words: Args<'_>, max_bytes: usize) -> Result<(), Refusal> {
        let added: usize = words.iter().map(|word| word.len() + size_of::<usize>()).sum();
        if self.held_bytes() + added > max_bytes {
            self.broken = true;
            return Err(Refusal::new(format!(
                "ERR transaction is longer than the limit of {max_bytes} bytes"
            )));
        }
        for word in words {
            self.bytes.extend_from_slice(word);
            self.word_ends.push(self.bytes.len());
        }
        self.command_ends.push(self.word_ends.len());
        Ok(())
    }

    /// Makes EXEC refuse, because a command could not be queued.
    pub(super) const fn break_off(&mut self) {
        self.broken = true;
    }

    /// The words of all commands in order, unless one could not be queued.
    ///
    /// # Errors
    /// `EXECABORT`.
    pub(super) fn words(&self) -> Result<Vec<&[u8]>, Refusal> {
        if self.broken {
            return Err(Refusal::fixed("EXECABORT Transaction discarded because of previous errors."));
        }
        let starts = core::iter::once(&0).chain(&self.word_ends);
        Ok(starts.zip(&self.word_ends).map(|(start, end)| &self.bytes[*start..*end]).collect())
    }

    /// Cuts [`Self::words`] into commands.
    pub(super) fn commands<'a>(&self, words: Args<'a>) -> impl ExactSizeIterator<Item = Args<'a>> {
        let mut start = 0;
        self.command_ends.iter().map(move |end| &words[core::mem::replace(&mut start, *end)..*end])
    }

    /// How many commands there are.
    pub(super) const fn len(&self) -> usize {
        self.command_ends.len()
    }

    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.word_ends.len() * size_of::<usize>()
    }
}

pub(super) fn multi(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Transaction(Transaction::Multi))
}

pub(super) fn exec(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Transaction(Transaction::Exec))
}

pub(super) fn discard(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Transaction(Transaction::Discard))
}

pub(super) fn watch(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Transaction(Transaction::Watch { keys: &args[1..] }))
}

pub(super) fn unwatch(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Transaction(Transaction::Unwatch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_back_as_they_were_queued() {
        let mut queue = Queue::default();
        let queued: [&[&[u8]]; 3] = [&[b"SET", b"k", b""], &[b"GET", b"k"], &[b"DBSIZE"]];
        for words in queued {
            queue.push(words, 1000).expect("room");
        }
        let words = queue.words().expect("unbroken");
        assert_eq!(queue.commands(&words).collect::<Vec<_>>(), queued);
    }

    #[test]
    fn a_full_queue_refuses_and_exec_aborts() {
        let mut queue = Queue::default();
        queue.push(&[b"GET", b"k"], 30).expect("room");
        assert!(queue.push(&[b"SET", b"k", b"v"], 30).unwrap_err().to_string().contains("limit of 30 bytes"));
        assert!(queue.words().unwrap_err().to_string().starts_with("EXECABORT "));
    }
}
