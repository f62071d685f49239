//! The three sources of settings, each read into the same list of givens.
//!
//! ```text
//!   file ─► tree ─► walk ──┐  unknown key, repeated setting, wrong shape: problems with file:line
//!   STRANDLINE_… ──────────┼─► [Given { id, value, origin }] ─► settings.rs keeps the strongest
//!   --flag ────────────────┘
//! ```

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::flags::Flags;
use super::keys::{self, ENV_FILE, ENV_PREFIX, Id, Key};
use super::nearest::nearest;
use super::problem::{Origin, Problem};
use super::toml::read_toml;
use super::tree::{Entry, Raw, Unreadable};
use super::value::{Value, parse, parse_host};
use super::yaml::read_yaml;

/// One setting by one source.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) id: Id,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What a source gave, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Layer {
    pub(super) given: Vec<Given>,
    pub(super) problems: Vec<Problem>,
}

impl Layer {
    /// Takes one value under the spelling that the operator used.
    fn take(&mut self, key: &Key, spelled: &str, raw: &Raw, origin: Origin) {
        if let Some(earlier) = self.given.iter().find(|given| given.id == key.id) {
            let what = format!(
                "`{spelled}` is already set by {}: both spellings mean `{}`",
                earlier.origin, key.path
            );
            self.problems.push(Problem::new(&origin, what, "keep one of the two"));
            return;
        }
        match parse(key.kind, raw) {
            Ok(value) => self.given.push(Given { id: key.id, value, origin }),
            Err(unfit) => {
                self.problems.push(Problem::new(&origin, format!("`{spelled}` {}", unfit.found), unfit.next));
            }
        }
    }

    /// A credential is refused whatever it is; its value is never repeated.
    fn refuse_credential(&mut self, spelled: &str, origin: &Origin) {
        self.problems.push(Problem::new(
            origin,
            format!("`{spelled}` can't be honoured: passwords are not kept in clear text"),
            "delete it; users stand below `auth.users`, each with what `std-server hash-password` prints",
        ));
    }
}

/// Reads the configuration file. `shown` is its path as the operator wrote it.
pub(super) fn from_file(shown: &Path, cwd: &Path) -> Result<Layer, Problem> {
    if shown.as_os_str().is_empty() {
        let place = format!("--config or {ENV_FILE}");
        return Err(Problem::new(place, "the name of the file is empty", "name a file, or leave it out"));
    }
    let reader: fn(&str) -> Result<Vec<Entry>, Unreadable> =
        match shown.extension().and_then(|extension| extension.to_str()) {
            Some("yaml" | "yml") => read_yaml,
            Some("toml") => read_toml,
            _ => {
                return Err(Problem::new(
                    shown.display(),
                    "the name does not say what kind of file this is",
                    "give it the extension .yaml, .yml or .toml",
                ));
            }
        };
    let text = read_text(shown, &cwd.join(shown))?;
    let entries = reader(text.strip_prefix('\u{feff}').unwrap_or(&text)).map_err(|unreadable| {
        let origin = Origin::File { path: shown.to_owned(), line: unreadable.line };
        Problem::new(origin, unreadable.what, unreadable.next)
    })?;
    let mut layer = Layer::default();
    walk(&mut layer, shown, "", &entries);
    Ok(layer)
}

fn read_text(shown: &Path, path: &Path) -> Result<String, Problem> {
    let unreadable = |what: String, next: &str| Problem::new(shown.display(), what, next);
    let open = File::open(path).map_err(|error| {
        unreadable(
            format!("can't be opened: {error}"),
            "check the path given by --config or STRANDLINE_CONFIG",
        )
    })?;
    let mut bytes = Vec::new();
    open.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(format!("can't be read: {error}"), "name a regular, readable file"))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable("is larger than 1 MiB".to_owned(), "is this the right file?"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        let place = format!("{}:{line}", shown.display());
        Problem::new(place, "is not UTF-8 text", "save the file as UTF-8")
    })
}

/// Goes through one section. `path` is where it stands, empty for the whole file.
fn walk(layer: &mut Layer, file: &Path, path: &str, entries: &[Entry]) {
    for entry in entries {
        if layer.problems.len() == MAX_PROBLEMS {
            return;
        }
        let spelled = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
        let origin = Origin::File { path: file.to_owned(), line: entry.line };
        if let Some(key) = keys::find(&spelled) {
            layer.take(key, &spelled, &entry.value, origin);
        } else if keys::is_credential(&spelled) {
            layer.refuse_credential(&spelled, &origin);
        } else if keys::is_section(&spelled) {
            match &entry.value {
                Raw::Section(inner) => walk(layer, file, &spelled, inner),
                // All of its lines are commented out.
                Raw::Null => {}
                other => layer.problems.push(Problem::new(
                    origin,
                    format!("`{spelled}` is {} where a section is expected", other.noun()),
                    format!("put its keys below it, such as `{}`", an_example_below(&spelled)),
                )),
            }
        } else {
            let near = nearest(&spelled, keys::known_paths()).unwrap_or_default();
            layer.problems.push(Problem::new(
                origin,
                format!("unknown key `{spelled}`; the nearest known one is `{near}`"),
                "correct or delete it; docs/CONFIGURATION.md lists all keys",
            ));
        }
    }
}

fn an_example_below(section: &str) -> &'static str {
    let below = |path: &&str| path.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'));
    keys::known_paths().filter(|path| keys::find(path).is_some()).find(below).unwrap_or_default()
}

/// Reads the variables of this program; all others are not its business. Problems are in order of names.
pub(super) fn from_env(env: &[(OsString, OsString)]) -> Layer {
    let mut ours: Vec<_> = env
        .iter()
        .map(|(name, value)| (name.to_string_lossy(), value))
        .filter(|(name, _)| name.starts_with(ENV_PREFIX) && name != ENV_FILE)
        .collect();
    ours.sort();
    let mut layer = Layer::default();
    for (name, value) in ours {
        let origin = Origin::Env(name.to_string());
        let path = keys::path_of_variable(&name).unwrap_or_default();
        if let Some(key) = keys::find(&path) {
            layer.take(key, &name, &Raw::Word(value.clone()), origin);
        } else if keys::is_credential(&path) {
            layer.refuse_credential(&name, &origin);
        } else {
            let guess = name[ENV_PREFIX.len()..].to_ascii_lowercase().replace("__", ".");
            let settable = keys::KEYS.iter().flat_map(Key::spellings).chain(["config"]);
            let near = nearest(&guess, settable).map(keys::variable).unwrap_or_default();
            layer.problems.push(Problem::new(
                &origin,
                format!("unknown variable; the nearest known one is {near}"),
                "correct or unset it; docs/CONFIGURATION.md tells how the names are made",
            ));
        }
    }
    layer
}

/// The file to read: the flag's, or else the variable's.
pub(super) fn file_named(flags: &Flags, env: &[(OsString, OsString)]) -> Option<PathBuf> {
    let named = || env.iter().find(|(name, _)| name == ENV_FILE);
    flags.config.clone().or_else(|| named().map(|(_, value)| PathBuf::from(value)))
}

/// Reads the flags that set something.
pub(super) fn from_flags(flags: &Flags) -> Layer {
    let mut layer = Layer::default();
    let mut word = |id: Id, value: Option<OsString>| {
        let key = keys::key(id);
        if let (Some(value), Some(flag)) = (value, key.flag) {
            layer.take(key, flag, &Raw::Word(value), Origin::Flag(flag));
        }
    };
    word(Id::DataDir, flags.data_dir.clone().map(PathBuf::into_os_string));
    word(Id::FsyncMode, flags.fsync_mode.clone().map(OsString::from));
    word(Id::LogLevel, flags.log_level.clone().map(OsString::from));
    address(&mut layer, "--http", flags.http.as_deref(), [Id::ServerHost, Id::ServerPort]);
    if address(&mut layer, "--resp", flags.resp.as_deref(), [Id::RespHost, Id::RespPort]) {
        // Naming a place to listen at is asking to listen there.
        let origin = Origin::Flag("--resp");
        layer.given.push(Given { id: Id::RespEnabled, value: Value::Bool(true), origin });
    }
    layer
}

/// Splits HOST:PORT into the two settings; true if there was a good one.
fn address(layer: &mut Layer, flag: &'static str, given: Option<&str>, [host_id, port_id]: [Id; 2]) -> bool {
    let Some(given) = given else { return false };
    let parts = given.rsplit_once(':').and_then(|(host, port)| {
        // An IPv6 address without brackets would lose its last group to the port.
        let bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let host = if bare_ipv6 { None } else { parse_host(host) };
        Some((host?, port.parse::<u16>().ok()?))
    });
    let Some((host, port)) = parts else {
        let what = format!("{given:?} is not an address");
        layer.problems.push(Problem::new(
            Origin::Flag(flag),
            what,
            "write HOST:PORT, such as 127.0.0.1:0 or [::1]:0",
        ));
        return false;
    };
    for (id, value) in [(host_id, Value::Host(host)), (port_id, Value::Number(port.into()))] {
        layer.given.push(Given { id, value, origin: Origin::Flag(flag) });
    }
    true
}

/// A file with this many problems is another kind of file: the rest is not looked at.
const MAX_PROBLEMS: usize = 50;
/// Largest configuration file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
