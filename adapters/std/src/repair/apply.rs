//! The steps of an examination, for real, and the two doors: [`Log::examine`] and [`Log::repair`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use strandline_core::lower::posix::File as Name;
use strandline_core::manifest::MANIFEST_EXTENTS;
use strandline_core::recovery::{Options as CoreOptions, Scope};
use strandline_core::types::{Lsn, StoreId};

use super::manifest::{publish, write_unfinished};
use super::{Examination, Examiner, Look, Step};
use crate::dir::Dir;
use crate::error::OpenError;
use crate::log::{Log, hold_existing};
use crate::options::Options;

impl Log {
    /// Reads everything that is kept, says what a start would find, what is damaged, and what goes past it. Nothing is changed. For a
    /// store that is not open.
    ///
    /// # Errors
    /// [`OpenError::Locked`], [`OpenError::Geometry`], or the lock can't be read. What is found is no error.
    pub fn examine(options: &Options, look: &Look<'_>) -> Result<Examination, OpenError> {
        let (_lock, mut examiner) = begin(options, look)?;
        examiner.run();
        Ok(examiner.found)
    }

    /// Examines the store and carries out the steps. `before` hears the examination when nothing has been changed yet: it may take
    /// what can still be read, or refuse, and says which LSNs are lost beside the log, first ones and the ones behind the last,
    /// so that they stand in the manifest too. Returns what was put aside.
    ///
    /// # Errors
    /// What `before` says, or a step failed. Then the steps in front of it are done, and another repair does the rest.
    pub fn repair(
        options: Options,
        look: &Look<'_>,
        before: impl FnOnce(&Examination) -> Result<Vec<(Lsn, Lsn)>, String>,
    ) -> Result<Vec<PathBuf>, OpenError> {
        let (lock, mut examiner) = begin(&options, look)?;
        examiner.run();
        if let Some(blocked) = examiner.found.blocked.take() {
            return Err(blocked);
        }
        let also_lost = before(&examiner.found).map_err(OpenError::Refused)?;
        let aside = carry_out(&options, &mut examiner, &also_lost)?;
        let discard_from = examiner.options.discard_from;
        drop(lock);
        match discard_from {
            None => Ok(aside),
            Some(_) => {
                let (log, recovered) = Self::open(options.discard_from(discard_from), &mut ())?;
                log.close();
                Ok(aside.into_iter().chain(recovered.quarantined).collect())
            }
        }
    }
}

fn begin<'l>(options: &Options, look: &'l Look<'l>) -> Result<(Option<File>, Examiner<'l>), OpenError> {
    let geometry = options.geometry.check().map_err(|error| OpenError::Geometry(format!("{error:?}")))?;
    let lock = hold_existing(&options.places.log)?;
    let core = CoreOptions {
        config: options.config,
        geometry,
        fresh: StoreId::default(),
        discard_from: None,
        scope: Scope::Verify,
    };
    Ok((lock, Examiner::new(Dir::existing(options.places.clone(), geometry), core, look)))
}

/// Everything but the discard.
fn carry_out(
    options: &Options,
    examiner: &mut Examiner<'_>,
    also_lost: &[(Lsn, Lsn)],
) -> Result<Vec<PathBuf>, OpenError> {
    let edits = |step: &Step| matches!(step, Step::DropSnapshot { .. } | Step::GiveUp(_));
    let edited = if examiner.found.steps.iter().any(edits) || !also_lost.is_empty() {
        let edited = examiner.edited(also_lost);
        Some(edited.ok_or_else(|| OpenError::Refused("the manifest could not be written again".into()))?)
    } else {
        None
    };
    let rebuilt = examiner.dir.pretence_mut().instead.get(&Name::Manifest(0)).cloned();
    let dir = Dir::existing(options.places.clone(), options.geometry);
    let failed = |path: &Path, error: io::Error| {
        OpenError::Refused(format!("{} can't be put aside: {error}", path.display()))
    };
    let mut aside = Vec::new();
    let mut linked = Vec::new();
    for step in &examiner.found.steps {
        match step {
            Step::PutAside { path, .. } | Step::DropSnapshot { path, .. } => {
                if path.exists() {
                    aside.push(dir.quarantine(path)?);
                }
            }
            Step::RebuildManifest { .. } => {
                let Some(bytes) = &rebuilt else { continue };
                for name in (0..MANIFEST_EXTENTS).map(Name::Manifest) {
                    if dir.path(name).exists() {
                        aside.push(dir.preserve(name)?);
                    }
                }
                publish(&dir, 0, bytes).map_err(|error| failed(&dir.path(Name::Manifest(0)), error))?;
            }
            // The file has both names until no manifest lists it any more.
            Step::GiveUp(damage) => {
                if damage.path.exists() {
                    aside.push(dir.link_aside(&damage.path)?);
                    linked.push(damage.path.clone());
                }
            }
            Step::Restore { segment, from, .. } => {
                let Some((name, bytes)) = made_again(examiner, &dir, &segment.path) else { continue };
                aside.extend(replace(&dir, name, bytes, from)?);
            }
            Step::Discard { .. } => {}
        }
    }
    sync_places(&dir).map_err(|error| failed(&dir.places().log, error))?;
    if let Some((extent, bytes)) = edited {
        publish(&dir, extent, &bytes).map_err(|error| failed(&dir.path(Name::Manifest(extent)), error))?;
    }
    for path in linked {
        fs::remove_file(&path).map_err(|error| failed(&path, error))?;
    }
    sync_places(&dir).map_err(|error| failed(&dir.places().log, error))?;
    Ok(aside)
}

/// The bytes of a segment that is made again.
fn made_again<'e>(examiner: &'e Examiner<'_>, dir: &Dir, path: &Path) -> Option<(Name, &'e [u8])> {
    let made = examiner.dir.pretence().instead.iter().find(|(name, _)| dir.path(**name) == *path)?;
    Some((*made.0, made.1))
}

/// Puts a segment that was made again in its place; what was there, and a note about it, are in `quarantine/` before that.
fn replace(dir: &Dir, name: Name, bytes: &[u8], from: &str) -> Result<Option<PathBuf>, OpenError> {
    let path = dir.path(name);
    let failed =
        |error: io::Error| OpenError::Refused(format!("{} can't be made again: {error}", path.display()));
    let unfinished = write_unfinished(&path, bytes).map_err(failed)?;
    let aside = if path.exists() { Some(dir.link_aside(&path)?) } else { None };
    if let Some(aside) = &aside {
        let note =
            format!("{} was made again with the records of {from}; nothing was lost\n", path.display());
        let named = aside.with_added_extension("note");
        fs::write(&named, note).and_then(|()| File::open(&named)?.sync_all()).map_err(failed)?;
    }
    sync_places(dir).map_err(failed)?;
    fs::rename(&unfinished, &path).map_err(failed)?;
    sync_places(dir).map_err(failed)?;
    Ok(aside)
}

/// Makes what was moved durable.
fn sync_places(dir: &Dir) -> io::Result<()> {
    for place in [&dir.places().log, &dir.places().snapshots] {
        let quarantine = place.join("quarantine");
        for place in [place, &quarantine] {
            if place.is_dir() {
                File::open(place)?.sync_all()?;
            }
        }
    }
    Ok(())
}
