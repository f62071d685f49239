//! OBJECT and MEMORY USAGE: how a value is kept.

use super::args::{Args, Options, integer};
use super::effects::Scope;
use super::number;
use super::reply::{Refusal, Reply};
use super::{Operation, Request};

/// What is asked about the value of a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    key: &'a [u8],
    question: Question,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Encoding,
    References,
    /// How often it is read: nobody counts.
    Frequency,
    /// When it was last read: nobody notes.
    IdleTime,
    Memory,
}

impl Object<'_> {
    pub(super) fn execute<'k>(self, scope: &Scope<'_>) -> Reply<'k> {
        let Some(entry) = scope.get(self.key) else { return Reply::Null };
        match self.question {
            Question::Encoding => Reply::borrowed(encoding(entry.value).as_bytes()),
            Question::References => Reply::Integer(1),
            Question::Frequency => Refusal::fixed(NO_FREQUENCY).into(),
            Question::IdleTime => Refusal::fixed(NO_IDLE_TIME).into(),
            Question::Memory => {
                let expiry_bytes = if entry.expires_at_ms.is_some() { size_of::<u64>() } else { 0 };
                Reply::count(self.key.len() + entry.value.len() + expiry_bytes + ENTRY_OVERHEAD_BYTES)
            }
        }
    }
}

/// Every value is bytes; these are the words that Redis would use for a fresh one.
fn encoding(value: &[u8]) -> &'static str {
    match value.len() {
        _ if number::integer(value).is_some() => "int",
        0..=44 => "embstr",
        _ => "raw",
    }
}

fn ask<'a>(key: &'a [u8], question: Question) -> Result<Request<'a>, Refusal> {
    Ok(Request::Data(Operation::Object(Object { key, question })))
}

pub(super) fn encoding_of(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    ask(args[2], Question::Encoding)
}

pub(super) fn refcount(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    ask(args[2], Question::References)
}

pub(super) fn freq(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    ask(args[2], Question::Frequency)
}

pub(super) fn idletime(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    ask(args[2], Question::IdleTime)
}

/// `SAMPLES` is for values with members, of which there are none.
pub(super) fn memory_usage(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut options = Options::new(&args[3..]);
    while let Some(word) = options.word() {
        if word.name() != b"SAMPLES" || integer(options.value()?)? < 0 {
            return Err(Refusal::SYNTAX);
        }
    }
    ask(args[2], Question::Memory)
}

const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                            when switching between policies at runtime LRU and LFU data will take some time to adjust.";
const NO_IDLE_TIME: &str = "ERR idle times are not tracked";
/// Lengths, the index and unused room, on average.
const ENTRY_OVERHEAD_BYTES: usize = 24;
