//! Configuration: flags over environment over file over defaults, checked as a whole before anything starts.
//!
//! ```text
//!   YAML, TOML ─► tree ─┐
//!   STRANDLINE_… ───────┼─► layers ─► settings ─► build ─► Config   what the server uses
//!   --flag ─────────────┘     ▲          │          └────► notes    what may be unexpected about it
//!                           keys         └───────────────► origins  where each value came from
//! ```
//!
//! - One table of keys (`keys.rs`) drives reading, errors, `config show` and the reference page.
//! - An error names its place (file and line, variable or flag), what is wrong there and what to do next; all errors of
//!   a configuration are reported at once.
//! - What this version can't honour is refused or noted, never passed over.

mod build;
mod explain;
mod flags;
mod keys;
mod layers;
mod nearest;
mod problem;
mod settings;
mod toml;
mod tree;
mod types;
mod value;
mod yaml;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use flags::Flags;
pub use problem::{ConfigError, Origin, Problem};
pub use settings::{Setting, Settings};
pub use types::{
    Config, FsyncMode, HistoryConfig, HttpLimits, LogFormat, LogLevel, LoggingConfig, ScrubConfig,
    SnapshotConfig, WalConfig,
};
pub use value::Value;
pub(crate) use value::seconds as duration;

/// A configuration, and how it came about.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every setting that counts, with its origin.
    pub settings: Settings,
    /// What an operator might not expect; to be logged at start.
    pub notes: Vec<String>,
    /// The configuration file, as named by the operator.
    pub file: Option<PathBuf>,
}

impl Config {
    /// Reads flags, environment (a program passes `std::env::vars_os()`) and file, and checks all of it. Relative paths
    /// start at `cwd`.
    ///
    /// ```
    /// use std::path::Path;
    /// use std_server::config::{Config, Flags, FsyncMode};
    ///
    /// let flags = Flags { fsync_mode: Some("always".into()), ..Flags::default() };
    /// let loaded = Config::load(&flags, [], Path::new("/srv"))?;
    /// assert_eq!(loaded.config.wal.fsync_mode, FsyncMode::Always);
    /// assert_eq!(loaded.config.wal.dir, Path::new("/srv/data/wal"));
    /// # Ok::<(), std_server::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// All that is wrong, each with its place and what to do next. Problems of values are reported before problems of
    /// how values fit together.
    pub fn load(
        flags: &Flags,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        cwd: &Path,
    ) -> Result<Loaded, ConfigError> {
        let env: Vec<_> = env.into_iter().collect();
        let file = layers::file_named(flags, &env);
        let mut layers = Vec::with_capacity(3);
        if let Some(file) = &file {
            layers.push(layers::from_file(file, cwd)?);
        }
        layers.push(layers::from_env(&env));
        layers.push(layers::from_flags(flags));

        let problems = layers.iter_mut().flat_map(|layer| layer.problems.drain(..)).collect();
        ConfigError::unless_empty(problems)?;
        let mut settings = Settings::settle(layers.into_iter().map(|layer| layer.given));
        let (config, notes) = build::build(&mut settings, cwd)?;
        Ok(Loaded { config, settings, notes, file })
    }
}

impl Loaded {
    /// Every setting that counts, as YAML that loads again, each line with its origin as a comment.
    #[must_use]
    pub fn show(&self) -> String {
        explain::show(self)
    }

    /// That the configuration is good, what it amounts to, and the notes.
    #[must_use]
    pub fn check(&self) -> String {
        explain::check(self)
    }
}

/// The table of all keys in Markdown, as `docs/CONFIGURATION.md` holds it.
#[must_use]
pub fn reference() -> String {
    explain::reference()
}
