//! The logs of a stopped server, for tools that add events to them or archive them. The keyspace stays on disk.

use std::sync::Arc;

use strandline::{Log, Millis, OpenError, Refused};
use tokio::runtime::{Builder, Runtime};

use super::clock::Clock;
use super::open::{options, record_bytes};
use super::shards::{Keeping, check_count, open_shards, policy};
use crate::config::{Config, HistoryConfig};
use crate::events::{NotStored, Policy, Report, Shards};

/// The logs of all shards; no server can start as long as they are open.
#[derive(Debug)]
pub(crate) struct Stopped {
    shards: Arc<Shards>,
    clock: Arc<Clock>,
    runtime: Runtime,
    record_bytes: usize,
    policy: Policy,
}

impl Stopped {
    /// Opens them, as a start of the server does.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn open(config: &Config) -> Result<Self, OpenError> {
        if !config.persistence_enabled || !config.wal.enabled {
            let why = "nothing is kept in a log here: persistence.enabled or persistence.wal.enabled is off";
            return Err(OpenError::Refused(why.to_owned()));
        }
        check_count(config)?;
        let clock = Arc::<Clock>::default();
        let now = Arc::clone(&clock);
        let (first, recovered) =
            Log::open(options(config).clock(move || Millis(now.now_us() / 1000)), &mut ())?;
        clock.not_before(recovered.report.time.0.saturating_mul(1000));
        let shards = open_shards(config, &clock, &first, &recovered.report, None)?;
        let runtime = Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| OpenError::Refused(error.to_string()))?;
        Ok(Self {
            shards: Arc::new(shards),
            clock,
            runtime,
            record_bytes: record_bytes(config),
            policy: policy(config),
        })
    }

    pub(crate) fn shards(&self) -> &Shards {
        &self.shards
    }

    /// The longest record of the log.
    pub(crate) const fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_us() / 1000
    }

    /// Stores a group of records in each shard: all of it or nothing in each, and nothing if any refuses.
    ///
    /// # Errors
    /// Why it is not stored.
    pub(crate) fn append(&self, groups: &[Vec<Vec<u8>>]) -> Result<(), String> {
        let stored = self.runtime.block_on(self.shards.append_groups(groups));
        stored.map(drop).map_err(|error| match error {
            NotStored::Refused(Refused::Full) => {
                "there is no space on the log's device, or below wal.max_total_mb".to_owned()
            }
            NotStored::Refused(refused) => refused.to_string(),
            NotStored::NotAcknowledged(error) => error.to_string(),
        })
    }

    /// Makes everything durable that was stored.
    ///
    /// # Errors
    /// Why the log has halted.
    pub(crate) fn sync(&self) -> Result<(), String> {
        self.shards.all().iter().try_for_each(|shard| shard.log.sync().map_err(|error| error.to_string()))
    }

    /// Archives all that there is, at full speed; whether nothing is left without an archive. No archive is deleted.
    ///
    /// # Errors
    /// There is no thread for it.
    pub(crate) fn archive_all(&self) -> Result<(bool, Report), String> {
        let unlimited = HistoryConfig {
            keep_window: None,
            keep_count: None,
            max_bytes: None,
            bytes_per_second: u64::MAX,
            cpu_percent: 100,
            ..self.policy.rules
        };
        let policy = Policy {
            conservative: true,
            rules: unlimited,
            bytes_per_second: unlimited.bytes_per_second,
            cpu_percent: unlimited.cpu_percent,
            ..self.policy
        };
        let keeping = Keeping::begin(&self.shards, policy, &self.clock).map_err(|error| error.to_string())?;
        let ends: Vec<u64> = self.shards.all().iter().map(|shard| shard.log.next_lsn().0).collect();
        for shard in self.shards.all() {
            shard.log.rotate();
        }
        let whole = keeping.keeper().until_archived(&ends);
        Ok((whole, keeping.keeper().report()))
    }

    /// Syncs and seals the logs.
    ///
    /// # Errors
    /// Why a log has halted: what was stored may not be on disk.
    pub(crate) fn close(self) -> Result<(), String> {
        let halted: Vec<String> =
            self.shards.all().iter().filter_map(|shard| super::close(&shard.log)).collect();
        halted.into_iter().next().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Flags;
    use crate::events::{Batch, Batches, Found, Marks, Query, Trail, most_bytes, read_line, scan};

    fn open(data: &Path) -> Stopped {
        let flags = Flags { data_dir: Some(data.into()), ..Flags::default() };
        let settings = [("STRANDLINE_SHARDS", "3"), ("STRANDLINE_WAL__MAX_SIZE_MB", "1")];
        let loaded = Config::load(&flags, settings.map(|(name, value)| (name.into(), value.into())), data);
        Stopped::open(&loaded.expect("usable").config).expect("opened")
    }

    /// The events of a file, as an import gives them to the logs; `put` stores.
    fn import(logs: &Stopped, lines: &[String], mut put: impl FnMut(Batch)) -> u64 {
        let marks = Marks::read(logs.shards()).expect("readable");
        let drafts = || lines.iter().map(|line| read_line(line.as_bytes()).expect("an event"));
        let mut trail = Trail::new(logs.shards().count());
        drafts().for_each(|draft| trail.pass(&draft, &marks));
        let mut batches = Batches::new(logs.shards(), "file", &trail, 8 << 10);
        let mut new = 0;
        for draft in drafts() {
            let taken = batches.take(draft, |batch| {
                put(batch);
                Ok::<(), ()>(())
            });
            new += u64::from(taken.expect("taken"));
        }
        put(batches.end());
        new
    }

    fn stored(logs: &Stopped) -> Vec<u64> {
        let mut ids = Vec::new();
        for shard in logs.shards().all() {
            let found = scan(shard, &Query::default(), None, &mut |found| {
                if let Found::Event(seen) = found {
                    ids.extend(seen.event.event_id);
                }
                core::ops::ControlFlow::Continue(())
            });
            assert!(found.expect("readable").is_continue());
        }
        ids.sort_unstable();
        ids
    }

    /// After a crash any shard may be some batches behind another.
    #[test]
    fn shards_that_got_different_parts_of_an_import_get_the_rest() {
        let line = |id: u64| {
            format!(
                r#"{{"timestamp":{id},"context_id":"c{}","event_type":"t","payload":{{"filler":"{}"}},"event_id":{id}}}"#,
                id % 10,
                "x".repeat(100)
            )
        };
        let lines: Vec<String> = (0..400).map(line).collect();
        // So many batches of each shard were stored.
        for parts in [[0, 0, 0], [0, 0, 2], [0, 2, 1], [1, 0, 2], [2, 2, 2]] {
            let data = tempfile::tempdir().expect("a directory");
            let logs = open(data.path());
            let mut batch_number = 0;
            import(&logs, &lines, |mut batch| {
                for (group, part) in batch.groups.iter_mut().zip(parts) {
                    if batch_number >= part {
                        group.clear();
                    }
                }
                logs.append(&batch.groups).expect("stored");
                batch_number += 1;
            });
            assert!(batch_number > 3, "{batch_number}");
            let before = stored(&logs).len() as u64;
            assert_eq!(before > 0, parts != [0, 0, 0]);
            logs.close().expect("closed");

            let logs = open(data.path());
            let new = import(&logs, &lines, |batch| logs.append(&batch.groups).expect("stored"));
            assert_eq!(new, 400 - before, "{parts:?}");
            assert_eq!(stored(&logs), (0..400).collect::<Vec<_>>(), "{parts:?}");
            assert_eq!(import(&logs, &lines, |batch| assert_eq!(batch.events, 0)), 0);
            logs.close().expect("closed");
        }
    }

    #[test]
    fn the_largest_event_fits_beside_its_mark() {
        let data = tempfile::tempdir().expect("a directory");
        let logs = open(data.path());
        let line = |filler: usize| {
            format!(
                r#"{{"timestamp":1,"context_id":"c","event_type":"t","payload":{{"filler":"{}"}},"event_id":1}}"#,
                "x".repeat(filler)
            )
        };
        let bytes = |line: &str| read_line(line.as_bytes()).expect("an event").record.len();
        let most = most_bytes(logs.record_bytes());
        let filler = most - (bytes(&line(100_000)) - 100_000);
        let largest = line(filler);
        assert_eq!(bytes(&largest), most);
        // The longest name that a file can have.
        let (name, marks) = ("n".repeat(255), Marks::default());
        let mut trail = Trail::new(3);
        let draft = || read_line(largest.as_bytes()).expect("an event");
        trail.pass(&draft(), &marks);
        let mut batches = Batches::new(logs.shards(), &name, &trail, logs.record_bytes());
        assert_eq!(batches.take(draft(), |_| Err(())), Ok(true));
        logs.append(&batches.end().groups).expect("it fits");
        assert_eq!(stored(&logs), [1]);
    }
}
