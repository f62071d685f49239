//! Reading the words of a command.

use super::number;
use super::reply::Refusal;

/// The words of one command, its name first.
pub type Args<'a> = &'a [&'a [u8]];

/// Reads a 64-bit integer.
pub(super) fn integer(text: &[u8]) -> Result<i64, Refusal> {
    number::integer(text).ok_or(Refusal::NOT_AN_INTEGER)
}

/// Option words, read from left to right.
pub(super) struct Options<'a> {
    rest: Args<'a>,
}

impl<'a> Options<'a> {
    pub(super) const fn new(rest: Args<'a>) -> Self {
        Self { rest }
    }

    /// The next word, if there is one.
    pub(super) fn word(&mut self) -> Option<Word<'a>> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(Word::new(first))
    }

    /// The value that belongs to the option just read.
    pub(super) fn value(&mut self) -> Result<&'a [u8], Refusal> {
        self.word().map(|word| word.text).ok_or(Refusal::SYNTAX)
    }
}

/// One word, compared without regard to case.
pub(super) struct Word<'a> {
    /// The word as the client sent it.
    pub(super) text: &'a [u8],
    /// The word in capitals, then zeros; all zeros when it is longer than any name.
    pub(super) upper: [u8; LONGEST_NAME],
}

impl<'a> Word<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let mut upper = [0; LONGEST_NAME];
        if let Some(copy) = upper.get_mut(..text.len()) {
            copy.copy_from_slice(text);
            copy.make_ascii_uppercase();
        }
        Self { text, upper }
    }

    /// The word in capitals; empty when it is longer than any name.
    pub(super) fn name(&self) -> &[u8] {
        self.upper.get(..self.text.len()).unwrap_or_default()
    }
}

/// No name of a command or an option is longer.
pub(super) const LONGEST_NAME: usize = 16;
