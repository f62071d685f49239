//! Facts about the server, and the few things it can be asked to do.

use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use strandline::Stats;

use super::snapshots::take;
use super::{DurableEngine, NO_LOG, NO_PERSISTENCE};
use crate::auth::Credentials;
use crate::command::{
    COMPATIBLE_VERSION, Clients, CommandLimits, Host, InfoSection, Progress, Refusal, Stop,
};
use crate::config::FsyncMode;

impl Host for DurableEngine {
    fn loading(&self) -> Option<Progress> {
        self.progress()
    }

    fn limits(&self) -> CommandLimits {
        self.limits
    }

    fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    fn last_save_s(&self) -> u64 {
        self.snapshots.last().taken_s
    }

    fn info(&self) -> Vec<InfoSection> {
        let sections = [
            ("Server", self.about_server()),
            ("Clients", self.about_clients()),
            ("Memory", self.about_memory()),
            ("Persistence", self.about_persistence()),
            ("Stats", self.about_commands()),
            ("Keyspace", self.about_keyspace()),
        ];
        sections.into_iter().map(|(name, lines)| InfoSection { name, lines }).collect()
    }

    fn settings(&self) -> Vec<(String, String)> {
        let config = &self.facts.config;
        let keeps_log = config.persistence_enabled && config.wal.enabled;
        let appendfsync = match config.wal.fsync_mode {
            FsyncMode::Always => "always",
            FsyncMode::Periodic => "everysec",
            FsyncMode::Never => "no",
        };
        let save = match config.snapshot.operation_threshold {
            _ if !config.persistence_enabled || !config.snapshot.enabled || !config.snapshot.auto => {
                String::new()
            }
            Some(operations) => format!("{} 1 0 {operations}", config.snapshot.interval.as_secs()),
            None => format!("{} 1", config.snapshot.interval.as_secs()),
        };
        let settings = [
            ("appendfsync", appendfsync.to_owned()),
            ("appendonly", if keeps_log { "yes" } else { "no" }.to_owned()),
            ("databases", "1".to_owned()),
            ("dir", config.data_dir.display().to_string()),
            ("maxclients", config.max_clients.to_string()),
            ("port", self.facts.resp.map_or(0, |address| address.port()).to_string()),
            ("proto-max-bulk-len", config.max_value_bytes.to_string()),
            ("save", save),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    fn max_memory(&self) -> Option<usize> {
        Some(self.max_memory.load(Relaxed)).filter(|limit| *limit > 0)
    }

    fn set_max_memory(&self, limit: Option<usize>) {
        self.max_memory.store(limit.unwrap_or(0), Relaxed);
    }

    fn is_full(&self) -> bool {
        let used_bytes = || self.store().map_or(0, |store| store.gauges().used_bytes);
        self.max_memory().is_some_and(|limit| used_bytes() > limit)
    }

    fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    fn begin_save(&self) -> Result<(), Refusal> {
        let store = self.store_for_snapshot()?;
        let running = Refusal::fixed("ERR Background save already in progress");
        let turn = self.snapshots.try_turn().ok_or(running)?;
        drop(tokio::spawn(take(store, Arc::clone(&self.snapshots), turn)));
        Ok(())
    }

    async fn save(&self) -> Result<(), Refusal> {
        self.take_snapshot().await.map(|_| ())
    }

    async fn sync(&self) -> Result<(), Refusal> {
        let store = self.store_or_refusal()?;
        if store.log().is_none() {
            return Err(NO_PERSISTENCE);
        }
        if !self.facts.config.wal.enabled {
            return Err(NO_LOG);
        }
        store.kept(store.newest(), true).await.map_err(|halted| halted.refusal)
    }

    async fn stop(&self, stop: Stop) -> Result<(), Refusal> {
        if stop == Stop::AfterSnapshot {
            self.take_snapshot().await?;
        }
        self.stop.cancel();
        Ok(())
    }
}

type Lines = Vec<(&'static str, String)>;

impl DurableEngine {
    fn about_server(&self) -> Lines {
        let uptime_s = self.facts.started.elapsed().as_secs();
        vec![
            ("redis_version", COMPATIBLE_VERSION.to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("os", std::env::consts::OS.to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("multiplexing_api", "tokio".to_owned()),
            ("run_id", self.run_id.clone()),
            ("server_name", env!("CARGO_PKG_NAME").to_owned()),
            ("server_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("process_id", std::process::id().to_string()),
            ("tcp_port", self.facts.resp.map_or(0, |address| address.port()).to_string()),
            ("http_port", self.facts.http.port().to_string()),
            ("server_time_usec", self.clock.now_us().to_string()),
            ("uptime_in_seconds", uptime_s.to_string()),
            ("uptime_in_days", (uptime_s / 86_400).to_string()),
        ]
    }

    fn about_clients(&self) -> Lines {
        vec![
            ("connected_clients", self.clients.count().to_string()),
            ("maxclients", self.facts.config.max_clients.to_string()),
        ]
    }

    fn about_memory(&self) -> Lines {
        let Some(store) = self.store() else { return Vec::new() };
        let gauges = store.gauges();
        let mut lines = vec![
            ("used_memory", gauges.used_bytes.to_string()),
            ("used_memory_dataset", gauges.used_bytes.to_string()),
            ("maxmemory", self.max_memory().unwrap_or(0).to_string()),
            ("snapshot_held_back_bytes", gauges.image_queue_bytes.to_string()),
        ];
        lines.extend(resident_bytes().map(|bytes| ("used_memory_rss", bytes.to_string())));
        lines
    }

    fn about_persistence(&self) -> Lines {
        let flag = |yes: bool| u8::from(yes).to_string();
        let config = &self.facts.config;
        let loading = self.progress();
        let mut lines = vec![("loading", flag(loading.is_some()))];
        lines.extend(loading.map(|progress| ("loading_loaded_perc", progress.percent().to_string())));
        let Some(store) = self.store() else { return lines };
        lines.push(("persistence_enabled", flag(store.log().is_some())));
        let Some(stats) = store.log_stats() else { return lines };
        let last = self.snapshots.last();
        let ok = |good: bool| if good { "ok" } else { "err" }.to_owned();
        let changes = store.gauges().changes.saturating_sub(last.changes);
        lines.extend([
            ("rdb_changes_since_last_save", changes.to_string()),
            ("rdb_bgsave_in_progress", flag(self.snapshots.is_running())),
            ("rdb_last_save_time", last.taken_s.to_string()),
            ("rdb_last_bgsave_status", ok(last.failure.is_none())),
            ("aof_enabled", flag(config.wal.enabled)),
            ("aof_rewrite_in_progress", flag(false)),
            ("aof_last_bgrewrite_status", ok(true)),
            ("aof_last_write_status", ok(stats.halted.is_none() && !stats.full)),
            ("fsync_mode", config.wal.fsync_mode.to_string()),
            ("data_dir", config.data_dir.display().to_string()),
        ]);
        lines.extend(about_log(&stats));
        lines.extend(self.about_losses());
        lines
    }

    /// What was lost for good, in every shard.
    fn about_losses(&self) -> Lines {
        let shards = self.shards().map(|shards| shards.all()).unwrap_or_default();
        let losses =
            shards.iter().flat_map(|shard| shard.log.losses().into_iter().map(|loss| (shard.number, loss)));
        let named: Vec<String> = losses
            .map(|(shard, loss)| {
                let last = loss.until.0.saturating_sub(1).max(loss.from.0);
                format!("shard={shard},first_lsn={},last_lsn={last},time_ms={}", loss.from, loss.time.0)
            })
            .collect();
        vec![("log_losses", named.len().to_string()), ("log_lost", named.join(";"))]
    }

    fn about_commands(&self) -> Lines {
        let Some(store) = self.store() else { return Vec::new() };
        let tally = store.gauges().tally;
        vec![
            ("data_commands_processed", tally.commands.to_string()),
            ("expired_keys", store.expired_keys().to_string()),
            ("keyspace_hits", tally.hits.to_string()),
            ("keyspace_misses", tally.misses().to_string()),
            ("keys_stored", tally.sets.to_string()),
            ("keys_deleted", tally.dels.to_string()),
        ]
    }

    fn about_keyspace(&self) -> Lines {
        let Some(store) = self.store() else { return Vec::new() };
        let gauges = store.gauges();
        if gauges.keys == 0 {
            return Vec::new();
        }
        vec![("db0", format!("keys={},expires={},avg_ttl=0", gauges.keys, gauges.expiring))]
    }
}

fn about_log(stats: &Stats) -> Lines {
    let flag = |yes: bool| u8::from(yes).to_string();
    vec![
        ("log_next_lsn", stats.next.0.to_string()),
        ("log_acknowledged_lsn", stats.acknowledged.0.saturating_sub(1).to_string()),
        ("log_durable_lsn", stats.durable.0.saturating_sub(1).to_string()),
        ("log_segments", stats.segments.to_string()),
        ("log_segment_bytes", stats.segment_bytes.to_string()),
        ("log_unsynced_bytes", stats.unsynced_bytes.to_string()),
        ("log_full", flag(stats.full)),
        ("log_halted", flag(stats.halted.is_some())),
        ("log_halted_reason", stats.halted.clone().unwrap_or_default()),
        ("snapshots", stats.snapshots.to_string()),
        ("snapshot_base_lsn", stats.snapshot_base.0.to_string()),
        ("snapshot_bytes", stats.snapshot_bytes.to_string()),
    ]
}

/// Memory that the system says this process has, where it says so.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = statm.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}
