//! A configuration file, YAML or TOML.
//!
//! ```text
//!  kind u8: 0 YAML, 1 TOML | text
//! ```

use std::path::{Path, PathBuf};

use std_server::config::{Config, ConfigError, Flags, Loaded};

pub(super) fn load(bytes: &[u8]) {
    let Some((&kind, text)) = bytes.split_first() else { return };
    let name = if kind % 2 == 0 { "a.yaml" } else { "a.toml" };
    let place = tempfile::tempdir().expect("a directory");
    match from(place.path(), name, text) {
        Err(error) => assert!(!error.problems().is_empty(), "what is refused is named"),
        Ok(loaded) => {
            assert!(!loaded.check().is_empty());
            // Passwords are not shown.
            if loaded.config.http_users.is_empty() && loaded.config.resp_users.is_empty() {
                let shown = loaded.show();
                let again = from(place.path(), "shown.yaml", shown.as_bytes());
                let again = again.unwrap_or_else(|error| panic!("{error}\n{shown}"));
                assert_eq!(again.config, loaded.config, "{shown}");
            }
        }
    }
}

fn from(place: &Path, name: &str, text: &[u8]) -> Result<Loaded, ConfigError> {
    std::fs::write(place.join(name), text).expect("it is written");
    let flags = Flags { config: Some(PathBuf::from(name)), ..Flags::default() };
    Config::load(&flags, [], place)
}
