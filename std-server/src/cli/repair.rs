//! `repair`: what goes past damage, what is lost by it, and where what is removed goes. Without `--apply` nothing is changed.
//!
//! ```text
//!  checkup ─► a list of steps, printed ─► --apply: what can be read is kept as archives ─► the log's own steps ─► archives
//!                                                                                    └► checkup again: the verdict
//! ```
//!
//! | exit | means |
//! |---|---|
//! | 0 | nothing is to be done, or all of it was done and the rest is good |
//! | 1 | there is something to do, or damage remains |
//! | 2 | the configuration is wrong, or the files can't be read now |

use core::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use strandline::repair::{Examination, SegmentDamage, Step};
use strandline::{Log, Lsn, OpenError};

use super::EXIT_USAGE;
use super::checkup::{self, Health, Shard, command, look, lsns};
use super::verify::about;
use crate::config::{Config, Loaded};
use crate::engine::{options_of, places};
use crate::events::{ArchiveDamage, Owner, Tally, salvage_archive, salvage_segment};

pub(super) fn run(loaded: &Loaded, apply: bool) -> ExitCode {
    let shards = match checkup::shards(&loaded.config) {
        Ok(shards) => shards,
        Err(why) => return unusable(&why),
    };
    let data = loaded.config.data_dir.display();
    let plans: Vec<Plan<'_>> = shards.iter().map(|shard| Plan { config: &loaded.config, shard }).collect();
    let (mut to_do, mut blocked) = (0, false);
    for plan in &plans {
        to_do += plan.print(shards.len() > 1);
        blocked |= plan.is_blocked();
    }
    if shards.iter().any(|shard| shard.health() == Health::Unreadable) {
        return ExitCode::from(EXIT_USAGE);
    }
    match (to_do, apply) {
        (0, _) if blocked => ExitCode::FAILURE,
        (0, _) => {
            println!("nothing is to be repaired in {data}");
            ExitCode::SUCCESS
        }
        (_, false) => {
            println!("\nNothing was changed. To do it, copy {data} aside first if there is room, then:");
            println!("  {}", command(loaded, "repair --apply"));
            ExitCode::FAILURE
        }
        (_, true) => carry_out(loaded, &plans),
    }
}

fn unusable(why: &str) -> ExitCode {
    eprintln!("std-server: {why}");
    ExitCode::from(EXIT_USAGE)
}

/// Applies every plan that can be applied, and looks again.
fn carry_out(loaded: &Loaded, plans: &[Plan<'_>]) -> ExitCode {
    println!("");
    for plan in plans.iter().filter(|plan| !plan.is_blocked() && plan.has_steps()) {
        if let Err(why) = plan.apply() {
            println!("FAILED     {why}");
            println!("What was done so far is done; the same command goes on from there.");
            return ExitCode::FAILURE;
        }
    }
    let again = match checkup::shards(&loaded.config) {
        Ok(shards) => shards,
        Err(why) => return unusable(&why),
    };
    let health = again.iter().map(Shard::health).max().unwrap_or(Health::Good);
    if health == Health::Good {
        println!("Repaired: what is left is good, and a server starts. What was lost is told for ever by");
        println!("  {}", command(loaded, "verify"));
        return ExitCode::SUCCESS;
    }
    println!("Damage remains:");
    println!("  {}", command(loaded, "repair"));
    ExitCode::FAILURE
}

/// What is to be done with one shard.
struct Plan<'p> {
    config: &'p Config,
    shard: &'p Shard,
}

impl Plan<'_> {
    fn has_steps(&self) -> bool {
        !self.shard.found.steps.is_empty() || !self.shard.archived.damaged.is_empty()
    }

    fn is_blocked(&self) -> bool {
        self.shard.found.blocked.is_some() || !self.shard.found.kept.is_empty()
    }

    /// Says what is to be done, and what can't be; returns how many steps there are.
    fn print(&self, named: bool) -> usize {
        let (found, archived) = (&self.shard.found, &self.shard.archived);
        if !self.has_steps() && !self.is_blocked() && archived.unreadable.is_empty() {
            return 0;
        }
        if named {
            println!("shard {}", self.shard.number);
        }
        match (&found.refusal, &found.blocked) {
            (_, Some(_)) => {}
            (Some(_), None) => println!("A server does not start.\n"),
            (None, None) => println!("A server starts, but something that is kept is damaged.\n"),
        }
        if let Some(error) = &found.blocked {
            println!("CAN'T BE REPAIRED\n  {error}");
            println!("  {}", instead(error));
            return 0;
        }
        let mut number = 0;
        let mut heading = |text: &str| {
            number += 1;
            println!("{number}. {text}");
        };
        for step in &found.steps {
            self.print_step(step, &mut heading);
        }
        for damage in &archived.damaged {
            self.print_archive(damage, &mut heading);
        }
        for damage in &found.kept {
            println!("NOT YET    {}", about(damage));
            println!(
                "           The newest snapshot still needs the rest of this segment. Start the server, take a snapshot"
            );
            println!("           (curl -X POST http://ADDRESS/snapshot), stop the server, repair again.");
        }
        for (_, why) in &archived.unreadable {
            println!("LEFT ALONE {why}");
        }
        number
    }

    fn print_step(&self, step: &Step, heading: &mut dyn FnMut(&str)) {
        match step {
            Step::PutAside { path, why } => {
                heading(&format!("put {} aside", path.display()));
                line("why", why);
                line("lost", "nothing");
            }
            Step::RebuildManifest { why, segments, snapshots } => {
                heading("make the manifest again from the headers of segments and snapshots");
                line("why", why);
                line("found", &format!("{segments} segments, {snapshots} snapshots"));
                line(
                    "lost",
                    "what only the manifest knew: losses recorded in it, and the proof that the newest segment was there",
                );
                line(
                    "better",
                    "put the manifest files back from a backup of the same moment, if there is one",
                );
            }
            Step::DropSnapshot { path, why, .. } => {
                heading(&format!("put the snapshot {} aside", path.display()));
                line("why", why);
                line("lost", "nothing: another snapshot and the log, or the whole log, give the same state");
            }
            Step::GiveUp(damage) => {
                heading(&format!("give up segment {}, which no start needs", damage.log));
                line("why", &about(damage));
                self.print_loss(damage, true);
            }
            Step::Restore { damage, segment, from } => {
                heading(&format!("make segment {} again with the records of its archive", segment.log));
                line("why", &damage.what());
                if let Some(proof) = damage.proof() {
                    line("proof", &proof);
                }
                line("segment", &about(segment));
                line(
                    "archive",
                    &format!("{from} has exactly its records: their digest is the one that was archived"),
                );
                line("lost", "nothing");
                if segment.path.exists() {
                    line("kept", &format!("the damaged file, in {}", self.quarantine().display()));
                }
            }
            Step::Discard { damage, not_restored, segments } => {
                let place = damage.damage;
                let end = place.announced.max(place.settled.lsn).max(place.lsn);
                heading(&format!("discard every record from LSN {} on", place.lsn));
                line("why", &damage.what());
                if let Some(proof) = damage.proof() {
                    line("proof", &proof);
                }
                if let Some(why) = not_restored {
                    line("archive", &format!("can't make the segment again: {why}"));
                }
                line("lost", &format!("{}; records before LSN {} stay", lsns((place.lsn, end)), place.lsn));
                for damage in segments {
                    line("segment", &about(damage));
                    self.print_loss(damage, false);
                }
            }
            _ => {}
        }
    }

    /// What is lost with a segment, and what can still be read of it.
    fn print_loss(&self, damage: &SegmentDamage, stays: bool) {
        if damage.is_elsewhere && stays {
            return line("lost", "nothing: its archive has all of its records");
        }
        let mut tally = Tally::default();
        if let Err(error) = damage.salvage(&mut |record| tally.count(record)) {
            return line("readable", &format!("nothing: {error}"));
        }
        let unreadable: u64 = damage.lost.iter().map(|(from, end)| end.0.saturating_sub(from.0)).sum();
        if stays {
            line("lost", &format!("{unreadable} records (keys are in the newest snapshot; events are lost)"));
        }
        line("readable", &described(&tally));
        if damage.is_elsewhere {
            line("archived", "an intact archive has all of its records; std-server archive cat prints them");
        }
        let only_events = stays && !self.config.wal.conservative_mode;
        if tally.records > 0 && (tally.events > 0 || !only_events) {
            let kept = if stays { self.shard.archives.clone() } else { self.quarantine() };
            line("kept", &format!("what is readable, as an archive in {}", kept.display()));
        }
        line("kept", &format!("the file, in {}", self.quarantine().display()));
    }

    fn print_archive(&self, damage: &ArchiveDamage, heading: &mut dyn FnMut(&str)) {
        heading(&format!("put the archive {} aside", damage.path.display()));
        line("why", &damage.why);
        if damage.is_foreign {
            return line("lost", "nothing: it is not of this log");
        }
        if self.shard.has_segment(damage) {
            let again = "is archived again by the next server in conservative mode";
            return line(
                "lost",
                &format!("nothing: its segment is still there, is read instead, and {again}"),
            );
        }
        let lost: Vec<String> = damage.lost.iter().map(|run| lsns(*run)).collect();
        if lost.is_empty() {
            line("lost", "what was in it; its LSNs are not known");
        } else {
            line("lost", &lost.join(", "));
        }
        line("readable", &format!("{} entries, which go into an archive in its place", damage.entries));
    }

    fn quarantine(&self) -> PathBuf {
        places(self.config, self.shard.number).log.join("quarantine")
    }

    fn apply(&self) -> Result<(), String> {
        let number = self.shard.number;
        let damaged = &self.shard.archived.damaged;
        let gone: Vec<&ArchiveDamage> =
            damaged.iter().filter(|damage| !self.shard.has_segment(damage)).collect();
        let aside = RefCell::new(Vec::new());
        let before = |found: &Examination| {
            let planned = &self.shard.found.steps;
            if found.steps.len() != planned.len() || !found.steps.iter().zip(planned).all(is_same) {
                return Err(
                    "the files have changed since the plan was made, and it is another one now".to_owned()
                );
            }
            aside.borrow_mut().extend(self.salvage(found)?);
            Ok(gone.iter().flat_map(|damage| damage.lost.iter().copied()).collect::<Vec<(Lsn, Lsn)>>())
        };
        let options = options_of(self.config, number);
        let repaired = look(self.config, number, &self.shard.archived, &Arc::default(), |look| {
            Log::repair(options, look, before)
        });
        for path in repaired.map_err(|error| error.to_string())? {
            println!("put aside  {}", path.display());
        }
        for step in &self.shard.found.steps {
            if let Step::Restore { segment, .. } = step {
                println!("made again {}", segment.path.display());
            }
        }
        for path in aside.take() {
            println!("kept       {}", path.display());
        }
        for damage in damaged.iter().filter(|damage| damage.path.exists()) {
            let level = self.config.wal.compression_level;
            let kept = if self.shard.has_segment(damage) {
                &ArchiveDamage { entries: 0, ..damage.clone() }
            } else {
                damage
            };
            println!("put aside  {}", salvage_archive(kept, level)?.display());
        }
        Ok(())
    }

    /// Writes what can be read of segments that go into archives.
    fn salvage(&self, found: &Examination) -> Result<Vec<PathBuf>, String> {
        let owner = Owner {
            store: found.store,
            timeline: found.timeline,
            shard: self.shard.number,
            level: self.config.wal.compression_level,
            now_ms: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX)),
        };
        let mut kept = Vec::new();
        for step in &found.steps {
            match step {
                Step::GiveUp(damage) if !damage.is_elsewhere => {
                    self.make_room(damage)?;
                    let only_events = !self.config.wal.conservative_mode;
                    kept.extend(salvage_segment(damage, owner, &self.shard.archives, only_events)?);
                }
                Step::Discard { segments, .. } => {
                    for damage in segments {
                        kept.extend(salvage_discarded(damage, owner, &self.quarantine())?);
                    }
                }
                _ => {}
            }
        }
        Ok(kept)
    }

    /// A damaged archive of the same segment must not stand in the way.
    fn make_room(&self, damage: &SegmentDamage) -> Result<(), String> {
        for other in self.shard.archived.damaged.iter().filter(|other| other.log == Some(damage.log)) {
            salvage_archive(&ArchiveDamage { entries: 0, ..other.clone() }, 1)?;
        }
        Ok(())
    }
}

/// Whether two steps do the same.
fn is_same((one, other): (&Step, &Step)) -> bool {
    match (one, other) {
        (Step::PutAside { path: one, .. }, Step::PutAside { path: other, .. })
        | (Step::DropSnapshot { path: one, .. }, Step::DropSnapshot { path: other, .. }) => one == other,
        (Step::RebuildManifest { .. }, Step::RebuildManifest { .. }) => true,
        (Step::GiveUp(one), Step::GiveUp(other))
        | (Step::Restore { segment: one, .. }, Step::Restore { segment: other, .. }) => one.log == other.log,
        (Step::Discard { damage: one, .. }, Step::Discard { damage: other, .. }) => {
            one.damage.lsn == other.damage.lsn
        }
        _ => false,
    }
}

/// What an earlier repair, which was interrupted, has kept is not written again.
fn salvage_discarded(damage: &SegmentDamage, owner: Owner, place: &Path) -> Result<Option<PathBuf>, String> {
    let listed = strandline::archive::list(place).unwrap_or_default();
    if listed.iter().any(|(name, _)| name.log == damage.log) {
        return Ok(None);
    }
    salvage_segment(damage, owner, place, false)
}

fn described(tally: &Tally) -> String {
    let Tally { records, events, changes, names } = tally;
    if *records == 0 {
        return "nothing".to_owned();
    }
    let names = if names.is_empty() { String::new() } else { format!(" ({} …)", names.join(", ")) };
    format!("{records} records: {changes} changes of keys, {events} events{names}")
}

fn line(name: &str, text: &str) {
    println!("     {name:9} {text}");
}

/// What the operator can do where no step helps.
const fn instead(error: &OpenError) -> &'static str {
    match error {
        OpenError::Step(_) | OpenError::Unreadable(_) => {
            "Copy what can be read to a good disk (ddrescue, or dd conv=noerror,sync), and repair the copy with --data-dir COPY."
        }
        OpenError::Newer(_) => "Use the version that wrote it.",
        OpenError::Inconsistent(_) => {
            "Put a snapshot or the missing files back from a backup. Without them the keys can't be computed; what the log holds can still \
             be read with std-server inspect, and what the archives hold with std-server archive cat."
        }
        _ => "Restore the data directory from a backup.",
    }
}
