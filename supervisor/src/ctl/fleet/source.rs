//! The documents as people write them: read, and checked with everything that is wrong shown at once.

use super::yaml::{self, Positions};
use clap::Args;
use serde::de::DeserializeOwned;
use skiff_planner::fleet::{Fleet, ReleaseRef};
use skiff_planner::lint::{self, Severity};
use skiff_planner::release::{Bundle, Release};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

/// What was typed.
#[derive(Args)]
pub(in crate::ctl) struct Arguments {
    /// The folder with fleet.yaml
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// A fleet as people write it, with nothing wrong that can be seen here.
pub(super) struct Source {
    /// The index.
    pub(super) fleet: Fleet,
    /// By version: the file, below the folder, and what it says.
    pub(super) releases: BTreeMap<String, (PathBuf, Release)>,
    /// What is only unwise.
    pub(super) warnings: Vec<Problem>,
}

/// Something wrong, and where.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    file: PathBuf,
    line: Option<u64>,
    text: String,
    /// It does what it says, which is probably not what was meant.
    only_unwise: bool,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, "{line}:")?;
        }
        write!(formatter, "{} {}", if self.only_unwise { " warning:" } else { "" }, self.text)
    }
}

/// Checks a folder.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match read(&arguments.folder) {
        Ok(source) => {
            let Source { fleet, releases, warnings } = source;
            complain(&warnings);
            let (name, serial) = (&fleet.metadata.name, fleet.metadata.serial);
            println!("fleet `{name}` with serial {serial} and {} releases: nothing wrong", releases.len());
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => Ok(complain(&problems)),
    }
}

/// Prints what is wrong.
pub(super) fn complain(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        eprintln!("{problem}");
    }
    ExitCode::FAILURE
}

/// Reads a folder.
///
/// # Errors
/// Everything that is wrong, in order of place.
pub(super) fn read(folder: &Path) -> Result<Source, Vec<Problem>> {
    let mut problems = Vec::new();
    let index = folder.join("fleet.yaml");
    let fleet = document::<Fleet>(&index, &mut problems);
    let mut releases = BTreeMap::new();
    if let Some((fleet, positions)) = &fleet {
        for (version, release) in &fleet.releases {
            let line = positions.line(&format!("releases.{version}"));
            let mut problem = |text| problems.push(wrong(&index, line, text));
            let path = match release {
                ReleaseRef::Source(path) if is_below(path) => path,
                ReleaseRef::Source(path) => {
                    problem(format!("`{path}` does not lie below this folder; give a path beside fleet.yaml"));
                    continue;
                }
                ReleaseRef::Built { .. } => {
                    problem("this names a release by its digest, as `build` makes it; name its file here".into());
                    continue;
                }
            };
            if let Some((release, positions)) = document::<Release>(&folder.join(path), &mut problems) {
                check_release(folder, path, (&release, &positions), &mut problems);
                releases.insert(version.clone(), (PathBuf::from(path), release));
            }
        }
        let named = releases.iter().map(|(version, (_, release))| (version.clone(), release)).collect();
        problems.extend(lint::fleet(fleet, &named).into_iter().map(|problem| found(&index, positions, problem)));
    }
    problems.sort();
    match fleet {
        Some((fleet, _)) if problems.iter().all(|problem| problem.only_unwise) => {
            Ok(Source { fleet, releases, warnings: problems })
        }
        _ => Err(problems),
    }
}

/// One document and where its values stand.
fn document<T: DeserializeOwned>(path: &Path, problems: &mut Vec<Problem>) -> Option<(T, Positions)> {
    let mut problem = |line, text| problems.push(wrong(path, line, text));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problem(None, format!("cannot be read: {error}"));
            return None;
        }
    };
    match yaml::read(&text) {
        Ok(document) => Some(document),
        Err(yaml::Wrong { line, text }) => {
            problem(line, text);
            None
        }
    }
}

fn wrong(file: &Path, line: Option<u64>, text: String) -> Problem {
    Problem { file: file.to_owned(), line, text, only_unwise: false }
}

/// What the planner found, with its line.
fn found(file: &Path, positions: &Positions, problem: lint::Problem) -> Problem {
    let only_unwise = problem.severity == Severity::Warning;
    Problem { file: file.to_owned(), line: positions.line(&problem.path), text: problem.to_string(), only_unwise }
}

fn check_release(folder: &Path, path: &str, (release, positions): (&Release, &Positions), problems: &mut Vec<Problem>) {
    let file = folder.join(path);
    problems.extend(lint::release(release).into_iter().map(|problem| found(&file, positions, problem)));
    for (name, service) in &release.services {
        let at = format!("services.{name}.bundle");
        if let Bundle::Path(bundle) = &service.bundle {
            if let Err(text) = check_bundle(folder, path, bundle) {
                problems.push(wrong(&file, positions.line(&at), text));
            }
        }
    }
}

/// A folder or an archive beside the release, or an absolute path on the device, which cannot be looked at here.
fn check_bundle(folder: &Path, release: &str, bundle: &str) -> Result<(), String> {
    if Path::new(bundle).is_absolute() {
        return Ok(());
    }
    let place = bundle_place(folder, Path::new(release), bundle)
        .ok_or_else(|| format!("`bundle` is `{bundle}`, which does not lie below the fleet's folder"))?;
    if place.is_dir() {
        for (name, wanted) in
            [("config.json", place.join("config.json").is_file()), ("rootfs", place.join("rootfs").is_dir())]
        {
            if !wanted {
                return Err(format!("`bundle` is `{bundle}`, a folder without `{name}`"));
            }
        }
        return Ok(());
    }
    let known = [".tar", ".tar.gz", ".tgz"].iter().any(|suffix| bundle.ends_with(suffix));
    match (place.is_file(), known) {
        (true, true) => Ok(()),
        (true, false) => {
            Err(format!("`bundle` is `{bundle}`, which is neither a folder nor named `.tar` or `.tar.gz`"))
        }
        (false, _) => Err(format!("`bundle` is `{bundle}`, and there is no `{}`", place.display())),
    }
}

/// Where a bundle lies that a release names by a relative path; nothing where that leaves the folder.
pub(super) fn bundle_place(folder: &Path, release: &Path, bundle: &str) -> Option<PathBuf> {
    let mut parts: Vec<Component<'_>> = release.parent()?.components().collect();
    for part in Path::new(bundle).components() {
        match part {
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir => {}
            Component::Normal(_) => parts.push(part),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(folder.join(parts.iter().collect::<PathBuf>()))
}

fn is_below(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

#[cfg(test)]
mod tests;
