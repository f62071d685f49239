//! What a run of histories came to.

use super::Faults;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Power cuts that were survived.
    pub cuts: u64,
    /// Starts that were judged.
    pub states: u64,
    /// Histories that were run.
    pub histories: u64,
    /// Starts that found records that were not acknowledged.
    pub provisional: u64,
    /// Records that were acknowledged.
    pub records: u64,
    /// Writes that were refused because the ring was full.
    pub full: u64,
    /// Starts at which the oldest records had been given up.
    pub dropped: u64,
    /// What was read back differently.
    pub differences: u64,
    /// Starts that found a snapshot.
    pub snapshots: u64,
    /// Trims that were acknowledged.
    pub trims: u64,
    /// Operations that were dropped in the middle.
    pub interrupted: u64,
    /// What was met of the fault model.
    pub faults: Faults,
    /// The first broken promise, with its seed.
    pub failure: Option<(u64, String)>,
}

impl Summary {
    /// Adds what a medium has met.
    pub fn faults(&mut self, faults: Faults) {
        self.faults = self.faults.and(faults);
    }

    /// Both together; the failure with the lower seed counts.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let failure = match (self.failure, other.failure) {
            (Some(a), Some(b)) => Some(if a.0 <= b.0 { a } else { b }),
            (a, b) => a.or(b),
        };
        Self {
            cuts: self.cuts + other.cuts,
            states: self.states + other.states,
            histories: self.histories + other.histories,
            provisional: self.provisional + other.provisional,
            records: self.records + other.records,
            full: self.full + other.full,
            dropped: self.dropped + other.dropped,
            differences: self.differences + other.differences,
            snapshots: self.snapshots + other.snapshots,
            trims: self.trims + other.trims,
            interrupted: self.interrupted + other.interrupted,
            faults: self.faults.and(other.faults),
            failure,
        }
    }
}

impl core::fmt::Display for Summary {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let rows = [
            (self.histories, "histories"),
            (self.cuts, "power cuts"),
            (self.states, "starts that were judged"),
            (self.records, "records acknowledged"),
            (self.provisional, "starts with records that were not"),
            (self.snapshots, "starts with a snapshot"),
            (self.trims, "trims"),
            (self.full, "writes refused by a full ring"),
            (self.dropped, "starts with records given up"),
            (self.differences, "words that came out wrong"),
            (self.interrupted, "operations dropped in the middle"),
            (self.faults.torn_words, "fault: torn words"),
            (self.faults.torn_erases, "fault: torn erases"),
            (self.faults.undecided, "fault: words that read differently at another boot"),
            (self.faults.unreadable, "fault: unreadable words"),
        ];
        for (number, (count, what)) in rows.into_iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}{count:>10}  {what}")?;
        }
        Ok(())
    }
}

impl Faults {
    const fn and(self, other: Self) -> Self {
        Self {
            torn_words: self.torn_words + other.torn_words,
            torn_erases: self.torn_erases + other.torn_erases,
            undecided: self.undecided + other.undecided,
            unreadable: self.unreadable + other.unreadable,
        }
    }
}
