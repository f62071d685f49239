//! COMMAND: what the server says about its own commands, answered from the rows of the table.

use super::Request;
use super::args::{Args, Options};
use super::glob;
use super::reply::{Refusal, Reply};
use super::table::{self, Row, rows};

/// What COMMAND is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Catalog<'a> {
    /// How many commands there are.
    Count,
    /// The shape of the named commands, or of all.
    Info { names: Option<Args<'a>> },
    /// A line of explanation of the named commands, or of all.
    Docs { names: Args<'a> },
    /// The names, all or by pattern, group or module.
    List { filter: Filter<'a> },
    /// The keys of a command line.
    GetKeys { words: Args<'a> },
    /// The subcommands of a container.
    Help { container: &'a [u8] },
}

/// Which names COMMAND LIST shows.
#[derive(Clone, Copy, Debug)]
pub(super) enum Filter<'a> {
    /// All.
    None,
    /// Those that match a glob pattern.
    Pattern(&'a [u8]),
    /// Those of an ACL category, such as `@write`.
    Category(&'a [u8]),
    /// Those of a module: there are no modules.
    Module,
}

impl Catalog<'_> {
    pub(super) fn answer(self) -> Reply<'static> {
        match self {
            Self::Count => Reply::count(rows().len()),
            Self::Info { names: None } => Reply::Array(rows().iter().map(shape).collect()),
            Self::Info { names: Some(names) } => {
                Reply::Array(names.iter().map(|name| named(name).map_or(Reply::Null, shape)).collect())
            }
            Self::Docs { names } => {
                let found = names.iter().filter_map(|name| named(name));
                let all = if names.is_empty() { rows() } else { &[] };
                Reply::Map(found.chain(all).map(|row| (text(row.name), explanation(row))).collect())
            }
            Self::List { filter } => {
                let shown = rows().iter().filter(|row| filter.shows(row));
                Reply::Array(shown.map(|row| text(row.name)).collect())
            }
            Self::Help { container } => named(container).map_or(Reply::Null, help),
            Self::GetKeys { words } => keys_of(words).unwrap_or_else(Reply::Refused),
        }
    }
}

impl Filter<'_> {
    fn shows(&self, row: &Row) -> bool {
        match self {
            Self::None => true,
            Self::Pattern(pattern) => glob::matches(&pattern.to_ascii_lowercase(), row.name.as_bytes()),
            Self::Category(name) => {
                categories(row).any(|category| category.as_bytes()[1..].eq_ignore_ascii_case(name))
            }
            Self::Module => false,
        }
    }
}

fn keys_of(words: Args<'_>) -> Result<Reply<'static>, Refusal> {
    let row = match Row::find(words) {
        Ok(row) => row,
        Err(_) if named(words[0]).is_none() => return Err(Refusal::fixed("ERR Invalid command specified")),
        Err(_) => return Err(Refusal::fixed("ERR Invalid number of arguments specified for command")),
    };
    let keys: Vec<_> = row.keys_of(words).map(Reply::owned).collect();
    if keys.is_empty() {
        return Err(Refusal::fixed("ERR The command has no key arguments"));
    }
    Ok(Reply::Array(keys))
}

/// Finds a command (`get`) or a subcommand (`config|get`) whatever its number of words.
fn named(name: &[u8]) -> Option<&'static Row> {
    let all = rows().iter().flat_map(|row| core::iter::once(row).chain(row.subcommands));
    all.into_iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

/// Name, arity, flags, first key, last key, step, categories, hints, key specifications, subcommands.
fn shape(row: &'static Row) -> Reply<'static> {
    let statuses =
        |names: &mut dyn Iterator<Item = &'static str>| Reply::Set(names.map(Reply::Status).collect());
    let flags = FLAG_NAMES.iter().filter(|(flag, _)| row.has(*flag)).map(|(_, name)| *name);
    Reply::Array(vec![
        text(row.name),
        Reply::Integer(i64::from(row.arity)),
        statuses(&mut flags.into_iter()),
        Reply::count(row.keys.first),
        Reply::Integer(row.keys.last as i64),
        Reply::count(row.keys.step),
        statuses(&mut categories(row)),
        Reply::Array(Vec::new()),
        Reply::Array(Vec::new()),
        Reply::Array(row.subcommands.iter().map(shape).collect()),
    ])
}

/// The subcommands with their summaries, in the shape of Redis.
fn help(row: &'static Row) -> Reply<'static> {
    let name = row.name.to_ascii_uppercase();
    let mut lines = vec![format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:")];
    for sub in row.subcommands.iter().filter(|sub| !sub.name.ends_with("|help")) {
        let sub_name = sub.name.split_once('|').map_or(sub.name, |(_, name)| name);
        lines.push(sub_name.to_ascii_uppercase());
        lines.push(format!("    {}.", sub.summary));
    }
    lines.extend(["HELP".to_owned(), "    Prints this help.".to_owned()]);
    Reply::Array(lines.into_iter().map(Reply::Line).collect())
}

fn explanation(row: &'static Row) -> Reply<'static> {
    let mut lines =
        vec![("summary", text(row.summary)), ("since", text(row.since)), ("group", text(row.group))];
    if !row.subcommands.is_empty() {
        let subcommands = row.subcommands.iter().map(|sub| (text(sub.name), explanation(sub)));
        lines.push(("subcommands", Reply::Map(subcommands.collect())));
    }
    Reply::Map(lines.into_iter().map(|(name, value)| (text(name), value)).collect())
}

fn text(text: &'static str) -> Reply<'static> {
    Reply::borrowed(text.as_bytes())
}

/// The ACL categories that follow from a row.
fn categories(row: &Row) -> impl Iterator<Item = &'static str> + use<> {
    let by_group = match row.group {
        "string" => "@string",
        "connection" => "@connection",
        "transactions" => "@transaction",
        "generic" => "@keyspace",
        _ => "@server",
    };
    let by_speed = if row.has(table::FAST) { "@fast" } else { "@slow" };
    let by_flag = [(table::WRITE, "@write"), (table::READONLY, "@read"), (table::ADMIN, "@admin")];
    let dangerous = row.has(table::ADMIN) || matches!(row.name, "flushall" | "flushdb" | "keys" | "info");
    let flags = row.flags;
    let by_flag = by_flag.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, name)| name);
    by_flag.chain([by_group, by_speed]).chain(dangerous.then_some("@dangerous"))
}

const FLAG_NAMES: [(u16, &str); 9] = [
    (table::WRITE, "write"),
    (table::READONLY, "readonly"),
    (table::DENYOOM, "denyoom"),
    (table::ADMIN, "admin"),
    (table::NOSCRIPT, "noscript"),
    (table::LOADING, "loading"),
    (table::STALE, "stale"),
    (table::FAST, "fast"),
    (table::NO_MULTI, "no_multi"),
];

fn request(catalog: Catalog<'_>) -> Result<Request<'_>, Refusal> {
    Ok(Request::Catalog(catalog))
}

/// A container's bare name, which its arity has refused before.
pub(super) fn container(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    Err(Refusal::arity(&String::from_utf8_lossy(args[0]).to_ascii_lowercase()))
}

pub(super) fn help_of(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Catalog::Help { container: args[0] })
}

pub(super) fn info_of_all(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Catalog::Info { names: None })
}

pub(super) fn count(_: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Catalog::Count)
}

pub(super) fn info(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Catalog::Info { names: Some(&args[2..]).filter(|names| !names.is_empty()) })
}

pub(super) fn docs(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Catalog::Docs { names: &args[2..] })
}

pub(super) fn getkeys(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    request(Catalog::GetKeys { words: &args[2..] })
}

pub(super) fn list(args: Args<'_>) -> Result<Request<'_>, Refusal> {
    let mut options = Options::new(&args[2..]);
    let Some(first) = options.word() else {
        return request(Catalog::List { filter: Filter::None });
    };
    let kind =
        options.word().filter(|_| first.name() == b"FILTERBY" && args.len() == 5).ok_or(Refusal::SYNTAX)?;
    let filter = match kind.name() {
        b"PATTERN" => Filter::Pattern(args[4]),
        b"ACLCAT" => Filter::Category(args[4]),
        b"MODULE" => Filter::Module,
        _ => return Err(Refusal::SYNTAX),
    };
    request(Catalog::List { filter })
}
