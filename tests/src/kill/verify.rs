//! Holds what a restarted server shows against the ledger.

use core::sync::atomic::Ordering::SeqCst;
use std::io;

use super::ledger::{Keys, Ledger, SHARED, Track, VALUES, counter_key, number_of, pair_keys, value_key};
use super::writer::{number_after, shared_number};
use crate::process::resp::Reply;
use crate::process::{Server, http, resp};

/// Checks every key, and settles the ledger on what is there.
pub(super) fn check(server: &Server, ledger: &Ledger) -> Result<(), Vec<String>> {
    let wrong = look(server, ledger).unwrap_or_else(|error| vec![format!("the restarted server: {error}")]);
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn look(server: &Server, ledger: &Ledger) -> io::Result<Vec<String>> {
    let mut client = resp::Client::connect(server.resp())?;
    let mut wrong = Vec::new();
    let mut present = 0;
    for (writer, keys) in ledger.writers().iter().enumerate() {
        let mut names: Vec<String> = (0..VALUES).map(|key| value_key(writer, key)).collect();
        names.extend(pair_keys(writer));
        names.push(counter_key(writer));
        let mut words = vec!["MGET"];
        words.extend(names.iter().map(String::as_str));
        let Reply::Array(found) = client.ask(&words)? else {
            return Err(io::Error::other("MGET gave no array"));
        };
        present += found.iter().filter(|reply| **reply != Reply::Null).count();
        wrong.extend(judge(writer, keys, &names, &found));
    }
    let Reply::Array(shared) = client.ask(&["MGET", SHARED[0], SHARED[1]])? else {
        return Err(io::Error::other("MGET gave no array"));
    };
    present += shared.iter().filter(|reply| **reply != Reply::Null).count();
    let track = &ledger.shared.track;
    match shared_number(&shared) {
        Some(number) if (track.kept()..=track.sent()).contains(&number) => ledger.shared.settle(number),
        _ => wrong.push(format!(
            "the counters of all writers: told up to {}, sent {}; they hold {shared:?}",
            track.kept(),
            track.sent()
        )),
    }
    match client.ask(&["DBSIZE"])? {
        Reply::Integer(keys) if usize::try_from(keys) == Ok(present) => {}
        other => wrong.push(format!("there are {present} keys of the writers, DBSIZE says {other}")),
    }
    wrong.extend(snapshot(server, ledger)?);
    Ok(wrong)
}

fn judge(writer: usize, keys: &Keys, names: &[String], found: &[Reply]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (track, (name, reply)) in keys.values.iter().zip(names.iter().zip(found)) {
        wrong.extend(value(track, name, name, reply));
    }
    let [left, right, counter] = &found[VALUES..] else { return vec!["MGET answered for fewer keys".into()] };
    if left == right {
        wrong.extend(value(&keys.pair, &names[VALUES], "pair", left));
    } else {
        wrong.push(format!(
            "writer {writer}: the halves of its pair are {} and {}",
            short(left),
            short(right)
        ));
    }
    let count = match counter {
        Reply::Null => Some(0),
        other => other.bytes().and_then(|bytes| core::str::from_utf8(bytes).ok()?.parse().ok()),
    };
    wrong.extend(within(&keys.counter, &names[VALUES + 2], count, counter));
    wrong
}

fn value(track: &Track, name: &str, content_of: &str, reply: &Reply) -> Option<String> {
    let number = match reply {
        Reply::Null => track.absent(),
        other => other.bytes().and_then(|bytes| number_of(content_of, bytes)),
    };
    within(track, name, number, reply)
}

fn within(track: &Track, name: &str, number: Option<u64>, reply: &Reply) -> Option<String> {
    let (kept, sent) = (track.kept(), track.sent());
    match number {
        Some(number) if (kept..=sent).contains(&number) => {
            track.settle(number);
            None
        }
        _ => Some(format!(
            "{name}: writes up to {kept} were acknowledged, up to {sent} sent; it holds {}",
            short(reply)
        )),
    }
}

fn snapshot(server: &Server, ledger: &Ledger) -> io::Result<Option<String>> {
    let answered = ledger.snapshot_base.load(SeqCst);
    let listed = http::request(server.http(), "GET", "/snapshots", "")?.body;
    let newest = listed.split('{').filter_map(|row| number_after(row, "\"base_lsn\":")).max().unwrap_or(0);
    let lost = || format!("a snapshot with base {answered} was answered for; listed are: {listed}");
    Ok((newest < answered).then(lost))
}

fn short(reply: &Reply) -> String {
    let text = reply.to_string();
    match text.char_indices().nth(60) {
        Some((at, _)) => format!("{:?}… ({} bytes)", &text[..at], text.len()),
        None => format!("{text:?}"),
    }
}
