//! Calls of the OCI runtime: its command lines are decided here, and performed by executing it. What a call was told is
//! taken from the runtime's log, because its standard error may be the container's.

mod call;
mod locate;
mod log;

pub(crate) use call::Streams;
pub(crate) use locate::locate;

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Which runtime, and where it keeps its state. Written into the bundle, so that `delete` finds the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Runtime {
    /// The program.
    pub(crate) binary: PathBuf,
    /// `--root`
    pub(crate) root: PathBuf,
    /// `--systemd-cgroup`
    pub(crate) systemd_cgroup: bool,
}

/// One verb of a runtime with its options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// `create`
    Create { bundle: PathBuf, pid_file: PathBuf, console: Option<PathBuf>, no_pivot: bool, no_new_keyring: bool },
    /// `start`
    Start,
    /// `exec --detach`
    Exec { process: PathBuf, pid_file: PathBuf, console: Option<PathBuf> },
    /// `kill`
    Kill { signal: u32, all: bool },
    /// `delete`
    Delete { force: bool },
    /// `pause`
    Pause,
    /// `resume`
    Resume,
    /// `ps --format json`
    Ps,
    /// `update --resources -`
    Update,
    /// `features`, which is about no container.
    Features,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no such program.
    #[error("the runtime `{0}` is not found; put it beside the shim or on PATH, or name it by its path")]
    Absent(PathBuf),
    /// It cannot be started.
    #[error("the runtime `{binary}` cannot be started")]
    Spawn { binary: PathBuf, source: io::Error },
    /// Something around the call failed.
    #[error("the call `{verb}` of the runtime cannot be prepared")]
    Prepare { verb: &'static str, source: io::Error },
    /// The runtime says no; its words are kept as they are.
    #[error("{message}")]
    Refused { verb: &'static str, message: String },
    /// It ended without a word.
    #[error("the runtime's `{verb}` ended with status {status} and said nothing")]
    Silent { verb: &'static str, status: u32 },
}

impl Verb {
    /// Its word on the command line.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Start => "start",
            Self::Exec { .. } => "exec",
            Self::Kill { .. } => "kill",
            Self::Delete { .. } => "delete",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Ps => "ps",
            Self::Update => "update",
            Self::Features => "features",
        }
    }

    fn arguments(&self, id: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![self.word().into()];
        let mut flag = |name: &str, value: &Path| words.extend([OsString::from(name), value.into()]);
        match self {
            Self::Create { bundle, pid_file, console, no_pivot, no_new_keyring } => {
                flag("--bundle", bundle);
                flag("--pid-file", pid_file);
                if let Some(console) = console {
                    flag("--console-socket", console);
                }
                words.extend(no_pivot.then(|| "--no-pivot".into()));
                words.extend(no_new_keyring.then(|| "--no-new-keyring".into()));
            }
            Self::Exec { process, pid_file, console } => {
                flag("--process", process);
                flag("--pid-file", pid_file);
                if let Some(console) = console {
                    flag("--console-socket", console);
                }
                words.push("--detach".into());
            }
            Self::Kill { signal, all } => {
                words.extend(all.then(|| "--all".into()));
                words.extend([id.into(), signal.to_string().into()]);
                return words;
            }
            Self::Delete { force } => words.extend(force.then(|| "--force".into())),
            Self::Ps => words.extend(["--format".into(), "json".into()]),
            Self::Update => words.extend(["--resources".into(), "-".into()]),
            Self::Features => return words,
            Self::Start | Self::Pause | Self::Resume => {}
        }
        words.push(id.into());
        words
    }
}

impl Runtime {
    /// The words after the program's name.
    pub(crate) fn arguments(&self, log: &Path, verb: &Verb, id: &str) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--root".into(), self.root.clone().into(), "--log".into(), log.into()];
        words.extend(["--log-format".into(), "json".into()]);
        words.extend(self.systemd_cgroup.then(|| "--systemd-cgroup".into()));
        words.extend(verb.arguments(id));
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(verb: &Verb, systemd_cgroup: bool) -> String {
        let runtime = Runtime { binary: "/skiff".into(), root: "/r".into(), systemd_cgroup };
        let words = runtime.arguments(Path::new("/l"), verb, "web");
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn command_lines_are_runcs() {
        let create = |console: Option<&str>, flags: bool| Verb::Create {
            bundle: "/b".into(),
            pid_file: "/b/p".into(),
            console: console.map(PathBuf::from),
            no_pivot: flags,
            no_new_keyring: flags,
        };
        let exec = |console: Option<&str>| Verb::Exec {
            process: "/b/x".into(),
            pid_file: "/b/p".into(),
            console: console.map(PathBuf::from),
        };
        for (verb, wanted) in [
            (create(None, false), "create --bundle /b --pid-file /b/p web"),
            (
                create(Some("/c"), true),
                "create --bundle /b --pid-file /b/p --console-socket /c --no-pivot --no-new-keyring web",
            ),
            (Verb::Start, "start web"),
            (exec(None), "exec --process /b/x --pid-file /b/p --detach web"),
            (exec(Some("/c")), "exec --process /b/x --pid-file /b/p --console-socket /c --detach web"),
            (Verb::Kill { signal: 15, all: false }, "kill web 15"),
            (Verb::Kill { signal: 9, all: true }, "kill --all web 9"),
            (Verb::Delete { force: false }, "delete web"),
            (Verb::Delete { force: true }, "delete --force web"),
            (Verb::Pause, "pause web"),
            (Verb::Resume, "resume web"),
            (Verb::Ps, "ps --format json web"),
            (Verb::Update, "update --resources - web"),
            (Verb::Features, "features"),
        ] {
            assert_eq!(line(&verb, false), format!("--root /r --log /l --log-format json {wanted}"));
        }
        assert_eq!(line(&Verb::Start, true), "--root /r --log /l --log-format json --systemd-cgroup start web");
    }
}
