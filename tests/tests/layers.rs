//! The layer rules: inside core a file imports only from its left, and packages depend only downwards.

use std::fs;
use std::path::{Path, PathBuf};

/// Core's layers, from the left; a module may use its own layer and those before it.
const LAYERS: [&[&str]; 7] = [
    &["types", "geometry", "error", "table"],
    &["codec"],
    &["wal", "snapshot", "manifest", "archive", "export"],
    &["retention", "restore"],
    &["action"],
    &["staging", "media", "store", "recovery"],
    &["lower", "kv"],
];

/// Each package and what it may depend on within the workspace.
const PACKAGES: [(&str, &[&str]); 5] = [
    ("core", &[]),
    ("adapters/std", &["strandline-core"]),
    ("adapters/tokio", &["strandline"]),
    ("adapters/flash", &["strandline-core"]),
    ("std-server", &["strandline-core", "strandline", "strandline-tokio"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The modules of core that a source names, outside of its tests.
fn imports(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    let words =
        lines.flat_map(|line| line.match_indices("crate::").map(|(at, word)| &line[at + word.len()..]));
    words
        .map(|rest| rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
        .collect()
}

#[test]
fn inside_core_a_file_imports_only_from_its_left() {
    let base = root().join("core/src");
    let mut seen = 0;
    for path in sources(&base) {
        let inside = path.strip_prefix(&base).unwrap();
        let module = inside.iter().next().unwrap().to_string_lossy();
        let module = module.trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let own = layer(module).unwrap_or_else(|| panic!("{module} is in no layer"));
        for import in imports(&fs::read_to_string(&path).unwrap()) {
            let other =
                layer(&import).unwrap_or_else(|| panic!("{}: {import} is in no layer", inside.display()));
            assert!(other <= own, "{} may not import {import}", inside.display());
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} imports were looked at");
}

#[test]
fn packages_depend_only_downwards() {
    for (package, allowed) in PACKAGES {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap();
        for line in dependencies.lines().filter(|line| line.starts_with("strandline")) {
            let name = line.split(['.', ' ', '=']).next().unwrap();
            assert!(allowed.contains(&name), "{package} may not depend on {name}");
        }
    }
}

#[test]
fn core_has_no_allocator_no_std_and_no_unsafe_code() {
    let library = fs::read_to_string(root().join("core/src/lib.rs")).unwrap();
    assert!(library.contains("#![no_std]") && library.contains("#![forbid(unsafe_code)]"));
    for path in sources(&root().join("core/src")) {
        let source = fs::read_to_string(&path).unwrap();
        let code = source.split("#[cfg(test)]\nmod tests").next().unwrap();
        for word in ["extern crate alloc", "use std::", "alloc::"] {
            assert!(!code.contains(word), "{} has {word}", path.display());
        }
    }
}

#[test]
fn every_package_of_the_workspace_forbids_unsafe_code() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("\n[workspace.lints.rust]\nunsafe_code = \"forbid\"\n"));
    let members = workspace.split("\nmembers = [").nth(1).and_then(|rest| rest.split(']').next()).unwrap();
    let members: Vec<_> = members.split(',').map(|member| member.trim().trim_matches('"')).collect();
    assert!(members.contains(&"core") && members.len() >= 6, "{members:?}");
    for member in members {
        let package = fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap();
        let inherits = package.contains("\n[lints]\nworkspace = true\n");
        let own = package.contains("\n[lints.rust]\nunsafe_code = \"forbid\"\n");
        assert!(inherits || own, "{member} may hold unsafe code");
    }
}
