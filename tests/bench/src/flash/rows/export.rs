//! F12: export over a slow link. No peer has one.

use crate::flash::subject::Failed;
use crate::table::{Row, Verdict, cell};

/// F12.
pub(crate) fn dropped() -> Row {
    let ours = resent_chunks();
    Row {
        id: "F12",
        measure: "export over a 20-byte link with random drops: most chunks resent for one drop, archive identical",
        peers: Vec::new(),
        goal: "≤ 1, byte-identical archive",
        verdict: Verdict::of(&ours, |resent| *resent <= 1),
        ours: cell(&ours, u64::to_string),
    }
}

fn resent_chunks() -> Result<u64, Failed> {
    Err(Failed::NotBuilt)
}
