//! Clients and the system's limit of open files: every client is one.
//!
//! ```text
//!  wanted + KEPT fits the soft limit ─► all of them
//!  else raise the soft limit, to the hard one at most ─► as many as fit then, and a note
//! ```

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Makes room for so many clients, as far as the system allows. If it is for fewer, the note says so.
pub(crate) fn make_room(clients: usize) -> (usize, Option<String>) {
    let limits = getrlimit(Resource::Nofile);
    let raise = |soft| setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..limits }).is_ok();
    fit(clients, limits, raise)
}

fn fit(clients: usize, limits: Rlimit, mut raise: impl FnMut(u64) -> bool) -> (usize, Option<String>) {
    let wanted = (clients as u64).saturating_add(KEPT);
    let Some(soft) = limits.current.filter(|soft| *soft < wanted) else { return (clients, None) };
    let most = limits.maximum.map_or(wanted, |hard| hard.min(wanted));
    // Some systems take less than their hard limit.
    let steps = core::iter::successors(Some(most), |files| files.checked_sub(STEP));
    let files = steps.take_while(|files| *files > soft).find(|files| raise(*files)).unwrap_or(soft);
    if files >= wanted {
        return (clients, None);
    }
    let fewer = usize::try_from(files.saturating_sub(KEPT).max(1)).unwrap_or(clients);
    let note = format!(
        "resp3.max_clients = {clients} is lowered to {fewer}: the system allows this process {files} open files, and {KEPT} \
         are for the log and HTTP; raise the limit with `ulimit -n {wanted}`, or with LimitNOFILE in a unit of systemd"
    );
    (fewer, Some(note))
}

/// Files that are not clients of the Redis protocol: the log's and the snapshots', listeners, HTTP, clients that are turned away.
const KEPT: u64 = 128;
const STEP: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(soft: u64, hard: Option<u64>) -> Rlimit {
        Rlimit { current: Some(soft), maximum: hard }
    }

    #[test]
    fn the_soft_limit_is_left_alone_if_it_is_enough() {
        let not_called = |_| unreachable!();
        assert_eq!(fit(100, limits(100 + KEPT, None), not_called), (100, None));
        assert_eq!(fit(100, Rlimit { current: None, maximum: None }, not_called), (100, None));
    }

    #[test]
    fn it_is_raised_as_far_as_it_takes_and_the_system_allows() {
        let mut raised = Vec::new();
        let mut raise = |soft| {
            raised.push(soft);
            true
        };
        assert_eq!(fit(1000, limits(256, None), &mut raise), (1000, None));
        assert_eq!(fit(1000, limits(256, Some(5000)), &mut raise), (1000, None));
        let (clients, note) = fit(1000, limits(256, Some(628)), &mut raise);
        assert_eq!((clients, raised), (500, vec![1000 + KEPT, 1000 + KEPT, 628]));
        let note = note.expect("fewer than wanted");
        assert!(note.contains("1000 is lowered to 500") && note.contains("628 open files"), "{note}");
    }

    #[test]
    fn a_system_that_takes_less_or_nothing_leaves_fewer_clients_and_one_at_least() {
        assert_eq!(fit(1000, limits(256, None), |files| files <= 1000).0, 1000 - 128);
        assert_eq!(fit(1000, limits(256, Some(5000)), |_| false).0, 128);
        assert_eq!(fit(1000, limits(64, Some(64)), |_| false).0, 1);
    }
}
