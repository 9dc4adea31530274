//! Why a call for a task fails.

use crate::{bootstrap, cgroup, mounts, options, runtime, stdio};
use skiff_contract::id::InvalidId;
use std::io;
use std::path::PathBuf;

/// One variant an operation; what each is called on the wire is the service's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Nobody knows this container.
    #[error("task `{0}` is not found")]
    NoTask(String),
    /// Nobody knows this exec.
    #[error("exec `{exec_id}` of task `{id}` is not found")]
    NoExec { id: String, exec_id: String },
    /// There is one of that name.
    #[error("task `{0}` exists already")]
    Exists(String),
    /// There is one of that name.
    #[error("exec `{exec_id}` of task `{id}` exists already")]
    ExecExists { id: String, exec_id: String },
    /// The table says no.
    #[error("`{name}` cannot be {what}: it is {state}")]
    State { name: String, what: &'static str, state: &'static str },
    /// There is no process any more; the words are those that callers look for.
    #[error("`{0}`: process already finished")]
    Ended(String),
    /// There is no process yet.
    #[error("`{0}` has no process yet; start it first")]
    NoProcess(String),
    /// A name that cannot be one.
    #[error("the id of the request")]
    Id(#[source] InvalidId),
    /// A bundle that is none.
    #[error("bundle `{path}` is not an absolute path of a folder")]
    Bundle { path: PathBuf },
    /// Its configuration.
    #[error("the bundle's configuration")]
    Config(#[from] bootstrap::Error),
    /// Options of the runtime.
    #[error(transparent)]
    Options(#[from] options::Error),
    /// Streams.
    #[error(transparent)]
    Stdio(#[from] stdio::Error),
    /// The root.
    #[error(transparent)]
    Mounts(#[from] mounts::Error),
    /// Controllers.
    #[error(transparent)]
    Cgroup(#[from] cgroup::Error),
    /// The runtime, or what it says.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// No such signal.
    #[error("signal {0} does not exist; there are 1 to 64")]
    Signal(u32),
    /// The kernel refuses a signal.
    #[error("signal {signal} cannot be sent to `{name}`")]
    Send { name: String, signal: u32, source: io::Error },
    /// A document in a request that is none.
    #[error("the {what} of the request cannot be read")]
    Document { what: &'static str, source: serde_json::Error },
    /// A document in a request that is missing or has not the shape.
    #[error("the {what} of the request {why}")]
    Shape { what: &'static str, why: &'static str },
    /// A size that no terminal has.
    #[error("a terminal of {width} columns and {height} rows cannot be had; 65535 are the most")]
    Size { width: u32, height: u32 },
    /// The kernel refuses a size.
    #[error("the terminal of `{name}` cannot be resized")]
    Resize { name: String, source: io::Error },
    /// A file of ours in the bundle.
    #[error("`{path}` cannot be written or read")]
    File { path: PathBuf, source: io::Error },
    /// The terminal did not come.
    #[error("the terminal of `{name}` was not received from the runtime")]
    Console { name: String, source: io::Error },
    /// A process id that is none.
    #[error("the runtime wrote `{text}` to `{path}` where a process id belongs")]
    Pid { path: PathBuf, text: String },
    /// Not built.
    #[error("{0} is not built; leave it out")]
    NotBuilt(&'static str),
}
