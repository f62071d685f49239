//! Torn or corrupt is proved, not guessed: the decision table of recovery.
//!
//! The reader has stopped at the expected position and LSN. Rows are tried in this order:
//!
//! | # | what is known | verdict |
//! |---|---|---|
//! | 1 | the medium could not be read here | [`Verdict::Unreadable`]: neither torn nor corrupt, stop and report |
//! | 2 | a segment of a newer epoch has a fence at or below the expected LSN | [`Verdict::Fenced`]: go on there |
//! | 3 | an intact frame of an unknown kind, flag or version | [`Verdict::Newer`]: refuse, this is not damage |
//! | 4 | the next listed segment of this epoch has an intact header whose fence is the expected LSN | [`Verdict::Rotated`]: go on there |
//! | 5 | this place is before the settled position | [`Verdict::Corrupt`] |
//! | 6 | at or after it, and nothing of this log id stands from here on | [`Verdict::Clean`] |
//! | 7 | at or after it, and something does | [`Verdict::Torn`]: it and everything after it in this epoch is void |
//!
//! Row 2 is also tried in front of every intact frame: a fence voids what an older epoch wrote from that LSN on.

use super::reader::Found;

/// What is known about the place where the reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What stands here, or `None` if the medium could not be read.
    pub found: Option<Found>,
    /// A newer epoch begins at or before the expected LSN.
    pub fenced: bool,
    /// The next segment of this epoch begins with the expected LSN.
    pub rotated: bool,
    /// The place lies before the highest settled position that any intact witness names.
    pub settled: bool,
    /// Intact marks of this log id, or later segments of this epoch with intact headers, or a batch that was begun and not finished.
    pub followed: bool,
}

/// What it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A read error: neither torn nor corrupt.
    Unreadable,
    /// The log goes on in a newer epoch.
    Fenced,
    /// Written by a newer version.
    Newer,
    /// The log goes on in the next segment.
    Rotated,
    /// Settled data is damaged or missing.
    Corrupt,
    /// The log ends here.
    Clean,
    /// The log ends here; what was being written is void.
    Torn,
}

/// Judges a place. The `match` has the rows of the table above, in their order.
#[must_use]
pub const fn judge(evidence: Evidence) -> Verdict {
    match evidence {
        Evidence { found: None, .. } => Verdict::Unreadable,
        Evidence { fenced: true, .. } => Verdict::Fenced,
        Evidence { found: Some(Found::Newer), .. } => Verdict::Newer,
        Evidence { rotated: true, .. } => Verdict::Rotated,
        Evidence { settled: true, .. } => Verdict::Corrupt,
        Evidence { found: Some(Found::Blank), followed: false, .. } => Verdict::Clean,
        Evidence { found: Some(Found::Bad), followed: false, .. } => Verdict::Clean,
        Evidence { followed: true, .. } => Verdict::Torn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Evidence = Evidence {
        found: Some(Found::Blank),
        fenced: false,
        rotated: false,
        settled: false,
        followed: false,
    };

    #[test]
    fn row_1_unreadable_comes_before_everything() {
        let all = Evidence { found: None, fenced: true, rotated: true, settled: true, followed: true };
        assert_eq!(judge(all), Verdict::Unreadable);
    }

    #[test]
    fn row_2_fenced_comes_before_what_stands_here() {
        for found in [Found::Blank, Found::Bad, Found::Newer] {
            let all =
                Evidence { found: Some(found), fenced: true, rotated: true, settled: true, followed: true };
            assert_eq!(judge(all), Verdict::Fenced);
        }
    }

    #[test]
    fn row_3_a_newer_writer_is_not_damage() {
        let newer = Evidence { found: Some(Found::Newer), settled: true, ..NOTHING };
        assert_eq!(judge(newer), Verdict::Newer);
    }

    #[test]
    fn row_4_rotated_although_settled() {
        assert_eq!(
            judge(Evidence { rotated: true, settled: true, followed: true, ..NOTHING }),
            Verdict::Rotated
        );
    }

    #[test]
    fn row_5_before_the_settled_position_is_corrupt_whatever_stands_there() {
        for found in [Found::Blank, Found::Bad] {
            for followed in [false, true] {
                let evidence = Evidence { found: Some(found), settled: true, followed, ..NOTHING };
                assert_eq!(judge(evidence), Verdict::Corrupt);
            }
        }
    }

    #[test]
    fn row_6_nothing_from_here_on_is_clean() {
        assert_eq!(judge(NOTHING), Verdict::Clean);
        assert_eq!(judge(Evidence { found: Some(Found::Bad), ..NOTHING }), Verdict::Clean);
    }

    #[test]
    fn row_7_something_unsettled_is_torn() {
        for found in [Found::Blank, Found::Bad] {
            assert_eq!(judge(Evidence { found: Some(found), followed: true, ..NOTHING }), Verdict::Torn);
        }
    }
}
