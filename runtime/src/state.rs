//! What is kept of each container under `/run/skiff/runtime`: one folder an id, one record in it, published by atomic
//! rename, so that a reader sees a whole record or none. A folder without a record is a container that was being made
//! when its maker was killed before it made anything.
//!
//! ```text
//!   <root>/<id>/            0700, its descriptor carries the lock (flock(2))
//!     state.json            the record
//!     start.sock            there while the container waits for `start`
//! ```

mod identity;
mod record;
mod store;

pub use identity::{Identity, boot_id, observe};
pub use record::{Interior, Observed, Phase, Record};
pub use store::{Entry, Lock, START_SOCKET, Store};

use std::path::PathBuf;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root folder of the state cannot be made or opened.
    #[error("state folder `{path}` cannot be used (choose another with --root)")]
    Root {
        /// The folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// `create` with an id that is taken.
    #[error("container with id `{0}` already exists; delete it first, or choose another id")]
    Exists(String),
    /// There is no such container.
    #[error("container `{0}` does not exist")]
    Absent(String),
    /// The folder is there, the record is not.
    #[error(
        "container `{0}` does not exist: its creation was cut short; remove the rest with `skiff delete --force {0}`"
    )]
    Unfinished(String),
    /// Another command is at work on it.
    #[error("container `{0}` is being worked on by another command; try again when that has ended")]
    Busy(String),
    /// A file of one container cannot be written, read or removed.
    #[error("cannot {operation} `{path}`")]
    File {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// The record is not one of ours.
    #[error("state of container `{id}` in `{path}` cannot be understood; remove it with `skiff delete --force {id}`")]
    Record {
        /// The container.
        id: String,
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
}
