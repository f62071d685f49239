//! `verify`: each archive by itself, then whether they follow each other.
//!
//! Exit code 4 if one is damaged, else 5 if something is missing between two.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use strandline::archive::{Archive, ArchiveError, Gap, Level, Recovery, Survey, survey};

use super::places::Places;
use super::words::{described, report};
use super::{Exit, Failure, Output, Target, progress};

pub(super) fn run(
    places: &Places,
    targets: &[Target],
    level: Level,
    output: Output,
) -> Result<Exit, Failure> {
    let mut findings = Findings::default();
    for target in targets {
        match target {
            Target::Shard(shard) => {
                let directory = places.shard(*shard);
                if !directory.is_dir() {
                    return Err(Failure::not_found(format!("{} is not there", directory.display())));
                }
                findings.directory(Recovery::new(*shard, directory).survey()?, level)?;
            }
            Target::Path(path) if path.is_dir() => findings.directory(survey(path)?, level)?,
            Target::Path(path) => findings.file(path, level)?,
        }
    }
    findings.print(output);
    Ok(findings.exit())
}

#[derive(Default)]
struct Findings {
    intact: Vec<(PathBuf, Value, u64)>,
    survey: Survey,
    gaps: Vec<Gap>,
    missing_logs: Vec<(u64, u64)>,
}

impl Findings {
    fn directory(&mut self, mut found: Survey, level: Level) -> Result<(), Failure> {
        self.survey.foreign.append(&mut found.foreign);
        self.survey.damaged.append(&mut found.damaged);
        for info in &found.archives {
            self.file(&info.path, level)?;
        }
        if level == Level::Full {
            self.gaps.extend(found.gaps()?);
        }
        let logs: Vec<_> = found.archives.iter().map(|info| info.log.0).collect();
        self.missing_logs
            .extend(logs.array_windows().filter_map(|[a, b]| (b - a > 1).then_some((a + 1, b - 1))));
        Ok(())
    }

    fn file(&mut self, path: &Path, level: Level) -> Result<(), Failure> {
        match verified(path, level) {
            Ok(archive) => {
                let info = archive.info();
                self.intact.push((path.into(), described(info), info.entries));
            }
            Err(error @ (ArchiveError::Damaged { .. } | ArchiveError::Misplaced { .. })) => {
                self.survey.damaged.push((path.into(), error));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn print(&self, output: Output) {
        let gaps = || self.gaps.iter().map(|gap| json!({"gap": gap.to_string()}));
        let damaged = self.survey.damaged.iter();
        let damaged = damaged
            .map(|(path, error)| json!({"path": path.display().to_string(), "damaged": error.to_string()}));
        let all = self.intact.iter().map(|(_, value, _)| value.clone()).chain(damaged).chain(gaps());
        match output {
            Output::Table => self.print_table(),
            Output::Json => println!("{}", Value::from_iter(all)),
            Output::Jsonl => all.for_each(|line| println!("{line}")),
        }
    }

    fn print_table(&self) {
        for (path, _, entries) in &self.intact {
            println!("intact  {} ({entries} entries)", path.display());
        }
        report(&self.survey);
        for (first, last) in &self.missing_logs {
            match last - first {
                0 => eprintln!("Note: log {first} has no archive"),
                _ => eprintln!("Note: logs {first} to {last} have no archive"),
            }
        }
        self.gaps.iter().for_each(|gap| eprintln!("Error: {gap}"));
        let (intact, damaged) = (self.intact.len(), self.survey.damaged.len());
        println!("{intact} intact, {damaged} damaged, {} gaps", self.gaps.len());
    }

    fn exit(&self) -> Exit {
        match (self.survey.damaged.is_empty(), self.gaps.is_empty()) {
            (false, _) => Exit::Damaged,
            (true, false) => Exit::Gap,
            (true, true) => Exit::Done,
        }
    }
}

fn verified(path: &Path, level: Level) -> Result<Archive, ArchiveError> {
    let archive = Archive::open(path)?;
    archive.info().in_place()?;
    let bar = progress::bar(archive.info().entries);
    let verified = archive.verify_with(level, |entries| {
        if entries % 4096 == 0 {
            bar.set_position(entries);
        }
    });
    bar.finish_and_clear();
    verified.map(|()| archive)
}
