//! What bodies, queries and answers look like, in Synap's words; the OpenAPI document is made from these types.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::body::Object;

/// A key, its new value, and under which conditions.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Set<'b> {
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub(super) key: Cow<'b, str>,
    /// A string is stored as its text, any other JSON value as its JSON text.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    pub(super) value: &'b RawValue,
    /// Seconds until the key expires.
    #[schema(minimum = 1, maximum = 9_000_000_000_000_000_u64)]
    pub(super) ttl: Option<u64>,
    /// Only if the key does not exist; not together with `xx`.
    #[serde(default)]
    pub(super) nx: bool,
    /// Only if the key exists.
    #[serde(default)]
    pub(super) xx: bool,
    /// The expiry stays as it is; not together with `ttl`.
    #[serde(default)]
    pub(super) keepttl: bool,
    /// Answer the old value.
    #[serde(default)]
    pub(super) get: bool,
}

/// A value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece<'b> {
    /// A string is stored as its text, any other JSON value as its JSON text.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    pub(super) value: &'b RawValue,
}

/// An event as a client writes it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the document's words for what the events' own reader takes apart")]
pub(super) struct NewEvent {
    /// What happened; not `record`, nor beginning with `kv.` or `log.`.
    #[schema(min_length = 1, max_length = 1024)]
    event_type: String,
    /// What it is about. Events of one context keep their order.
    #[schema(min_length = 1, max_length = 1024)]
    context_id: String,
    /// What is said of it: an object. `{"$bytes": "base64"}` and `{"$time": "RFC 3339"}` are bytes and times.
    #[schema(value_type = Object)]
    payload: Value,
    /// When it happened: seconds, milliseconds (from 100,000,000,000 on), or RFC 3339; now if it is not there.
    timestamp: Option<Value>,
    /// Its number; its LSN if it is not there.
    #[schema(maximum = 18_446_744_073_709_551_615_u64)]
    event_id: Option<u64>,
}

/// Where the events of a batch are.
#[derive(Serialize, ToSchema)]
pub(super) struct StoredEvents {
    /// How many there are.
    pub(super) count: usize,
    /// LSN of each, in the order of the batch.
    pub(super) lsns: Vec<u64>,
    /// Shard of each, where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) shards: Option<Vec<u16>>,
    /// Behind them: with several shards, in the others behind what was there then.
    pub(super) cursor: String,
}

/// What archiving at once has come to.
#[derive(Serialize, ToSchema)]
pub(super) struct ArchivedNow {
    /// Everything up to the request is archived.
    pub(super) success: bool,
    /// Segments that were archived meanwhile.
    pub(super) archived: u64,
    /// Settled segments without an archive.
    pub(super) waiting: u64,
    /// Why the last attempt failed, if it did.
    pub(super) failing: Option<String>,
    /// Damaged segments, which are never archived.
    pub(super) quarantined: Vec<Value>,
}

/// Which events are wanted. Besides these, `payload.FIELD=VALUE` for a field of the payload, names of nested ones joined by dots.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "the document's words for what the events' own reader takes apart")]
pub(super) struct EventFilter {
    /// First LSN.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    from_lsn: Option<u64>,
    /// Last LSN.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    to_lsn: Option<u64>,
    /// Timestamps from here on: seconds, milliseconds or RFC 3339.
    since: Option<String>,
    /// Timestamps before here.
    until: Option<String>,
    /// Event type; several if it stands several times.
    #[param(rename = "type")]
    kind: Option<String>,
    /// Context.
    context: Option<String>,
    /// `oldest` or `newest` first.
    order: Option<String>,
    /// At most so many.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    limit: Option<u64>,
    /// Behind what a reader has seen: a line's `cursor`, or the one of a stored batch. For the tail, the `id` of the last event.
    /// With several shards it has a part for each, joined by commas.
    cursor: Option<String>,
    /// Only this shard. Without it all are read, as one row in order of timestamps.
    shard: Option<u16>,
}

/// A piece of a value and its place.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Part<'b> {
    /// In bytes; what lies between the old end and here becomes zeros.
    pub(super) offset: u32,
    /// A string is stored as its text, any other JSON value as its JSON text.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    pub(super) value: &'b RawValue,
}

/// Keys and values that are stored together.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pairs<'b> {
    #[serde(borrow)]
    #[schema(min_items = 1, value_type = Vec<Pair<'_>>)]
    pub(super) pairs: Vec<Object<Pair<'b>>>,
}

/// A key and its value.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair<'b> {
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub(super) key: Cow<'b, str>,
    /// A string is stored as its text, any other JSON value as its JSON text.
    #[serde(borrow)]
    #[schema(value_type = Value)]
    pub(super) value: &'b RawValue,
}

/// Where a key goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    pub(super) destination: String,
}

/// Where a copy goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CopyTo {
    pub(super) destination: String,
    /// Also if the destination exists.
    #[serde(default)]
    pub(super) replace: bool,
}

/// A command of Synap.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command<'b> {
    /// Such as `kv.set`.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub(super) command: Cow<'b, str>,
    /// Comes back as it is.
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    pub(super) request_id: Cow<'b, str>,
    /// What the command needs: see the table of commands in the HTTP guide.
    #[serde(borrow, default)]
    #[schema(value_type = Value)]
    pub(super) payload: Option<&'b RawValue>,
}

/// What a command answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Outcome {
    pub(super) success: bool,
    pub(super) request_id: String,
    /// Null if it was refused.
    #[schema(value_type = Value)]
    pub(super) payload: Value,
    /// Why it was refused.
    pub(super) error: Option<String>,
}

/// How a value is answered.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Form {
    /// Text, or an array of byte values.
    #[serde(rename = "type")]
    #[param(inline)]
    pub(super) kind: Option<FormKind>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum FormKind {
    String,
    Bytes,
}

/// A part of a value; both ends are included, negative ones count from the end.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Range {
    /// 0 unless given.
    pub(super) start: Option<i64>,
    /// -1 unless given.
    pub(super) end: Option<i64>,
}

/// Which facts.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Section {
    /// Such as `memory`; all unless given.
    pub(super) section: Option<String>,
}

/// What became of a SET.
#[derive(Serialize, ToSchema)]
pub(super) struct Written {
    pub(super) success: bool,
    pub(super) key: String,
    pub(super) written: bool,
    /// Only there if it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) old_value: Option<Option<String>>,
}

/// A value in the form that was asked for, or that there is none.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Found {
    Text(String),
    Bytes(Vec<u8>),
    Missing(Missing),
}

/// That a key does not exist, with status 200.
#[derive(Serialize, ToSchema)]
pub(super) struct Missing {
    pub(super) error: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Deleted {
    pub(super) deleted: bool,
    pub(super) key: String,
}

/// A length in bytes.
#[derive(Serialize, ToSchema)]
pub(super) struct Length {
    pub(super) length: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Success {
    pub(super) success: bool,
}

/// What the keyspace holds and what was done with it since the start.
#[derive(Serialize, ToSchema)]
pub(super) struct Stats {
    pub(super) total_keys: usize,
    pub(super) total_memory_bytes: usize,
    pub(super) operations: Operations,
    pub(super) hit_rate: f64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Operations {
    pub(super) gets: u64,
    pub(super) sets: u64,
    pub(super) dels: u64,
    pub(super) hits: u64,
    pub(super) misses: u64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct KeyType {
    pub(super) key: String,
    /// `string`, or `none` if there is no such key.
    #[serde(rename = "type")]
    pub(super) kind: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct KeyExists {
    pub(super) key: String,
    pub(super) exists: bool,
}

/// What became of a rename or a copy.
#[derive(Serialize, ToSchema)]
pub(super) struct Moved {
    pub(super) success: bool,
    pub(super) source: String,
    pub(super) destination: String,
}

/// Some key, or null if there is none.
#[derive(Serialize, ToSchema)]
pub(super) struct SomeKey {
    pub(super) key: Option<String>,
}

/// A snapshot that was taken.
#[derive(Serialize, ToSchema)]
pub(super) struct Taken {
    pub(super) success: bool,
    pub(super) snapshot_path: String,
    pub(super) base_lsn: u64,
    pub(super) keys: u64,
    pub(super) size_bytes: u64,
    /// RFC 3339.
    pub(super) created_at: Option<String>,
}

/// All snapshots, the oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Snapshots {
    pub(super) snapshots: Vec<Snapshot>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Snapshot {
    pub(super) path: String,
    pub(super) size_bytes: u64,
    /// RFC 3339.
    pub(super) created_at: Option<String>,
    pub(super) base_lsn: u64,
    pub(super) keys: u64,
}

/// An error in Synap's words.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the document's schema of what problem.rs writes")]
pub(super) struct Failure {
    error: String,
    /// The status.
    code: u16,
}

/// An error as RFC 9457 has it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the document's schema of what problem.rs writes")]
pub(super) struct ProblemDocument {
    /// `urn:strandline:problem:` and a name that does not change.
    #[schema(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
}
