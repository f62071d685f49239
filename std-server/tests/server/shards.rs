//! Events of several shards as one row: in order of timestamps, each exactly once, from wherever a reader stands.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::events::{conservative, event, lines, status, store, tail};
use crate::process::{Server, until};

fn sharded(data: &Path) -> Command {
    let mut command = conservative(data);
    // Shards without keys take their snapshots by themselves.
    command.env("STRANDLINE_SHARDS", "3").env("STRANDLINE_SNAPSHOT__INTERVAL_SECS", "1");
    command
}

/// A sequence that looks random and is always the same.
fn scattered(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Stores batches of events: contexts of all shards, times that mostly ascend, some equal and some late.
fn fill(server: &Server, from: u64, batches: u64) {
    let mut random = scattered(from);
    for batch in 0..batches {
        let events: Vec<Value> = (0..20)
            .map(|at| {
                let number = from + batch * 20 + at;
                let late = if random(10) == 0 { random(40) } else { 0 };
                let mut event = event(&format!("c{}", random(30)), number);
                event["timestamp"] = json!(1_700_000_000 + (number / 3).saturating_sub(late));
                event["payload"]["filler"] = json!("x".repeat(usize::try_from(random(1500)).expect("small")));
                event
            })
            .collect();
        store(server, &events);
    }
}

fn shard_of(line: &Value) -> u64 {
    line["shard"].as_u64().expect("a shard")
}

/// What a query gives is the rows of the shards, merged by their heads' timestamps.
fn merged(mut rows: Vec<Vec<Value>>, newest: bool) -> Vec<Value> {
    let mut all = Vec::new();
    rows.iter_mut().for_each(|row| row.reverse());
    loop {
        let heads =
            rows.iter().enumerate().filter_map(|(at, row)| Some((row.last()?["timestamp"].as_str()?, at)));
        let next = if newest { heads.max() } else { heads.min() };
        let Some((_, at)) = next else { return all };
        all.extend(rows[at].pop());
    }
}

/// Lines without their cursors, which say where a reader stands in this query.
fn plain(mut lines: Vec<Value>) -> Vec<Value> {
    for line in &mut lines {
        line.as_object_mut().expect("an object").remove("cursor");
    }
    lines
}

fn cursor(line: &Value) -> &str {
    line["cursor"].as_str().expect("text")
}

/// Reads page by page, each behind the cursor of the last line before it.
fn paged(server: &Server, query: &str, limit: usize, mut between: impl FnMut()) -> Vec<Value> {
    let (mut all, mut behind) = (Vec::new(), String::new());
    loop {
        let page = lines(server, &format!("?limit={limit}{query}{behind}"));
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return all };
        behind = format!("&cursor={}", cursor(last));
        all.extend(page);
        between();
    }
}

/// A server whose shards each have events in archives alone, in archived segments and in the current one.
fn mixed(data: &Path) -> (Server, u64) {
    let server = Server::from(sharded(data));
    let mut count = 0;
    let archived = |shard: u64| {
        let directory = data.join(format!("archives/shard-{shard}"));
        fs::read_dir(directory).map_or(0, Iterator::count)
    };
    for round in 0..3 {
        fill(&server, count, 60);
        count += 1200;
        if round < 2 {
            let archived = server.post("/archives/now", "").1;
            assert_eq!(archived["success"], true, "{archived}");
            assert_eq!(server.post("/snapshot", "").0, 200);
        }
    }
    assert_eq!(server.post("/archives/now", "").1["success"], true);
    assert!((0..3).all(|shard| archived(shard) >= 3));
    for shard in 0..3 {
        until("an archive alone holds the first events of each shard", || {
            fill(&server, count, 1);
            count += 20;
            assert_eq!(server.post("/snapshot", "").0, 200);
            first_lsn_without(&server, data, shard) > 1
        });
    }
    (server, count)
}

fn oldest_archive(data: &Path, shard: u64) -> PathBuf {
    let found = fs::read_dir(data.join(format!("archives/shard-{shard}"))).expect("archives");
    found.map(|entry| entry.expect("an entry").path()).min().expect("an archive")
}

/// The first LSN that a shard has without its oldest archive.
fn first_lsn_without(server: &Server, data: &Path, shard: u64) -> u64 {
    let (first, elsewhere) = (oldest_archive(data, shard), data.join("elsewhere"));
    fs::rename(&first, &elsewhere).expect("moved");
    let found = lines(server, &format!("?shard={shard}&limit=1"))[0]["lsn"].as_u64();
    fs::rename(&elsewhere, &first).expect("back");
    found.expect("an LSN")
}

#[test]
fn a_query_over_all_shards_is_one_row_by_time_and_a_cursor_goes_on_in_all_of_them() {
    let data = tempdir().expect("a directory");
    let (server, mut count) = mixed(data.path());
    let alone = |server: &Server, shard: u64, query: &str| lines(server, &format!("?shard={shard}{query}"));
    for (order, newest) in [("", false), ("&order=newest", true)] {
        for filter in [
            "",
            "&type=count&context=c7",
            "&payload.number=77",
            "&since=1700000100&until=1700000200",
            "&from_lsn=200&to_lsn=300",
        ] {
            let query = format!("{filter}{order}");
            let rows: Vec<_> = (0..3).map(|shard| plain(alone(&server, shard, &query))).collect();
            let wanted = merged(rows, newest);
            let found = lines(&server, &format!("?limit=100000{query}"));
            assert_eq!(plain(found.clone()).len(), wanted.len(), "{query}");
            assert!(plain(found.clone()) == wanted, "{query}");
            if filter.is_empty() {
                assert_eq!(found.len() as u64, count);
                let shards: BTreeSet<u64> = found[..50].iter().map(shard_of).collect();
                assert_eq!(shards.len(), 3, "one row, not shard by shard");
            }
            for at in
                [0, found.len() / 3, found.len().saturating_sub(2)].into_iter().filter(|at| *at < found.len())
            {
                let rest = lines(&server, &format!("?limit=100000{query}&cursor={}", cursor(&found[at])));
                assert!(rest == found[at + 1..], "{query} behind {}", cursor(&found[at]));
            }
        }
        // Page by page, while more is stored: who reads backwards sees what was there, who reads forwards all of it.
        let mut stored = 0;
        let before = lines(&server, &format!("?limit=100000{order}"));
        let pages = paged(&server, order, 700, || {
            if stored < 3 {
                stored += 1;
                fill(&server, 1_000_000 + stored * 20, 1);
            }
        });
        if newest {
            assert!(plain(pages) == plain(before), "backwards");
        } else {
            assert_eq!(pages.len(), before.len() + 60);
            count += 60;
            let ids: BTreeSet<(u64, u64)> =
                pages.iter().map(|line| (shard_of(line), line["lsn"].as_u64().expect("an LSN"))).collect();
            assert_eq!(ids.len(), pages.len(), "none twice");
        }
    }
    let all = lines(&server, "");
    let newest = lines(&server, "?order=newest");
    server.kill();
    let server = Server::from(sharded(data.path()));
    assert!(lines(&server, "") == all, "the same row after a kill");
    let middle = cursor(&newest[500]);
    let rest = lines(&server, &format!("?order=newest&cursor={middle}"));
    assert!(plain(rest) == plain(newest[501..].to_vec()), "a cursor of before the restart");
}

#[test]
fn a_cursor_is_of_the_shards_that_are_read() {
    let data = tempdir().expect("a directory");
    let server = Server::from(sharded(data.path()));
    fill(&server, 0, 10);
    let one = lines(&server, "?shard=1&limit=3");
    let text = cursor(&one[2]);
    assert!(text.starts_with("1:"), "{text}");
    let rest = lines(&server, &format!("?shard=1&cursor={text}"));
    assert_eq!(lines(&server, "?shard=1")[3..], rest[..]);
    let (code, why) = status(&server, &format!("?cursor={text}"));
    assert!(code == 400 && why.contains("is a place in shard 1 alone: ask with shard=1"), "{why}");
    for bad in ["1-1", "1-1,1-1", "1-1,1-1,1-1,1-1", "3:1-1", "1-1,x,1-1", "0:1-1&shard=1"] {
        assert_eq!(status(&server, &format!("?cursor={bad}")).0, 400, "{bad}");
    }
    let (code, why) = status(&server, "?cursor=1-1,1-99999,1-1");
    assert!(code == 400 && why.contains("shard 1: cursor 1-99999 is ahead of the log"), "{why}");
    // The part of the shard counts where one is read.
    let all = lines(&server, "?limit=50");
    let behind = cursor(&all[49]);
    let of_one = lines(&server, &format!("?shard=2&cursor={behind}"));
    let left: Vec<Value> =
        lines(&server, &format!("?cursor={behind}")).into_iter().filter(|line| shard_of(line) == 2).collect();
    assert!(plain(of_one) == plain(left));
    let home = shard_of(&lines(&server, "?context=c0")[0]);
    assert_eq!(lines(&server, &format!("?shard={home}&context=c0")), lines(&server, "?context=c0"));
    assert!(lines(&server, &format!("?shard={}&context=c0", (home + 1) % 3)).is_empty());

    // A batch's cursor stands behind it and behind everything that was there in the other shards.
    let stored = store(&server, &[event("c1", 9001), event("c2", 9002)]);
    let behind = cursor(&stored);
    assert!(lines(&server, &format!("?cursor={behind}")).is_empty());
    store(&server, &[event("c3", 9003)]);
    let found = lines(&server, &format!("?cursor={behind}"));
    assert_eq!(found.iter().map(|line| &line["payload"]["number"]).collect::<Vec<_>>(), [9003]);
    let live = tail(server.http, &format!("?cursor={behind}"), "", 1);
    assert_eq!((&live[0].1["payload"]["number"], live[0].0.as_str()), (&json!(9003), cursor(&live[0].1)));
    // The tail of one shard goes on with its own ids.
    let first = tail(server.http, "?shard=1&from_lsn=1", "", 2);
    assert!(first[1].0.starts_with("1:"), "{}", first[1].0);
    let resumed = tail(server.http, "?shard=1", &format!("Last-Event-ID: {}\r\n", first[1].0), 1);
    assert_eq!(resumed[0].1["lsn"].as_u64(), first[1].1["lsn"].as_u64().map(|lsn| lsn + 1));
}

#[test]
fn a_damaged_shard_is_named_and_the_others_are_read_by_themselves() {
    let data = tempdir().expect("a directory");
    let (server, _) = mixed(data.path());
    let whole = lines(&server, "");
    let first = oldest_archive(data.path(), 1);
    let mut bytes = fs::read(&first).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&first, bytes).expect("written");

    let mut found = lines(&server, "");
    let error = found.pop().expect("a line")["error"].as_str().expect("it ends with an error").to_owned();
    assert!(error.starts_with("shard 1: ") && error.contains("is damaged: block"), "{error}");
    assert!(!found.is_empty() && found.len() < whole.len());
    assert!(found == whole[..found.len()], "what comes before it is right");
    for shard in [0, 2] {
        let alone = lines(&server, &format!("?shard={shard}"));
        let wanted: Vec<Value> = whole.iter().filter(|line| shard_of(line) == shard).cloned().collect();
        assert!(plain(alone) == plain(wanted), "shard {shard}");
    }
}

#[test]
fn readers_beyond_what_is_promised_are_told_to_come_again() {
    let data = tempdir().expect("a directory");
    let server = Server::from(sharded(data.path()));
    let begin = |query: &str| {
        let mut stream = TcpStream::connect(server.http).expect("it listens");
        write!(stream, "GET /events{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("a status");
        (stream, line.split(' ').nth(1).expect("a code").to_owned())
    };
    // 256 lanes: 85 readers of three shards, and one of a single one.
    let mut tails: Vec<(TcpStream, String)> = (0..85).map(|_| begin("/tail")).collect();
    tails.push(begin("/tail?shard=1"));
    assert!(tails.iter().all(|(_, code)| code == "200"));
    for query in ["/tail?shard=1", "?shard=2", ""] {
        assert_eq!(begin(query).1, "503", "{query}");
    }
    let (_, why) = status(&server, "");
    assert!(
        why.contains("256 readers of events are being served") && why.contains("too-many-readers"),
        "{why}"
    );
    store(&server, &[event("c1", 1)]);
    drop(tails);
    until("lanes are given back", || begin("").1 == "200");
}
