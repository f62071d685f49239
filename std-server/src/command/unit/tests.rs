//! What commands log, that replay rebuilds it, and that a refusal changes nothing.

use super::*;
use crate::command::Protocol;
use crate::keyspace::{Effect, Options, decode_record};
use proptest::prelude::*;

/// Replies as text: enough to tell them apart.
#[derive(Default)]
struct Transcript(Vec<String>);

impl Replies for Transcript {
    fn reply(&mut self, reply: Reply<'_>) {
        self.0.push(match reply {
            Reply::Bulk(bytes) => bytes.escape_ascii().to_string(),
            Reply::Refused(refusal) => refusal.to_string(),
            other => format!("{other:?}"),
        });
    }

    fn begin_array(&mut self, len: usize) {
        self.0.push(format!("[{len}]"));
    }

    fn speak(&mut self, _: Protocol) {}
}

const CONTEXT: Context =
    Context { now_ms: 1000, random: 7, max_value_bytes: 64, max_memory_bytes: None, max_reply_bytes: 1000 };

fn keyspace() -> Keyspace {
    Keyspace::new(Options::default())
}

/// Executes one line per command; several are one transaction.
fn run(keyspace: &mut Keyspace, context: &Context, lines: &[&str]) -> (Vec<String>, Vec<u8>) {
    let words: Vec<Vec<&[u8]>> =
        lines.iter().map(|line| line.split(' ').map(str::as_bytes).collect()).collect();
    let commands: Vec<_> = words.iter().map(|words| Command::parse(words).expect("well formed")).collect();
    let unit = match &commands[..] {
        [command] => Unit::command(*command),
        several => Unit::transaction(several.iter().copied().map(Step::Command).collect(), None),
    };
    let (mut record, mut replies) = (Vec::new(), Transcript::default());
    unit.execute(keyspace, context, &mut record, &mut replies);
    assert!(record.len() <= unit.record_bound(), "{lines:?} wrote {} bytes", record.len());
    (replies.0, record)
}

fn effects(record: &[u8]) -> Vec<Effect<'_>> {
    if record.is_empty() {
        Vec::new()
    } else {
        decode_record(record).map(|e| e.expect("an effect")).collect()
    }
}

fn state(keyspace: &Keyspace) -> Vec<(Vec<u8>, Vec<u8>, Option<u64>)> {
    let mut entries: Vec<_> = keyspace
        .iter()
        .map(|(key, entry)| (key.to_vec(), entry.value.to_vec(), entry.expires_at_ms))
        .collect();
    entries.sort();
    entries
}

#[test]
fn results_are_logged_and_not_commands() {
    let set = |value, expires_at_ms| Effect::Set { key: b"k", value, expires_at_ms };
    let rows: [(&str, &[Effect<'_>]); 16] = [
        ("SET k 10 EX 5", &[set(b"10", Some(6000))]),
        ("INCRBY k 5", &[set(b"15", Some(6000))]),
        ("INCRBYFLOAT k 0.5", &[set(b"15.5", Some(6000))]),
        ("APPEND k abc", &[Effect::Write { key: b"k", offset: 4, bytes: b"abc" }]),
        ("SETRANGE k 9 z", &[Effect::Write { key: b"k", offset: 9, bytes: b"z" }]),
        ("SET k v KEEPTTL", &[set(b"v", Some(6000))]),
        ("SET k v NX", &[]),
        ("EXPIRE k 100 LT", &[]),
        ("PEXPIRE k 100", &[Effect::Expire { key: b"k", at_ms: 1100 }]),
        ("GETEX k PERSIST", &[Effect::Persist { key: b"k" }]),
        ("COPY k l", &[Effect::Copy { from: b"k", to: b"l" }]),
        ("RENAME l m", &[Effect::Rename { from: b"l", to: b"m" }]),
        ("EXPIREAT m 1", &[Effect::Delete { key: b"m" }]),
        ("DEL missing k k", &[Effect::Delete { key: b"k" }]),
        ("MSETNX k 1", &[set(b"1", None)]),
        ("FLUSHALL", &[Effect::Flush]),
    ];
    let mut keyspace = keyspace();
    for (line, expected) in rows {
        let (_, record) = run(&mut keyspace, &CONTEXT, &[line]);
        assert_eq!(effects(&record), expected, "{line}");
    }
}

#[test]
fn a_transaction_is_one_record() {
    let mut keyspace = keyspace();
    let lines = ["SET a 1", "GET a", "INCR a", "APPEND b x", "INCR b"];
    let (replies, record) = run(&mut keyspace, &CONTEXT, &lines);
    assert_eq!(
        replies,
        [
            "[5]",
            "Status(\"OK\")",
            "1",
            "Integer(2)",
            "Integer(1)",
            "ERR value is not an integer or out of range"
        ]
    );
    let expected = [
        Effect::Set { key: b"a", value: b"1", expires_at_ms: None },
        Effect::Set { key: b"a", value: b"2", expires_at_ms: None },
        Effect::Write { key: b"b", offset: 0, bytes: b"x" },
    ];
    assert_eq!(effects(&record), expected);
}

#[test]
fn a_leftover_of_an_expired_key_is_deleted_where_it_would_show_through() {
    let mut keyspace = keyspace();
    run(&mut keyspace, &CONTEXT, &["SET k old PX 10"]);
    let later = Context { now_ms: 2000, ..CONTEXT };
    let (replies, record) = run(&mut keyspace, &later, &["APPEND k new"]);
    assert_eq!(replies, ["Integer(3)"]);
    let expected = [Effect::Delete { key: b"k" }, Effect::Write { key: b"k", offset: 0, bytes: b"new" }];
    assert_eq!(effects(&record), expected);
    assert_eq!(state(&keyspace), [(b"k".to_vec(), b"new".to_vec(), None)]);
}

#[test]
fn a_refused_command_changes_nothing() {
    let mut keyspace = keyspace();
    run(&mut keyspace, &CONTEXT, &["SET text abc"]);
    run(&mut keyspace, &CONTEXT, &["SET most 9223372036854775807"]);
    let before = state(&keyspace);
    let long = "x".repeat(65);
    let rows = [
        ("INCR text".to_owned(), "ERR value is not an integer"),
        ("INCR most".to_owned(), "ERR increment or decrement would overflow"),
        ("INCRBYFLOAT text 1".to_owned(), "ERR value is not a valid float"),
        ("RENAME missing text".to_owned(), "ERR no such key"),
        (format!("SET text {long}"), "ERR string exceeds maximum allowed size"),
        (format!("SET text {long} GET"), "ERR string exceeds maximum allowed size"),
        (format!("MSET text a most {long}"), "ERR string exceeds maximum allowed size"),
        (format!("APPEND text {}", &long[..62]), "ERR string exceeds maximum allowed size"),
        ("SETRANGE text 64 x".to_owned(), "ERR string exceeds maximum allowed size"),
        ("SETRANGE text -1 x".to_owned(), "ERR offset is out of range"),
        ("SET text a PX 9223372036854775807".to_owned(), "ERR invalid expire time in 'set' command"),
        ("GETEX text PX 9223372036854775807".to_owned(), "ERR invalid expire time in 'getex' command"),
        ("PEXPIRE text 9223372036854775807".to_owned(), "ERR invalid expire time in 'pexpire' command"),
    ];
    for (line, expected) in rows {
        let (replies, record) = run(&mut keyspace, &CONTEXT, &[&line]);
        assert!(replies[0].starts_with(expected), "{line}: {replies:?}");
        assert!(record.is_empty(), "{line}");
        assert_eq!(state(&keyspace), before, "{line}");
    }
}

#[test]
fn values_may_be_as_long_as_the_limit() {
    let mut keyspace = keyspace();
    let full = "x".repeat(64);
    for line in [format!("SET a {full}"), format!("APPEND b {full}"), "SETRANGE c 63 x".to_owned()] {
        let (replies, record) = run(&mut keyspace, &CONTEXT, &[&line]);
        assert!(!replies[0].starts_with("ERR"), "{line}: {replies:?}");
        assert!(!record.is_empty());
    }
}

#[test]
fn full_memory_refuses_what_grows_and_lets_deletes_through() {
    let mut keyspace = keyspace();
    run(&mut keyspace, &CONTEXT, &["SET k v"]);
    let full = Context { max_memory_bytes: Some(0), ..CONTEXT };
    let (replies, record) = run(&mut keyspace, &full, &["SET k w"]);
    assert_eq!(replies, ["OOM command not allowed when used memory > 'maxmemory'."]);
    assert!(record.is_empty());
    let (replies, record) = run(&mut keyspace, &full, &["DEL k", "SET k w"]);
    assert!(replies[0].starts_with("EXECABORT Transaction discarded because of: OOM"), "{replies:?}");
    assert!(record.is_empty());
    assert_eq!(run(&mut keyspace, &full, &["GET k"]).0, ["v"]);
    assert_eq!(run(&mut keyspace, &full, &["DEL k"]).0, ["Integer(1)"]);
}

#[test]
fn keys_beyond_the_limit_are_refused() {
    let key = vec![b'k'; MAX_KEY_BYTES + 1];
    for words in [&[b"SET", &key[..], b"v"][..], &[b"DEL", b"a", &key], &[b"COPY", b"a", &key]] {
        let refusal = Command::parse(words).expect_err("too long").to_string();
        assert_eq!(refusal, format!("ERR key is longer than the limit of {MAX_KEY_BYTES} bytes"));
    }
    assert!(Command::parse(&[b"GET", &key]).is_ok());
}

#[test]
fn a_unit_names_what_it_writes() {
    let command = |words: Args<'static>| Command::parse(words).expect("well formed");
    let unit = Unit::command(command(&[b"MSET", b"a", b"1", b"b", b"2"]));
    assert_eq!(unit.written_keys().collect::<Vec<_>>(), [b"a", b"b"]);
    let read = Unit::command(command(&[b"MGET", b"a", b"b"]));
    assert_eq!((read.writes(), read.record_bound(), read.written_keys().count()), (false, 0, 0));
}

fn line() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["a", "b", "c"]);
    let value = prop::sample::select(vec!["", "5", "-1", "1.5", "text", "9223372036854775807"]);
    let form = prop::sample::select(vec![
        "SET K V",
        "SET K V PX 5",
        "SET K V KEEPTTL",
        "SET K V NX GET",
        "SETNX K V",
        "PSETEX K 3 V",
        "GETSET K V",
        "GETDEL K",
        "GETEX K PX 4",
        "GETEX K PERSIST",
        "GET K",
        "INCR K",
        "DECRBY K 7",
        "INCRBYFLOAT K 0.25",
        "APPEND K V",
        "SETRANGE K 3 V",
        "MSET K V L V",
        "MSETNX K V L V",
        "DEL K L K",
        "RENAME K L",
        "RENAMENX K L",
        "EXPIRE K 1",
        "PEXPIRE K 2 LT",
        "PEXPIREAT K 1003",
        "EXPIRE K 0",
        "PERSIST K",
        "FLUSHALL",
        "COPY K L REPLACE",
        "COPY K L",
        "TTL K",
        "KEYS *",
        "SCAN 0",
        "MGET K L",
    ]);
    (form, key(), key(), value).prop_map(|(form, key, other, value)| {
        let fill = |word| match word {
            "K" => key,
            "L" => other,
            "V" => value,
            literal => literal,
        };
        form.split(' ').map(fill).collect::<Vec<_>>().join(" ")
    })
}

proptest! {
    /// Whatever was executed, live or in a transaction, its records rebuild exactly the same state.
    #[test]
    fn records_replay_to_the_same_state(
        units in prop::collection::vec((prop::collection::vec(line(), 1..4), 0..4_u64), 1..60)
    ) {
        let (mut live, mut replayed) = (keyspace(), keyspace());
        let mut context = CONTEXT;
        for (lines, passed_ms) in &units {
            context.now_ms += passed_ms;
            let lines: Vec<_> = lines
                .iter()
                .map(String::as_str)
                .filter(|line| Command::parse(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>()).is_ok())
                .collect();
            let (_, record) = run(&mut live, &context, &lines);
            if !record.is_empty() {
                replayed.apply_records([&record[..]]).expect("a record of ours");
            }
            prop_assert_eq!(state(&live), state(&replayed), "after {:?}", lines);
        }
    }
}
