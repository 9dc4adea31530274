//! What can go wrong with instances and their shims.

use super::task::CallError;
use skiff_planner::name::InstanceId;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why something did not come about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none of that name, or it does not run.
    #[error("no instance `{0}` runs")]
    NotRunning(InstanceId),
    /// Something of it is there.
    #[error("instance `{0}` is there already; remove it first")]
    Exists(InstanceId),
    /// The file system refused.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was asked of it.
        operation: &'static str,
        /// Of which file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record is not what was written.
    #[error("the record `{path}` is garbled")]
    Garbled {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The configuration of an instance has not the shape that OCI gives it.
    #[error("the configuration of `{instance}` has no `{member}` that is usable")]
    Config {
        /// Whose.
        instance: InstanceId,
        /// What is missing.
        member: &'static str,
    },
    /// A program cannot be executed.
    #[error("cannot run `{program}`")]
    Run {
        /// Which.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed: {said}")]
    Failed {
        /// Which.
        program: PathBuf,
        /// What it said, or its status where it said nothing.
        said: String,
    },
    /// A program, or a shim, took too long.
    #[error("`{what}` took longer than {} s", limit.as_secs())]
    Late {
        /// Which.
        what: PathBuf,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A shim answered its start with something that is no address.
    #[error("the shim answered `{0}`, which is no address of a Unix socket")]
    Answer(String),
    /// A shim cannot be connected to.
    #[error("cannot connect to the shim at `{path}`")]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A shim is there and does not answer.
    #[error("the shim of service `{0}` does not answer; nothing is done until it does")]
    Silent(String),
    /// A shim refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The socket for events of shims cannot be made.
    #[error("cannot listen on `{path}`")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: ttrpc::Error,
    },
    /// No such signal.
    #[error("there is no signal `{0}`")]
    Signal(String),
    /// Its first process was there and is not.
    #[error("process {pid} of `{instance}` ended before its program was started")]
    Vanished {
        /// Whose.
        instance: InstanceId,
        /// Which.
        pid: i32,
    },
    /// It has to be stopped first.
    #[error("instance `{0}` still runs; stop it first")]
    Runs(InstanceId),
    /// Statistics of a kind that is not known.
    #[error("the shim's statistics of `{0}` are of a kind that is not known")]
    Figures(InstanceId),
    /// Everything was tried.
    #[error("`{0}` does not end, not even by SIGKILL")]
    Survives(InstanceId),
}

impl Error {
    /// For `map_err` of what is done to a file.
    pub(super) fn file(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { operation, path, source }
    }

    /// Whether nobody listens on the shim's socket, so that the shim is certainly gone.
    pub(super) fn is_gone(&self) -> bool {
        match self {
            Self::Connect { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
            }
            _ => false,
        }
    }
}
