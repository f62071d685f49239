//! `docs/RESP.md` lists exactly the commands of the table. With `BLESS=1` in the environment its list is rewritten instead.

use core::fmt::Write as _;
use std::fs;
use std::path::Path;
use std_server::command::{Row, rows};

fn list() -> String {
    let titles = [
        ("Strings", "string"),
        ("Keys", "generic"),
        ("Transactions", "transactions"),
        ("Connection", "connection"),
        ("Server", "server"),
    ];
    let mut text = String::new();
    for (title, group) in titles {
        writeln!(text, "\n**{title}**\n\n| command | since | |\n|---|---|---|")
            .expect("a string takes any text");
        for row in rows().iter().filter(|row| row.group == group) {
            if row.subcommands.is_empty() {
                line(&mut text, row);
            }
            row.subcommands.iter().for_each(|sub| line(&mut text, sub));
        }
    }
    text + "\n"
}

fn line(text: &mut String, row: &Row) {
    let name = row.name.replace('|', " ").to_ascii_uppercase();
    writeln!(text, "| `{name}` | {} | {} |", row.since, row.summary).expect("a string takes any text");
}

#[test]
fn the_page_lists_exactly_the_commands_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/RESP.md");
    let page = fs::read_to_string(&path).expect("the page");
    let start = page.find("<!-- commands: begin").and_then(|at| Some(at + page[at..].find('\n')? + 1));
    let (start, end) = (start.expect("a mark"), page.find("<!-- commands: end").expect("a mark"));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, format!("{}{}{}", &page[..start], list(), &page[end..])).expect("written");
        return;
    }
    assert_eq!(&page[start..end], list(), "run this test with BLESS=1");
}

#[test]
fn every_command_is_in_a_listed_group() {
    let groups = ["string", "generic", "transactions", "connection", "server"];
    assert!(rows().iter().all(|row| groups.contains(&row.group)));
}
