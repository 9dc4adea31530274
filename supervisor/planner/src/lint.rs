//! What is wrong with a document that can be read: everything that the shape of its keys cannot say, all at once, each with
//! its path, the reason and the way out. What is only unwise is a warning.

use crate::fleet::Fleet;
use crate::order;
use crate::release::Release;
use std::collections::BTreeMap;
use std::fmt;

mod index;
mod probe;
mod service;
#[cfg(test)]
mod tests;

/// More services than a small machine has a use for; the bound keeps every walk over them short.
const MOST_SERVICES: usize = 512;
/// More instances than a small machine has a use for.
const MOST_INSTANCES: u64 = 1024;

/// One thing that is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where: `services.web.depends_on.db`.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub way_out: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// A document that has it is refused.
    Error,
    /// It does what it says, which is probably not what was meant.
    Warning,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}; {}", self.path, self.what, self.way_out)
    }
}

/// What is wrong with a release, as people write it or as a device takes it.
#[must_use]
pub fn release(release: &Release) -> Vec<Problem> {
    let mut problems = Problems::default();
    problems.document(&release.api_version, &release.kind, "Release");
    if release.metadata.name.trim().is_empty() {
        problems.error("metadata.name", "it is empty", "write the product's name");
    }
    problems.version("metadata.version", &release.metadata.version);
    if release.services.is_empty() {
        problems.warning("services", "there is none: nothing runs", "add a service, or mean it");
    }
    let instances: u64 = release.services.values().map(|service| u64::from(service.deploy.replicas.0)).sum();
    if release.services.len() > MOST_SERVICES || instances > MOST_INSTANCES {
        let what = format!("there are {} services with {instances} instances", release.services.len());
        let way_out = format!("write {MOST_SERVICES} services and {MOST_INSTANCES} instances at most");
        problems.error("services", &what, &way_out);
        return problems.found;
    }
    for (name, service) in &release.services {
        service::check(&mut problems, release, name, service);
    }
    if let Some(cycle) = order::cycle(&release.services) {
        let way: Vec<_> = cycle.iter().map(|name| format!("`{name}`")).collect();
        let path = format!("services.{}.depends_on", cycle[0]);
        problems.error(
            &path,
            &format!("it depends on itself: {}", way.join(" -> ")),
            "remove one of these dependencies",
        );
    }
    problems.found
}

/// What is wrong with a release as a device takes it: beside [`release`], bundles that only `skiffctl fleet build` can find.
#[must_use]
pub fn built_release(release: &Release) -> Vec<Problem> {
    let mut problems = Problems { found: self::release(release) };
    for (name, service) in &release.services {
        service::check_built(&mut problems, name, service);
    }
    problems.found
}

/// What is wrong with an index. `releases` are the documents that it names, by version, as far as they are at hand.
#[must_use]
pub fn fleet(fleet: &Fleet, releases: &BTreeMap<String, &Release>) -> Vec<Problem> {
    let mut problems = Problems::default();
    index::check(&mut problems, fleet, releases);
    problems.found
}

/// Whether a document with these problems is refused.
#[must_use]
pub fn refuses(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

#[derive(Default)]
struct Problems {
    found: Vec<Problem>,
}

impl Problems {
    fn error(&mut self, path: &str, what: &str, way_out: &str) {
        self.add(Severity::Error, path, what, way_out);
    }

    fn warning(&mut self, path: &str, what: &str, way_out: &str) {
        self.add(Severity::Warning, path, what, way_out);
    }

    fn add(&mut self, severity: Severity, path: &str, what: &str, way_out: &str) {
        let (path, what, way_out) = (path.to_owned(), what.to_owned(), way_out.to_owned());
        self.found.push(Problem { severity, path, what, way_out });
    }

    fn document(&mut self, api_version: &str, kind: &str, wanted: &str) {
        if api_version != crate::fleet::API_VERSION {
            let way_out = format!("this version of Skiff reads `{}`", crate::fleet::API_VERSION);
            self.error("apiVersion", &format!("`{api_version}` is another version"), &way_out);
        }
        if kind != wanted {
            self.error("kind", &format!("`{kind}` is another document"), &format!("write `{wanted}`"));
        }
    }

    /// A version becomes part of texts, metrics and file names of people.
    fn version(&mut self, path: &str, version: &str) {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        if version.is_empty() || version.len() > 64 || !version.bytes().all(allowed) {
            let way_out = "write 1 to 64 letters, digits, `.`, `_`, `+` and `-`";
            self.error(path, &format!("`{version}` is not a version"), way_out);
        }
    }
}
