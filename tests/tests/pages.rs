//! The pages list what is there: commands, routes and metrics of the server, the rows of the decision table, and links that lead
//! somewhere. What is read here is the source text, so that a row that is added without its line in a page is found.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_pages_list_what_the_server_has() {
    let metrics = page("std-server/src/metrics.rs");
    let operations = page("docs/OPERATIONS.md");
    let rows = metrics.split("struct Rows").next().unwrap().split("rows.").skip(1);
    let names =
        rows.filter_map(|row| row.split_once('(')?.1.trim_start().strip_prefix('"')?.split('"').next());
    let names: Vec<&str> = names.chain(["log_sync_duration_seconds"]).collect();
    assert!(names.len() > 25, "only {} metrics were found", names.len());
    for name in names {
        assert!(operations.contains(&format!("`{name}`")), "OPERATIONS.md lacks the metric {name}");
    }
}

#[test]
fn the_firmware_example_is_the_one_that_is_compiled() {
    let example = page("adapters/flash/examples/ring.rs");
    let shown = example.split("// ---\n").nth(1).expect("it is between two lines").trim();
    assert!(shown.lines().count() <= 20, "{} lines", shown.lines().count());
    assert!(
        page("README.md").contains(&format!("```rust,ignore\n{shown}\n```")),
        "README.md shows another one"
    );
}

/// The rows of a table whose first cell is a number: that number, and the first name of the last cell.
fn verdicts(text: &str) -> Vec<(u32, String)> {
    let rows = text.lines().filter_map(|line| line.trim_start_matches("//! ").strip_prefix("| "));
    rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_end_matches(" |").split(" | ").collect();
        let verdict = cells.last()?.split('`').nth(1)?.trim_start_matches("Verdict::");
        Some((cells.first()?.parse().ok()?, verdict.to_owned()))
    })
    .collect()
}

#[test]
fn the_decision_table_of_the_design_has_the_rows_of_the_code() {
    let design = page("docs/DESIGN.md");
    let table = design.split("### Recovery").nth(1).unwrap();
    let (ours, theirs) = (verdicts(table), verdicts(&page("core/src/wal/verdict.rs")));
    assert_eq!((ours.len(), &ours), (7, &theirs));
}

fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn every_link_between_pages_leads_somewhere_and_the_summary_has_every_page() {
    let docs = root().join("docs");
    let mut all = vec![root().join("README.md"), root().join("CHANGELOG.md")];
    pages(&docs, &mut all);
    let mut links = 0;
    for from in &all {
        let text = fs::read_to_string(from).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            let (path, wanted) = target.split_once('#').unwrap_or((target, ""));
            let to = if path.is_empty() { from.clone() } else { from.parent().unwrap().join(path) };
            let text = fs::read_to_string(&to)
                .unwrap_or_else(|error| panic!("{}: {target}: {error}", from.display()));
            let headings = text.lines().filter(|line| line.starts_with('#'));
            let found = headings.map(|line| anchor(line.trim_start_matches('#'))).any(|at| at == wanted);
            assert!(wanted.is_empty() || found, "{}: {target}: no such heading", from.display());
            links += 1;
        }
    }
    assert!(links > 40, "only {links} links were followed");
    let summary = page("docs/SUMMARY.md");
    for path in all.iter().filter_map(|path| path.strip_prefix(&docs).ok()) {
        let name = path.to_str().unwrap();
        assert!(name == "SUMMARY.md" || summary.contains(&format!("]({name})")), "SUMMARY.md lacks {name}");
    }
}

/// Names of tests and of planted bugs, in backticks; one that ends in `*` stands for all that begin so.
#[test]
fn the_reliability_page_names_tests_that_are_there() {
    let page = page("docs/reliability.md");
    let mut sources = String::new();
    for place in ["core/src", "adapters", "std-server/tests", "tests/tests"] {
        texts(&root().join(place), &mut sources);
    }
    let (mut tests, mut planted) = (0, 0);
    for quoted in page.split('`').skip(1).step_by(2) {
        let last = quoted.split(' ').next_back().unwrap();
        let name = last.trim_end_matches('*');
        if name.matches('_').count() >= 3 || name.starts_with("case_") {
            assert!(sources.contains(&format!("fn {name}")), "no test is called {last}");
            tests += 1;
        }
    }
    for row in page.lines().filter(|line| line.contains("planted `")) {
        for name in row.split("planted ").nth(1).unwrap().split('`').skip(1).step_by(2) {
            let patch = root().join(format!("tests/planted/{name}.patch"));
            assert!(patch.exists(), "no planted bug is called {name}");
            planted += 1;
        }
    }
    assert!(tests > 30 && planted > 5, "{tests} tests, {planted} planted bugs");
}

/// The text of all Rust files below a directory.
fn texts(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            texts(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}
