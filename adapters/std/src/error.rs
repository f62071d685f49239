//! Errors, in the words of the person who must act on them.

use std::io;
use std::path::PathBuf;

use strandline_core::action::Refused;
use strandline_core::recovery::{Damage, Refusal};
use strandline_core::types::Lsn;

use crate::dir::StepError;

/// Why a record was not taken, or not acknowledged.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// Not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Taken, but the store halted before the mode's promise held: the record may or may not survive.
    #[error("not acknowledged: {0}")]
    Halted(String),
}

impl AppendError {
    /// Whether trying again later may succeed without a restart.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Refused(Refused::Busy | Refused::Full))
    }
}

/// What a user's state says about a snapshot chunk or a record that it can't take.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadState(pub String);

/// Why a snapshot was not made. The log goes on unless it says halted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// A step failed.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The state could not be read.
    #[error("the state could not be read: {0}")]
    State(#[from] BadState),
    /// It was written and could not be read back.
    #[error("read-back of {}: {why}", path.display())]
    ReadBack {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Compression failed.
    #[error("compression: {0}")]
    Encode(io::Error),
    /// The store has halted or is closed, or another snapshot is being made.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Too many chunks for one index.
    #[error("the state has more than {0} chunks")]
    TooMany(usize),
}

/// Why a store was not opened. Nothing was changed by the attempt, unless it says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process (its LOCK is held{})", path.display(), holder.as_ref().map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The process, if it said so.
        holder: Option<String>,
    },
    /// A file could not be used.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The sizes are not usable.
    #[error("geometry: {0}")]
    Geometry(String),
    /// Settled data is damaged or missing.
    #[error("{}", .0)]
    Corrupt(Box<CorruptReport>),
    /// The store's files don't fit together.
    #[error("{0}")]
    Inconsistent(String),
    /// A newer version wrote it.
    #[error("{0}")]
    Newer(String),
    /// The device does not give what is on it, or not twice the same.
    #[error("{0}")]
    Unreadable(String),
    /// The store can't be opened for another reason.
    #[error("{0}")]
    Refused(String),
    /// The state did not take what was recovered.
    #[error("record {lsn}: {source}")]
    State {
        /// The record.
        lsn: Lsn,
        /// What it said.
        source: BadState,
    },
}

/// What is damaged, what is lost, what is not, and what to type.
#[derive(Clone, Debug)]
pub struct CorruptReport {
    /// The file, if it is known.
    pub file: Option<PathBuf>,
    /// What recovery knows.
    pub damage: Damage,
    /// The LSN that the operator wanted to discard from, if it was another.
    pub wanted: Option<Lsn>,
}

impl CorruptReport {
    /// Which file is damaged or missing, and where.
    #[must_use]
    pub fn what(&self) -> String {
        let Damage { position, missing, .. } = self.damage;
        match &self.file {
            Some(file) if missing => format!("{} is missing", file.display()),
            Some(file) => format!("{} is damaged at offset {}", file.display(), position.offset),
            None => format!("segment {} is missing", position.log),
        }
    }

    /// Why the lost records are known to have been durable, if that is so.
    #[must_use]
    pub fn proof(&self) -> Option<String> {
        let Damage { position, settled, .. } = self.damage;
        (settled.position > position).then(|| {
            format!("everything before LSN {} was durable (position {})", settled.lsn, settled.position)
        })
    }
}

impl core::fmt::Display for CorruptReport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Damage { lsn, settled, announced, .. } = self.damage;
        f.write_str(&self.what())?;
        let known = announced.max(settled.lsn);
        if known > lsn {
            write!(f, ": settled records are lost, from LSN {lsn} to at least {}.", known.0 - 1)?;
        } else {
            write!(f, ": records from LSN {lsn} on may be lost; none is known to have been there.")?;
        }
        if let Some(proof) = self.proof() {
            write!(f, " Proof: {proof}.")?;
        }
        write!(f, " Records before LSN {lsn} are intact. Nothing was changed.")?;
        if let Some(wanted) = self.wanted {
            write!(f, " --discard-from {wanted} does not name the damage.")?;
        }
        write!(
            f,
            " To go on without the lost records: --discard-from {lsn} (what is removed is kept in quarantine/)"
        )
    }
}

/// Says why recovery refused.
pub(crate) fn refusal(
    refusal: Refusal,
    wanted: Option<Lsn>,
    path: impl Fn(strandline_core::types::Extent) -> PathBuf,
) -> OpenError {
    let corrupt = |damage: Damage, wanted| {
        OpenError::Corrupt(Box::new(CorruptReport { file: damage.extent.map(&path), damage, wanted }))
    };
    let named = |extent| path(extent).display().to_string();
    match refusal {
        Refusal::Corrupt(damage) => corrupt(damage, None),
        Refusal::NotThere { damage } => corrupt(damage, wanted),
        Refusal::Newer { extent, offset } => OpenError::Newer(format!(
            "{} at offset {offset} was written by a newer version: use that version. This is not damage and nothing was changed",
            named(extent)
        )),
        Refusal::Unreadable { extent, offset } => OpenError::Unreadable(format!(
            "{} can't be read at offset {offset}: this is neither the end of the log nor damage to it; check the device, then start again",
            named(extent)
        )),
        Refusal::Unstable { position } => OpenError::Unreadable(format!(
            "the log gave other bytes at {position} than a moment ago: check the device, then start again"
        )),
        Refusal::RolledBack { newest, named } => OpenError::Inconsistent(format!(
            "the newest manifest revision is {newest}, but revision {named} was durable: a manifest file is damaged or was replaced by an older one; \
             put the newer one back"
        )),
        Refusal::NoManifest { witness } => OpenError::Inconsistent(format!(
            "{} holds data, but no manifest file has an intact revision: restore manifest-0, manifest-1 and manifest-2 from a backup",
            named(witness)
        )),
        Refusal::Stray { extent } => OpenError::Inconsistent(format!(
            "{} is not of this store: its number is far above every one that the store has given. Move it elsewhere, then start again. Nothing was changed",
            named(extent)
        )),
        Refusal::SeveralStores { extent } => OpenError::Inconsistent(format!(
            "{} is of another store than the other manifest files: put the right one back",
            named(extent)
        )),
        Refusal::NoSnapshot { first } => OpenError::Inconsistent(format!(
            "no snapshot can be loaded, and the log begins at LSN {first}, not at the first record: restore a snapshot file from a backup"
        )),
        Refusal::TooMany => OpenError::Refused("the manifest lists more than this version can hold".into()),
        Refusal::Failed { action, failure } => {
            OpenError::Refused(format!("recovery could not write ({action:?}): {failure:?}"))
        }
        other => OpenError::Refused(format!("{other:?}")),
    }
}
