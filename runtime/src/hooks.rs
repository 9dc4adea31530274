//! Hooks (config.md, "POSIX-platform Hooks"): programs of the operator, run at set moments with the container's state
//! on standard input. Checked as a whole before anything is made; run one after the other, each within its timeout.
//!
//! Like runc's, they run in the caller's namespaces, process group and umask; unlike runc's they never inherit the
//! runtime's environment, are given default signals, and what they leave running in the background does not hold us.

use std::ffi::{CString, OsStr};
use std::fmt;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::{Hook, Hooks};

mod run;

/// The moment of a hook; each is a list in `hooks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Deprecated: like `createRuntime`, and before it.
    Prestart,
    /// After the namespaces are made, in the runtime's.
    CreateRuntime,
    /// The same moment, in the container's namespaces, before the root changes.
    CreateContainer,
    /// Before the program, inside the container.
    StartContainer,
    /// After the program has started, in the runtime's namespaces.
    Poststart,
    /// After the container is deleted, in the runtime's namespaces.
    Poststop,
}

impl Kind {
    /// All, in the order in which they run.
    pub const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    /// The JSON name of the list.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    /// The hooks of this kind.
    #[must_use]
    pub fn of(self, hooks: &Hooks) -> &[Hook] {
        // The specification still demands that prestart hooks be run.
        #[allow(deprecated)]
        let list = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What a hook finds when it starts.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The state document, for standard input.
    pub state: &'a [u8],
    /// The environment of hooks that have no `env`: empty, but for `startContainer`, where it is the program's own, as
    /// runc has it.
    pub environment: &'a [CString],
    /// The working directory: the bundle, as with runc; `None` leaves the caller's.
    pub directory: Option<BorrowedFd<'a>>,
}

/// Which hook a failure is about: `createRuntime[1]` and its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Its list.
    pub kind: Kind,
    /// Its place in the list.
    pub index: usize,
    /// Its program.
    pub path: PathBuf,
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "hook {}[{}] `{}`", self.kind, self.index, self.path.display())
    }
}

/// A failure of the hooks room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration of a hook cannot be.
    #[error("`{property}` {problem}")]
    Invalid {
        /// The JSON property.
        property: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// The hook could not be started or waited for.
    #[error("cannot run {hook}")]
    Run {
        /// Which one.
        hook: Name,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The hook exited with a status other than 0, or was killed.
    #[error("{hook} failed with {end}{output}")]
    Failed {
        /// Which one.
        hook: Name,
        /// `exit status 3` or `signal 9`.
        end: String,
        /// Nothing, or `: ` and what it last wrote, on one line.
        output: String,
    },
    /// The hook ran past its timeout and was killed.
    #[error("{hook} ran past its timeout of {} s and was killed{output}", timeout.as_secs())]
    TimedOut {
        /// Which one.
        hook: Name,
        /// The timeout.
        timeout: Duration,
        /// Nothing, or `: ` and what it last wrote, on one line.
        output: String,
    },
}

/// Checks every hook before anything is made.
///
/// # Errors
/// The first property that cannot be.
pub fn validate(hooks: &Hooks) -> Result<(), Error> {
    for kind in Kind::ALL {
        for (index, hook) in kind.of(hooks).iter().enumerate() {
            check(hook).map_err(|(key, problem)| Error::Invalid {
                property: format!("hooks.{kind}[{index}].{key}"),
                problem,
            })?;
        }
    }
    Ok(())
}

/// Runs `hooks` one after the other.
///
/// # Errors
/// The first that fails; the others are not run then. For poststop, where the specification wants the others run all
/// the same, call [`run_one`] for each.
pub fn run(hooks: &[Hook], kind: Kind, surroundings: &Surroundings<'_>) -> Result<(), Error> {
    hooks.iter().enumerate().try_for_each(|(index, hook)| run_one(hook, kind, index, surroundings))
}

/// Runs one hook to its end.
///
/// # Errors
/// It cannot be started, fails, or runs past its timeout.
pub fn run_one(hook: &Hook, kind: Kind, index: usize, surroundings: &Surroundings<'_>) -> Result<(), Error> {
    let name = Name { kind, index, path: hook.path().clone() };
    let timeout = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    match run::to_end(hook, timeout, surroundings) {
        Ok(outcome) => judge(name, outcome, timeout.unwrap_or_default()),
        Err(source) => Err(Error::Run { hook: name, source }),
    }
}

fn judge(hook: Name, outcome: run::Outcome, timeout: Duration) -> Result<(), Error> {
    let output = quote(&outcome.output);
    match outcome.end {
        run::End::TimedOut => Err(Error::TimedOut { hook, timeout, output }),
        run::End::Exited(0) => Ok(()),
        run::End::Exited(status) => Err(Error::Failed { hook, end: format!("exit status {status}"), output }),
        run::End::Killed(signal) => Err(Error::Failed { hook, end: format!("signal {signal}"), output }),
    }
}

/// What a hook wrote, on one line: an error is one line, and a terminal must not obey what a hook writes.
fn quote(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    match text.trim() {
        "" => String::new(),
        text => format!(": `{}`", text.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")),
    }
}

fn check(hook: &Hook) -> Result<(), (String, String)> {
    const NUL: &str = "contains a NUL character";
    if !hook.path().is_absolute() {
        return Err(("path".to_owned(), format!("must be absolute, and is `{}`", hook.path().display())));
    }
    if has_nul(hook.path().as_os_str()) {
        return Err(("path".to_owned(), NUL.to_owned()));
    }
    if hook.timeout().is_some_and(|seconds| seconds <= 0) {
        return Err(("timeout".to_owned(), "must be greater than zero (seconds)".to_owned()));
    }
    for (index, argument) in hook.args().iter().flatten().enumerate() {
        if argument.contains('\0') {
            return Err((format!("args[{index}]"), NUL.to_owned()));
        }
    }
    for (index, entry) in hook.env().iter().flatten().enumerate() {
        let problem = match entry.find('=') {
            _ if entry.contains('\0') => NUL,
            None => "has no `=`",
            Some(0) => "has no name before its `=`",
            Some(_) => continue,
        };
        return Err((format!("env[{index}]"), problem.to_owned()));
    }
    Ok(())
}

fn has_nul(text: &OsStr) -> bool {
    text.as_bytes().contains(&0)
}

#[cfg(test)]
mod tests;
