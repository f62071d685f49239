//! `cat` and `grep`: entries as JSON lines.

use std::io::{self, BufWriter, Write};

use strandline::archive::Entry;
use strandline::archive::json::JsonEntry;

use super::places::Places;
use super::select::Select;
use super::words::opened;
use super::{Exit, Failure, Target, output_error};

pub(super) fn cat(places: &Places, targets: &[Target], select: &Select) -> Result<Exit, Failure> {
    print(places, targets, select)?;
    Ok(Exit::Done)
}

pub(super) fn grep(
    places: &Places,
    targets: &[Target],
    select: &Select,
    count: bool,
) -> Result<Exit, Failure> {
    if select.is_all() {
        let text = "grep needs something to look for: --type, --context, --field, --lsn, --from, --until";
        return Err(Failure::new(Exit::Usage, text));
    }
    let mut found = 0_u64;
    if count {
        each(places, targets, select, |_| {
            found += 1;
            Ok(())
        })?;
        println!("{found}");
    } else {
        found = print(places, targets, select)?;
    }
    Ok(if found == 0 { Exit::NotFound } else { Exit::Done })
}

/// Prints the selected entries and says how many there are.
fn print(places: &Places, targets: &[Target], select: &Select) -> Result<u64, Failure> {
    let mut out = BufWriter::with_capacity(256 << 10, io::stdout().lock());
    let mut printed = 0;
    let read = each(places, targets, select, |entry| {
        printed += 1;
        serde_json::to_writer(&mut out, &JsonEntry::stamped(entry))?;
        out.write_all(b"\n")
    });
    // What was read before an error is intact.
    out.flush().map_err(|error| output_error(&error))?;
    read.map(|()| printed)
}

fn each(
    places: &Places,
    targets: &[Target],
    select: &Select,
    mut take: impl FnMut(&Entry<'_>) -> io::Result<()>,
) -> Result<(), Failure> {
    for target in targets {
        for path in places.archives(target)? {
            opened(&path)?.read(select.range(), |entry| {
                if select.holds(entry) { take(entry).map_err(|error| output_error(&error)) } else { Ok(()) }
            })?;
        }
    }
    Ok(())
}
