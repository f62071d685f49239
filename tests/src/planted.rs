//! Planted bugs: small changes of core that break a promise. A suite that lets one live proves nothing.
//!
//! ```text
//!   An acknowledgement does not wait for the sync.        what is wrong, in a sentence or two
//!   === core/src/store/mod.rs
//!   <<<
//!   the text that is there, exactly once
//!   >>>
//!   the text that replaces it
//! ```
//!
//! A file may have several such changes. A line `seed N` in front of them says where a simulation begins that would else need
//! many more states to meet what the bug is about. The changes are made in a copy of the sources; a text that is not found exactly once is an
//! error, so that a planted bug can't fade away when core changes.

use core::time::Duration;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bug {
    /// The name of its file.
    pub name: String,
    /// What is wrong.
    pub about: String,
    /// Where the simulation begins, if not at its usual place.
    pub seed: Option<u64>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    file: String,
    old: String,
    new: String,
}

/// What the suite made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A promise was broken: which one, and after how many states.
    Killed {
        /// The promise.
        promise: String,
        /// States until then.
        states: u64,
    },
    /// Nothing was found.
    Survived,
    /// It does not end.
    Endless,
    /// The change does not apply or does not build.
    Unusable(String),
}

impl Bug {
    /// All planted bugs, by name.
    ///
    /// # Errors
    /// The directory or a file can't be read, or is not of the form above.
    pub fn all(directory: &Path) -> io::Result<Vec<Self>> {
        let mut paths =
            fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Which simulation must find it.
    #[must_use]
    pub fn medium(&self) -> &'static str {
        if self.changes.iter().any(|change| change.file.contains("/nor")) { "nor" } else { "posix" }
    }

    /// The changes that `cargo mutants --list --diff` prints: for each its name, a unified diff of one hunk, and an empty line.
    #[must_use]
    pub fn listed(text: &str) -> Vec<Self> {
        let side = |hunk: &str, sign: char| {
            let lines = hunk.lines().filter_map(|line| line.strip_prefix([' ', sign]));
            lines.collect::<Vec<_>>().join("\n")
        };
        let bug = |text: &str| {
            let (name, diff) = text.trim_start().split_once("\n--- ")?;
            let (file, rest) = diff.split_once('\n')?;
            let (_, hunk) = rest.split_once("\n@@ ")?.1.split_once('\n')?;
            let change = Change { file: file.to_owned(), old: side(hunk, '-'), new: side(hunk, '+') };
            Some(Self { name: name.to_owned(), about: String::new(), seed: None, changes: vec![change] })
        };
        text.split("\n\n").filter_map(bug).collect()
    }

    fn read(path: &Path) -> io::Result<Self> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Self::parse(&name, &fs::read_to_string(path)?)
            .ok_or_else(|| io::Error::other(format!("{}: not a planted bug", path.display())))
    }

    fn parse(name: &str, text: &str) -> Option<Self> {
        let (about, rest) = text.split_once("\n=== ")?;
        let changes = rest.split("\n=== ").map(Change::parse).collect::<Option<Vec<_>>>()?;
        let seed = about.lines().find_map(|line| line.strip_prefix("seed ")?.trim().parse().ok());
        Some(Self { name: name.to_owned(), about: about.trim().to_owned(), seed, changes })
    }
}

impl Change {
    fn parse(text: &str) -> Option<Self> {
        let (file, rest) = text.split_once("\n<<<\n")?;
        let (old, new) = rest.split_once("\n>>>\n")?;
        let new = new.strip_suffix('\n').unwrap_or(new);
        Some(Self { file: file.trim().to_owned(), old: old.to_owned(), new: new.to_owned() })
    }
}

/// A copy of the sources in which bugs are planted.
#[derive(Debug)]
pub struct Garden {
    root: PathBuf,
    copy: PathBuf,
    target: PathBuf,
    patience: Duration,
}

impl Garden {
    /// In the directory `place`, for the workspace at `root`; a simulation that takes longer than `patience` is endless.
    ///
    /// # Errors
    /// The sources can't be copied.
    pub fn new(root: &Path, place: &Path, patience: Duration) -> io::Result<Self> {
        let garden = Self {
            root: root.to_owned(),
            copy: place.join("sources"),
            target: place.join("target"),
            patience,
        };
        fs::create_dir_all(&garden.copy)?;
        garden.write_manifests()?;
        garden.clear()?;
        Ok(garden)
    }

    /// The copy is a workspace of core and of the simulation alone, so that little is built.
    fn write_manifests(&self) -> io::Result<()> {
        let manifest = fs::read_to_string(self.root.join("Cargo.toml"))?;
        let members = |line: &str| line.starts_with("members") || line.starts_with("default-members");
        let mut lines: Vec<&str> = manifest.lines().filter(|line| !members(line)).collect();
        let at = lines.iter().position(|line| *line == "[workspace]").unwrap_or(0);
        lines.insert(at + 1, "members = [\"core\", \"tests\"]");
        write_changed(&self.copy.join("Cargo.toml"), (lines.join("\n") + "\n").as_bytes())?;
        fs::copy(self.root.join("Cargo.lock"), self.copy.join("Cargo.lock"))?;
        let modules: String = SIMULATION.iter().map(|module| format!("pub mod {module};\n")).collect();
        fs::create_dir_all(self.copy.join("tests/src"))?;
        write_changed(&self.copy.join("tests/Cargo.toml"), PACKAGE.as_bytes())?;
        write_changed(
            &self.copy.join("tests/src/lib.rs"),
            format!("//! The simulation.\n{modules}").as_bytes(),
        )
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Plants the bug (or none, to see that the suite is silent then), builds the copy and lets worlds live in it.
    ///
    /// # Errors
    /// Files can't be written, or programs not started.
    pub fn grow(&self, medium: &str, bug: Option<&Bug>, states: u64) -> io::Result<Fate> {
        self.clear()?;
        for change in bug.iter().flat_map(|bug| &bug.changes) {
            let path = self.copy.join(&change.file);
            let text = fs::read_to_string(&path)?;
            if text.matches(&change.old).count() != 1 {
                let found = text.matches(&change.old).count();
                return Ok(Fate::Unusable(format!("{}: the text is there {found} times", change.file)));
            }
            fs::write(&path, text.replace(&change.old, &change.new))?;
        }
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet", "-p", "strandline-tests", "--bin", "soak"])
            .current_dir(&self.copy)
            .env("CARGO_TARGET_DIR", &self.target)
            .output()?;
        if !built.status.success() {
            return Ok(Fate::Unusable(String::from_utf8_lossy(&built.stderr).into_owned()));
        }
        self.soak(medium, bug.and_then(|bug| bug.seed), states)
    }

    /// Lets worlds live in what was built last.
    ///
    /// # Errors
    /// Programs can't be started.
    pub fn soak(&self, medium: &str, seed: Option<u64>, states: u64) -> io::Result<Fate> {
        let seed = seed.map(|seed| ["--seed".to_owned(), seed.to_string()]);
        let mut soak = Command::new(self.target.join("debug/soak"));
        soak.args([medium, "--brief", "--states", &states.to_string()]).args(seed.iter().flatten());
        Ok(match self.run(soak.env_remove("SEED"), self.patience)? {
            None => Fate::Endless,
            Some((Some(0), _)) => Fate::Survived,
            Some((Some(1), said)) => killed(&said),
            Some((_, said)) => Fate::Killed { promise: last_line(&said), states: 0 },
        })
    }

    /// Builds core's own tests, and those that ask recovery by hand, over what was planted last and runs them; `patience` is for
    /// both.
    ///
    /// # Errors
    /// Programs can't be started.
    pub fn own_tests(&self, patience: Duration) -> io::Result<Fate> {
        let mut tests = Command::new(env!("CARGO"));
        tests.args(["test", "--offline", "--quiet", "--workspace", "--lib", "--test", "recovery"]);
        tests.current_dir(&self.copy).env("CARGO_TARGET_DIR", &self.target);
        Ok(match self.run(&mut tests, patience)? {
            None => Fate::Endless,
            Some((Some(0), _)) => Fate::Survived,
            Some((_, said)) => Fate::Killed { promise: last_line(&said), states: 0 },
        })
    }

    /// Runs a program to its end: its exit code and what it said; `None` if that takes too long.
    fn run(&self, command: &mut Command, patience: Duration) -> io::Result<Option<(Option<i32>, String)>> {
        let path = self.copy.join("said");
        let said = File::create(&path)?;
        let mut child =
            command.process_group(0).stdout(said.try_clone()?).stderr(said).stdin(Stdio::null()).spawn()?;
        let begun = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                let said = fs::read(&path)?;
                return Ok(Some((status.code(), String::from_utf8_lossy(&said).into_owned())));
            }
            if begun.elapsed() > patience {
                kill_process_group(Pid::from_child(&child), Signal::KILL)?;
                child.wait()?;
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    /// Makes the copy equal to the sources.
    fn clear(&self) -> io::Result<()> {
        copy_tree(&self.root.join("core"), &self.copy.join("core"))?;
        let (from, to) = (self.root.join("tests/src"), self.copy.join("tests/src"));
        for module in SIMULATION {
            let file = format!("{module}.rs");
            if from.join(&file).exists() {
                write_changed(&to.join(&file), &fs::read(from.join(&file))?)?;
            }
            if from.join(module).exists() {
                copy_tree(&from.join(module), &to.join(module))?;
            }
        }
        fs::create_dir_all(to.join("bin"))?;
        write_changed(&to.join("bin/soak.rs"), &fs::read(from.join("bin/soak.rs"))?)?;
        let by_hand = "tests/tests/recovery";
        copy_tree(&self.root.join(by_hand), &self.copy.join(by_hand))
    }
}

const POLL: Duration = Duration::from_millis(20);

/// The modules of this package that `soak` needs, and those that ask recovery by hand.
const SIMULATION: [&str; 15] = [
    "boot",
    "chance",
    "coverage",
    "exhaustive",
    "handmade",
    "nor",
    "oracle",
    "posix",
    "script",
    "setup",
    "soak",
    "state",
    "transcript",
    "witness",
    "world",
];

const PACKAGE: &str = r#"[package]
name = "strandline-tests"
version.workspace = true
edition.workspace = true

[dependencies]
crc32c.workspace = true
strandline-core.workspace = true
"#;

fn killed(said: &str) -> Fate {
    let broken = said.lines().find_map(|line| line.strip_prefix("broken: "));
    let states = said.lines().find_map(|line| line.split_once(" states, "));
    Fate::Killed {
        promise: broken.unwrap_or("unknown").to_owned(),
        states: states.and_then(|(count, _)| count.trim().parse().ok()).unwrap_or(0),
    }
}

fn last_line(text: &str) -> String {
    text.lines().find(|line| line.contains("panicked")).unwrap_or("it stopped without a word").to_owned()
}

/// Copies a directory; files that are equal keep their times, so that little is built again.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            write_changed(&target, &fs::read(&path)?)?;
        }
    }
    Ok(())
}

fn write_changed(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::write(path, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_is_read() {
        let text = "It is wrong.\n\n=== a.rs\n<<<\nold\n  text\n>>>\nnew\n\n=== b.rs\n<<<\nx\n>>>\ny\n";
        let bug = Bug::parse("wrong", text).unwrap();
        assert_eq!((bug.name.as_str(), bug.about.as_str(), bug.changes.len()), ("wrong", "It is wrong.", 2));
        assert_eq!(
            bug.changes[0],
            Change { file: "a.rs".into(), old: "old\n  text".into(), new: "new".into() }
        );
        assert_eq!((bug.changes[1].new.as_str(), bug.seed), ("y", None));
        let bug = Bug::parse("rare", "It is wrong.\nseed 17\n\n=== a.rs\n<<<\nold\n>>>\nnew\n").unwrap();
        assert_eq!(bug.seed, Some(17));
        assert_eq!(Bug::parse("none", "nothing"), None);
    }

    #[test]
    fn a_list_of_changes_is_read() {
        let text = "a.rs:2:5: replace + with -\n--- a.rs\n+++ replace + with -\n@@ -1,3 +1,3 @@\n one\n \n-a + b\n+a - b\n three\n\nb.rs:1:1: x\n\
                    --- b.rs\n+++ x\n@@ -1 +1 @@\n-y\n+z\n";
        let bugs = Bug::listed(text);
        let of = |bug: &Bug| (bug.name.clone(), bug.changes[0].clone());
        let change =
            |file: &str, old: &str, new: &str| Change { file: file.into(), old: old.into(), new: new.into() };
        assert_eq!(
            bugs.iter().map(of).collect::<Vec<_>>(),
            [
                (
                    "a.rs:2:5: replace + with -".into(),
                    change("a.rs", "one\n\na + b\nthree", "one\n\na - b\nthree")
                ),
                ("b.rs:1:1: x".into(), change("b.rs", "y", "z")),
            ]
        );
    }

    #[test]
    fn every_planted_bug_still_applies() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bugs = Bug::all(&package.join("planted")).unwrap();
        assert!(bugs.len() >= 12);
        for bug in bugs {
            for change in &bug.changes {
                let text = fs::read_to_string(package.join("..").join(&change.file)).unwrap();
                assert_eq!(text.matches(&change.old).count(), 1, "{} in {}", bug.name, change.file);
            }
        }
    }
}
