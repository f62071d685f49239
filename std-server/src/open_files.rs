//! Clients and the system's limit of open files: every client is one, and whoever reads events needs one more for each shard.
//!
//! ```text
//!  wanted + kept fits the soft limit ─► all of them
//!  else raise the soft limit, to the hard one at most ─► as many as fit then, HTTP at most a quarter, and a note;
//!                                                        readers of events have what is left
//! ```

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Clients at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    pub(crate) resp: usize,
    pub(crate) http: usize,
    /// Of those that read events, each counted for every shard that it reads.
    pub(crate) lanes: usize,
}

/// Makes room for so many clients beside the logs of so many shards, as far as the system allows. If it is for fewer, the note
/// says so.
pub(crate) fn make_room(wanted: Clients, shards: u16) -> (Clients, Option<String>) {
    let limits = getrlimit(Resource::Nofile);
    let raise = |soft| setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..limits }).is_ok();
    fit(wanted, shards, limits, raise)
}

fn fit(
    clients: Clients,
    shards: u16,
    limits: Rlimit,
    mut raise: impl FnMut(u64) -> bool,
) -> (Clients, Option<String>) {
    let kept = KEPT + u64::from(shards.saturating_sub(1)) * SHARD;
    let connections = clients.resp.saturating_add(clients.http);
    let wanted = (connections as u64).saturating_add(clients.lanes as u64).saturating_add(kept);
    let Some(soft) = limits.current.filter(|soft| *soft < wanted) else { return (clients, None) };
    let most = limits.maximum.map_or(wanted, |hard| hard.min(wanted));
    // Some systems take less than their hard limit.
    let steps = core::iter::successors(Some(most), |files| files.checked_sub(STEP));
    let files = steps.take_while(|files| *files > soft).find(|files| raise(*files)).unwrap_or(soft);
    if files >= wanted {
        return (clients, None);
    }
    let left = usize::try_from(files.saturating_sub(kept)).unwrap_or(usize::MAX);
    // One reader of all shards has room in any case.
    let lanes = left.saturating_sub(connections).max(usize::from(shards)).min(clients.lanes);
    let left = left.saturating_sub(lanes);
    if left >= connections {
        return (Clients { lanes, ..clients }, None);
    }
    let quarter = (left / 4).max(left.saturating_sub(clients.resp));
    let http = clients.http.min(quarter).max(1);
    let resp = clients.resp.min(left.saturating_sub(http).max(1));
    let note = format!(
        "resp3.max_clients = {} is lowered to {resp}, and server.max_connections = {} to {http}: the system allows this process \
         {files} open files, and {kept} are for the log; raise the limit with `ulimit -n {wanted}`, or with LimitNOFILE in a \
         unit of systemd",
        clients.resp, clients.http
    );
    (Clients { resp, http, lanes }, Some(note))
}

/// Files that are not clients: the log's and the snapshots', listeners, clients that are turned away.
const KEPT: u64 = 128;
/// The same for each shard behind the first.
const SHARD: u64 = 40;
const STEP: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(soft: u64, hard: Option<u64>) -> Rlimit {
        Rlimit { current: Some(soft), maximum: hard }
    }

    const fn clients(resp: usize, http: usize) -> Clients {
        Clients { resp, http, lanes: 0 }
    }

    #[test]
    fn the_soft_limit_is_left_alone_if_it_is_enough() {
        let not_called = |_| unreachable!();
        let wanted = clients(90, 10);
        assert_eq!(fit(wanted, 1, limits(100 + KEPT, None), not_called), (wanted, None));
        assert_eq!(fit(wanted, 1, Rlimit { current: None, maximum: None }, not_called), (wanted, None));
    }

    #[test]
    fn it_is_raised_as_far_as_it_takes_and_the_system_allows() {
        let mut raised = Vec::new();
        let mut raise = |soft| {
            raised.push(soft);
            true
        };
        let wanted = clients(800, 200);
        assert_eq!(fit(wanted, 1, limits(256, None), &mut raise), (wanted, None));
        assert_eq!(fit(wanted, 1, limits(256, Some(5000)), &mut raise), (wanted, None));
        let (room, note) = fit(wanted, 1, limits(256, Some(628)), &mut raise);
        assert_eq!((room, raised), (clients(375, 125), vec![1000 + KEPT, 1000 + KEPT, 628]));
        let note = note.expect("fewer than wanted");
        assert!(note.contains("800 is lowered to 375") && note.contains("200 to 125"), "{note}");
    }

    #[test]
    fn readers_have_what_clients_leave_and_one_of_all_shards_has_room() {
        let wanted = Clients { lanes: 256, ..clients(800, 200) };
        let kept = KEPT + 2 * SHARD;
        let fit = |files: u64| {
            let (room, note) = fit(wanted, 3, limits(files, Some(files)), |_| false);
            (room.resp, room.http, room.lanes, note.is_some())
        };
        assert_eq!(fit(1256 + kept), (800, 200, 256, false));
        assert_eq!(fit(1100 + kept), (800, 200, 100, false));
        assert_eq!(fit(1003 + kept), (800, 200, 3, false));
        assert_eq!(fit(403 + kept), (300, 100, 3, true));
    }

    #[test]
    fn a_system_that_takes_less_or_nothing_leaves_fewer_clients_and_one_at_least() {
        assert_eq!(fit(clients(1000, 100), 1, limits(256, None), |files| files <= 1000).0, clients(760, 100));
        assert_eq!(fit(clients(1000, 100), 1, limits(256, Some(5000)), |_| false).0, clients(96, 32));
        assert_eq!(fit(clients(1000, 100), 1, limits(64, Some(64)), |_| false).0, clients(1, 1));
        assert_eq!(fit(clients(0, 100), 1, limits(192, Some(192)), |_| false).0, clients(0, 64));
    }
}
