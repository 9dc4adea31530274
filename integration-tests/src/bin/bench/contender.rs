//! A program under measurement, and the command lines that make it do the same as the others.

use std::path::{Path, PathBuf};

/// How a contender is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// runc's verbs and flags.
    Oci,
    /// runc's verbs; told to use cgroupfs, as the others do by themselves.
    Crun,
    /// No bundle and no state: `run ROOTFS PROGRAM`.
    Bare,
}

/// A program under measurement.
#[derive(Clone)]
pub(crate) struct Contender {
    /// The name in the report.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) binary: PathBuf,
    /// Size of the binary in bytes.
    pub(crate) bytes: u64,
}

impl Contender {
    /// Whether it has `create`, `start` and `delete`.
    pub(crate) fn has_state(&self) -> bool {
        self.kind != Kind::Bare
    }

    /// Arguments that run the bundle `name` (see `bundle`) in the foreground.
    pub(crate) fn run(&self, work: &Path, name: &str, program: &[&str]) -> Vec<String> {
        if self.kind == Kind::Bare {
            let mut arguments = vec!["run".to_owned(), text(&work.join("rootfs"))];
            arguments.extend(program.iter().map(|word| (*word).to_owned()));
            return arguments;
        }
        self.verb(work, &["run", "--bundle", &text(&work.join(name)), &self.id()])
    }

    pub(crate) fn create(&self, work: &Path, name: &str, pid_file: &Path) -> Vec<String> {
        let bundle = text(&work.join(name));
        self.verb(work, &["create", "--bundle", &bundle, "--pid-file", &text(pid_file), &self.id()])
    }

    pub(crate) fn start(&self, work: &Path) -> Vec<String> {
        self.verb(work, &["start", &self.id()])
    }

    pub(crate) fn delete(&self, work: &Path) -> Vec<String> {
        self.verb(work, &["delete", &self.id()])
    }

    pub(crate) fn delete_by_force(&self, work: &Path) -> Vec<String> {
        self.verb(work, &["delete", "--force", &self.id()])
    }

    fn verb(&self, work: &Path, words: &[&str]) -> Vec<String> {
        let mut arguments = vec!["--root".to_owned(), text(&work.join(format!("state-{}", self.name)))];
        if self.kind == Kind::Crun {
            arguments.push("--cgroup-manager=cgroupfs".to_owned());
        }
        arguments.extend(words.iter().map(|word| (*word).to_owned()));
        arguments
    }

    fn id(&self) -> String {
        format!("bench-{}", self.name)
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
