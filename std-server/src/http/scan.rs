//! Keys by prefix, in steps of SCAN.

use std::collections::BTreeSet;

use super::problem::Problem;
use super::text::shown;
use crate::command::{Reply, ask};
use crate::engine::DurableEngine;

/// At most `limit` keys that begin with `prefix`, each once; a key that is there all the time is found if there is room.
pub(super) async fn with_prefix(
    engine: &DurableEngine,
    prefix: &str,
    limit: usize,
) -> Result<Vec<String>, Problem> {
    let pattern = pattern(prefix);
    let mut cursor = String::from("0");
    let mut keys = BTreeSet::new();
    // SCAN may name a key twice when the table grows.
    while keys.len() < limit {
        let words: [&[u8]; 6] =
            [b"SCAN", cursor.as_bytes(), b"MATCH", pattern.as_bytes(), b"COUNT", STEP.as_bytes()];
        let Reply::Array(step) = ask(engine, &words).await? else { break };
        let mut step = step.into_iter();
        let (next, Some(Reply::Array(found))) = (step.next().and_then(shown), step.next()) else { break };
        keys.extend(found.into_iter().filter_map(shown));
        cursor = next.unwrap_or_default();
        if cursor == "0" {
            break;
        }
    }
    Ok(keys.into_iter().take(limit).collect())
}

/// The pattern that matches everything that begins with `prefix`.
pub(super) fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

/// Keys looked at in one step: the keyspace is locked for no longer.
const STEP: &str = "1000";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_means_itself() {
        assert_eq!(pattern(""), "*");
        assert_eq!(pattern("user:*[1]?"), r"user:\*\[1\]\?*");
    }
}
