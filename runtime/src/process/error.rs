//! What can go wrong with the process of a container, and the exit code each failure means for the caller.

use std::ffi::CString;
use std::io;
use std::path::PathBuf;

/// A failure of the process room. `Display` names the operation; the cause is in `source()`, except for the failures
/// of a program, whose whole text is what docker and podman match on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration asks for something this runtime does not do.
    #[error("`{property}` is not supported: {reason}")]
    Unsupported {
        /// The JSON property.
        property: &'static str,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The configuration asks for something that cannot be.
    #[error("`{property}` {problem}")]
    Invalid {
        /// The JSON property, with its index in an array.
        property: String,
        /// What is wrong with its value.
        problem: String,
    },
    /// `/proc/self/oom_score_adj` could not be written.
    #[error("cannot set `process.oomScoreAdj` to {value}{hint}")]
    OomScoreAdj {
        /// The value asked for.
        value: i32,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// What is mounted on /proc is not a procfs, so a write there could go anywhere (CVE-2019-16884).
    #[error("`{path}` is not on a procfs; refusing to write to it")]
    NotProcfs {
        /// The path that was opened.
        path: String,
    },
    /// `setrlimit(2)` failed.
    #[error("cannot set `{property}` to soft {soft}, hard {hard}{hint}")]
    Limit {
        /// `process.rlimits[i] RLIMIT_X`.
        property: String,
        /// Soft limit asked for.
        soft: u64,
        /// Hard limit asked for.
        hard: u64,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A setting of `process.*` or `linux.personality` that one system call makes.
    #[error("cannot apply `{property}`{hint}")]
    Apply {
        /// The JSON property.
        property: &'static str,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel does not take the profile.
    #[error("cannot confine the program by `process.apparmorProfile` `{profile}`{hint}")]
    AppArmor {
        /// Its name.
        profile: String,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// See [`seccomp::Error`](crate::seccomp::Error).
    #[error(transparent)]
    Seccomp(#[from] crate::seccomp::Error),
    /// The session keyring could not be joined.
    #[error("cannot join the session keyring `{name}` (use --no-new-keyring to keep the caller's)")]
    Keyring {
        /// The name of the keyring.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `chdir(2)` to `process.cwd` failed.
    #[error("cannot enter `process.cwd` `{path}`")]
    Cwd {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// `process.cwd` was absent and could not be made.
    #[error("cannot create `process.cwd` `{path}` inside the container")]
    CreateCwd {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The working directory is not below the container's root (CVE-2024-21626).
    #[error("`process.cwd` `{path}` is outside of the container's root: possible breakout, refusing to start")]
    CwdOutside {
        /// The directory asked for.
        path: PathBuf,
    },
    /// A user or group id could not be taken.
    #[error("cannot become {kind} {id} (`{property}`){hint}")]
    Identity {
        /// `uid` or `gid`.
        kind: &'static str,
        /// The number.
        id: u32,
        /// The JSON property.
        property: &'static str,
        /// A way out, or nothing.
        hint: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Standard input, output or error could not be given to the container's user.
    #[error("cannot give descriptor {descriptor} to uid {uid}")]
    Stdio {
        /// 0, 1 or 2.
        descriptor: u32,
        /// The user.
        uid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// One of the five capability sets could not be applied.
    #[error("cannot apply `process.capabilities.{set}`")]
    Capabilities {
        /// The JSON name of the set.
        set: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The program of `process.args` was not found or may not be executed.
    #[error("{text}")]
    Program {
        /// The words callers look for.
        text: String,
        /// 126 or 127.
        code: u8,
    },
    /// `execve(2)` failed.
    #[error("exec {}: {words}", path.to_string_lossy())]
    Exec {
        /// The file.
        path: CString,
        /// What the kernel said, in small letters.
        words: String,
        /// 126 or 127.
        code: u8,
    },
}

impl Error {
    /// The exit code of `skiff run` for this failure: 127 when there is no such program, 126 when it cannot be
    /// executed (POSIX shell, "Exit Status for Commands"), else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Program { code, .. } | Self::Exec { code, .. } => *code,
            _ => 1,
        }
    }

    pub(crate) fn invalid(property: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { property: property.into(), problem: problem.into() }
    }
}

/// The kernel's words for an error number as Go prints them, which callers of runtimes match on: small first letter,
/// no number behind.
pub(crate) fn words(errno: rustix::io::Errno) -> String {
    let text = nix::errno::Errno::from_raw(errno.raw_os_error()).desc();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}
